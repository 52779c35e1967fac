"""A run folder: one process group at a time, files as they were left, the data it began with."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fnac.adaptation.folder import begun, continued, describe
from fnac.adaptation.kept_files import DIGESTS, KeptFiles
from fnac.adaptation.plan import Plan
from fnac.adaptation.resuming import check_as_left, latest, plan_to_resume
from fnac.data import open_data
from fnac.data.sets.fingerprint import check_same_data, fingerprint
from fnac.errors import DataError, TrainingError, UsageError
from tests.support.persons import coco_person, write_coco

SCENES = "scenes:train=4,val=2,size=32"


def planned(data: str = SCENES, **sections: Any) -> Plan:
    adapt = {"task": "seg", "data": data, **sections.pop("adapt", {})}
    return Plan.of({"adapt": adapt, **sections})


def masks(root: Path) -> Path:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "classes.txt").write_text("ground\nthing\n")
    random = np.random.default_rng(0)
    for i in range(6):
        image = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "images" / f"p{i}.png")
        Image.fromarray(image[..., 0] % 2).save(root / "masks" / f"p{i}.png")
    return root


# ------------------------------------------------------------------ digests


def test_a_file_is_as_it_was_left_or_it_is_named(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path)
    kept.write("ledger.json", b"[]")
    kept.check()
    (tmp_path / "ledger.json").write_bytes(b"[1]")
    with pytest.raises(TrainingError, match=r"ledger.json: it is not as this run left it"):
        kept.check()
    (tmp_path / "ledger.json").unlink()  # what is missing is made again
    kept.check()


@pytest.mark.parametrize("name", ["latency.json", "search/limit.json", "fingerprint.json"])
def test_a_file_that_cannot_be_made_again_is_missed(tmp_path: Path, name: str) -> None:
    (tmp_path / "search").mkdir()
    kept = KeptFiles(tmp_path)
    kept.write(name, b"1")
    kept.write("super.onnx", b"2")
    (tmp_path / "super.onnx").unlink()
    kept.check()
    (tmp_path / name).unlink()
    with pytest.raises(TrainingError, match=f"{name}: it is gone, and the run was begun with it"):
        kept.check()


def test_who_finds_a_folder_held_leaves_it_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes may claim one empty folder; the second one finds it locked."""
    out = tmp_path / "run"
    out.mkdir()
    with begun(out, "seg", "cpu") as (folder, _):
        (folder / "config.yaml").write_text("version: 2\n")
        monkeypatch.setattr("fnac.adaptation.folder.claim", lambda given, name: folder)
        with pytest.raises(UsageError, match="another process works"), begun(out, "seg", "cpu"):
            pass
        assert (folder / "config.yaml").exists()


def test_logs_are_checked_when_their_stage_is_done_and_free_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "tune").mkdir()
    log = tmp_path / "tune" / "metrics.csv"
    log.write_text("step,loss\n1,0.5\n")
    kept = KeptFiles(tmp_path)
    kept.write("arch.json", b"[]")
    kept.note_logs("tune")
    kept.check()
    log.write_text("step,loss\n1,0.4\n")
    with pytest.raises(TrainingError, match=r"tune/metrics.csv: it is not as this run left it"):
        kept.check()
    kept.forget("tune")  # the stage runs again, and writes
    kept.check()
    assert list(json.loads((tmp_path / DIGESTS).read_text())) == ["arch.json"]


def test_a_run_that_is_killed_between_digest_and_file_goes_on(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path)
    kept.write("super.onnx", b"expanded")
    (tmp_path / "part").write_bytes(b"searched")
    kept._note("super.onnx", json.loads((tmp_path / DIGESTS).read_text())["super.onnx"][0][::-1])
    kept.check()  # the new digest is there, the old file still in its place
    kept.take(tmp_path / "part", "super.onnx")
    kept.check()
    (tmp_path / "super.onnx").write_bytes(b"expanded")
    with pytest.raises(TrainingError, match=r"super\.onnx"):
        kept.check()


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[1]", b'{"a": 3}', b"\xff"])
def test_spoilt_digests_are_named(tmp_path: Path, spoilt: bytes) -> None:
    (tmp_path / DIGESTS).write_bytes(spoilt)
    with pytest.raises(TrainingError, match=r"digests.json: .*begin a new run"):
        KeptFiles(tmp_path).check()


def test_no_changed_byte_of_the_configuration_is_taken(tmp_path: Path) -> None:
    plan = planned()
    describe(tmp_path, plan.written(), plan.source)
    check_as_left(tmp_path, plan.source)
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("budget: null", "budget: 0.9x"))
    with pytest.raises(TrainingError, match=r"config.yaml: it is not as this run left it"):
        check_as_left(tmp_path, plan.source)


# ------------------------------------------------------------------ the lock


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with begun(tmp_path / "run", "seg", "cpu") as (folder, _):
        code = (
            "from pathlib import Path\n"
            "from fnac.adaptation.folder import continued\n"
            "from fnac.errors import UsageError\n"
            "try:\n"
            f"    with continued(Path({str(folder)!r}), 'cpu'): pass\n"
            "except UsageError as error:\n"
            "    print(error)\n"
        )
        (folder / "config.yaml").write_text("version: 2\n")
        words = [sys.executable, "-c", code]
        held = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert "another process works in this run folder; wait for its end" in held
    free = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert free == ""  # a lock goes with the process that held it


def fail_in(out: Path, name: str) -> None:
    """Fail in a new run folder in which search/name was written."""
    with begun(out, "seg", "cpu") as (folder, _):
        (folder / "search").mkdir()
        (folder / "search" / name).write_text("")
        raise UsageError("the budget cannot be met")


