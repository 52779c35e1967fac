from __future__ import annotations

import pytest

from fnac.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract
from fnac.passes.prepare.take_floats import TakeFloats, integer_pictures
from fnac.stages.expand import ExpandSettings, expand
from tests.stages.test_expand import quiet
from tests.support.graphs import applied, assert_same_outputs, graph, text

PIXELS = """(uint8[N,3,8,8] x) => (float[N,3,8,8] y) <float[3,1,1] m, float[3,1,1] s>
    { f = Cast<to=1>(x) d = Sub(f, m) e = Mul(d, s) g = Cast<to=1>(x) y = Add(e, g) }"""


def test_a_network_of_pixels_takes_them_as_floats() -> None:
    before = graph(PIXELS)
    after, report = applied(TakeFloats(), before)
    assert report.rewrote == {"x": "uint8 -> float32"}
    assert text(after).split("\n") == [
        "d = Sub(x, m[3, 1, 1])", "e = Mul(d, s[3, 1, 1])", "y = Add(e, x)",
    ]  # fmt: skip
    ((_, reference, twin),) = TakeFloats().proofs(before, after)
    assert twin.inputs[0].dtype == before.inputs[0].dtype
    assert_same_outputs(reference, twin)
    assert integer_pictures(after) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("y = Cast<to=6>(x)", "it is not cast to one floating-point type"),
        ("y = Cast<to=1>(x)", "its Cast is an output of the network"),
        ("a = Cast<to=1>(x) b = Add(x, x) c = Cast<to=1>(b) y = Add(a, c)",
         "b reads the integers themselves"),
    ],
)  # fmt: skip
def test_what_computes_with_integers_is_left(body: str, why: str) -> None:
    before = graph(f"(uint8[N,3,8,8] x) => (y) {{ {body} }}")
    after, report = applied(TakeFloats(), before)
    assert report.left == {"x": why}
    assert text(after) == text(before)


def of_pixels(order: str) -> Graph:
    """Return a classifier of uint8 images; channels last where ``order`` says so."""
    shape = "N,3,32,32" if order == "NCHW" else "N,32,32,3"
    head = {
        "NCHW": "h = Cast<to=1>(x)",
        "NHWC": "t = Transpose<perm=[0,3,1,2]>(x) h = Cast<to=1>(t)",
        "NHWC, cast first": "f = Cast<to=1>(x) h = Transpose<perm=[0,3,1,2]>(f)",
    }[order]
    return graph(f"""(uint8[{shape}] x) => (float[N,4] y)
        <float c, float[4,3,3,3] a, float[8,4,1,1] e, float[8,1,3,3] d, float[4,8,1,1] p>
        {{ {head} n = Mul(h, c) s = Conv<pads=[1,1,1,1], strides=[2,2]>(n, a) r = Relu(s)
           e0 = Conv(r, e) e1 = Relu(e0) d0 = Conv<group=8, pads=[1,1,1,1]>(e1, d) d1 = Relu(d0)
           p0 = Conv(d1, p) q = Add(p0, r) g = GlobalAveragePool(q) y = Flatten(g) }}""")


@pytest.mark.parametrize("order", ["NCHW", "NHWC", "NHWC, cast first"])
def test_such_a_seed_expands_and_is_given_pixels_as_they_are(order: str) -> None:
    made = expand(of_pixels(order), ExpandSettings(), manager=quiet())
    assert (str(made.inputs[0].dtype), made.inputs[0].shape[1:]) == ("float32", [3, 32, 32])
    stated = Contract.read(made.manifest).input
    assert (stated.mean, stated.std, stated.color) == ((0.0,) * 3, (1 / 255,) * 3, "RGB")
    assert (stated.layout, stated.assumed) == ("NCHW", False)
    told = ExpandSettings(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert expand(of_pixels(order), told, manager=quiet()).manifest["preprocessing"]["mean"] == [
        0.5, 0.5, 0.5,
    ]  # fmt: skip


def test_a_seed_that_computes_with_integers_is_refused() -> None:
    g = of_pixels("NCHW")
    g.nodes[0].attrs["to"] = 6
    with pytest.raises(UnsupportedGraphError, match="input x: uint8 images, which are not cast"):
        expand(g, ExpandSettings(), manager=quiet())
