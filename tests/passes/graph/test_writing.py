"""A file that is written weight by weight is the file that protobuf would write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from fnac.passes.errors import PassFailedError
from fnac.passes.graph import Graph
from tests.support.graphs import graph

BODY = """(float[1,4,9,9] x) => (float[1,32,9,9] y)
    <float[32,32,3,3] w, float[32,4,1,1] v, float[1] b>
    { h = Conv(x, v) r = Clip(h, b) y = Conv<pads = [1, 1, 1, 1]>(r, w) }"""


def saved(g: Graph, folder: Path) -> bytes:
    return g.save(folder / "m.onnx").read_bytes()


def large() -> Graph:
    g = graph(BODY)
    g.manifest["task"] = "seg"
    g.metadata["author"] = "somebody"
    g.nodes[0].metadata["fnac.part"] = "backbone"
    g.doc_string = "words"
    return g


def test_the_bytes_are_those_of_protobuf(tmp_path: Path) -> None:
    g = large()
    assert saved(g, tmp_path) == g.to_model().SerializeToString()
    g.check_finite()  # reads the numbers, which lay in the file before
    assert saved(g, tmp_path) == g.to_model().SerializeToString()


@pytest.mark.parametrize("dtype", ["f2", "f8", "i8", "u1", "?"])
def test_of_every_type(dtype: str, tmp_path: Path) -> None:
    g = large()
    numbers = np.arange(8192).reshape(2, 4096).T.astype(dtype)  # not in the order of memory
    g.nodes[0].inputs[1] = gs.Constant("numbers", numbers)
    g.nodes[1].inputs[1] = gs.Constant("again", numbers.copy(), data_location=0)
    written = saved(g, tmp_path)
    assert written == g.to_model().SerializeToString()
    stored = {t.name: t for t in onnx.load_from_string(written).graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored["numbers"]), numbers)


def test_the_graph_keeps_its_numbers(tmp_path: Path) -> None:
    g = large()
    before = {c.name: c.values.copy() for c in g.constants()}
    saved(g, tmp_path)
    assert {c.name for c in g.constants()} == before.keys()
    for constant in g.constants():
        np.testing.assert_array_equal(constant.values, before[constant.name])


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    g = large()
    g.nodes[0].inputs[1] = gs.Constant("w", np.zeros((32, 4, 8, 8), "f4"))
    with pytest.raises(PassFailedError, match="w: two tensors have this name"):
        saved(g, tmp_path)
    assert list(tmp_path.iterdir()) == []
