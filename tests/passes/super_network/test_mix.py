from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fnac.passes.blocks.candidate_names import SKIP
from fnac.passes.cost import profile
from fnac.passes.errors import (
    ArchError,
    ArgumentError,
    PassFailedError,
    StrategyError,
    UnsupportedGraphError,
)
from fnac.passes.graph import Graph
from fnac.passes.remap.strategies import STRATEGIES
from fnac.passes.stored_layers import read_layers
from fnac.passes.super_network.choice_points import find_choice_points, set_alphas
from fnac.passes.super_network.choose import Choose, choose
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied, assert_same_outputs, feeds, graph, outputs, renamed, text
from tests.support.mbconv_networks import mbconv_network, same_graph

MIX = Mix(kernels=(3, 5), expansions=(2, 3), depths=(3, 2))
NAMES = ["k3e2", "k3e3", "k5e2", "k5e3"]


def layers(g: Graph) -> list[dict[str, Any]]:
    return list(g.manifest["layers"])


def test_every_layer_gets_its_candidates() -> None:
    after, report = applied(MIX, mbconv_network())
    assert [
        (la["name"], la["stage"], [c["name"] for c in la["candidates"]], la["seed_choice"])
        for la in layers(after)
    ] == [
        ("stage1.layer0", 1, NAMES, "k3e2"),
        ("stage1.layer1", 1, [*NAMES, "skip"], "k3e2"),
        ("stage1.layer2", 1, [*NAMES, "skip"], "skip"),
        ("stage2.layer0", 2, NAMES, "k3e2"),
        ("stage2.layer1", 2, [*NAMES, "skip"], "skip"),
    ]
    assert report.rewrote == {
        "b1_dw": "stage1.layer0: 4 candidates",
        "b2_dw": "stage1.layer1: 5 candidates",
        "stage1.layer2": "stage1.layer2: 5 candidates",
        "b3_dw": "stage2.layer0: 4 candidates",
        "stage2.layer1": "stage2.layer1: 5 candidates",
    }
    assert report.left["b0_dw"] == "its stage does not expand (e1); it stays as it is"
    assert (after.manifest["role"], after.manifest["remap"]) == ("super", "fna")


def test_a_choice_point_is_plain_onnx() -> None:
    after, _ = applied(Mix(kernels=(3,), expansions=(2,), depths=(2, 1)), mbconv_network())
    lines = text(after).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("stage1.layer1.p ="))
    assert lines[start : start + 5] == [
        "stage1.layer1.p = Softmax(stage1.layer1.alpha[2]) axis=0",
        "stage1.layer1.p0, stage1.layer1.p1 = "
        "Split(stage1.layer1.p, stage1.layer1.sizes[2]) axis=0",
        "stage1.layer1.m0 = Mul(b2_add.k3e2, stage1.layer1.p0)",
        "stage1.layer1.m1 = Mul(b1_pw_bn, stage1.layer1.p1)",
        "b2_add = Sum(stage1.layer1.m0, stage1.layer1.m1)",
    ]


def test_a_layer_of_one_candidate_is_no_choice() -> None:
    after, report = applied(Mix(kernels=(3,), expansions=(2,)), mbconv_network())
    assert [la["name"] for la in layers(after)] == ["stage1.layer1"]
    assert report.left["b1_dw"] == "the space offers nothing but the block itself"
    after, _ = applied(Mix(kernels=(3,), expansions=(2,), depths=(2, 3)), mbconv_network())
    assert [la["name"] for la in layers(after)] == [
        "stage1.layer1", "stage2.layer1", "stage2.layer2",
    ]  # fmt: skip
    applied(Choose(), after)
    back, _ = applied(Choose(), after)
    assert same_graph(back, mbconv_network())


def test_a_seed_block_outside_the_space_is_one_more_candidate() -> None:
    after, _ = applied(Mix(kernels=(5,), expansions=(3,)), mbconv_network())
    assert [[c["name"] for c in la["candidates"]] for la in layers(after)] == [
        ["k5e3", "k3e2"], ["k5e3", "k3e2", "skip"], ["k5e3", "k3e2"],
    ]  # fmt: skip
    assert {la["seed_choice"] for la in layers(after)} == {"k3e2"}


VARIANTS: dict[str, dict[str, Any]] = {
    "bn": {},
    "folded": {"bn": False, "bias": True},
    "asymmetric pads": {"same": True},
    "hard-swish": {"act": "hswish"},
    "5x5": {"kernel": 5},
    "no classifier": {"classifier": False},
    "three stages": {"stages": ((6, 1, 2), (6, 3, 2), (8, 2, 1))},
    "opset 12": {"opset": 12},
    "e1 blocks": {"plain_tail": True},
}


