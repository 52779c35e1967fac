"""ResNet's blocks: found by pattern, mixed by Table VII, proven, chosen; and why others are not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.cost import profile
from fnac.passes.errors import PassFailedError, StrategyError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.registry import parse_pipeline
from fnac.passes.remap.strategies import STRATEGIES
from fnac.passes.running.verify import compare
from fnac.passes.super_network.choice_points import find_choice_points, set_alphas
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import TABLE_VII, Mix
from tests.support.graphs import applied, assert_same_outputs, feeds, graph, outputs, renamed
from tests.support.mbconv_networks import same_graph
from tests.support.resnet_networks import resnet_network

VARIANTS: dict[str, dict[str, Any]] = {
    "basic": {},
    "basic, folded": {"bn": False, "bias": True},
    "basic, linear add": {"after": False},
    "basic, three stages": {"stages": ((8, 1, 1), (16, 3, 2), (8, 1, 1))},
    "basic, pooled shortcut": {"pooled_shortcut": True},
    "basic, 5x5": {"kernel": 5},
    "bottleneck": {"kind": "bottleneck", "stages": ((16, 2, 1), (32, 2, 2))},
    "bottleneck, stride on the 1x1": {
        "kind": "bottleneck", "stages": ((16, 2, 1), (32, 1, 2)), "stride_on": "reduce",
    },
    "bottleneck, folded": {
        "kind": "bottleneck", "stages": ((16, 1, 1), (32, 2, 2)), "bn": False, "bias": True,
    },
    "basic, squeezed": {"stages": ((8, 1, 1), (16, 2, 2)), "squeeze": "last"},
    "bottleneck, squeezed inside": {
        "kind": "bottleneck", "stages": ((16, 1, 1), (32, 2, 2)), "squeeze": "inside",
    },
    "ResNeXt": {"kind": "bottleneck", "stages": ((32, 2, 1), (32, 2, 2)), "groups": 4},
}  # fmt: skip
SEED = "the super network at the seed's choices"


def found(g: Graph) -> list[tuple[float, int, list[str]]]:
    return [
        (s.output_stride, s.width, [f"{b.kind} {b.name}" for b in s.blocks])
        for s in find_blocks(g).stages
    ]


def layers(g: Graph) -> list[dict[str, Any]]:
    return list(g.manifest["layers"])


@pytest.mark.parametrize("kind", VARIANTS.values(), ids=VARIANTS)
def test_finds_stages_and_blocks_whatever_the_names(kind: dict[str, Any]) -> None:
    g = resnet_network(**kind)
    name = f"{kind.get('kind', 'basic')} k{kind.get('kernel', 3)}g{kind.get('groups', 1)}"
    stages, stride, expected = kind.get("stages", ((8, 2, 1), (16, 2, 2))), 2, []
    for width, blocks, step in stages:
        stride *= step
        expected.append((stride, width, [name] * blocks))
    assert found(g) == expected
    assert found(renamed(g)) == expected
    assert set(find_blocks(g).left) == {"stem"}


def test_a_block_knows_its_parts() -> None:
    block = find_blocks(resnet_network()).stages[1].blocks[0]
    assert list(block.units) == ["first", "second", "shortcut"]
    assert [n.name for n in block.nodes] == [
        "b2_c1", "b2_c1_bn", "b2_c1_act", "b2_c2", "b2_c2_bn", "b2_down", "b2_down_bn", "b2_add",
        "b2_out",
    ]  # fmt: skip
    assert (block.entry.name, block.output.name) == ("b1_out", "b2_out")
    assert (block.in_channels, block.out_channels, block.stride) == (8, 16, 2)
    assert not block.passes_on
    assert find_blocks(resnet_network()).blocks[1].passes_on


@pytest.mark.parametrize("kind", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in ("std", "bn-gamma")])
def test_the_seed_comes_back_to_the_bit(kind: dict[str, Any], name: str) -> None:
    before = renamed(resnet_network(**kind))
    mixed, _ = applied(Mix(strategy=name), before)
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)
    assert not same_graph(mixed, before)
    again, second = applied(Mix(strategy=name), mixed)
    assert same_graph(again, mixed)
    assert second.rewrote == {}


def proven(mix: Mix, before: Graph, *, exact: bool = True) -> list[str]:
    """Hold every proof of ``mix`` to equality, or to float noise; return what was proven."""
    mixed, _ = applied(mix, before)
    done = []
    for what, reference, twin in mix.proofs(before, mixed):
        if exact:
            assert_same_outputs(reference, twin)
        else:
            assert compare(reference, twin).equal
        done.append(what)
    return done


def everywhere(*names: str) -> list[str]:
    return [f"candidate {name} in every layer that has it" for name in names]


@pytest.mark.parametrize("kind", VARIANTS.values(), ids=VARIANTS)
def test_every_candidate_computes_what_its_remapping_says(kind: dict[str, Any]) -> None:
    stages = kind.get("stages", ((8, 2, 1), (16, 2, 2)))
    depths = tuple(blocks + 1 for _, blocks, _ in stages)
    if "three" in str(kind) or len(find_blocks(resnet_network(**kind)).stages) != len(depths):
        depths = ()
    before = resnet_network(**kind)
    as_it_was = before.to_model().SerializeToString()
    done = proven(Mix(candidates=("k1g2", *TABLE_VII), depths=depths), before)
    names = {"k1g2", *TABLE_VII}
    if kind.get("groups") == 4:
        names = {"k5g4", "k7g4", "k7g8"}
    elif kind.get("kernel", 3) == 3 and not depths:
        names -= {"k3g1"}  # the seed's own, nowhere added
    assert sorted(done) == sorted([SEED, *everywhere(*names)])
    assert before.to_model().SerializeToString() == as_it_was


def test_what_cannot_be_known_is_not_claimed() -> None:
    assert proven(Mix(strategy="random"), resnet_network()) == [SEED]
    assert proven(Mix(strategy="dilate", candidates=("k3g2", "k5g2")), resnet_network()) == [
        SEED, *everywhere("k3g2"),
    ]  # fmt: skip


def test_every_layer_gets_table_vii_and_keeps_its_depth() -> None:
    mixed, report = applied(Mix(skip=False), resnet_network())
    assert [(la["name"], [c["name"] for c in la["candidates"]]) for la in layers(mixed)] == [
        (f"stage{s}.layer{i}", list(TABLE_VII)) for s in (0, 1) for i in (0, 1)
    ]
    assert {la["seed_choice"] for la in layers(mixed)} == {"k3g1"}
    assert report.rewrote["b0_c1"] == "stage0.layer0: 5 candidates"
    assert report.initializers["b1_c1_weight.k5g2"] == "cropped and padded from b1_c1_weight"
    assert report.initializers["b1_c2_weight.k5g2"] == "copied from b1_c2_weight"


def test_a_layer_without_a_choice_gets_what_the_space_offers_otherwise() -> None:
    """As in RegNet: 8 groups split the 8 hidden channels of one stage, not the other's 12."""
    before = resnet_network(((16, 1, 1), (24, 1, 2)), kind="bottleneck", groups=4)
    mix = Mix(candidates=("k5g8",), otherwise=("k5", "k7g12", "k7g3"), skip=False)
    assert [[c.name for c in layer.candidates] for layer in mix.plan(before)] == [
        ["k5g8", "k3g4"], ["k5g4", "k7g12", "k3g4"],
    ]  # fmt: skip
    assert list(mix.plan(before)[1].declined) == ["k5g8", "k7g3"]
    assert sorted(proven(mix, before)) == sorted([SEED, *everywhere("k5g8", "k5g4", "k7g12")])
    alone = dataclasses.replace(mix, otherwise=())
    assert [len(layer.candidates) for layer in alone.plan(before)] == [2, 1]


