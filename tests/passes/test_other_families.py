"""Blocks of other families: squeeze-excitation, and convolutions that stand by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.cost import profile
from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.grow.grow_width import GrowWidth
from fnac.passes.remap.strategies import strategy
from fnac.passes.super_network.choice_points import find_choice_points, set_alphas
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from fnac.passes.super_network.proof import comparable
from tests.support.graphs import applied, assert_same_outputs, graph, outputs, renamed
from tests.support.mbconv_networks import left_alone, same_graph

GATES = {
    "sigmoid": "e3 = Sigmoid(e2)",
    "hard sigmoid": "e3 = HardSigmoid<alpha=0.25, beta=0.5>(e2)",
    "spelled out": "e4 = Add(e2, three) e5 = Clip(e4, zero, six) e3 = Div(e5, four)",
}
POOLS = {
    "pool": "s0 = GlobalAveragePool(d1)",
    "mean": "s0 = ReduceMean<keepdims=1>(d1, axes)",
}


def squeezed(gate: str = "spelled out", pool: str = "pool", *, act_behind: bool = False) -> Graph:
    """Return a stem and an MBConv with squeeze-excitation and a residual.

    ``act_behind``  the depthwise convolution's activation stands behind the product (ReXNet)
    """
    values: dict[str, object] = {"zero": 0, "six": 6}
    values |= {"three": 3, "four": 4} if gate == "spelled out" else {}
    kinds = [f"float {number}" for number in values]
    if pool == "mean":
        values["axes"] = [2, 3]
        kinds.append("int64[2] axes")
    numbers = ", ".join(kinds)
    depthwise, clips, product = "d0", "d1 = Clip(d0, zero, six)", "g = Mul(d1, e3)"
    if act_behind:
        depthwise, clips = "d1", ""
        product = "g0 = Mul(d1, e3) g = Clip(g0, zero, six)"
    text = f"""(float[N,3,8,8] x) => (float[N,4,8,8] y)
        <float[4,3,3,3] ws, float[8,4,1,1] wa, float[8,1,3,3] wd, float[2,8,1,1] w1,
         float[2] b1, float[8,2,1,1] w2, float[8] b2, float[4,8,1,1] wp,
         {numbers}>
        {{ s = Conv<pads=[1,1,1,1]>(x, ws) b = Clip(s, zero, six)
           a0 = Conv(b, wa) a1 = Clip(a0, zero, six)
           {depthwise} = Conv<group=8, pads=[1,1,1,1]>(a1, wd) {clips}
           {POOLS[pool]} s1 = Conv(s0, w1, b1) s2 = Relu(s1) e2 = Conv(s2, w2, b2) {GATES[gate]}
           {product} p = Conv(g, wp) y = Add(p, b) }}"""
    return graph(text, opset=18, values=values)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("act_behind", [False, True])
def test_squeeze_excitation_belongs_to_the_block(gate: str, pool: str, act_behind: bool) -> None:
    before = squeezed(gate, pool, act_behind=act_behind)
    for g in (before, renamed(before)):
        (block,) = find_blocks(g).blocks
        assert (block.kind, block.name) == ("mbconv", "k3e2")
        assert list(block.units) == ["expand", "depthwise", "squeeze", "excite", "project"]
        assert block.passes_on
    mixed, _ = applied(Mix(kernels=(3, 5), expansions=(1, 2, 3)), before)
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)


MIX = Mix(kernels=(3, 5), expansions=(1, 2, 3), depths=(2,))


def mixed_and_proven(mix: Mix, before: Graph) -> tuple[Graph, int]:
    """Return the super network and how many proofs, held to equality, it has."""
    mixed, _ = applied(mix, before)
    done = 0
    for _, reference, twin in mix.proofs(before, mixed):
        assert_same_outputs(reference, twin)
        done += 1
    return mixed, done


@pytest.mark.parametrize("act_behind", [False, True])
@pytest.mark.parametrize("name", ["fna", "fna-live", "l1"])
def test_every_candidate_with_squeeze_excitation_computes_what_it_should(
    name: str, act_behind: bool
) -> None:
    """Means of 64 pixels and quarters of a gate are exact; outputs are held to equality."""
    before = squeezed(act_behind=act_behind)
    mix = Mix(kernels=(3, 5), expansions=(1, 2, 3), depths=(2,), strategy=name)
    _, done = mixed_and_proven(mix, before)
    assert done == 7
    if name != "l1":
        wide, _ = applied(GrowWidth(expansion=3, strategy=name), before)
        assert_same_outputs(before, wide)


def universal(start: str = "") -> Graph:
    """Return MobileNetV4's block: its residual begins before a depthwise convolution.

    start   what stands behind that one, as the line that makes ``s1`` of ``s0``
    """
    made = "s0" if start else "s1"
    text = f"""(float[N,3,8,8] x) => (float[N,4,8,8] y)
        <float[4,3,3,3] ws, float[4,1,3,3] w0, float[8,4,1,1] wa, float[8,1,3,3] wd,
         float[4,8,1,1] wp, float zero, float six>
        {{ s = Conv<pads=[1,1,1,1]>(x, ws) b = Clip(s, zero, six)
           {made} = Conv<group=4, pads=[1,1,1,1]>(b, w0) {start}
           a0 = Conv(s1, wa) a1 = Clip(a0, zero, six)
           d0 = Conv<group=8, pads=[1,1,1,1]>(a1, wd) d1 = Clip(d0, zero, six)
           p = Conv(d1, wp) y = Add(p, b) }}"""
    return graph(text, opset=18, values={"zero": 0, "six": 6})


@pytest.mark.parametrize("name", ["fna", "fna-live", "l1", "random"])
def test_a_residual_may_begin_before_a_depthwise_convolution(name: str) -> None:
    before = universal()
    for g in (before, renamed(before)):
        (block,) = find_blocks(g).blocks
        assert (block.kind, block.name, block.passes_on) == ("mbconv", "k3e2", True)
        assert list(block.units) == ["start", "expand", "depthwise", "project"]
    mix = Mix(kernels=(3, 5), expansions=(1, 2, 3), depths=(2,), strategy=name)
    mixed, done = mixed_and_proven(mix, before)
    assert done == (1 if name == "random" else 7)
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)
    deeper, _ = applied(Choose("k5e3-k3e1"), mixed)
    assert [block.name for block in find_blocks(deeper).blocks] == ["k5e3", "k3e1"]


def test_a_residual_that_holds_a_block_is_none_itself() -> None:
    """The activation behind the first convolution keeps it out of the MBConv, not of the Add."""
    before = universal("s1 = Clip(s0, zero, six)")
    (block,) = find_blocks(before).blocks
    assert (block.kind, block.residual) == ("mbconv", None)
    mixed, _ = applied(Mix(kernels=(3, 5), expansions=(2,), otherwise=("k3", "k5")), before)
    assert same_graph(applied(Choose(), mixed)[0], before)


def test_net2net_shares_out_what_the_squeeze_reads_too() -> None:
    """Every copy is divided by a count of 1 to 4: one rounding a weight, 2**-24 each."""
    before = squeezed("sigmoid")
    wide, _ = applied(GrowWidth(expansion=4, strategy="net2net"), before)
    assert_same_outputs(before, wide, tolerance=1e-5)


def test_a_wrong_number_in_the_squeeze_breaks_a_proof() -> None:
    before = squeezed()
    mixed, _ = applied(MIX, before)
    spoilt = [c for c in mixed.constants() if c.name.startswith("w1.") and c.name.endswith("k3e1")]
    assert spoilt
    for constant in spoilt:
        constant.values = -constant.values
    failed = 0
    for _, reference, twin in MIX.proofs(before, mixed):
        a, b = outputs(reference), outputs(twin)
        failed += not np.array_equal(a["y"], b["y"])
    assert failed == 1


@pytest.mark.parametrize("seed", range(3))
def test_chosen_costs_what_the_manifest_says(seed: int) -> None:
    for before, mix in ((squeezed(), MIX), (chain(), PLAIN)):
        mixed, _ = applied(mix, before)
        stored = mixed.manifest["layers"]
        rng = np.random.default_rng(seed)
        at = [int(rng.integers(len(la["candidates"]))) for la in stored]
        chosen = [la["candidates"][i] for la, i in zip(stored, at, strict=True)]
        target, _ = applied(Choose(tuple(c["name"] for c in chosen)), mixed)
        assert_same_outputs(set_alphas(mixed, at), target)
        counted = profile(target)
        assert counted.madds == mixed.manifest["fixed_madds"] + sum(c["madds"] for c in chosen)
        assert counted.params == mixed.manifest["fixed_params"] + sum(c["params"] for c in chosen)


# ------------------------------------------------------------------ convolutions by themselves


def chain() -> Graph:
    """Return what plain networks have: a dense chain, a separable pair, groups, concatenation."""
    return graph(
        """(float[N,3,12,12] x) => (float[N,8,5,5] y)
        <float[8,3,3,3] ws, float[8,8,3,3] w1, float[8,8,5,5] w2, float[8,1,3,3] w3,
         float[8,8,1,1] w4, float[8,2,3,3] w5, float[4,16,3,3] w6, float[8,4,1,3] w7,
         float zero, float six>
        { s = Conv<pads=[1,1,1,1]>(x, ws) s1 = Clip(s, zero, six)
          a = Conv<pads=[1,1,1,1]>(s1, w1) a1 = Clip(a, zero, six)
          b = Conv<pads=[2,2,2,2]>(a1, w2) b1 = Clip(b, zero, six)
          d = Conv<pads=[1,1,1,1], group=8>(b1, w3) d1 = Clip(d, zero, six)
          p = Conv(d1, w4) p1 = Clip(p, zero, six)
          g = Conv<pads=[1,1,1,1], group=4>(p1, w5) g1 = Clip(g, zero, six)
          c = Concat<axis=1>(g1, b1)
          v = Conv<strides=[2,2]>(c, w6) v1 = Clip(v, zero, six)
          y = Conv<pads=[0,1,0,1]>(v1, w7) }""",
        opset=18,
        values={"zero": 0, "six": 6},
    )


PLAIN = Mix(candidates=("k3", "k5", "k7", "kup", "k5g4", "k7g8"), skip=False)


def test_convolutions_by_themselves_are_found_where_nothing_else_is() -> None:
    for g in (chain(), renamed(chain())):
        structure = find_blocks(g)
        assert [(b.kind, b.name) for b in structure.blocks] == [
            ("plain", "k3"), ("plain", "k5"), ("plain", "k3"), ("plain", "k3"), ("plain", "k3"),
        ]  # fmt: skip
        assert set(structure.left.values()) == {
            "it reads the network's input: the stem stays as it is",
            left_alone("1x1"),
            "its kernel is 1x3, not square and odd",
        }
        assert find_blocks(g, alone=False).blocks == ()


def test_where_nothing_is_searched_the_reasons_are_each_layers_own() -> None:
    g = graph(
        """(float[1,3,16,16] x) => (float[1,2,N,N] y)
        <float[4,3,3,3] a, float[4,4,4,4] b, float[2,4,1,1] c>
        { s = Conv(x, a) r = Relu(s) h = Conv(r, b) i = Relu(h) y = Conv(i, c) }"""
    )
    structure = find_blocks(g)
    assert structure.blocks == ()
    assert structure.left == {
        "s": "it reads the network's input: the stem stays as it is",
        "h": "its kernel is 4x4, not square and odd",
        "y": left_alone("1x1"),
    }


def test_what_a_convolution_by_itself_is_offered() -> None:
    mixed, report = applied(PLAIN, chain())
    assert [[c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"]] == [
        ["k3", "k5", "k7", "k5g4", "k7g8"],  # dense
        ["k3", "k5", "k7", "k5g4", "k7g8"],
        ["k3", "k5", "k7"],  # depthwise
        ["k3", "k5", "k7"],  # in four groups: k5g4 is its k5
        ["k3", "k5", "k7", "k5g4"],
    ]
    assert "its groups stay as they are" in report.declined["g"]["k7g8"]
    assert "8 groups do not divide 16 input and 4 output" in report.declined["v"]["k7g8"]
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, chain())


def test_whatever_window_a_convolution_has_may_grow() -> None:
    mixed, _ = applied(Mix(candidates=("k3", "kup"), skip=False), chain())
    assert [[c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"]] == [
        ["k3", "k5"], ["k3", "k7", "k5"], ["k3", "k5"], ["k3", "k5"], ["k3", "k5"],
    ]  # fmt: skip
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, chain())


def test_every_candidate_of_a_plain_network_computes_what_it_should() -> None:
    mixed, _ = applied(PLAIN, chain())
    done = []
    for what, reference, twin in PLAIN.proofs(chain(), mixed):
        assert_same_outputs(reference, twin)
        done.append(what)
    assert len(done) == 6


def test_a_plain_network_is_not_deepened_but_may_lose_what_keeps_its_size() -> None:
    with pytest.raises(
        UnsupportedGraphError, match="has no residual: a copy after it would change"
    ):
        applied(Mix(candidates=("k3",), depths=(2, 9, 9)), chain())
    mixed, _ = applied(Mix(candidates=("k3", "k5")), chain())
    assert [p.skip() is not None for p in find_choice_points(mixed)] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_dilated_kernels_are_not_claimed() -> None:
    layer = Mix(candidates=("k5",)).plan(chain())[0]
    (wider, own) = layer.candidates
    assert (wider.name, own.name) == ("k5", "k3")
    assert comparable(layer, wider, strategy("fna"))
    assert not comparable(layer, wider, strategy("dilate"))


STEM = """i = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w0) i1 = Relu(i)
          j = Conv<pads=[1,1,1,1], strides=[2,2]>(i1, w1) j1 = Relu(j)"""
ELAN = f"""(float[N,3,32,32] x) => (float[N,16,8,8] y)
    <float[8,3,3,3] w0, float[16,8,3,3] w1, float[8,16,1,1] a, float[8,16,1,1] b, float[8,8,3,3] c,
     float[8,8,3,3] d, float[8,8,3,3] e, float[8,8,3,3] f, float[16,32,1,1] g>
    {{ {STEM} p = Conv(j1, a) p1 = Relu(p) q = Conv(j1, b) q1 = Relu(q)
      r = Conv<pads=[1,1,1,1]>(q1, c) r1 = Relu(r) s = Conv<pads=[1,1,1,1]>(r1, d) s1 = Relu(s)
      t = Conv<pads=[1,1,1,1]>(s1, e) t1 = Relu(t) u = Conv<pads=[1,1,1,1]>(t1, f) u1 = Relu(u)
      v = Concat<axis=1>(p1, q1, s1, u1) k = Conv(v, g) y = Relu(k) }}"""
C2F = f"""(float[N,3,32,32] x) => (float[N,16,8,8] y)
    <float[8,3,3,3] w0, float[16,8,3,3] w1, float[16,16,1,1] a, float[8,8,3,3] c, float[8,8,3,3] d,
     float[8,8,3,3] e, float[8,8,3,3] f, float[16,32,1,1] g>
    {{ {STEM} p = Conv(j1, a) p0 = Sigmoid(p) p1 = Mul(p, p0) l, m = Split<axis=1,num_outputs=2>(p1)
      r = Conv<pads=[1,1,1,1]>(m, c) r1 = Relu(r) s = Conv<pads=[1,1,1,1]>(r1, d) s1 = Relu(s)
      s2 = Add(m, s1) t = Conv<pads=[1,1,1,1]>(s2, e) t1 = Relu(t)
      u = Conv<pads=[1,1,1,1]>(t1, f) u1 = Relu(u) u2 = Add(s2, u1)
      v = Concat<axis=1>(l, m, s2, u2) k = Conv(v, g) y = Relu(k) }}"""


@pytest.mark.parametrize(
    ("body", "blocks"),
    [
        (ELAN, [("plain", "j"), ("plain", "r"), ("plain", "s"), ("plain", "t"), ("plain", "u")]),
        (C2F, [("plain", "j"), ("region", "r"), ("region", "t")]),
    ],
    ids=["ELAN", "C2f"],
)
def test_stages_of_detectors_grow_between_their_concatenations(
    body: str, blocks: list[tuple[str, str]]
) -> None:
    before = graph(body, opset=18)
    structure = find_blocks(before)
    assert [(b.kind, b.node_name) for b in structure.blocks] == blocks
    assert structure.left["k"] == left_alone("1x1")
    assert [b.kind for b in find_blocks(renamed(before)).blocks] == [kind for kind, _ in blocks]
    mixed, _ = applied(PLAIN, before)
    offered = [[c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"]]
    assert len(offered) == len(blocks)
    assert all({"k3", "k5", "k7"} <= set(names) for names in offered)
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)
