"""A head may read the expansion of a block (SSDLite): its width stays, whatever is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.blocks.kinds.mbconv import MBConvBlock
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.grow.grow_depth import GrowDepth
from fnac.passes.grow.grow_width import GrowWidth
from fnac.passes.manager import PassManager
from fnac.passes.super_network.choice_points import find_choice_points, set_alphas
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied, assert_same_outputs, renamed
from tests.support.mbconv_networks import mbconv_network, same_graph

MIX = Mix(kernels=(3, 5), expansions=(2, 3), depths=(3, 3))


def tapped_network(tap: str = "b3_ex_act", **options: Any) -> Graph:
    """Return a backbone with a head on its last features and, behind a 1x1 convolution, ``tap``."""
    g = mbconv_network(((6, 2, 2), (8, 2, 2)), **{"classifier": False, **options})
    tensor = next(t for node in g.nodes for t in node.outputs if t.name == tap)
    weight = gs.Constant("head_weight", np.arange(24, dtype="f4").reshape(2, 12, 1, 1) % 5 - 2)
    out = gs.Variable("scores", np.dtype("f4"), ["N", 2, 4, 4])
    node = gs.Node("Conv", "head", {}, [tensor, weight], [out])
    node.metadata = {"fnac.part": "head"}
    g.gs.nodes.append(node)
    g.gs.outputs.append(out)
    g.gs.outputs[0].shape = ["N", 8, 2, 2]
    return g


def layers(g: Graph) -> list[dict[str, Any]]:
    return list(g.manifest["layers"])


@pytest.mark.parametrize("bn", [True, False])
def test_a_tapped_block_is_found_by_structure(bn: bool) -> None:
    tap = "b3_ex_act"
    for g in (tapped_network(tap, bn=bn), renamed(tapped_network(tap, bn=bn))):
        stages = find_blocks(g).stages
        assert [[b.name for b in s.blocks] for s in stages] == [
            ["k3e1"],
            ["k3e2"] * 2,
            ["k3e2"] * 2,
        ]
        block = stages[2].blocks[0]
        assert isinstance(block, MBConvBlock)
        assert block.tapped is not None
        assert block.entry is block.tapped.output
        assert block.reads is stages[1].blocks[1].output
        assert list(block.whole.units) == ["expand", "depthwise", "project"]


def test_only_its_kernel_varies() -> None:
    mixed, report = applied(MIX, tapped_network())
    offered = {la["name"]: [c["name"] for c in la["candidates"]] for la in layers(mixed)}
    assert offered["stage2.layer0"] == ["k3e2", "k5e2"]
    assert offered["stage2.layer1"] == ["k3e2", "k3e3", "k5e2", "k5e3", "skip"]
    assert report.rewrote["b3_dw"] == "stage2.layer0: 2 candidates"
    assert report.declined["b3_dw"] == dict.fromkeys(
        ("k3e3", "k5e3"), "a head reads its expansion, which stays e2"
    )
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, tapped_network())


def test_skip_is_not_offered_even_where_the_sizes_agree() -> None:
    """A stride-1 block without a residual, behind the first of its stage."""
    g = tapped_network("b4_ex_act", plain=())
    add = next(node for node in g.nodes if node.name == "b4_add")
    g.gs.outputs[0] = add.inputs[1] if add.inputs[0].name.startswith("b3") else add.inputs[0]
    g.gs.outputs[0].shape = ["N", 8, 2, 2]
    g.gs.outputs[0].dtype = np.dtype("f4")
    g.cleanup()
    g.gs.outputs[1].shape = ["N", 2, 2, 2]
    head = next(node for node in g.nodes if node.name == "head")
    head.inputs[1].values = np.ones((2, 16, 1, 1), "f4")
    mixed, _ = applied(Mix(kernels=(3, 5), expansions=(2,)), g)
    assert [c["name"] for c in layers(mixed)[-1]["candidates"]] == ["k3e2", "k5e2"]


def test_a_tapped_block_with_a_residual_is_left() -> None:
    g = tapped_network("b2_ex_act")
    assert (
        find_blocks(g).left["b2_dw"] == "its expansion is also read by head, and it has a residual"
    )


@pytest.mark.parametrize("size", [1, 3])
def test_every_proof_holds_and_the_head_reads_the_same(size: int) -> None:
    before = tapped_network()
    mix = Mix(kernels=(3, 5), expansions=(2, 3), depths=(size, size))
    mixed, _ = applied(mix, before)
    done = []
    for what, reference, twin in mix.proofs(before, mixed):
        assert_same_outputs(reference, twin)
        head = next(node for node in twin.nodes if node.name == "head")
        assert head.inputs[0].inputs[0].name == "b3_ex_act"
        done.append(what)
    assert len(done) == (4 if size == 1 else 5)
    manager = PassManager()
    manager.run([mix], tapped_network())
    assert [entry.verdict for entry in manager.ledger] == ["equal"]


@pytest.mark.parametrize("seed", range(4))
def test_chosen_equals_one_hot_and_costs_what_the_manifest_says(seed: int) -> None:
    mixed, _ = applied(MIX, tapped_network())
    rng = np.random.default_rng(seed)
    at = [int(rng.integers(len(la["candidates"]))) for la in layers(mixed)]
    chosen = [la["candidates"][i] for la, i in zip(layers(mixed), at, strict=True)]
    target, _ = applied(Choose(tuple(c["name"] for c in chosen)), mixed)
    assert_same_outputs(set_alphas(mixed, at), target)
    counted = profile(target)
    assert counted.madds == mixed.manifest["fixed_madds"] + sum(c["madds"] for c in chosen)
    assert counted.params == mixed.manifest["fixed_params"] + sum(c["params"] for c in chosen)


def test_the_shared_expansion_is_in_no_candidate() -> None:
    mixed, _ = applied(MIX, tapped_network())
    point = find_choice_points(mixed)[3]
    assert point.entry.name == "b3_ex_act"
    assert [[n.op for n in region].count("Conv") for region in point.regions] == [2, 2]


def test_a_stage_of_a_tapped_block_is_deepened_with_an_expansion_of_its_own() -> None:
    deep, report = applied(GrowDepth(depth=3, variant="preserving"), tapped_network())
    assert report.rewrote
    assert_same_outputs(tapped_network(), deep)
    wide, report = applied(GrowWidth(expansion=3), tapped_network())
    assert report.left["b3_dw"] == "a head reads its expansion, whose width stays"
    assert_same_outputs(tapped_network(), wide)
    one = mbconv_network(((6, 2, 2), (8, 1, 2)), classifier=False)
    one.gs.outputs.append(next(t for n in one.nodes for t in n.outputs if t.name == "b3_ex_act"))
    one.gs.outputs[1].dtype, one.gs.outputs[1].shape = np.dtype("f4"), ["N", 12, 4, 4]
    one.gs.outputs[0].shape = ["N", 8, 2, 2]
    mixed, _ = applied(MIX, one)
    assert [c["name"] for c in layers(mixed)[4]["candidates"]][:2] == ["k3e2", "k3e3"]
    for _, reference, twin in MIX.proofs(one, mixed):
        assert_same_outputs(reference, twin)
