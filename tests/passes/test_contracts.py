"""Every registered pass keeps the promises it declares, on every small graph."""

from __future__ import annotations

import pytest

from fnac.passes.base import Keeps, Pass
from fnac.passes.graph import Graph
from fnac.passes.manager import interface
from fnac.passes.registry import PASSES as NAMES
from fnac.passes.registry import resolve
from tests.passes.test_structure_contracts import PASSES as OF_BLOCKS
from tests.support.graphs import applied, assert_same_outputs, graph, renamed, text

# passes that cannot be made without arguments, or that need a graph of their own kind, are held to
# their promises in test_structure_contracts.py
NEED_MORE = {pass_.name for pass_, _ in OF_BLOCKS.values()} - {"set-output-stride"}


def every_pass() -> list[Pass]:
    found: list[Pass] = []
    for name in sorted(NAMES):
        if name in NEED_MORE:
            continue
        kind = resolve(name)  # raises where a pass of the table has no module
        found += [] if isinstance(kind, tuple) else [kind()]
    return found


GRAPHS = {
    "whole map": """(float[N,4,5,5] x) => (float[N,4,1,1] y)
        { h = Relu(x) y = AveragePool<kernel_shape = [5, 5]>(h) }""",
    "training mode": """(float[N,4,8,8] x) => (float[N,4,8,8] y)
        <float[4] g, float[4] b, float[4] m, float[4] v>
        { n, mean, var = BatchNormalization<epsilon = 0.5, training_mode = 1>(x, g, b, m, v)
          y = Relu(n) }""",
    "depthwise": """(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,1,3,3] w>
        { y = Conv<group=4, pads=[1,1,1,1]>(x, w) }""",
    "plain": """(float[1,4,9,9] x) => (float[1,2,9,9] y) <float[2,4,1,1] w>
        { h = Conv(x, w) y = Relu(h) }""",
    "shared weight": """(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,1,3,3] w>
        { h = Conv<group=4, pads=[1,1,1,1]>(x, w) y = Conv<group=4, pads=[1,1,1,1]>(h, w) }""",
    "inverted residual": """(float[N,4,8,8] x) => (float[N,4,8,8] y)
        <float[8,4,1,1] we, float[8] be, float[8,1,3,3] wd, float[8] bd, float[4,8,1,1] wp,
         float[4] bp, float[1] six = {6.0}, float[1] zero = {0.0}>
        { e = Conv(x, we, be) er = Clip(e, zero, six)
          d = Conv<group = 8, pads = [1, 1, 1, 1]>(er, wd, bd) dr = Clip(d, zero, six)
          p = Conv(dr, wp, bp) y = Add(x, p) }""",
    "batchnorm": """(float[N,4,8,8] x) => (float[N,4,8,8] y)
        <float[4,4,3,3] w, float[4] g, float[4] b, float[4] m, float[4] v>
        { h = Conv<pads = [1, 1, 1, 1]>(x, w)
          n = BatchNormalization<epsilon = 0.0>(h, g, b, m, v) y = Relu(n) }""",
    "as exported": """(float[1,2,8,8] x) => (float[1,3] y)
        <float[4,2,3,3] w, float[4,3] f, float[3] b, int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1},
         int64[2] t = {1, -1}>
        { c = Constant<value = float[1] {2.0}>() q = Pad(x, p) h = Conv(q, w) i = Identity(h)
          a = Mul(i, c) g = GlobalMaxPool(a) k = Dropout(g) r = Reshape(k, t)
          o = MatMul(r, f) y = Add(o, b) }""",
    "auto_pad": """(float[1,2,8,8] x) => (float[1,4,2,2] y) <uint8[4,2,3,3] q, float s = {0.5}>
        { w = DequantizeLinear(q, s) h = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)
          r = Relu(h) y = MaxPool<auto_pad = "VALID", kernel_shape = [2, 2], strides = [2, 2]>(r)
        }""",
    "zero bias": """(float[N,4,8,8] x) => (float[N,4,8,8] y)
        <float[4,4,1,1] w, float[4] c = {0.0, 0.0, 0.0, 0.0}, float[4] g, float[4] b, float[4] m,
         float[4] v>
        { h = Conv(x, w, c) y = BatchNormalization<epsilon = 0.0>(h, g, b, m, v) }""",
    "shape arithmetic": """(float[N,4,2,2] x) => (float[N,16] y) <int64[1] rest = {-1},
         int64 zero = {0}, int64[1] axes = {0}>
        { s = Shape(x) n = Gather<axis = 0>(s, zero) u = Unsqueeze(n, axes)
          t = Concat<axis = 0>(u, rest) y = Reshape(x, t) }""",
    "stored twice": """(float[N,4,8,8] x) => (float[N,4,8,8] y) <float low = {0.0},
         float high = {6.0}, float bottom = {0.0}, float top = {6.0}>
        { a = Clip(x, low, high) b = Neg(a) y = Clip(b, bottom, top) }""",
    "one size": """(float[N,3,8,12] x) => (float[N,4,8,12] y)
        <float[4,3,3,3] w, int64[2] zero = {0, 2}, int64[2] large = {8, 12}, int64[1] from = {0},
         int64[1] to = {2}>
        { a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w) s = Shape(a) n = Slice(s, from, to)
          t = Concat<axis = 0>(n, large) y = Resize<mode = "nearest">(a, , , t) }""",
    "stride 32": """(float[N,3,64,64] x) => (float[N,2,2,2] y)
        <float[4,3,3,3] a, float[2,4,3,3] b>
        { h = Conv<pads = [1, 1, 1, 1], strides = [8, 8]>(x, a) r = Relu(h)
          y = Conv<pads = [1, 1, 1, 1], strides = [4, 4]>(r, b) }""",
    "half precision": """(float16[1,3,8,8] x) => (float16[1,4,8,8] y) <float16[4,3,3,3] w>
        { c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Relu(c) }""",
    "channels last": """(float[N,8,6,3] x) => (float[N,4,8,6] y) <float[4,3,1,1] w>
        { t = Transpose<perm = [0, 3, 1, 2]>(x) y = Conv(t, w) }""",
    "integer images": """(uint8[N,3,8,8] x) => (float[N,3,8,8] y) <float[3,1,1] m>
        { f = Cast<to = 1>(x) y = Sub(f, m) }""",
    "quantized": """(float[N,3,8,8] x) => (float[N,4,8,8] y)
        <float[4,3,3,3] w, float s = {0.25}, uint8 z = {0}>
        { c = Conv<pads = [1, 1, 1, 1]>(x, w) q = QuantizeLinear(c, s, z)
          d = DequantizeLinear(q, s, z) y = Relu(d) }""",
    "detector": """(float[N,3,16,16] image, float[N,8,2] p, float[N,8,4] q)
        => (float[N,8,2] l, float[N,8,4] d) { l = Identity(p) d = Identity(q) }""",
}
VALUES: dict[str, dict[str, object]] = {
    "batchnorm": {"v": [1, 4, 16, 64]},
    "zero bias": {"v": [1, 4, 16, 64]},
}
MANIFESTS: dict[str, dict[str, object]] = {
    "detector": {
        "size": [16, 16],
        "anchors": {"levels": [{"stride": 8, "boxes": [[16, 16], [24, 12]]}]},
    },
}


