"""A file that no runtime runs is the file's fault at every door: exit 3, and no pass is blamed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from fnac.cli import run
from tests.passes.test_broken_files import broken
from tests.support.written_nets import NEWEST

FAULTS = ["dilations", "channels", "product", "concat", "reshape"]
DOORS = {
    "inspect": ["inspect", "{model}"],
    "profile": ["profile", "{model}"],
    "expand": ["expand", "{model}", "-o", "{out}"],
    "expand --task": ["expand", "{model}", "-o", "{out}", "--task", "seg", "--classes", "2"],
    "emit": ["emit", "{model}", "-o", "{out}"],
    "run-pass": ["run-pass", "normalize", "{model}", "-o", "{out}"],
}
LOOKS_ONLY = ("inspect", "profile")  # need not run the network: they may answer


def knock(
    door: str, fault: str, opset: int, folder: Path, said: pytest.CaptureFixture[str]
) -> None:
    model, out = folder / "net.onnx", folder / "out.onnx"
    onnx.save(broken(fault, opset), model)
    given = [part.format(model=model, out=out) for part in DOORS[door]]
    code = run(given)
    words = said.readouterr().err
    assert code == 3 or (code == 0 and door in LOOKS_ONLY), f"{code}: {words}"
    assert not out.exists()
    if code:
        assert words.startswith("fnac: ")
        for blame in ("bug", "left a broken graph", "Traceback", "of the pass"):
            assert blame not in words, words


@pytest.mark.parametrize("place", range(len(FAULTS)), ids=lambda k: FAULTS[k])
def test_the_file_is_at_fault(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, door in enumerate(DOORS):
        opset = (9, 13, 17)[(place + number) % 3]
        if FAULTS[place] == "dilations":
            opset = max(opset, 11)  # a MaxPool has dilations from there on
        knock(door, FAULTS[place], opset, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", FAULTS)
def test_at_every_operator_set(
    fault: str, door: str, opset: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "dilations" and opset < 10:
        pytest.skip("a MaxPool has no dilations yet")
    knock(door, fault, opset, tmp_path, capsys)
