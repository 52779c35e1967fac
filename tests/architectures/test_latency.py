from __future__ import annotations

import json
from pathlib import Path

import pytest

from fnac.architectures.budget import CostLimit, budget_costs, parse_budget
from fnac.architectures.latency import LatencySettings, measure_latency, read_latency
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
from fnac.passes.super_network.mix import Mix
from fnac.stages.derive import DeriveSettings, derive
from tests.support.graphs import graph

BODY = """(float[batch,8,16,16] x) => (float[batch,8,16,16] y)
          <float[24,8,1,1] e, float[24] eb, float[24,1,3,3] d, float[24] db,
           float[8,24,1,1] p, float[8] pb>
          { a = Conv(x, e, eb) b = Relu(a) c = Conv<group=24, pads=[1,1,1,1]>(b, d, db)
            f = Relu(c) g = Conv(f, p, pb) y = Add(x, g) }"""


@pytest.fixture(scope="module")
def network() -> Graph:
    g = graph(BODY)
    Mix(kernels=(3, 7), expansions=(3, 6)).run(g)
    g.manifest.setdefault("size", [16, 16])
    return g


@pytest.fixture(scope="module")
def table(network: Graph) -> dict[str, object]:
    return measure_latency(network, LatencySettings(runs=3, threads=1))


def test_every_candidate_has_a_figure(network: Graph, table: dict[str, object]) -> None:
    layers = table["layers"]
    assert isinstance(layers, dict)
    for layer in network.manifest["layers"]:
        row = layers[layer["name"]]
        assert row.keys() == {c["name"] for c in layer["candidates"]}
        assert all(ms > 0 for name, ms in row.items() if name != "skip")
        assert row.get("skip", 0.0) == 0.0


def test_a_target_keeps_the_latency_budget_of_the_table(
    network: Graph, table: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(table))
    read = read_latency(path)
    costs = budget_costs(network.manifest, "latency", read)
    middle = (costs.least() + costs.greatest()) / 2e6
    network.save(tmp_path / "super.onnx")
    found = derive(
        tmp_path / "super.onnx",
        tmp_path / "target.onnx",
        DeriveSettings(use_at_least=0.0),
        limit=CostLimit(parse_budget(f"{middle:.6f}ms", "latency"), read),
    )
    assert found.unit == "ns"
    assert found.cost <= 1e6 * middle


def test_a_table_of_something_else_is_refused(network: Graph, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("[]")
    with pytest.raises(UsageError, match="not a latency table"):
        read_latency(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_latency(tmp_path / "none.json")
    alone = network.copy()
    choose(alone, None)
    alone.manifest.pop("layers", None)
    with pytest.raises(UsageError, match="measured on a super network"):
        measure_latency(alone)
