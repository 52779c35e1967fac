"""The normalisation inside the file: the same numbers for the same image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fnac.data import open_data
from fnac.errors import UnsupportedGraphError
from fnac.passes.emit.take_pixels import TakePixels
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract, state_input
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed, run
from fnac.stages.deployment.predict import Predictor
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.evaluate import evaluate_onnx
from fnac.tasks import make_task
from fnac.tasks.answers import Boxes, Classes, Labels, Skeletons
from tests.stages.test_predict import SCENES, emitted, network
from tests.support.graphs import graph

IDENTITY = """(float[N,3,4,5] x) => (y) <float[3,3,1,1] w> { y = Conv(x, w) }"""
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)


def closed(color: str, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Graph:
    g = graph(IDENTITY, values={"w": np.eye(3).reshape(3, 3, 1, 1)})
    state_input(g.manifest, size=(4, 5), mean=mean, std=std, color=color, assumed=False)
    return PassManager().run([TakePixels()], g)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_what_comes_out_is_what_the_contract_says(color: str) -> None:
    mean, std = (0.25, 0.5, 0.125), (0.5, 0.25, 1.0)
    made = closed(color, mean, std)
    assert (str(made.inputs[0].dtype), made.inputs[0].shape) == ("uint8", ["N", 4, 5, 3])
    ordered = PIXELS if color == "RGB" else PIXELS[..., ::-1]
    scale = np.array([1 / (255 * s) for s in std], np.float32)
    shift = np.array([-m / s for m, s in zip(mean, std, strict=True)], np.float32)
    wanted = (ordered.astype(np.float32) * scale + shift).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run(made, {"x": PIXELS})["y"], wanted)
    stated = Contract.read(made.manifest).input
    assert (stated.layout, stated.color, stated.range) == ("NHWC", "RGB", (0.0, 255.0))
    assert (stated.mean, stated.std) == ((0.0,) * 3, (1.0,) * 3)
    pad = (64.0, 128.0, 32.0)
    assert stated.pad == (pad if color == "RGB" else pad[::-1])
    assert made.image_size() == (4, 5)
    assert random_feed(made)["x"].shape == (2, 4, 5, 3)


def test_a_second_run_and_other_inputs_are_left() -> None:
    made = closed("RGB", (0.0,) * 3, (1.0,) * 3)
    before = len(made.nodes)
    assert TakePixels().run(made).rewrote == {}
    assert len(made.nodes) == before
    grey = graph("(float[N,1,4,5] x) => (y) <float[3,1,1,1] w> { y = Conv(x, w) }")
    assert "wanted one input of float32 (N, 3, H, W)" in TakePixels().run(grey).left["x"]


TASKS = ("seg", "pose", "cls", "det")
# of int8 one task is enough: quantization sees the network before its input is closed
KINDS = [(task, kind) for kind in ("fp32", "fp16") for task in TASKS] + [("cls", "int8")]


@pytest.mark.parametrize(("task", "precision"), KINDS)
def test_both_kinds_of_file_answer_alike(tmp_path: Path, task: str, precision: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    images = np.random.default_rng(1).normal(size=(4, 3, 32, 40)).astype(np.float32)
    how = {"fp16": precision == "fp16", "int8": precision == "int8"}
    outside = emitted(tmp_path / "a", task, EmitSettings(**how), images=images)
    inside = emitted(tmp_path / "b", task, EmitSettings(**how, preprocess="inside"), images=images)
    picture = np.random.default_rng(0).integers(0, 255, (32, 40, 3)).astype(np.uint8)
    one, other = Predictor(outside)(picture), Predictor(inside)(picture)
    # torch fuses multiplication and addition, onnxruntime does not: the last bit may differ
    close = {"rtol": 0, "atol": 1e-3 if precision == "fp16" else 1e-5}
    match one, other:
        case Labels(), Labels():
            assert (one.labels == other.labels).mean() > 0.999
        case Boxes(), Boxes():
            np.testing.assert_allclose(one.scores, other.scores, **close)
        case Skeletons(), Skeletons():
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            np.testing.assert_allclose(one.scores, other.scores, **close)
        case Classes(), Classes():
            np.testing.assert_allclose(one.probabilities, other.probabilities, **close)
        case _:
            raise AssertionError((one, other))


def test_a_letterboxed_image_is_padded_with_the_mean_colour(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    inside = emitted(tmp_path / "b", "det", EmitSettings(preprocess="inside"))
    outside = emitted(tmp_path, "det")
    picture = np.random.default_rng(0).integers(0, 255, (32, 20, 3)).astype(np.uint8)
    one, other = Predictor(outside)(picture), Predictor(inside)(picture)
    assert isinstance(one, Boxes)
    assert isinstance(other, Boxes)
    # 127.5 becomes 128: half a step of 1/127.5 in each padded pixel
    np.testing.assert_allclose(one.scores[:5], other.scores[:5], atol=0.02)


def test_a_network_that_cannot_is_refused(tmp_path: Path) -> None:
    g = graph("(float[N,1,4,5] x) => (y) <float[3,1,1,1] w> { y = Conv(x, w) }")
    g.manifest.update(role="target")
    path = g.save(tmp_path / "grey.onnx")
    with pytest.raises(UnsupportedGraphError, match="--preprocess inside: float32"):
        emit(path, tmp_path / "m.onnx", EmitSettings(preprocess="inside"))


def test_an_emitted_file_of_this_kind_can_be_adapted_again(tmp_path: Path) -> None:
    from fnac.stages.opening.canonical import take_pictures

    g = Graph.load(emitted(tmp_path, "cls", EmitSettings(preprocess="inside")))
    take_pictures(g, PassManager())
    assert (str(g.inputs[0].dtype), g.inputs[0].shape[1:]) == ("float32", [3, 32, 40])
    stated = Contract.read(g.manifest).input
    assert (stated.layout, stated.on_unit_range()[1]) == ("NCHW", (1 / 255,) * 3)
    assert network("cls", 7).image_size() == (32, 40)


def test_eval_feeds_both_kinds_alike(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    source = open_data(SCENES, "seg")
    values = [
        evaluate_onnx(model, source, make_task("seg", source)).value
        for model in (
            emitted(tmp_path, "seg"),
            emitted(tmp_path / "b", "seg", EmitSettings(preprocess="inside")),
        )
    ]
    assert values[0] == pytest.approx(values[1], abs=0.05)  # of 100; the last bit may tip a tie
    assert values[0] > 0
