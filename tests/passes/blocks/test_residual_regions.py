"""Residual regions of any kind, and fused MBConvs: found, mixed, proven, chosen, left with why."""

from __future__ import annotations

import re

import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.graph import Graph
from fnac.passes.grow.grow_depth import GrowDepth
from fnac.passes.remap.strategies import STRATEGIES
from fnac.passes.running.verify import compare
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied, assert_same_outputs, graph, outputs, renamed
from tests.support.mbconv_networks import same_graph

STEM = "s = Conv<pads=[1,1,1,1]>(x, ws) b0 = Relu(s)"
SHAPES = {
    "ws": "8,3,3,3", "wa": "8,8,3,3", "wb": "8,8,3,3", "wc": "8,8,1,1", "wd": "8,1,3,3",
    "m": "8,16", "n": "16,8", "bias": "16", "scale": "8", "we": "16,8,3,3", "wf": "8,16,1,1",
}  # fmt: skip


def network(body: str) -> Graph:
    """Return stem, ``body`` and what they store: ``wa2`` has the shape of ``wa``."""
    text = f"{STEM} {body}"
    names = {w for w in re.findall(r"[a-z]+\d*", text) if w.rstrip("0123456789") in SHAPES}
    stored = [f"float[{SHAPES[name.rstrip('0123456789')]}] {name}" for name in sorted(names)]
    return graph(f"(float[N,3,8,8] x) => (y) <{', '.join(stored)}> {{ {text} }}", opset=18)


def convnext(i: int) -> str:
    o = i + 1
    return f"""d{o} = Conv<group=8, pads=[1,1,1,1]>(b{i}, wd{o})
        t{o} = Transpose<perm=[0,2,3,1]>(d{o}) k{o} = MatMul(t{o}, m{o}) a{o} = Add(k{o}, bias{o})
        g{o} = Relu(a{o}) l{o} = MatMul(g{o}, n{o})
        c{o} = Mul(l{o}, scale{o}) u{o} = Transpose<perm=[0,3,1,2]>(c{o}) b{o} = Add(u{o}, b{i})"""


def darknet(i: int) -> str:
    o = i + 1
    return f"""r{o} = Conv(b{i}, wc{o}) p{o} = LeakyRelu<alpha=0.5>(r{o})
        q{o} = Conv<pads=[1,1,1,1]>(p{o}, wa{o}) v{o} = LeakyRelu<alpha=0.5>(q{o})
        b{o} = Add(b{i}, v{o})"""


def preactivated(i: int) -> str:
    o = i + 1
    return f"""r{o} = Relu(b{i}) p{o} = Conv<pads=[1,1,1,1]>(r{o}, wa{o}) q{o} = Relu(p{o})
        v{o} = Conv<pads=[1,1,1,1]>(q{o}, wb{o}) b{o} = Add(v{o}, b{i})"""


KINDS = {"ConvNeXt": convnext, "Darknet": darknet, "ResNet v2": preactivated}
NAMES = {
    "ConvNeXt": ["k3", "k5"],
    "Darknet": ["k3", "k5", "k3g2"],
    "ResNet v2": ["k3", "k5", "k3g2"],
}
SPACE = Mix(candidates=("k3", "k5", "k3g2"))


def several(kind: str, blocks: int = 3) -> Graph:
    return network(" ".join(KINDS[kind](i) for i in range(blocks)) + f" y = Conv(b{blocks}, wc)")


