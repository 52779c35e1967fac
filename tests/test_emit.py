from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.verify import random_feed, run
from fnac.stages.emit import EmitSettings, emit
from tests.graphs import graph

NETWORK = """(float[N,3,16,16] x) => (logits)
    <float[8,3,3,3] w, float[8] g, float[8] b, float[8] m, float[8] v, float[5,8,1,1] c, float[5] d>
    { h = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w)
      n = BatchNormalization(h, g, b, m, v) r = Relu(n) k = Dropout(r) logits = Conv(k, c, d) }"""
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
        "lift-constants", "drop-identity", "fold-batchnorm", "clean", "attach-postprocess",
    ]  # fmt: skip
    assert [e["verdict"] for e in result.ledger][1:3] == ["equal", "equal"]


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
    convs = [n for n in made.nodes if n.op == "Conv"]
    assert all("fnac.madds" in n.metadata for n in convs)


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
