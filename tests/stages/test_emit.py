from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.running.run import random_feed, run
from fnac.stages.emit import EmitSettings, emit
from tests.support.graphs import graph

NETWORK = """(float[N,3,16,16] x) => (logits)
    <float[8,3,3,3] w, float[8] g, float[8] b, float[8] m, float[8] v, float[5,8,1,1] c, float[5] d>
    { h = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w)
      n = BatchNormalization(h, g, b, m, v) r = Relu(n) k = Dropout(r) logits = Conv(k, c, d) }"""
DETECTOR = """(float[N,3,32,40] x) => (l, d)
    <float[4,3,8,8] w, float[4] b, float[8,3,8,8] v, int64[3] s, int64[3] t>
    { a = Conv<strides = [8, 8]>(x, w, b) k = Transpose<perm = [0, 2, 3, 1]>(a) l = Reshape(k, s)
      e = Conv<strides = [8, 8]>(x, v) f = Transpose<perm = [0, 2, 3, 1]>(e) d = Reshape(f, t) }"""
MADDS = 8 * 8 * (8 * 27 + 5 * 8)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = {
        "v": rng.uniform(0.5, 2, 8),
        "w": rng.normal(size=(8, 3, 3, 3)),
        "c": rng.normal(size=(5, 8, 1, 1)),
        "d": 0,
    }
    g = graph(NETWORK, values=values)
    g.manifest.update(role="target", task="seg", num_classes=5)
    g.nodes[-1].metadata["fnac.part"] = "head"
    return g.save(tmp_path / "target.onnx")