def test_depth_is_searched_where_the_space_says_so() -> None:
    mixed, _ = applied(Mix(depths=(2, 3)), resnet_network())
    assert [la["candidates"][-1]["name"] for la in layers(mixed)] == [
        "k7g8", "skip", "k7g8", "skip", "skip",
    ]  # fmt: skip
    assert [la["seed_choice"] for la in layers(mixed)] == ["k3g1"] * 4 + ["skip"]
    deeper, _ = applied(Choose("k3g1-skip-k5g2-k7g8-k5g4"), mixed)
    assert found(deeper) == [
        (2, 8, ["basic k3g1"]), (4, 16, ["basic k5g2", "basic k7g8", "basic k5g4"]),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "bottleneck, stride on the 1x1"])
def test_a_stage_of_one_block_is_deepened_by_a_copy_with_the_identity(kind: str) -> None:
    options = {**VARIANTS[kind], "stages": ((8, 1, 1), (16, 1, 2)), "pooled_shortcut": True}
    before = resnet_network(**options)
    mix = Mix(depths=(1, 2))
    assert SEED in proven(mix, before)
    mixed, _ = applied(mix, before)
    names = ["k3g1"] * len(layers(mixed))
    deeper, _ = applied(Choose(tuple(names)), mixed)
    last = find_blocks(deeper).blocks[-1]
    assert "shortcut" not in last.units
    assert last.shortcut == ()
    assert (last.in_channels, last.out_channels, last.stride) == (16, 16, 1)
    assert sum(node.op == "AveragePool" for node in deeper.nodes) == (
        sum(node.op == "AveragePool" for node in before.nodes)
    )


