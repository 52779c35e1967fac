from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.normalize.fold_shape_arithmetic import FoldShapeArithmetic
from fnac.passes.shapes.sized_shapes import known_at
from tests.support.graphs import applied, assert_same_outputs, constants, graph, outputs, text


def test_a_target_that_only_copies_the_batch_is_stored() -> None:
    before = graph(
        """(float[N,3,4,4] x) => (y) <int64 nought = {0}, int64[1] axes = {0}, int64[1] rest = {-1}>
           { s = Shape(x) g = Gather(s, nought) u = Unsqueeze(g, axes)
             t = Concat<axis = 0>(u, rest) y = Reshape(x, t) }""",
    )
    after, report = applied(FoldShapeArithmetic(), before)
    assert report.rewrote == {"y": "target [0, -1]"}
    assert text(after) == "y = Reshape(x, y.shape[2])"
    assert_same_outputs(before, after)


def test_channels_are_known_and_the_image_is_not() -> None:
    before = graph(
        """(float[1,4,6,6] x) => (y)
           <int64 one = {1}, int64 two = {2}, int64[1] axes = {0}, float[1] f>
           { s = Shape(x) c = Gather(s, one) k = Div(c, two) ku = Unsqueeze(k, axes)
             h = Gather(s, two) hu = Unsqueeze(h, axes) t = Concat<axis = 0>(ku, hu)
             e = ConstantOfShape(t) y = Add(e, f) }""",
    )
    after, report = applied(FoldShapeArithmetic(), before)
    # the file has a fixed size, but the height stays computed: other sizes must go on working
    assert report.rewrote["ku"] == "shape known"
    assert "hu" not in report.rewrote
    assert constants(after)["ku"] == [2]
    assert [n.op for n in after.nodes].count("Shape") == 1
    assert_same_outputs(before, after)
    for g in (before, after):
        g.inputs[0].shape = [1, 4, 9, 9]
    assert_same_outputs(before, after)


def test_a_movement_of_a_weight_is_evaluated() -> None:
    before = graph(
        """(float[N,4] x) => (float[N,3] y) <float[3,2,2] w, int64[2] s = {3, 4}>
           { r = Reshape(w, s) t = Transpose<perm = [1, 0]>(r) y = MatMul(x, t) }"""
    )
    after, report = applied(FoldShapeArithmetic(), before)
    assert text(after) == "y = MatMul(x, t[4, 3])"
    assert report.initializers["t"] == "copied from r (Transpose)"
    assert_same_outputs(before, after)


def test_the_scales_of_a_resize_are_no_weight() -> None:
    before = graph(
        """(float[N,4,3,3] x) => (float[N,4,6,6] y) <float[2] a = {1, 1}, float[2] b = {2, 2}>
           { s = Concat<axis = 0>(a, b) y = Resize<mode = "nearest">(x, , s) }"""
    )
    after, _ = applied(FoldShapeArithmetic(), before)
    assert text(after) == "y = Resize(x, , s[4]) mode=nearest"
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "node", "why"),
    [
        (
            """(float[N,2] x) => (float[N,2] y) <float[2] a, float[2] b>
               { w = Mul(a, b) y = Mul(x, w) }""",
            "w",
            "it computes a weight from parameters",
        ),
        (
            """(float[N,2] x) => (float[N,2] y, int64[2] w) <int64[2] a, int64[2] b>
               { w = Mul(a, b) y = Relu(x) }""",
            "w",
            "it is an output of the network",
        ),
        (
            """(float[N,2,4,4] x) => (y) { s = Shape(x) r = Relu(x) q = Reshape(r, s)
               k = Shape<start = 2>(x) z = Flatten(q) y = Reshape(z, k) }""",
            "y",
            "its target shape depends on the image or the data",
        ),
    ],
)
def test_leaves_alone_and_says_why(body: str, node: str, why: str) -> None:
    _, report = applied(FoldShapeArithmetic(), graph(body))
    assert report.left[node] == why


@pytest.mark.parametrize(
    "node",
    [
        "Gather(s, at)",
        "Slice(s, from, to)",
        "Concat<axis = 0>(s, more)",
        "Mul(s, more)",
        "Div(s, more)",
        "Sub(s, more)",
        "Cast<to = 7>(s)",
    ],
)
def test_what_is_propagated_is_what_onnxruntime_computes(node: str) -> None:
    g = graph(
        f"""(float[2,3,5,7] x) => (int64[K] y)
        <int64[2] at = {{-1, 1}}, int64[1] from = {{-3}}, int64[1] to = {{99}},
         int64[1] more = {{-2}}> {{ s = Shape(x) y = {node} }}""",
    )
    found = known_at(g).numbers("y")
    np.testing.assert_array_equal(found, outputs(g)["y"])


@pytest.mark.parametrize(
    ("body", "repeat"),
    [
        ("<int64[4] s = {1, 3, 4, 4}> { z = ConstantOfShape(s) ", "ConstantOfShape"),
        ("<float zero = {0}, int64[4] s = {1, 3, 4, 4}> { z = Expand(zero, s) ", "Expand"),
        (
            "<float[1,1,1,1] zero = {0}, int64[4] s = {1, 3, 4, 4}> { z = Tile(zero, s) ",
            "Tile",
        ),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"declared": True, "weights": True}])
def test_padding_never_becomes_a_weight(body: str, repeat: str, settings: dict[str, bool]) -> None:
    before = graph(f"(float[1,2,4,4] x) => (y) {body} y = Concat<axis = 1>(x, z) }}")
    after, report = applied(FoldShapeArithmetic(**settings), before)
    assert report.left == {"z": "floats of one value are padding, not weights"}
    assert [node.op for node in after.nodes] == [repeat, "Concat"]


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_the_shape_of_a_parameter_is_no_weight(opset: int) -> None:
    before = graph(
        """(float[1,6] x) => (float[2,3] y) <float[2,3] w>
           { s = Shape(w) r = Reshape(x, s) y = Relu(r) }""",
        opset=opset,
    )
    after, report = applied(FoldShapeArithmetic(), before)
    assert report.rewrote == {"s": "evaluated"}
    assert constants(after)["s"] == [2, 3]
    assert "w" not in constants(after)  # nothing else needs it
    assert_same_outputs(before, after)


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_a_finished_network_computes_only_what_the_image_changes(opset: int) -> None:
    split = "u = Unsqueeze(h, at)" if opset >= 13 else "u = Unsqueeze<axes = [0]>(h)"
    before = graph(
        f"""(float[1,4,6,6] x) => (float[6,6] y)
           <int64 two = {{2}}, int64[1] at = {{0}}, int64[1] rest = {{-1}}, float[4,4,1,1] v,
            float[4,1,1,1] g>
           {{ s = Shape(x) h = Gather(s, two) {split} t = Concat<axis = 0>(u, rest)
              n = Mul(v, g) c = Conv(x, n) q = Reshape(c, t)
              z = ConstantOfShape(s) p = Add(c, z) m = Flatten<axis = 3>(p)
              f = MatMul(q, m) y = Relu(f) }}""",
        opset=opset,
        values={"v": 1, "g": 2},
    )
    as_ever, _ = applied(FoldShapeArithmetic(), before)
    assert {"Shape", "Mul"} <= {node.op for node in as_ever.nodes}
    after, report = applied(FoldShapeArithmetic(declared=True, weights=True), before)
    assert [node.op for node in after.nodes] == [
        *("Conv", "Reshape", "ConstantOfShape", "Add", "Flatten", "MatMul", "Relu")
    ]
    assert report.initializers["n"] == "copied from v (Mul)"
    assert_same_outputs(before, after)
