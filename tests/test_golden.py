"""What the commands print, kept as text files in `tests/golden/`: docs/output.md has the rules.

In a file ``$`` begins a command line, ``!`` a line on stderr, ``=`` the exit code.
``python -m tests.test_golden`` writes the files again; look at the difference before you commit it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fnac.cli import run
from tests.docs.stand_ins import camvid, flowers, model, picture, seed

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "list": ["list", "list tasks", "list heads", "list readers", "list strategies --json"],
    "data": ["data folder:flowers -o sheet.png", "data folder:flowers --samples 0 --json"],
    "data-refused": ["data folder:flowers/rose", "data foldr:flowers", "data folder:nowhere"],
    "inspect": ["inspect seed.onnx"],
    "profile": ["profile seed.onnx --top 4", "profile seed.onnx --by op", "profile model.onnx"],
    "verify": ["verify seed.onnx seed.onnx", "verify seed.onnx other.onnx"],
    "run-pass": ["run-pass fold-batchnorm,clean seed.onnx -o folded.onnx"],
    "export": ["export bundled -o bundled.onnx", "export bundled -o again.onnx --json"],
    "emit": ["emit target.onnx -o out.onnx --no-verify", "emit target.onnx -o o.onnx --quiet"],
    "predict": ["predict model.onnx photo.jpg -o seen", "predict model.onnx photo.jpg --json"],
    "eval": ["eval model.onnx --data camvid:camvid", "eval model.onnx --data camvid:camvid --json"],
    "compare": ["compare runs/a runs/b"],
    "init": ["init --task det -o mine.yaml", "init -o mine.yaml"],
    "version": ["--version"],
    "errors": [
        "adpat",
        "inspect nothing.onnx",
        "inspect notes.txt",
        "tune seed.onnx --task segm --data folder:flowers",
        "tune seed.onnx --task cls --data folder:flowers --set tune.epoch=3",
        "tune seed.onnx --task cls --data folder:flowers --set tune.epochs=three",
        "adapt --task seg --epochs 3",
        "adapt --task seg --size 96x",
        "adapt --task seg --budget lots",
        "adapt --task seg --head deeplab",
        "adapt --task seg --recipe none --set profile.size=3",
        "predict seed.onnx photo.jpg",
        "predict model.onnx nothing.jpg",
        "eval model.onnx --data camvid:camvid --split tset",
        "derive seed.onnx",
        "adapt --resume -o nowhere",
        "run-pass fold-batchnrom seed.onnx -o x.onnx",
    ],
}
"""Golden file -> command lines whose output it holds, in their order, run in one folder."""
MASKED = (
    (re.compile(r"\b\d+\.\d+ ms\b"), "<time> ms"),
    (re.compile(r"\b\d+:\d\d elapsed"), "<time> elapsed"),
    (re.compile(r"\b[\d.]+ images/s, [\d.]+ GB"), "<speed> images/s, <memory> GB"),
    (re.compile(r"\b[\d.]+ [kM]B\b"), "<size>"),
    (re.compile(r"version \d+\.\d+\S*"), "version <version>"),
)
"""What differs from run to run."""
NUMBER = re.compile(r" *\b\d+(\.\d+)?(e-\d+)?\b")
OF_THE_PROCESSOR = ("eval", "predict", "verify")
"""Files whose numbers depend on how a processor rounds: they are written as 0."""


def prepare(folder: Path) -> None:
    """Write the files that the command lines name."""
    flowers(folder / "flowers")
    camvid(folder / "camvid", 4)
    seed(folder / "seed.onnx")
    seed(folder / "other.onnx", 0.5)
    model(folder / "model.onnx", f"camvid:{folder / 'camvid'}")
    (folder / "start-model.onnx").rename(folder / "target.onnx")
    picture(folder / "photo.jpg", 3)
    (folder / "notes.txt").write_text("not a network\n")
    for name, value in (("a", 50.0), ("b", 52.5)):
        _finished(folder / "runs" / name, value)


def _finished(folder: Path, value: float) -> None:
    """Write what `compare` reads of a run."""
    folder.mkdir(parents=True)
    results = {
        "metric": {"name": "mIoU", "value": value},
        "seed": {"madds": 100_000_000, "params": 2_000_000},
        "baseline": {"value": 48.0, "madds": 100_000_000, "params": 2_000_000},
        "target": {"madds": 80_000_000, "params": 1_500_000, "images": 40},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "times.json").write_text(json.dumps({"tune": 100.0 + value, "eval": 5.0}))
    (folder / "config.yaml").write_text(
        f"version: 2\nadapt: {{task: seg, strategy: measured}}\ntune: {{lr: {value / 1000}}}\n"
    )


def printed(name: str) -> str:
    """Return the content of a golden file as the commands write it now, in the current folder."""
    text = "\n".join(_session(line) for line in CASES[name])
    if name not in OF_THE_PROCESSOR:
        return text
    return re.sub(r"^(?!= |\$ ).*$", lambda line: NUMBER.sub(_nought, line[0]), text, flags=re.M)


def _nought(number: re.Match[str]) -> str:
    return " 0" if number[0].startswith(" ") else "0"


def _session(line: str) -> str:
    """Run a command line; return it with its exit code, its stdout and its stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(shlex.split(line))
    parts = [f"$ fnac {line}"]
    texts = (_lines(out.getvalue(), ""), _lines(err.getvalue(), "! "))
    parts += [text for text in texts if text]
    return "\n".join([*parts, f"= {code}", ""])


def _lines(text: str, mark: str) -> str:
    for pattern, instead in MASKED:
        text = pattern.sub(instead, text)
    return "\n".join(f"{mark}{line}".rstrip() for line in text.splitlines())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("golden")
    prepare(path)
    with contextlib.chdir(path):
        yield path


@pytest.mark.parametrize("name", CASES)
def test_the_output_is_as_it_was(name: str, folder: Path) -> None:
    assert printed(name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8"), (
        "the output changed; if it should: python -m tests.test_golden, and look at the difference"
    )


def test_every_file_is_of_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_rules_of_output_hold(name: str) -> None:
    """An error is one line that says where and what; a result is not on stderr."""
    text = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    for session in text.split("$ fnac ")[1:]:
        line, *rest = session.splitlines()
        code = int(next(one for one in rest if one.startswith("= "))[2:])
        errors = [one for one in rest if one.startswith("! ")]
        result = [one for one in rest if not one.startswith(("! ", "= ")) and one]
        assert "Traceback" not in session
        if code == 0:
            assert result, line
        else:
            assert errors, line
            assert sum(one.startswith("! fnac: ") for one in errors) == 1, line
        if "--json" in line and code == 0:
            assert isinstance(json.loads("\n".join(result)), dict), line
        if "--quiet" in line and code == 0:
            assert not errors, line
        assert all(one == one.rstrip() for one in rest)


def write() -> None:
    """Write all golden files again."""
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made))
        with contextlib.chdir(made):
            texts = {name: printed(name) for name in CASES}
    for path in GOLDEN.glob("*.txt"):
        path.unlink()
    for name, text in texts.items():
        (GOLDEN / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