def test_the_emitted_file_answers_in_labels(target: Path, tmp_path: Path) -> None:
    result = emit(target, tmp_path / "run" / "model.onnx", EmitSettings())
    made = Graph.load(result.path)
    assert [n.op for n in made.nodes[:3]] == ["Conv", "Relu", "Conv"]
    labels = run(made, random_feed(made))["labels"]
    assert (labels.shape, labels.dtype) == ((2, 16, 16), np.int64)
    assert 1 < len(np.unique(labels)) <= 5
    assert (made.manifest["role"], made.manifest["postprocess"]) == ("model", "argmax")
    assert [e["pass"] for e in result.ledger] == [
        "lift-constants", "fold-shape-arithmetic", "drop-identity", "fold-batchnorm", "clean",
        "attach-postprocess", "state-opset",
    ]  # fmt: skip
    assert [e["verdict"] for e in result.ledger][2:4] == ["equal", "equal"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_detector_answers_in_boxes(tmp_path: Path, precision: str) -> None:
    """Two 8x8 anchors a cell, two classes; the first channel of the image is what is found."""
    logits = np.full((4, 3, 8, 8), 0.0)
    logits[1, 0] = 1 / 8  # the mean of a cell's 64 pixels, times 8
    g = graph(
        DETECTOR,
        values={"w": logits, "b": [-4, -4, -4, -4], "v": 0, "s": [0, -1, 2], "t": [0, -1, 4]},
    )
    anchors = {"levels": [{"stride": 8, "boxes": [[8, 8], [8, 16]]}]}
    g.manifest.update(role="target", task="det", head="retinanet", num_classes=2, anchors=anchors)
    target = g.save(tmp_path / "target.onnx")
    pictures = np.zeros((3, 3, 32, 40), np.float32)
    pictures[0, 0, 8:16, 24:32] = 1
    pictures[2, 0, 0:8, 0:16] = 0.75
    settings = EmitSettings(fp16=precision == "fp16", int8=precision == "int8")
    result = emit(target, tmp_path / "model.onnx", settings, images=pictures)
    made = Graph.load(result.path)
    found = run(made, {"x": pictures})
    assert (found["labels"] >= 0).sum(axis=1).tolist() == [1, 0, 2]
    assert found["labels"][0, 0] == 1
    np.testing.assert_allclose(found["boxes"][0, 0], [24, 8, 32, 16], rtol=0, atol=1e-4)
    assert found["boxes"][2, :2, 0].tolist() == [0, 8]
    kinds = {n.op for n in made.nodes if n.metadata.get("fnac.part") == "postprocess"}
    assert {"NonMaxSuppression", "Exp"} <= kinds
    assert not any(t.dtype == np.float16 for n in made.nodes if n.op == "Exp" for t in n.outputs)
    assert result.profile.params == g_params(g)


def test_pictures_of_any_size_can_be_fed(tmp_path: Path) -> None:
    g = graph(DETECTOR, values={"s": [0, -1, 2], "t": [0, -1, 4]})
    anchors = {"levels": [{"stride": 8, "boxes": [[8, 8], [8, 16]]}]}
    g.manifest.update(role="target", task="det", num_classes=2, anchors=anchors)
    target = g.save(tmp_path / "target.onnx")
    made = Graph.load(emit(target, tmp_path / "m.onnx", EmitSettings(any_size=True)).path)
    assert made.inputs[0].shape == ["N", 3, "height", "width"]
    picture = np.random.default_rng(0).normal(size=(1, 3, 64, 48)).astype(np.float32)
    assert run(made, {"x": picture})["boxes"][0, :, 3].max() > 40
    fixed = graph(DETECTOR, values={"s": [0, 20, 2], "t": [0, 20, 4]}, check=False)
    fixed.inputs[0].shape = ["N", 3, 16, 40]
    fixed.manifest.update(role="target", task="det", num_classes=2, anchors=anchors)
    stuck = fixed.save(tmp_path / "fixed.onnx")
    with pytest.raises(UnsupportedGraphError, match=r"any_size: at 80x72, .*; emit it without"):
        emit(stuck, tmp_path / "n.onnx", EmitSettings(any_size=True))
    assert not (tmp_path / "n.onnx").exists()


def g_params(g: Graph) -> int:
    return sum(c.values.size for c in g.constants() if c.name in ("w", "b", "v"))


POSE = """(float[N,3,H,W] x) => (heatmaps) <float[3,3,4,4] w>
    { heatmaps = Conv<strides = [4, 4]>(x, w) }"""


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_pose_network_answers_in_keypoints(tmp_path: Path, precision: str) -> None:
    """Joint k is the brightest cell of 4x4 pixels in channel k; its right neighbour is half lit."""
    weight = np.zeros((3, 3, 4, 4))
    weight[[0, 1, 2], [0, 1, 2]] = 1 / 16
    g = graph(POSE, values={"w": weight})
    g.manifest.update(
        role="target", task="pose", head="simplebaseline", num_classes=3, size=[32, 32]
    )
    settings = EmitSettings(fp16=precision == "fp16", int8=precision == "int8")
    images = np.zeros((2, 3, 32, 40), np.float32)
    for joint, (row, column) in enumerate([(2, 3), (0, 0), (7, 9)]):
        images[:, joint, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
        images[1, joint, 4 * row : 4 * row + 4, 4 * column + 4 : 4 * column + 8] = 0.5
    result = emit(g.save(tmp_path / "target.onnx"), tmp_path / "m.onnx", settings, images=images)
    found = run(Graph.load(result.path), {"x": images})
    middles = [[13.5, 9.5], [1.5, 1.5], [37.5, 29.5]]
    # a quarter of a cell, one pixel, to the right; not at the edge
    shifted = [[14.5, 9.5], [1.5, 1.5], [37.5, 29.5]]
    assert found["keypoints"].tolist() == [middles, shifted]
    assert np.abs(found["scores"] - 1).max() < 0.02
    assert (found["keypoints"].dtype, found["scores"].dtype) == (np.float32, np.float32)
    raw = emit(tmp_path / "target.onnx", tmp_path / "raw.onnx", EmitSettings(no_postprocess=True))
    assert list(run(Graph.load(raw.path), {"x": images})) == ["heatmaps"]


def test_senseless_settings_of_detections_are_refused() -> None:
    with pytest.raises(UsageError, match=r"iou=2, score=0.05; wanted 0 to 1"):
        EmitSettings(iou=2)


def test_every_node_carries_its_madds_and_the_profile_describes_the_file(
    target: Path, tmp_path: Path
) -> None:
    result = emit(target, tmp_path / "model.onnx", EmitSettings(no_postprocess=True))
    made = Graph.load(result.path)
    assert [n.metadata["fnac.madds"] for n in made.nodes] == [
        str(64 * 8 * 27), "0", str(64 * 5 * 8),
    ]  # fmt: skip
    stored = json.loads((tmp_path / "profile.json").read_text())
    assert stored["madds"] == MADDS
    assert [n["name"] for n in stored["nodes"]] == [n.name for n in made.nodes]
    # the paper's convention, before folding: one more an output value where there is a bias
    assert stored["paper"] == {"madds": MADDS + 64 * 5, "params": 216 + 16 + 45}
    with (tmp_path / "profile.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["madds"]) for row in rows) == MADDS
    assert rows[-1]["output_shape"] == "1x5x8x8"
    assert rows[-1]["part"] == "head"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_numbers_answer_nearly_the_same(
    target: Path, tmp_path: Path, precision: str
) -> None:
    images = np.random.default_rng(1).normal(size=(16, 3, 16, 16)).astype("f4")
    settings = {
        "fp16": EmitSettings(fp16=True, no_postprocess=True),
        "int8": EmitSettings(int8=True, no_postprocess=True),
    }
    result = emit(target, tmp_path / "model.onnx", settings[precision], images=images)
    made = Graph.load(result.path)
    a = run(Graph.load(target), {"x": images})["logits"]
    b = run(made, {"x": images})["logits"]
    assert b.dtype == np.float32
    # 11 bits of significand; 8 bits of range
    assert np.abs(a - b).max() <= {"fp16": 2e-3, "int8": 5e-2}[precision] * np.abs(a).max()
    assert made.manifest["role"] == "model"
    madds = [int(node.metadata["fnac.madds"]) for node in made.nodes]
    assert madds == [row.madds for row in result.profile.nodes]
    assert sum(madds) == profile(Graph.load(target)).madds > 0


def test_features_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    found = graph(
        """(float[N,3,8,8] x) => (float[N,3,8,8] y) <float[3,3,1,1] w, float h = {600}, float s>
           { a = Mul(x, h) b = Mul(a, a) c = Mul(b, s) y = Conv(c, w) }""",
        values={"s": 1e-5},
    )
    path = found.save(tmp_path / "large.onnx")
    with pytest.raises(UnsupportedGraphError, match=r"fp16: b \(Mul\) computes .* ends at 65504"):
        emit(path, tmp_path / "n.onnx", EmitSettings(fp16=True))
    assert not (tmp_path / "n.onnx").exists()
    emit(path, tmp_path / "n.onnx", EmitSettings(fp16=True, no_verify=True))


def test_a_file_in_training_mode_is_emitted_with_its_statistics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = """(float[N,3,8,8] x) => (float[N,3,8,8] y)
      <float[3,3,1,1] w, float[3] g, float[3] b, float[3] m, float[3] v>
      {{ c = Conv(x, w) y{} = BatchNormalization{}(c, g, b, m, v) }}"""
    stored = {"g": [1, 2, 1], "b": [0, 1, 0], "m": [0.5, 0, 1], "v": [2, 1, 3]}
    trains = graph(text.format(", n, s", "<training_mode=1>"), values=stored)
    path = trains.save(tmp_path / "trains.onnx")
    emitted = emit(path, tmp_path / "m.onnx", EmitSettings())
    assert "exported in training mode: 1 BatchNormalizations use their stored" in caplog.text
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("f4")
    a = run(graph(text.format("", ""), values=stored), {"x": images})["y"]
    b = run(Graph.load(emitted.path), {"x": images})["y"]
    assert [node.op for node in Graph.load(emitted.path).nodes] == ["Conv"]
    assert np.abs(a - b).max() < 1e-5


KINDS = {
    "uint8, channels last": (
        "uint8[N,16,16,3] x",
        "f = Cast<to=1>(x) i = Transpose<perm=[0,3,1,2]>(f)",
    ),
    "uint8": ("uint8[N,3,16,16] x", "i = Cast<to=1>(x)"),
    "int32": ("int32[N,3,16,16] x", "i = Cast<to=1>(x)"),
    "channels last": ("float[N,16,16,3] x", "i = Transpose<perm=[0,3,1,2]>(x)"),
    "four at once": ("float[4,3,16,16] x", "i = Identity(x)"),
    "float16": ("float16[N,3,16,16] x", "i = Cast<to=1>(x)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_calibrated_through_any_input(tmp_path: Path, kind: str) -> None:
    taken, body = KINDS[kind]
    batch = 4 if kind == "four at once" else "N"
    found = graph(
        f"({taken}) => (float[{batch},8] y) <float[8,3,3,3] w> "
        f"{{ {body} c = Conv(i, w) r = Relu(c) p = GlobalAveragePool(r) y = Flatten(p) }}"
    )
    path = found.save(tmp_path / "found.onnx")
    random, count = np.random.default_rng(0), 4
    images = (random.random((count, 3, 16, 16)) * 255).astype("f4")
    emitted = emit(path, tmp_path / "m.onnx", EmitSettings(int8=True), images=images)
    made = Graph.load(emitted.path)
    assert any(node.op == "QuantizeLinear" for node in made.nodes)
    feed = np.rint(images).astype(found.inputs[0].dtype)
    feed = feed.transpose(0, 2, 3, 1) if "last" in kind else feed
    a, b = (run(one, {"x": np.ascontiguousarray(feed)})["y"] for one in (found, made))
    assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_what_does_not_run_in_int8_stays_in_floats(tmp_path: Path) -> None:
    found = graph(
        """(float[N,3,16,16] x) => (float[N,8] y) <float[8,3,3,3] w, float[8] g, float[8] b>
           { c = Conv(x, w) n = InstanceNormalization(c, g, b) p = GlobalAveragePool(n)
             y = Flatten(p) }""",
        values={"g": 1, "b": 0},
    )
    images = np.random.default_rng(0).random((8, 3, 16, 16)).astype("f4")
    path = found.save(tmp_path / "found.onnx")
    made = emit(path, tmp_path / "m.onnx", EmitSettings(int8=True), images=images)
    session = onnxruntime.InferenceSession(str(made.path))
    (answers,) = session.run(None, {"x": images})
    assert np.abs(answers - run(found, {"x": images})["y"]).max() < 0.05


@pytest.mark.parametrize("shape", ["N,1,16,16", "N,4,16,16", "N,16"])
def test_int8_of_what_takes_no_colour_images_is_refused(tmp_path: Path, shape: str) -> None:
    path = graph(f"(float[{shape}] x) => (y) {{ y = Relu(x) }}").save(tmp_path / "f.onnx")
    images = np.zeros((2, 3, 16, 16), "f4")
    with pytest.raises(UnsupportedGraphError, match=r"--int8: input x .*; wanted colour images to"):
        emit(path, tmp_path / "m.onnx", EmitSettings(int8=True), images=images)


def test_contradictions_and_missing_pictures_are_refused(target: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fp16 and --int8 were both given"):
        EmitSettings(fp16=True, int8=True)
    out = tmp_path / "out" / "model.onnx"
    with pytest.raises(UsageError, match="--int8 needs --data SPEC"):
        emit(target, out, EmitSettings(int8=True))
    assert not out.parent.exists()


def test_a_network_of_another_task_keeps_its_outputs(tmp_path: Path) -> None:
    g = graph(NETWORK, values={"v": 1})
    path = g.save(tmp_path / "seed.onnx")
    result = emit(path, tmp_path / "model.onnx", EmitSettings())
    assert [t.name for t in Graph.load(result.path).outputs] == ["logits"]


def test_another_files_profile_is_not_overwritten(target: Path, tmp_path: Path) -> None:
    emit(target, tmp_path / "model.onnx", EmitSettings())
    kept = (tmp_path / "profile.json").read_bytes(), (tmp_path / "profile.csv").read_bytes()
    raw = emit(target, tmp_path / "raw.v2.onnx", EmitSettings(no_postprocess=True))
    assert ((tmp_path / "profile.json").read_bytes(), (tmp_path / "profile.csv").read_bytes()) == (
        kept
    )
    stored = json.loads((tmp_path / "raw.v2.profile.json").read_text())
    assert len(stored["nodes"]) == len(raw.profile.nodes)
    assert (tmp_path / "raw.v2.profile.csv").is_file()
    emit(target, tmp_path / "a.part.onnx", EmitSettings(), named="a.onnx")
    assert (tmp_path / "a.profile.json").is_file()