REPLICATES = ("net2net", "net2net-both")
WIDTHS = ("k3g1w0.5", "k3g1w1.5", "k5g2w1.5", "k5g2w0.5")


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("kind", VARIANTS)
def test_the_hidden_width_varies_and_computes_what_its_remapping_says(kind: str, name: str) -> None:
    options = VARIANTS[kind]
    before = renamed(resnet_network(**options))
    if name == "bn-gamma" and not options.get("bn", True):
        with pytest.raises(StrategyError, match="there is no batch normalisation; restore it"):
            applied(Mix(candidates=WIDTHS, strategy=name), before)
        return
    if kind == "ResNeXt":
        _, report = applied(Mix(candidates=("k3", *WIDTHS), strategy=name), before)
        assert report.declined.keys() >= report.rewrote.keys()
        for offers in report.declined.values():
            assert "has groups, so the hidden width stays" in " ".join(offers.values())
        return
    # a channel drawn three times shares out its weight in thirds, which no float holds exactly
    done = proven(Mix(candidates=WIDTHS, strategy=name), before, exact=name not in REPLICATES)
    known = {
        "random": (),
        "dilate": WIDTHS[:2] if "5x5" not in kind else WIDTHS,
        **dict.fromkeys(REPLICATES, (WIDTHS[0], WIDTHS[1], WIDTHS[3])),  # doubles part into groups
    }.get(name, WIDTHS)
    assert sorted(done) == sorted([SEED, *everywhere(*known)])