@pytest.mark.parametrize("where", ["new", "there", "link"])
def test_a_run_that_never_began_leaves_no_more_than_was_there(tmp_path: Path, where: str) -> None:
    (tmp_path / "there").mkdir()
    os.symlink("there", tmp_path / "link")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        fail_in(tmp_path / where, "metrics.csv")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_with_a_checkpoint_stays(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        fail_in(tmp_path / "run", "last.ckpt")
    assert (tmp_path / "run" / "search" / "last.ckpt").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version: 2\n")
    (tmp_path / ".lock").mkdir()  # not even root opens this for writing
    with (
        pytest.raises(UsageError, match="the run folder cannot be written"),
        continued(tmp_path, "cpu"),
    ):
        pass


# ------------------------------------------------------------------ the data set


def test_the_fingerprint_does_not_know_where_the_data_lie(tmp_path: Path) -> None:
    one, other = masks(tmp_path / "a"), masks(tmp_path / "b")
    first = fingerprint(open_data(f"folder:{one}"))
    assert first == fingerprint(open_data(f"folder:{other}/."))
    assert first["train"]["samples"] + first["val"]["samples"] == 6
    check_same_data(open_data(f"folder:{other}"), json.loads(json.dumps(first)))


def test_changed_data_are_told(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    first = fingerprint(open_data(f"folder:{root}"))
    mask = root / "masks" / "p0.png"
    whole = mask.read_bytes()
    pixels = np.array(Image.open(mask))
    Image.fromarray(1 - pixels).save(mask)
    with pytest.raises(DataError, match=r"images or labels of '.*' are others now"):
        check_same_data(open_data(f"folder:{root}"), first)
    mask.write_bytes(whole)
    check_same_data(open_data(f"folder:{root}"), first)
    for kind in ("images", "masks"):
        (root / kind / "p3.png").unlink()
    with pytest.raises(DataError, match=r"'\w+' had \d samples, and has \d now; put it back"):
        check_same_data(open_data(f"folder:{root}"), first)
    with pytest.raises(DataError, match="split 'test' is gone"):
        check_same_data(open_data(f"folder:{root}"), {"test": {"samples": 1, "digest": ""}})


def test_scenes_are_their_settings() -> None:
    same = [fingerprint(open_data(spec)) for spec in (SCENES, SCENES, SCENES + ",seed=1")]
    assert same[0] == same[1] != same[2]


def test_annotations_of_persons_are_in_the_fingerprint(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path, [coco_person(0), coco_person(1)], split)
    source = open_data(f"coco-keypoints:{tmp_path}", "pose")
    first = fingerprint(source)
    for file in (tmp_path / "annotations").iterdir():
        content = json.loads(file.read_text())
        content["annotations"][0]["keypoints"][0] += 1
        file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="images or labels"):
        check_same_data(open_data(f"coco-keypoints:{tmp_path}", "pose"), first)


# ------------------------------------------------------------------ what may be given anew


@pytest.mark.parametrize(
    "given",
    [
        {"search": {"workers": 3}, "tune": {"workers": 3}},
        {"search": {"checkpoint_every": 7}},
        {"tune": {"log_every": 1, "cache": False}},
        {"adapt": {"data": "scenes:train=4,val=2,size=32x32", "no_verify": True}},
    ],
)
def test_what_does_not_change_the_result_may_be_given_anew(
    given: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    plan = planned()
    describe(tmp_path, plan.written(), plan.source)
    asked = plan_to_resume(tmp_path, given)
    for section, values in given.items():
        for key, value in values.items():
            assert getattr(getattr(asked, section), key) == value
    check_as_left(tmp_path, asked.source)


def test_other_data_are_refused_wherever_they_lie(tmp_path: Path) -> None:
    plan = planned()
    describe(tmp_path, plan.written(), plan.source)
    asked = plan_to_resume(tmp_path, {"adapt": {"data": "scenes:train=5,val=2,size=32"}})
    with pytest.raises(DataError, match="'train' had 4 samples, and has 5 now"):
        check_as_left(tmp_path, asked.source)


# ------------------------------------------------------------------ what a run said


def test_a_run_writes_down_what_it_said(tmp_path: Path) -> None:
    log = logging.getLogger("fnac")
    log.setLevel(logging.INFO)
    with begun(tmp_path / "run", "seg", "cpu") as (folder, _):
        log.info("one line")
        (folder / "config.yaml").write_text("tune:\n")
    log.info("of something else")
    with continued(folder, "cpu"):
        log.warning("another line")
    text = (folder / "run.log").read_text()
    assert [line.split("  ")[-1].strip() for line in text.splitlines() if "line" in line] == [
        "one line",
        "another line",
    ]
    assert "WARNING" in text
    assert "something else" not in text


def test_an_interrupted_run_stays_and_says_how_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted() -> None:
        with begun(tmp_path / "run", "seg", "cpu") as (folder, _):
            (folder / "config.yaml").write_text("export:\n  a: 1\nderive:\n  b: 2\neval:\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert f"fnac adapt --resume -o {tmp_path / 'run'}" in caplog.text


def test_resuming_without_a_name_takes_the_newest_adaptation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = "export:\nderive:\neval:\n"
    for number, (name, text) in enumerate((("seg", whole), ("det", whole), ("tune", "tune:\n"))):
        path = Path("runs") / name / "config.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        os.utime(path, ns=(number, number))
    assert latest(None, "") == Path("runs/det")
    assert latest(None, "tune") == Path("runs/tune")