@pytest.mark.parametrize("kind", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_seed_comes_back_to_the_bit(kind: dict[str, Any], name: str) -> None:
    before = renamed(mbconv_network(**kind))
    mix = Mix(kernels=(3, 5), expansions=(1, 3), depths=(3,) * (3 if "stages" in kind else 2),
              strategy=name)  # fmt: skip
    if name == "bn-gamma" and not kind.get("bn", True):
        with pytest.raises(StrategyError, match="there is no batch normalisation; restore it"):
            applied(mix, before)
        return
    mixed, _ = applied(mix, before)
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)
    assert not same_graph(mixed, before)


def proven(mix: Mix, before: Graph) -> list[str]:
    """Hold every proof of ``mix`` to equality and return what was proven."""
    mixed, _ = applied(mix, before)
    done = []
    for what, reference, twin in mix.proofs(before, mixed):
        assert_same_outputs(reference, twin)
        done.append(what)
    return done


SEED = "the super network at the seed's choices"


FULL = [k for n, k in VARIANTS.items() if n not in ("hard-swish", "e1 blocks")]


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("name", ["fna", "fna-live", "l1", "net2net-depth"])
def test_every_candidate_computes_what_its_remapping_says(kind: dict[str, Any], name: str) -> None:
    stages = 3 if "stages" in kind else 2
    mix = Mix(kernels=(3, 5), expansions=(1, 2, 3), depths=(3,) * stages, strategy=name)
    before = mbconv_network(**kind)
    as_it_was = before.to_model().SerializeToString()
    done = proven(mix, before)
    names = [f"k{k}e{e}" for k in (3, 5) for e in (1, 2, 3)]
    assert sorted(done) == sorted(
        [SEED, *(f"candidate {n} in every layer that has it" for n in names)]
    )
    assert before.to_model().SerializeToString() == as_it_was


@pytest.mark.parametrize(("name", "same"), [("fna", False), ("net2net-depth", True)])
def test_copies_of_a_block_begin_as_the_identity_under_net2net(name: str, same: bool) -> None:
    before = mbconv_network()
    mixed, _ = applied(Mix(kernels=(3,), expansions=(2, 3), depths=(3, 3), strategy=name), before)
    layers = read_layers(mixed.manifest)
    arch = [one.seed_choice if one.seed_choice != SKIP else one.names[0] for one in layers]
    assert any(one.seed_choice == SKIP and arch[k] != SKIP for k, one in enumerate(layers))
    deeper, _ = applied(Choose(arch=tuple(map(str, arch))), mixed)
    if same:
        assert_same_outputs(before, deeper)
        return
    with pytest.raises(AssertionError):
        assert_same_outputs(before, deeper)


E1: dict[str, tuple[Any, ...]] = {
    "e1 behind an expanding block": (((6, 3, 2),), [2, 3], (4,)),
    "a stage that begins with e1": (((6, 1, 2), (8, 3, 1)), [2, 3], (2, 4)),
    "a stage of e1 alone": (((6, 2, 2), (8, 1, 1)), [3], (2, 3)),
    "stages of one width": (((6, 2, 2), (6, 2, 2)), [3, 4], (3, 3)),
}


@pytest.mark.parametrize(("stages", "plain", "depths"), E1.values(), ids=E1)
@pytest.mark.parametrize(("name", "bn"), [("fna", True), ("fna-live", True), ("l1", False)])
def test_e1_blocks_behind_the_first_expanding_one_are_searched_and_proven(
    stages: Any, plain: list[int], depths: tuple[int, ...], name: str, bn: bool
) -> None:
    """An expansion is made up as the identity: the block computes itself on its activated entry."""
    before = mbconv_network(stages, plain=plain, bn=bn, bias=not bn)
    mix = Mix(kernels=(3, 5), expansions=(1, 2, 3), depths=depths, strategy=name)
    mixed, report = applied(mix, before)
    assert len(layers(mixed)) == sum(depths)
    assert {la["seed_choice"] for la in layers(mixed)} == {"k3e1", "k3e2", "skip"}
    fresh = [n for n, what in report.initializers.items() if "the identity" in what]
    assert any(n.startswith(f"b{plain[0]}_dw_weight.expand.k5e2") for n in fresh)
    names = [f"k{k}e{e}" for k in (3, 5) for e in (1, 2, 3)]
    assert sorted(proven(mix, before)) == sorted(
        [SEED, *(f"candidate {n} in every layer that has it" for n in names)]
    )
    back, _ = applied(Choose(), mixed)
    assert same_graph(back, before)