def made(name: str) -> Graph:
    """Return one of ``GRAPHS``."""
    g = graph(GRAPHS[name], values=VALUES.get(name))
    g.manifest.update(MANIFESTS.get(name, {}))
    return g


def test_every_registered_pass_is_held_to_its_promise() -> None:
    held = {p.name for p in every_pass()} | NEED_MORE
    assert held == {name for name in NAMES if not isinstance(resolve(name), tuple)}


@pytest.mark.parametrize("p", every_pass(), ids=lambda p: p.name)
def test_every_pass_rewrites_one_of_the_graphs(p: Pass) -> None:
    """A promise that is checked on graphs left alone is no promise."""
    assert any(applied(p, made(name))[1].rewrote for name in GRAPHS)


# of these a second run is another one by nature
NOT_REPEATABLE = {"randomize"}


def fingerprint(g: Graph) -> tuple[object, ...]:
    stored = {c.name: (str(c.dtype), c.values.tobytes()) for c in g.constants()}
    return (text(g), interface(g), g.opset, g.ir_version, stored)


def words(said: str) -> int:
    return sum(any(letter.isalpha() for letter in word) for word in said.split())


@pytest.mark.parametrize("p", every_pass(), ids=lambda p: p.name)
@pytest.mark.parametrize("name", GRAPHS)
def test_pass_keeps_its_promise(p: Pass, name: str) -> None:
    before = made(name)
    as_it_was = fingerprint(before)
    after, report = applied(p, before)
    assert fingerprint(before) == as_it_was, "the pass reached through the copy"
    assert (fingerprint(after) != as_it_was) == bool(report.rewrote), (
        "the report must say whether the graph changed"
    )
    assert all(words(what) <= 5 for what in report.rewrote.values()), "see Rewrote"
    after.to_model()  # raises when two tensors share a name
    if Keeps.INTERFACE in p.keeps:
        assert interface(after) == interface(before)
    if Keeps.OUTPUTS in p.keeps:
        # restoring BN multiplies by gamma / sqrt(var + eps): two roundings a layer
        assert_same_outputs(before, after, tolerance=1e-5 if p.name == "restore-batchnorm" else 0.0)
    if p.name not in NOT_REPEATABLE:
        assert p.run(after).rewrote == {}, "a second run must do nothing"


@pytest.mark.parametrize("p", every_pass(), ids=lambda p: p.name)
@pytest.mark.parametrize("name", GRAPHS)
def test_no_pass_reads_names(p: Pass, name: str) -> None:
    """Renaming every tensor and node at random must not change what a pass does."""
    before = made(name)
    places = {node.name: place for place, node in enumerate(before.nodes)}
    other = renamed(before)
    other_places = {node.name: place for place, node in enumerate(other.nodes)}
    _, report = applied(p, before)
    _, again = applied(p, other)
    assert [places.get(n, n) for n in report.rewrote if n in places] == [
        other_places[n] for n in again.rewrote if n in other_places
    ]
    assert [places[n] for n in report.left if n in places] == [
        other_places[n] for n in again.left if n in other_places
    ]