def test_the_hidden_width_costs_what_it_should() -> None:
    mixed, report = applied(Mix(candidates=("k3g1", *WIDTHS)), resnet_network())
    first, second = 8 * 8 * 9, 8 * 8 * 9  # weights of a basic block of eight channels
    of = {c["name"]: c["params"] for c in layers(mixed)[0]["candidates"]}
    assert of["k3g1w1.5"] - of["k3g1"] == (first + second) // 2 + 2 * 4
    assert of["k3g1w0.5"] - of["k3g1"] == -(first + second) // 2 - 2 * 4
    assert report.initializers["b0_c1_weight.k3g1w1.5"] == "padded from b0_c1_weight"
    assert report.initializers["b0_c2_weight.k3g1w0.5"] == "cropped from b0_c2_weight"
    target, _ = applied(Choose("-".join(["k3g1w1.5"] * 4)), mixed)
    assert [unit.shape()[0] for b in find_blocks(target).blocks for unit in b.units.values()] == [
        12, 8, 12, 8, 24, 16, 16, 24, 16,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_candidates_cost_what_table_vii_says(kind: str) -> None:
    mixed, _ = applied(Mix(), resnet_network(**VARIANTS[kind]))
    counted = {cost.name: cost.madds for cost in profile(mixed).nodes}
    heart = 0 if kind == "basic" else 1
    for point, layer in zip(find_choice_points(mixed), layers(mixed), strict=True):
        of = {}
        for candidate, region in zip(layer["candidates"], point.regions, strict=True):
            if region:
                convs = [node for node in region if node.op == "Conv"]
                of[candidate["name"]] = counted[convs[heart].name]
                rest = sum(counted[node.name] for node in region) - of[candidate["name"]]
                assert candidate["madds"] - of[candidate["name"]] == rest
        assert [round(of[name] / of["k3g1"], 4) for name in TABLE_VII] == [
            1, 1.3889, 0.6944, 1.3611, 0.6806,
        ]  # fmt: skip


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "ResNeXt"])
@pytest.mark.parametrize("seed", range(3))
def test_chosen_equals_one_hot_and_costs_what_the_manifest_says(kind: str, seed: int) -> None:
    mixed, _ = applied(Mix(), resnet_network(**VARIANTS[kind]))
    rng = np.random.default_rng(seed)
    at = [int(rng.integers(len(la["candidates"]))) for la in layers(mixed)]
    chosen = [la["candidates"][i] for la, i in zip(layers(mixed), at, strict=True)]
    target, _ = applied(Choose(tuple(c["name"] for c in chosen)), mixed)
    assert_same_outputs(set_alphas(mixed, at), target)
    counted = profile(target)
    assert counted.madds == mixed.manifest["fixed_madds"] + sum(c["madds"] for c in chosen)
    assert counted.params == mixed.manifest["fixed_params"] + sum(c["params"] for c in chosen)


def test_groups_only_split() -> None:
    mixed, report = applied(Mix(), resnet_network(**VARIANTS["ResNeXt"]))
    assert [c["name"] for c in layers(mixed)[0]["candidates"]] == ["k5g4", "k7g4", "k7g8", "k3g4"]
    assert report.rewrote["b0_c2"] == "stage0.layer0: 4 candidates"
    assert report.declined["b0_c2"] == {
        "k3g1": "its 4 groups do not split into 1",
        "k5g2": "its 4 groups do not split into 2",
    }
    names = ("k5", "k5g2", "k5e2")
    mixed, _ = applied(Mix(candidates=names), resnet_network(**VARIANTS["ResNeXt"]))
    assert [c["name"] for c in layers(mixed)[0]["candidates"]] == ["k5g4", "k3g4"]
    _, odd = applied(Mix(), resnet_network(((12, 1, 1),)))
    assert odd.rewrote["b0_c1"] == "stage0.layer0: 4 candidates"
    assert odd.declined["b0_c1"] == {
        "k7g8": "8 groups do not divide 8 input and 12 output channels"
    }


def test_a_wrong_number_in_a_candidate_breaks_a_proof() -> None:
    before = resnet_network()
    mixed, _ = applied(Mix(), before)
    for region in find_choice_points(mixed)[-1].regions[:-1]:
        spoilt = mixed.copy()
        weight = next(c for c in spoilt.constants() if c.name == region[0].inputs[1].name)
        weight.values = weight.values + 1
        differ = 0
        for _, reference, twin in Mix().proofs(before, spoilt):
            a, b = outputs(reference, feeds(before)), outputs(twin, feeds(before))
            differ += any(not np.array_equal(a[k], b[k]) for k in a)
        assert differ, region[0].name


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_candidates_must_be_what_their_names_spell(kind: str) -> None:
    before = resnet_network(**VARIANTS[kind])
    mixed, _ = applied(Mix(skip=False), before)
    mixed.manifest["layers"][0]["candidates"].reverse()
    with pytest.raises(
        PassFailedError, match=r"stage0\.layer0: candidate k7g8 is a k3g1 \(node b0_"
    ):
        next(Mix(skip=False).proofs(before, mixed))


