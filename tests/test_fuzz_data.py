"""Spoilt data files meet every reader: samples or a refusal, never a crash.

The default run takes the first damages of each data set; ``-m slow`` many. A damage is made from
its number alone: ``attempt("coco", folder, 17)`` is what failed as "coco 17".
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from pathlib import Path

import pytest

from fnac.data.account import take_account
from fnac.data.spec import open_data
from fnac.errors import FnacError
from fnac.text import printable
from tests.support.data_sets import SETS, spoil

SHORT, FULL = 25, int(os.environ.get("FNAC_FUZZ_DATA", "600"))


def attempt(name: str, root: Path, number: int) -> str:
    """Spoil one file of a data set, read everything, put the file back: ``read`` or ``refused``."""
    task, write = SETS[name]
    if not root.exists():
        write(root)
    spec = str(root / "data.yaml") if name == "colours" else f"{reader(name)}:{root}"
    r = random.Random(number)
    path = r.choice(sorted(p for p in root.rglob("*") if p.is_file()))
    kept = path.read_bytes()
    path.write_bytes(spoil(kept, path.suffix, r))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata
            source = open_data(spec, task, skip_bad=number % 5 == 0)
            account = take_account(source, task, "val")
            account.refuse()
            assert account.as_text()
            for split in source.splits:
                dataset = source.split(split)
                for index in range(len(dataset)):
                    image, _ = dataset[index]
                    assert image.shape[0] == 3
                    assert dataset.id(index)
    except FnacError as error:
        return "refused" if printable(str(error)).strip() else "refused without a word"
    finally:
        path.write_bytes(kept)
    return "read"


def reader(name: str) -> str:
    """Return the reader that a data set is opened with."""
    return {"masks": "folder", "classes": "folder", "keypoints": "coco-keypoints"}.get(name, name)


@pytest.mark.parametrize("name", SETS)
def test_spoilt_data_are_read_or_refused(tmp_path: Path, name: str) -> None:
    ends = [attempt(name, tmp_path / "data", number) for number in range(SHORT)]
    assert ends.count("refused") > 2
    assert attempt(name, tmp_path / "data", -1) in ("read", "refused")
    shutil.rmtree(tmp_path / "data")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_many_spoilt_data_are_read_or_refused(tmp_path: Path, name: str) -> None:
    ends = [attempt(name, tmp_path / "data", number) for number in range(FULL)]
    assert 0 < ends.count("refused") < FULL
