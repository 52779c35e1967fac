from __future__ import annotations

import numpy as np
import pytest
import torch

from fnac.importer import import_onnx
from fnac.passes.manager import PassManager
from fnac.passes.normalize.make_batch_symbolic import MakeBatchSymbolic
from fnac.passes.registry import parse_pipeline
from tests.support.graphs import applied, assert_same_outputs, constants, graph, outputs, text

CLASSIFIER = """(float[1,3,8,8] x) => (float[1,5] y)
    <float[4,3,3,3] w, float[4,5] m, int64[2] t = {1, -1}>
    { h = Conv(x, w) p = GlobalMaxPool(h) f = Reshape(p, t) y = MatMul(f, m) }"""


def test_a_baked_batch_is_freed() -> None:
    before = graph(CLASSIFIER)
    after, report = applied(MakeBatchSymbolic(), before)
    assert report.rewrote == {"f": "batch freed", "x": "1 -> batch"}
    assert constants(after)["f.reshape"] == [0, -1]
    assert [t.shape for t in (*after.inputs, *after.outputs)] == [["batch", 3, 8, 8], ["batch", 5]]
    assert_same_outputs(before, after)
    pair = np.random.default_rng(0).integers(-3, 4, (2, 3, 8, 8)).astype("f4")
    alone = [outputs(before, {"x": pair[i : i + 1]})["y"] for i in (0, 1)]
    np.testing.assert_array_equal(outputs(after, {"x": pair})["y"], np.concatenate(alone))
    assert applied(MakeBatchSymbolic(), after)[1].rewrote == {}


@pytest.mark.parametrize("opset", [11, 12, 13, 18, 21])
@pytest.mark.parametrize(
    ("order", "pads"), [("a, z", [0, 0, 0, 0, 0, 5, 0, 0]), ("z, a, z", [0, 5, 0, 0, 0, 5, 0, 0])]
)
@pytest.mark.parametrize("passes", ["make-batch-symbolic", "normalize"])
def test_a_shortcut_filled_up_for_one_image_is_padded(
    opset: int, order: str, pads: list[int], passes: str
) -> None:
    """MediaPipe's networks widen a shortcut by zeros of a stored shape, [1, C, H, W]."""
    before = graph(
        f"""(float[1,3,8,8] x) => (float[1,C,8,8] y) <int64[4] s = {{1, 5, 8, 8}}>
        {{ a = Relu(x) z = ConstantOfShape(s) c = Concat<axis=1>({order}) y = Relu(c) }}""",
        opset=opset,
    )
    after = before.copy()
    PassManager().run(parse_pipeline(passes), after)
    after.cleanup()
    (pad,) = [node for node in after.nodes if node.op == "Pad"]
    assert list(pad.inputs[1].values) == pads
    assert not [node for node in after.nodes if node.op in ("ConstantOfShape", "Concat")]
    pair = np.random.default_rng(0).integers(-3, 4, (2, 3, 8, 8)).astype("f4")
    alone = [outputs(before, {"x": pair[i : i + 1]})["y"] for i in (0, 1)]
    np.testing.assert_array_equal(outputs(after, {"x": pair})["y"], np.concatenate(alone))


def test_a_resize_to_fixed_sizes_scales_instead() -> None:
    before = graph(
        """(float[1,3,4,4] x) => (float[1,3,8,12] y) <int64[4] s = {1, 3, 8, 12}>
           { y = Resize<mode = "nearest">(x, , , s) }"""
    )
    after, _ = applied(MakeBatchSymbolic(), before)
    assert constants(after) == {"y.resize": [1.0, 1.0, 2.0, 3.0]}
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            """(float[1,3,4,4] x) => (float[1,3,4,4] y) <int64[1] a = {0}>
               { m = ReduceSum(x, a) y = Mul(x, m) }""",
            "m (ReduceSum): two images in one batch mix: output y differs by",
        ),
        (
            """(float[1,4] x) => (float[2,2] y) <int64[2] t = {2, 2}> { y = Reshape(x, t) }""",
            "with two images, onnxruntime cannot run the graph",
        ),
        (
            """(float[1,4] x) => (float[4] y) <int64[1] t = {4}>
               { h = Relu(x) y = Squeeze(h, a) a = Constant<value = int64[1] {0}>() }""",
            "with two images, onnxruntime cannot run the graph",
        ),
    ],
)
def test_a_network_that_mixes_images_is_left_as_it_was(body: str, why: str) -> None:
    before = graph(body, check=False)
    after, report = applied(MakeBatchSymbolic(), before)
    assert report.rewrote == {}
    assert report.left["x"].startswith(why)
    assert text(after) == text(before)
    assert after.inputs[0].shape == before.inputs[0].shape


STANDARDISE = {  # by operator set: the axes as an attribute, as an input, none at all
    11: "m = ReduceMean<axes = [0, 1, 2, 3]>(x) y = Sub(x, m)",
    12: "m = ReduceSum<axes = [-4, -1]>(x) y = Sub(x, m)",
    17: "m = ReduceMax(x) y = Sub(x, m)",
    18: "a = Constant<value_ints = [0, 2, 3]>() m = ReduceMean(x, a) y = Sub(x, m)",
    20: "m = ReduceMin(x) y = Sub(x, m)",
    13: "m = ReduceSum(x) y = Sub(x, m)",
}


@pytest.mark.parametrize("opset", STANDARDISE)
@pytest.mark.parametrize("passes", ["make-batch-symbolic", "lift-constants,make-batch-symbolic"])
def test_an_image_is_standardised_by_itself_as_in_files_of_one(opset: int, passes: str) -> None:
    body = STANDARDISE[opset]
    before = graph(f"(float[1,3,4,4] x) => (float[1,3,4,4] y) {{ {body} }}", opset=opset)
    after = before.copy()
    PassManager().run(parse_pipeline(passes), after)
    if "Constant" not in body or "lift" in passes:
        assert after.inputs[0].shape == ["batch", 3, 4, 4]
    pair = np.random.default_rng(0).integers(-3, 4, (2, 3, 4, 4)).astype("f4")
    alone = [outputs(before, {"x": pair[i : i + 1]})["y"] for i in (0, 1)]
    module = import_onnx(before.to_model()).eval()
    np.testing.assert_array_equal(module(torch.from_numpy(pair)).numpy(), np.concatenate(alone))
    if after.inputs[0].shape[0] == "batch":
        np.testing.assert_array_equal(outputs(after, {"x": pair})["y"], np.concatenate(alone))


def test_another_fixed_batch_is_left() -> None:
    _, report = applied(MakeBatchSymbolic(), graph("(float[4,2] x) => (float[4,2] y) {y=Relu(x)}"))
    assert report.left == {"x": "its batch is fixed to 4, not 1"}


def test_an_output_that_is_stored_has_no_batch() -> None:
    made = graph("(float[1,3,4,4] x) => (float[1,3,4,4] y) <float[1,3,1,1] w> { y = Mul(x, w) }")
    made.put_outputs([*made.outputs, next(c for c in made.constants() if c.name == "w")])
    _, report = applied(MakeBatchSymbolic(), made)
    assert report.left == {"x": "output w is stored, whatever the image"}
