"""The derive stage: within the budget on the target's own nodes, weights from the right file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from fnac.architectures.budget import CostLimit, parse_budget
from fnac.architectures.costs import space_costs
from fnac.architectures.solve import log_softmax
from fnac.errors import UsageError
from fnac.findings import read_findings
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.super_network.choice_points import find_choice_points
from fnac.passes.super_network.choose import choose
from fnac.stages.derive import DeriveSettings, derive
from tests.support.graphs import assert_same_outputs
from tests.support.super_networks import tiny_super

SETTINGS = DeriveSettings()


def searched(path: Path, seed: int = 1) -> Path:
    """Write a super network whose alphas are decided."""
    graph = tiny_super(layers=4, seed=seed)
    rng = np.random.default_rng(seed)
    for point in find_choice_points(graph):
        point.alpha.values = rng.standard_normal(point.alpha.shape).astype(np.float32)
    return graph.save(path)


@pytest.mark.parametrize("share", ["0.5x", "0.8x", "1x", "1.4x"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_target_is_the_best_network_within_the_budget(
    tmp_path: Path, share: str, seed: int
) -> None:
    model = searched(tmp_path / "super.onnx", seed)
    graph = Graph.load(model)
    space = space_costs(graph.manifest)
    budget = parse_budget(share).resolve(space)
    result = derive(
        model,
        tmp_path / "target.onnx",
        DeriveSettings(use_at_least=0.0),
        limit=CostLimit(parse_budget(share)),
        arch_output=tmp_path / "arch.json",
    )
    scores = [log_softmax(point.alpha.values) for point in find_choice_points(graph)]
    every = itertools.product(*(range(len(row)) for row in scores))
    best = max(
        (arch for arch in every if space.total(arch) <= budget),
        key=lambda arch: sum(row[a] for row, a in zip(scores, arch)),
    )
    assert result.choices == space.names(best)
    target = Graph.load(result.output)
    assert profile(target).madds == result.madds == result.cost <= budget
    assert target.manifest["role"] == "target"
    assert tuple(target.manifest["arch"]) == result.choices
    arch = json.loads((tmp_path / "arch.json").read_text())
    assert tuple(layer["choice"] for layer in arch["layers"]) == result.choices
    assert [layer["name"] for layer in arch["layers"]] == [f"layer{i}" for i in range(4)]


def test_the_arch_file_leads_to_the_same_target(tmp_path: Path) -> None:
    model = searched(tmp_path / "super.onnx")
    arch = tmp_path / "arch.json"
    budget = parse_budget("0.8x")
    one = derive(model, tmp_path / "one.onnx", SETTINGS, limit=CostLimit(budget), arch_output=arch)
    two = derive(model, tmp_path / "two.onnx", SETTINGS, arch=arch)
    chosen, given = Graph.load(one.output), Graph.load(two.output)
    assert chosen.manifest.pop("findings") != given.manifest.pop("findings") == []
    assert chosen.to_model() == given.to_model()
    assert one.ledger[0]["stage"] == "derive"


def test_seed_is_the_seeds_own_architecture(tmp_path: Path) -> None:
    model = searched(tmp_path / "super.onnx")
    result = derive(model, tmp_path / "target.onnx", SETTINGS, arch="seed")
    assert result.choices == ("k3e1",) * 4
    assert result.madds == space_costs(Graph.load(model).manifest).seed_total()


def test_without_a_budget_each_layer_takes_its_argmax(tmp_path: Path) -> None:
    model = searched(tmp_path / "super.onnx")
    graph = Graph.load(model)
    best = [int(point.alpha.values.argmax()) for point in find_choice_points(graph)]
    result = derive(model, tmp_path / "target.onnx", SETTINGS)
    assert result.choices == space_costs(graph.manifest).names(best)


def test_weights_come_from_the_seed_when_asked(tmp_path: Path) -> None:
    model = searched(tmp_path / "super.onnx", seed=1)
    unsearched = searched(tmp_path / "before.onnx", seed=2)
    names = derive(model, tmp_path / "a.onnx", SETTINGS).choices
    result = derive(
        model, tmp_path / "b.onnx", DeriveSettings(weights="seed"), unsearched=unsearched
    )
    assert result.choices == names
    expected = Graph.load(unsearched)
    choose(expected, names)
    assert_same_outputs(expected, Graph.load(result.output))
    other = tiny_super(layers=3).save(tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="has other layers or candidates"):
        derive(model, tmp_path / "c.onnx", DeriveSettings(weights="seed"), unsearched=other)
    with pytest.raises(UsageError, match="--from seed: wanted together with"):
        derive(model, tmp_path / "c.onnx", DeriveSettings(weights="seed"))


def test_contradictions_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    model = searched(tmp_path / "super.onnx")
    output = tmp_path / "target.onnx"
    with pytest.raises(UsageError, match="--budget and --arch"):
        derive(model, output, SETTINGS, limit=CostLimit(parse_budget("1x")), arch="seed")
    with pytest.raises(UsageError, match="the least this search space can reach"):
        derive(model, output, SETTINGS, limit=CostLimit(parse_budget("0.05x")))
    arch = tmp_path / "arch.json"
    arch.write_text('{"layers": ["skip", "skip", "skip", "skip"]}')
    with pytest.raises(UsageError, match=r"layer0: it has no candidate 'skip'; it offers k1e1"):
        derive(model, output, SETTINGS, arch=arch)
    assert not output.exists()


def test_a_floor_that_bound_is_said(tmp_path: Path) -> None:
    graph = tiny_super(layers=4)
    for point in find_choice_points(graph):
        point.alpha.values = np.linspace(0, 1, len(point.alpha.values), dtype=np.float32)
    model = graph.save(tmp_path / "super.onnx")
    result = derive(
        model, tmp_path / "target.onnx", SETTINGS, limit=CostLimit(parse_budget("1.4x"))
    )
    assert result.budget is not None
    kinds = {finding.kind for finding in result.findings}
    assert "held-to-budget" in kinds
    assert read_findings(Graph.load(result.output).manifest) == result.findings
    assert result.cost >= 0.95 * result.budget


def test_random_weights_begin_with_the_head_that_expand_left(tmp_path: Path) -> None:
    """A head that the search has trained would help weights at random."""

    def stem(graph: Graph) -> gs.Node:
        return next(node for node in graph.nodes if node.op == "Conv")

    unsearched = Graph.load(searched(tmp_path / "made.onnx"))
    stem(unsearched).metadata["fnac.part"] = "head"  # weights that Randomize leaves
    unsearched.save(tmp_path / "before.onnx")
    fresh = stem(unsearched).inputs[1].values.copy()
    stem(unsearched).inputs[1].values = fresh + 1
    model = unsearched.save(tmp_path / "super.onnx")
    how = DeriveSettings(weights="random")
    for before, expected in ((tmp_path / "before.onnx", fresh), (None, fresh + 1)):
        target = derive(model, tmp_path / "t.onnx", how, unsearched=before).output
        np.testing.assert_array_equal(stem(Graph.load(target)).inputs[1].values, expected)
