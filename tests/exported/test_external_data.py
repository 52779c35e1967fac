"""Weights that lie beside the file are the file's, at every stage and on the command line."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from fnac.cli import run
from fnac.passes.graph import Graph
from fnac.passes.running.verify import compare
from tests.support.through_stages import QUICK, SIZE, STAGES, Case, backbone
from tests.support.written_nets import NEWEST, Written

FIXED = (1, 3, *SIZE)


def outside(folder: Path, opset: int, *, one_file: bool) -> tuple[Path, Path]:
    """Write the backbone with its weights inside, and beside it, in one file or in many."""
    net = Written(FIXED, opset)
    model = net.model(backbone(net, "x"))
    whole, parted = folder / "whole.onnx", folder / "parted" / "net.onnx"
    parted.parent.mkdir()
    onnx.save(model, whole)
    onnx.save(model, parted, save_as_external_data=True, all_tensors_to_one_file=one_file,
              location="net.weights" if one_file else None, size_threshold=0)  # fmt: skip
    return whole, parted


def sweep(folder: Path, opset: int, *, one_file: bool, expands: bool) -> None:
    whole, parted = outside(folder, opset, one_file=one_file)
    assert parted.stat().st_size < whole.stat().st_size
    assert compare(Graph.load(whole), Graph.load(parted)).equal
    for stage in STAGES if expands else QUICK:
        stage(Case(parted))
    alone = folder / "alone"
    alone.mkdir()
    for name in ("emitted.onnx", *(["super.onnx", "back.onnx"] if expands else [])):
        (alone / name).write_bytes((parted.parent / name).read_bytes())
        onnx.checker.check_model(alone / name, full_check=True)  # needs nothing beside it


@pytest.mark.parametrize("one_file", [True, False], ids=["one-file", "a-file-each"])
def test_weights_beside_the_file_pass_every_stage(one_file: bool, tmp_path: Path) -> None:
    sweep(tmp_path, 13, one_file=one_file, expands=one_file)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
@pytest.mark.parametrize("one_file", [True, False], ids=["one-file", "a-file-each"])
def test_at_every_operator_set(one_file: bool, opset: int, tmp_path: Path) -> None:
    sweep(tmp_path, opset, one_file=one_file, expands=True)


@pytest.mark.parametrize(
    "given",
    [
        ["inspect", "{net}"],
        ["profile", "{net}"],
        ["verify", "{net}", "{net}"],
        ["run-pass", "normalize", "{net}", "-o", "{out}"],
        ["bench", "{net}", "--runs", "1"],
    ],
    ids=lambda given: given[0],
)
def test_a_weight_file_that_is_gone_or_cut_is_named(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, parted = outside(tmp_path, 13, one_file=True)
    arguments = [part.format(net=parted, out=tmp_path / "out.onnx") for part in given]
    assert run(arguments) == 0
    capsys.readouterr()
    weights = parted.with_name("net.weights")
    content = weights.read_bytes()
    for damage in (content[:40], None):
        if damage is None:
            weights.unlink()
        else:
            weights.write_bytes(damage)
        assert run(arguments) in (2, 3, 6)
        assert "net.weights" in capsys.readouterr().err