def test_a_wrong_number_in_a_made_up_expansion_breaks_a_proof() -> None:
    before = mbconv_network(((6, 2, 2),), plain=[2])
    mixed, _ = applied(Mix(kernels=(3,), expansions=(2,)), before)
    made_up = next(c for c in mixed.constants() if ".expand." in c.name and "weight" in c.name)
    made_up.values = -made_up.values
    pairs = list(Mix(kernels=(3,), expansions=(2,)).proofs(before, mixed))
    assert_same_outputs(*pairs[0][1:])
    with pytest.raises(AssertionError):
        assert_same_outputs(*pairs[1][1:])


@pytest.mark.parametrize("skipped", [(), (4,), (2, 7), (3, 4, 8)])
def test_a_network_that_was_chosen_is_mixed_again(skipped: tuple[int, ...]) -> None:
    """The names that mixing gave the first time are there already the second time."""
    first = Mix(kernels=(3, 5), expansions=(2, 3), depths=(5, 5))
    mixed, _ = applied(first, mbconv_network(((6, 3, 2), (8, 2, 2))))
    arch = [NAMES[i % 4] for i in range(10)]
    for i in skipped:
        arch[i] = "skip"
    target, _ = applied(Choose(arch=tuple(arch)), mixed)
    target = Graph.from_model(target.to_model())
    for second in (dataclasses.replace(first, depths=()), first):
        again, _ = applied(second, target)
        back, _ = applied(Choose(), Graph.from_model(again.to_model()))
        assert same_graph(back, target)
        assert proven(second, target)[0] == SEED


def test_what_cannot_be_known_is_not_claimed() -> None:
    before = mbconv_network()
    space: dict[str, Any] = {"kernels": (3, 5), "expansions": (1, 2)}
    assert proven(Mix(**space, strategy="random"), before) == [SEED]
    assert proven(Mix(**space, strategy="dilate"), before) == [
        SEED, "candidate k3e1 in every layer that has it",
    ]  # fmt: skip


def test_a_wrong_number_in_a_candidate_breaks_a_proof() -> None:
    before = mbconv_network()
    mixed, _ = applied(MIX, before)
    points = find_choice_points(mixed)
    for point in (points[0], points[-1]):  # one in the seed's place, one added
        for region in filter(None, point.regions):
            spoilt = mixed.copy()
            weight = next(c for c in spoilt.constants() if c.name == region[0].inputs[1].name)
            weight.values = weight.values + 1
            differ = 0
            for _, reference, twin in MIX.proofs(before, spoilt):
                feed = feeds(before)
                a, b = outputs(reference, feed), outputs(twin, feed)
                differ += not np.array_equal(a["logits"], b["logits"])
            assert differ, region[0].name


def test_candidates_must_be_what_their_names_spell() -> None:
    before = mbconv_network()
    mixed, _ = applied(MIX, before)
    mixed.manifest["layers"][0]["candidates"].reverse()
    with pytest.raises(
        PassFailedError, match=r"stage1\.layer0: candidate k5e3 is a k3e2 \(node b1_dw\), weighed"
    ):
        next(MIX.proofs(before, mixed))


@pytest.mark.parametrize("seed", range(4))
def test_chosen_equals_one_hot_and_costs_what_the_manifest_says(seed: int) -> None:
    mixed, _ = applied(MIX, mbconv_network())
    rng = np.random.default_rng(seed)
    at = [int(rng.integers(len(la["candidates"]))) for la in layers(mixed)]
    chosen = [la["candidates"][i] for la, i in zip(layers(mixed), at, strict=True)]
    target, report = applied(Choose(arch=tuple(c["name"] for c in chosen)), mixed)
    assert_same_outputs(set_alphas(mixed, at), target)
    counted = profile(target)
    assert counted.madds == mixed.manifest["fixed_madds"] + sum(c["madds"] for c in chosen)
    assert counted.params == mixed.manifest["fixed_params"] + sum(c["params"] for c in chosen)
    assert target.manifest["arch"] == [c["name"] for c in chosen]
    assert "layers" not in target.manifest
    assert all(what.startswith("collected from stage") for what in report.initializers.values())
    assert not any("fnac.layer" in node.metadata for node in target.nodes)


def test_skip_costs_nothing() -> None:
    mixed, _ = applied(MIX, mbconv_network())
    for layer in layers(mixed):
        for candidate in layer["candidates"]:
            free = (candidate["madds"], candidate["params"]) == (0, 0)
            assert free == (candidate["name"] == "skip")


def test_every_initializer_is_accounted_for() -> None:
    before = mbconv_network()
    after, report = applied(MIX, before)
    for point in find_choice_points(after):
        for region in point.regions:
            stored = [
                t.name for n in region if n.op != "Clip" for t in n.inputs[1:] if not t.inputs
            ]
            assert stored or not region
            missing = [name for name in stored if name not in report.initializers]
            assert not missing
        assert report.initializers[point.alpha.name] == "fresh: 1e-3 * randn"
    assert report.initializers["b1_ex_weight"] == "copied: the seed's own"
    assert report.initializers["b1_ex_weight.k5e3"] == "padded from b1_ex_weight"
    assert report.initializers["b1_dw_weight.k5e2"] == "padded from b1_dw_weight"
    assert report.initializers["b2_pw_weight.stage1.layer2.k3e2"] == "copied from b2_pw_weight"


