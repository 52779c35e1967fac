"""Detectors, segmenters and landmark networks pass every stage with the heads that they have.

Refusals name what would help: the size of the file, or a head of fnac's on its backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from fnac.errors import UnsupportedGraphError
from fnac.importer import import_onnx
from fnac.inspection.profile import ProfileSettings, profile_file
from fnac.passes.graph import Graph
from fnac.passes.heads.taps import find_taps
from fnac.passes.running.verify import compare
from fnac.passes.stored_layers import read_layers
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.opening.pairs import check_pair
from tests.support.detectors import HEADS, ONE_IMAGE, SIZE, STORED_SIZE, WIDTH, Found, Head
from tests.support.through_stages import (
    QUICK,
    STAGES,
    Case,
    Stage,
    emitted,
    inspected,
    profiled,
    through,
)
from tests.support.written_nets import NEWEST

FREE = ("n", 3, "h", "w")
FIXED = (1, 3, *SIZE)
OTHER = (2 * SIZE[0], SIZE[1])
OPSETS = (9, 13, 17)
NAMES = list(HEADS)


def written(
    head: Head, opset: int, shape: tuple[int | str, ...] = FIXED, deepest: int = 16
) -> tuple[Found, onnx.ModelProto]:
    net = Found(shape, opset, deepest)
    return net, net.model(*head(net))


def shape_of(name: str, place: int) -> tuple[int | str, ...]:
    return FIXED if name in STORED_SIZE or place % 2 else FREE


def sweep(
    name: str,
    opset: int,
    shape: tuple[int | str, ...],
    folder: Path,
    stages: Sequence[Stage] = STAGES,
) -> None:
    net, model = written(HEADS[name], opset, shape)
    size = SIZE if shape is FREE else None
    own = (net.blocks, net.madds, net.parameters)
    through(model, folder, size, own=own, stages=stages)


@pytest.mark.parametrize("name", NAMES)
def test_networks_keep_their_own_heads(name: str, tmp_path: Path) -> None:
    place = NAMES.index(name)
    sweep(name, OPSETS[place % 3], shape_of(name, place), tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [FREE, FIXED], ids=["free", "fixed"])
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 18, 21, NEWEST])
@pytest.mark.parametrize("name", NAMES)
def test_at_every_operator_set(
    name: str, opset: int, shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    if shape is FREE and name in STORED_SIZE:
        pytest.skip("the file holds numbers of one size")
    sweep(name, opset, shape, tmp_path)


@pytest.mark.parametrize("opset", [9, 13, NEWEST])
@pytest.mark.parametrize("name", NAMES)
def test_the_features_are_what_the_head_reads(name: str, opset: int) -> None:
    """Neither scores nor boxes, in one output or in many."""
    _, model = written(HEADS[name], opset)
    graph = Graph.from_model(model)
    graph.refresh_shapes()
    (last,) = find_taps(graph, ("last",)).values()
    assert list(last.shape) == [1, WIDTH, SIZE[0] // 16, SIZE[1] // 16]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STORED_SIZE])
def test_at_another_size(name: str, tmp_path: Path) -> None:
    """Twice the places, twice the products, and the file to deploy takes that size as well."""
    net, model = written(HEADS[name], OPSETS[NAMES.index(name) % 3], FREE)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    counted, _ = profile_file(path, ProfileSettings(OTHER))
    assert counted.madds == 2 * net.madds
    made = emit(path, tmp_path / "emitted.onnx", EmitSettings(size=SIZE, no_verify=True))
    assert compare(Graph.load(path), Graph.load(made.path), size=OTHER).equal


@pytest.mark.parametrize("name", ["nanodet", "nanodet-plus", "yolo-fastest", "yunet"])
def test_a_file_of_one_size_is_emitted_for_any(name: str, tmp_path: Path) -> None:
    _, free = written(HEADS[name], 13, (1, 3, "h", "w"))
    _, fixed = written(HEADS[name], 13)
    path = tmp_path / "net.onnx"
    onnx.save(fixed, path)
    made = emit(path, tmp_path / "emitted.onnx", EmitSettings(any_size=True, no_verify=True))
    assert compare(Graph.from_model(free), Graph.load(made.path), size=OTHER).equal


@pytest.mark.parametrize("name", STORED_SIZE)
def test_a_file_that_holds_numbers_of_one_size_says_which(name: str, tmp_path: Path) -> None:
    _, model = written(HEADS[name], 13)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    other = (64, 128) if name == "pfld" else OTHER
    with pytest.raises(UnsupportedGraphError, match="its own is 64x96"):
        profile_file(path, ProfileSettings(other))
    with pytest.raises(UnsupportedGraphError, match="emit it without any_size"):
        emit(path, tmp_path / "emitted.onnx", EmitSettings(any_size=True, no_verify=True))


@pytest.mark.parametrize("opset", [10, 13, NEWEST])
@pytest.mark.parametrize("name", ONE_IMAGE)
def test_what_answers_for_one_image(name: str, opset: int, tmp_path: Path) -> None:
    """It is inspected, counted and emitted; to train it, a head of fnac's is named."""
    net, model = written(ONE_IMAGE[name], opset)
    case = Case(tmp_path / "net.onnx", own=(net.blocks, net.madds, net.parameters))
    onnx.save(model, case.path)
    for stage in (inspected, profiled, emitted):
        stage(case)
    graph = Graph.load(case.path)
    for door in (
        lambda: check_pair(import_onnx(model), graph),
        lambda: expand(Graph.load(case.path), ExpandSettings()),
    ):
        with pytest.raises(UnsupportedGraphError, match="--task"):
            door()
    graph.refresh_shapes()
    (last,) = find_taps(graph, ("last",)).values()
    assert list(last.shape) == [1, WIDTH, SIZE[0] // 16, SIZE[1] // 16]


@pytest.mark.slow
@pytest.mark.parametrize("opset", [10, 13, NEWEST])
@pytest.mark.parametrize("task", ["seg", "det"])
@pytest.mark.parametrize("name", [*HEADS, *ONE_IMAGE])
def test_backbones_expand_with_heads_of_fnac(name: str, task: str, opset: int) -> None:
    net, model = written({**HEADS, **ONE_IMAGE}[name], opset, deepest=32)
    made = expand(Graph.from_model(model), ExpandSettings(task=task, classes=2))
    assert len(read_layers(made.manifest)) == net.blocks
    assert {output.shape[0] for output in made.outputs} == {"batch"}