W = "float[4,4,3,3] a, float[4,4,3,3] b, float[4,4,1,1] c, float[4,4,1,1] d"


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (
            """h = Conv<pads=[1,1,1,1]>(x, a) i = Relu(h) j = Conv<pads=[1,1,1,1]>(i, b)
               z = Abs(x) k = Add(j, z) y = Relu(k)""",
            "its shortcut comes from z (Abs), not from what it reads",
        ),
        (
            """h = Conv<pads=[1,1,1,1]>(x, a) i = Relu(h)
               j = Conv<pads=[1,1,1,1], strides=[2,2]>(i, b)
               z = Conv<strides=[2,2]>(x, c) y = Add(j, z)""",
            "the stride lies on its last convolution, j",
        ),
        (
            """g = Conv(x, c) q = Relu(g) h = Conv<pads=[1,1,1,1]>(q, a) i = Relu(h)
               j = Conv(i, d) k = Add(x, j) y = Add(k, q)""",
            "the 1x1 convolution before it is read by others as well, or not activated",
        ),
        (
            """h = Conv<pads=[1,1,1,1], strides=[1,2]>(x, a) i = Relu(h)
               j = Conv<pads=[1,1,1,1]>(i, b) z = Conv<strides=[1,2]>(x, c) y = Add(j, z)""",
            "its convolutions have strides of different sizes",
        ),
        (
            """h = Conv<auto_pad="SAME_UPPER">(x, a) i = Relu(h)
               j = Conv<pads=[1,1,1,1]>(i, b) y = Add(j, x)""",
            "its padding is SAME_UPPER, not explicit",
        ),
        (
            """h = Conv<pads=[1,1,1,1]>(x, a) i = Relu(h) j = Conv<pads=[1,1,1,1]>(i, a)
               y = Add(j, x)""",
            "its weight is shared with j",
        ),
    ],
)
def test_leaves_alone_and_says_why(nodes: str, why: str) -> None:
    g = graph(f"(float[1,4,8,8] x) => (float[1,4,h,w] y) <{W}> {{ {nodes} }}", check=False)
    structure = find_blocks(g, alone=False)
    assert structure.blocks == ()
    assert structure.left["h"] == why


def test_a_block_whose_inside_is_read_is_no_block() -> None:
    g = graph(f"""(float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] i) <{W}>
        {{ h = Conv<pads=[1,1,1,1]>(x, a) i = Relu(h) j = Conv<pads=[1,1,1,1]>(i, b)
           y = Add(j, x) }}""")
    assert find_blocks(g, alone=False).blocks == ()


def test_what_a_stage_cannot_be_deepened_by() -> None:
    grouped = resnet_network(((8, 1, 1), (16, 1, 2)), groups=2)
    with pytest.raises(
        UnsupportedGraphError, match="stage 1 cannot be deepened to 2 layers: b1_c1"
    ):
        applied(Mix(depths=(1, 2)), grouped)
    with pytest.raises(
        UnsupportedGraphError, match="the space has no candidate for a copy of b1_c1"
    ):
        applied(Mix(candidates=(), depths=(1, 2)), resnet_network(((8, 1, 1), (16, 1, 2))))


def test_finds_the_found_resnet(shared_data: Path) -> None:
    """Its shortcuts slice and pad: option A of the paper on residual learning."""
    g = Graph.load(shared_data / "weights_cifar10_resnet" / "resnet20.onnx")
    for one in parse_pipeline("normalize"):
        one.run(g)
    expected = [
        (stride, width, ["basic k3g1"] * 3) for stride, width in ((1, 16), (2, 32), (4, 64))
    ]
    assert found(g) == expected
    assert found(renamed(g)) == expected
    mixed, _ = applied(Mix(depths=(3, 4, 3), size="16x16"), g)
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, g)
