"""What ``fnac profile --json`` prints, and what a benchmark refuses."""

from __future__ import annotations

import pytest

from fnac.errors import UsageError
from fnac.inspection.bench import BenchSettings
from fnac.inspection.profile import profile_json
from fnac.passes.cost import Profile, profile
from fnac.passes.graph import Graph
from tests.support.graphs import graph


def counted() -> tuple[Profile, Graph]:
    """Two convolutions of 16 and 32 MAdds a pixel, and a Relu, on four pixels."""
    network = graph(
        """(float[1,4,2,2] x) => (float[1,8,2,2] y) <float[4,4,1,1] a, float[8,4,1,1] b>
           { h = Conv(x, a) r = Relu(h) y = Conv(r, b) }"""
    )
    return profile(network), network


def test_a_profile_by_node_is_the_profile() -> None:
    whole, network = counted()
    assert profile_json(whole, network, "node", None) == whole.as_json()


@pytest.mark.parametrize("by", ["op", "block"])
def test_top_cuts_nodes_and_groups_but_not_the_totals(by: str) -> None:
    whole, network = counted()
    groups = {
        "op": [
            {"name": "Conv", "madds": 192, "params": 48},
            {"name": "Relu", "madds": 0, "params": 0},
        ],
        "block": [{"name": "backbone", "madds": 192, "params": 48}],
    }
    assert profile_json(whole, network, by, None) == {**whole.as_json(), "groups": groups[by]}
    cut = profile_json(whole, network, by, 1)
    assert [node["name"] for node in cut["nodes"]] == ["y"]
    assert cut["groups"] == groups[by][:1]
    assert (cut["madds"], cut["params"]) == (192, 48)


@pytest.mark.parametrize(
    ("by", "top", "message"),
    [
        ("node", 0, "--top 0: wanted at least 1 row"),
        ("part", None, "--by part: wanted node, op or block"),
    ],
)
def test_a_profile_that_cannot_be(by: str, top: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        profile_json(*counted(), by, top)


@pytest.mark.parametrize("name", ["runs", "batch", "threads"])
def test_a_benchmark_of_less_than_one(name: str) -> None:
    with pytest.raises(UsageError, match=f"bench: --{name} 0: wanted at least 1"):
        BenchSettings(**{name: 0})