def test_choice_points_are_found_by_structure() -> None:
    mixed, _ = applied(MIX, mbconv_network())
    points = find_choice_points(renamed(mixed))
    assert [len(p.regions) for p in points] == [4, 5, 5, 4, 5]
    assert [p.skip() for p in points] == [None, 4, 4, None, 4]
    first = points[0]
    assert [[n.op for n in region][:2] for region in first.regions] == [
        ["Conv", "BatchNormalization"]
    ] * 4
    assert all(out.inputs[0] is region[-1] for out, region in
               zip(first.outputs, first.regions, strict=True))  # fmt: skip
    assert first.output is points[1].entry


def test_no_choice_points_in_other_sums() -> None:
    from tests.support.graphs import graph

    g = graph(
        """(float[2,3] x) => (float[2,3] y) <float[2] a, int64[2] ones = {1, 1}>
        { p = Softmax<axis=0>(x) q = Mul(x, p) r = Mul(x, x) y = Sum(q, r) }""",
        check=False,
    )
    assert find_choice_points(g) == []


def test_alphas_start_small_seeded_and_different() -> None:
    first, _ = applied(MIX, mbconv_network())
    again, _ = applied(MIX, mbconv_network())
    other, _ = applied(Mix(kernels=(3, 5), expansions=(2, 3), depths=(3, 2), random_seed=1),
                       mbconv_network())  # fmt: skip

    def alphas(g: Graph) -> np.ndarray:
        return np.concatenate([p.alpha.values for p in find_choice_points(g)])

    assert np.abs(alphas(first)).max() < 1e-2
    assert len(set(alphas(first))) == len(alphas(first))
    np.testing.assert_array_equal(alphas(first), alphas(again))
    assert not np.array_equal(alphas(first), alphas(other))


def test_the_super_network_runs_as_it_is() -> None:
    mixed, _ = applied(MIX, mbconv_network())
    assert np.isfinite(outputs(mixed)["logits"]).all()


def test_is_done_after_one_run() -> None:
    once, _ = applied(MIX, mbconv_network())
    twice, again = applied(MIX, once)
    assert again.rewrote == {}
    assert again.left["stage1.layer0.sum"] == "it is a choice point already"
    assert same_graph(twice, once)


def test_choosing_twice_does_nothing() -> None:
    mixed, _ = applied(MIX, mbconv_network())
    once, _ = applied(Choose(), mixed)
    _, again = applied(Choose(), once)
    assert again.rewrote == {}


def test_refusals() -> None:
    with pytest.raises(UnsupportedGraphError, match="depths for 3 stages were given, but the"):
        applied(Mix(depths=(1, 2, 3)), mbconv_network())
    with pytest.raises(UnsupportedGraphError, match="stage 1 has 2 blocks and 4 were asked for"):
        applied(Mix(depths=(4, 4), skip=False), mbconv_network())
    with pytest.raises(StrategyError, match="no remapping strategy is called 'x'"):
        applied(Mix(strategy="x"), mbconv_network())
    open_size = mbconv_network()
    open_size.inputs[0].shape = ["N", 3, "H", "W"]
    with pytest.raises(UnsupportedGraphError, match="does not say how large its images are, at"):
        applied(MIX, open_size)
    with pytest.raises(ArgumentError, match=r"size=224; wanted HxW, e\.g\. size=224x224"):
        applied(Mix(size="224"), open_size)
    assert applied(Mix(size="16x16"), open_size)[0].manifest["size"] == [16, 16]
    mixed, _ = applied(MIX, mbconv_network())
    with pytest.raises(ArchError, match="the arch has 1 choices, the super network 5 layers"):
        choose(mixed, ["k3e2"])
    with pytest.raises(
        ArchError, match=r"stage1\.layer0: the arch asks for 'skip'; its candidates"
    ):
        choose(mixed, ["skip", "skip", "skip", "k3e2", "skip"])
    mixed.manifest.clear()
    with pytest.raises(UnsupportedGraphError, match="5 choice points were found and 0 layers"):
        applied(Choose(), mixed)


def test_a_network_without_blocks_is_left_as_it_is() -> None:
    before = graph(
        """(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,1,1] w>
           { h = Conv(x, w) y = Relu(h) }"""
    )
    after, report = applied(Mix(), before)
    assert report.rewrote == {}
    assert same_graph(after, before)
    assert "layers" not in after.manifest
