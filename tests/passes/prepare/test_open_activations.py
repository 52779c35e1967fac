from __future__ import annotations

import numpy as np
import pytest

from fnac.inspection.explain import explain
from fnac.passes.blocks.find import find_blocks
from fnac.passes.prepare.open_activations import OpenActivations
from fnac.stages.expand import ExpandSettings, expand
from tests.stages.test_expand import layers, quiet
from tests.support.graphs import applied, graph, outputs, text


def quantized(tensor: str, *, least: str = "z") -> str:
    """Return a quantization of ``tensor`` and back, as ``tensor``d."""
    return (
        f"{tensor}q = QuantizeLinear({tensor}, s, {least}) "
        f"{tensor}d = DequantizeLinear({tensor}q, s, {least})"
    )


SEED = f"""(float[N,3,32,32] x) => (float[N,4] y)
    <float[4,3,3,3] a, float[8,4,1,1] e, float[8,1,3,3] d, float[4,8,1,1] p, float s = {{0.25}},
     uint8 z = {{0}}, uint8 m = {{128}}>
    {{ {quantized("x", least="m")} b = Conv<pads=[1,1,1,1], strides=[2,2]>(xd, a) r = Relu(b)
       {quantized("r")} g = Conv(rd, e) {quantized("g")}
       h = Conv<group=8, pads=[1,1,1,1]>(gd, d) i = Relu(h) {quantized("i")}
       j = Conv(id, p) {quantized("j", least="m")} k = Add(jd, rd) l = GlobalAveragePool(k)
       y = Flatten(l) }}"""


def test_what_was_quantized_is_opened_and_hidden_activations_are_kept() -> None:
    before = graph(SEED)
    after, report = applied(OpenActivations(), before)
    assert report.rewrote == {
        "xq": "opened", "rq": "opened", "gq": "Clip to 0 .. 63.75", "iq": "opened", "jq": "opened",
    }  # fmt: skip
    assert [node.op for node in after.nodes] == [
        "Conv", "Relu", "Conv", "Clip", "Conv", "Relu", "Conv", "Add", "GlobalAveragePool",
        "Flatten",
    ]  # fmt: skip
    assert applied(OpenActivations(), after)[1].rewrote == {}


def test_what_quantization_can_stand_for_is_computed_as_before() -> None:
    """Quarters between -32 and 31.75 are exact; outside of 0 .. 63.75 the hidden Clip holds."""
    body = f"""(float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float[2,2,1,1] w, float s = {{0.25}}, uint8 z = {{0}}>
        {{ c = Conv(x, w) {quantized("c")} y = Neg(cd) }}"""
    before = graph(body)
    after, _ = applied(OpenActivations(), before)
    x = (np.random.default_rng(0).integers(-160, 160, (1, 2, 4, 4)) / 4).astype(np.float32)
    one, two = outputs(before, {"x": x})["y"], outputs(after, {"x": x})["y"]
    np.testing.assert_array_equal(one, two)
    assert one.min() == -63.75
    assert one.max() == 0


def test_such_a_seed_is_searched_like_the_open_one() -> None:
    made = expand(graph(SEED), ExpandSettings(), manager=quiet())
    assert [c["name"] for c in layers(made)[0]["candidates"]][:2] == ["k3e3", "k3e6"]
    assert "QuantizeLinear" not in {node.op for node in made.nodes}
    (row,) = explain(graph(SEED)).blocks
    assert (row["kind"], row["is"]) == ("mbconv", "k3e2")
    assert find_blocks(graph(SEED)).blocks[0].kind != "mbconv"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
         "it is an output of the network"),
        ("q = QuantizeLinear(x, s, z) r = DequantizeLinear(q, s, m) y = Relu(r)",
         "what reads it does not dequantize it as it was quantized"),
        ("q = QuantizeLinear(x, v, u) r = DequantizeLinear(q, v, u) y = Relu(r)",
         "its scale or zero point is computed, or there is one for each channel"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_left(body: str, why: str) -> None:
    before = graph(
        f"""(float[1,2,4,4] x) => (float[1,2,4,4] y) <float s = {{0.25}}, uint8 z = {{0}},
        uint8 m = {{3}}, float[2] v = {{0.5, 1}}, uint8[2] u = {{0, 0}}> {{ {body} }}"""
    )
    after, report = applied(OpenActivations(), before)
    assert report.left == {"q": why}
    assert text(after) == text(before)
