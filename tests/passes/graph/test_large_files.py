"""Networks over 2 GB: read with external data, costed, run, and written in two files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.running.run import random_feed, run
from tests.support.graphs import graph

SIDE, LAYERS = 12_000, 4


def test_a_model_too_large_for_one_message_runs_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    made = graph("(float[N,40] x) => (float[N,40] y) <float[40,40] w> { y = MatMul(x, w) }")
    feed = random_feed(made)
    wanted = run(made, feed)["y"]
    monkeypatch.setattr("fnac.passes.running.sessions.LARGEST_MESSAGE", 100)
    np.testing.assert_array_equal(run(made, feed)["y"], wanted)


@pytest.mark.slow
def test_more_than_two_gigabytes(tmp_path: Path) -> None:
    size = SIDE * SIDE * 4
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"]) for i in range(LAYERS)],
            "large",
            [helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["N", SIDE])],
            [helper.make_tensor_value_info(f"t{LAYERS}", TensorProto.FLOAT, ["N", SIDE])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    for i in range(LAYERS):
        tensor = model.graph.initializer.add(
            name=f"w{i}", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE]
        )
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", i * size), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
    (tmp_path / "large.onnx").write_bytes(model.SerializeToString())
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(LAYERS * size)  # zeros that take no room on the disk
        file.write(np.full(1, 2.0, np.float32).tobytes())
    made = Graph.load(tmp_path / "large.onnx")
    assert made.weight_bytes() == LAYERS * size > 2**31
    assert profile(made).madds == LAYERS * SIDE * SIDE
    made.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx.data").stat().st_size >= LAYERS * size
    stored = onnx.load(tmp_path / "again.onnx", load_external_data=False)
    assert [t.name for t in stored.graph.initializer] == [f"w{i}" for i in range(LAYERS)]
    again = Graph.load(tmp_path / "again.onnx")
    assert float(next(again.constants()).values[0, 0]) == 2.0