@pytest.mark.parametrize("kind", KINDS)
def test_regions_are_found_whatever_the_names(kind: str) -> None:
    for g in (several(kind), renamed(several(kind))):
        structure = find_blocks(g)
        assert [(b.kind, b.name, b.in_channels) for b in structure.blocks] == [
            ("region", "k3", 8)
        ] * 3
        assert len(structure.stages) == 1
        assert len(structure.left) == 2  # the stem and the last convolution
        assert [b.kind for b in find_blocks(g, alone=False).blocks] == ["region"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_regions_vary_in_kernel_and_depth(kind: str) -> None:
    mixed, _ = applied(SPACE, several(kind))
    offered = [[c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"]]
    assert offered == [NAMES[kind], [*NAMES[kind], "skip"], [*NAMES[kind], "skip"]]
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, several(kind))
    shallow, _ = applied(Choose("k5-skip-k3"), mixed)
    assert [b.name for b in find_blocks(shallow).blocks] == ["k5", "k3"]
    deeper, _ = applied(Mix(candidates=("k3", "k5"), depths=(4,)), several(kind))
    grown, _ = applied(Choose("k3-k3-k3-k5"), deeper)
    assert [b.name for b in find_blocks(grown).blocks] == ["k3", "k3", "k3", "k5"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in ("std", "bn-gamma")])
def test_every_candidate_of_a_region_computes_what_it_should(kind: str, name: str) -> None:
    before = renamed(several(kind, 2))
    mix = Mix(candidates=("k3", "k5", "k3g2"), depths=(3,), strategy=name)
    mixed, _ = applied(mix, before)
    done = []
    for what, reference, twin in mix.proofs(before, mixed):
        # Mul and MatMul of small integers: what differs is a bug, but for what overflows 2**24
        assert compare(reference, twin).equal, what
        done.append(what)
    assert len(done) == {"random": 1, "dilate": len(NAMES[kind])}.get(name, 1 + len(NAMES[kind]))


def test_a_candidate_owns_the_weights_of_its_linear_layers() -> None:
    mixed, report = applied(SPACE, several("ConvNeXt", 1))
    names = {c.name for c in mixed.constants()}
    assert {"m1", "m1.k5", "n1", "n1.k5", "scale1", "scale1.k5"} <= names
    assert report.initializers["m1.k5"] == "copied from m1"
    chosen, _ = applied(Choose("k5"), mixed)
    assert "m1" not in {c.name for c in chosen.constants()}


def test_only_what_its_last_convolution_adds_can_be_silenced() -> None:
    before = several("ResNet v2", 1)
    after, report = applied(GrowDepth(depth=2, variant="preserving"), before)
    assert len(find_blocks(after).blocks) == 2
    assert_same_outputs(before, after)
    for kind in ("ConvNeXt", "Darknet"):
        _, report = applied(GrowDepth(depth=2, variant="preserving"), several(kind, 1))
        assert report.rewrote == {}
        assert any("cannot be silenced" in why for why in report.left.values())


@pytest.mark.parametrize(
    "body",
    [
        f"{preactivated(0)} t = Relu(p1) z = Add(b1, t) y = Conv(z, wc)",  # read outside
        """p = Conv<pads=[1,1,1,1]>(b0, wa) q = Conv<pads=[1,1,1,1]>(x, ws2) z = Add(p, q)
           y = Conv(z, wc)""",  # made of another tensor
        "p = Conv<pads=[1,1,1,1]>(b0, wa) r = Add(p, p) q = Relu(r) y = Conv(q, wc)",
        "p = Conv<pads=[1,1,1,1]>(x, ws2) r = Conv(p, wc2) q = Add(r, p) y = Conv(q, wc)",
    ],
)
def test_what_is_no_region_is_taken_by_itself(body: str) -> None:
    structure = find_blocks(network(body))
    assert {b.kind for b in structure.blocks} <= {"plain"}


# ------------------------------------------------------------------ fused MBConv


def fused() -> Graph:
    return network("""e = Conv<pads=[1,1,1,1]>(b0, we) f = Relu(e) p = Conv(f, wf) b1 = Add(p, b0)
        g = Conv<pads=[1,1,1,1], strides=[2,2]>(b1, we2) h = Relu(g) q = Conv(h, wf2)
        y = Conv(q, wc)""")


def test_fused_blocks_are_found_whatever_the_names() -> None:
    for g in (fused(), renamed(fused())):
        blocks = find_blocks(g).blocks
        assert [(b.kind, b.name, b.residual is not None) for b in blocks] == [
            ("fused", "k3e2", True), ("fused", "k3e2", False),
        ]  # fmt: skip


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in ("std", "bn-gamma")])
def test_fused_blocks_vary_in_kernel_and_expansion(name: str) -> None:
    mix = Mix(kernels=(3, 5), expansions=(1, 3), skip=False, strategy=name)
    before = renamed(fused())
    mixed, _ = applied(mix, before)
    assert [[c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"]] == (
        [["k3e1", "k3e3", "k5e1", "k5e3", "k3e2"]] * 2
    )
    for what, reference, twin in mix.proofs(before, mixed):
        assert compare(reference, twin).equal, what
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)
    chosen, _ = applied(Choose("k5e3-k3e1"), mixed)
    assert [n.inputs[1].shape[:1] for n in chosen.nodes if n.op == "Conv"][1:-1] == [
        (24,), (8,), (8,), (8,),
    ]  # fmt: skip
    assert outputs(chosen)[chosen.outputs[0].name].shape == (2, 8, 4, 4)


def test_regions_are_found_beside_known_blocks() -> None:
    """ResNet v2: a projected block fits ResNet's pattern, those behind it do not."""
    first = """r = Relu(b0) p = Conv<pads=[1,1,1,1]>(r, wa) q = Relu(p)
        v = Conv<pads=[1,1,1,1]>(q, wb) w = Conv(r, wc) b1 = Add(v, w)"""
    before = network(f"{first} {preactivated(1)} {preactivated(2)} y = Conv(b3, wc4)")
    for g in (before, renamed(before)):
        (stage,) = find_blocks(g).stages
        assert [b.kind for b in stage.blocks] == ["basic", "region", "region"]
    mix = Mix(candidates=("k3g1", "k5g1", "k5g2"))
    mixed, _ = applied(mix, before)
    assert [[c["name"] for c in la["candidates"]][-1] for la in mixed.manifest["layers"]] == [
        "k5g2", "skip", "skip",
    ]  # fmt: skip
    for what, reference, twin in mix.proofs(before, mixed):
        assert compare(reference, twin).equal, what
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_of_regions_that_lie_in_each_other_the_innermost_is_searched(depth: int) -> None:
    """The shortcuts of a U-Net that adds: each level's region holds the next level's."""
    lines, inner = [], "b0"
    for level in range(1, depth + 1):
        lines.append(
            f"p{level} = Conv<pads=[1,1,1,1]>({inner}, wa{level}) b{level} = Relu(p{level})"
        )
        inner = f"b{level}"
    lines.append(f"q = Conv<pads=[1,1,1,1]>({inner}, wb) r = Add(q, {inner})")
    result = "r"
    for level in range(depth, 0, -1):
        lines.append(f"u{level} = Conv({result}, wc{level}) v{level} = Add(u{level}, b{level - 1})")
        result = f"v{level}"
    before = network(" ".join([*lines, f"y = Neg({result})"]))
    blocks = find_blocks(before).blocks
    nodes = [id(node) for block in blocks for node in block.nodes]
    assert len(nodes) == len(set(nodes))
    assert [block.node_name for block in blocks if block.kind == "region"] == ["q"]
    mixed, report = applied(Mix(kernels=(3, 5), expansions=(), candidates=("k5",)), before)
    assert report.rewrote
    chosen, _ = applied(Choose(), mixed)
    assert compare(before, chosen).equal
