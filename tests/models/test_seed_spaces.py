"""What the spaces of the paper make of its seeds, narrow and small, with their heads."""

from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.super_network.choose import Choose, choose
from fnac.stages.expand import ExpandSettings, expand, prepare_seed
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from tests.support.graphs import renamed
from tests.support.mbconv_networks import same_graph

FB = ["k3e6 k3e1 k3e1 skip", "k5e6 k5e3 k5e6 k3e6", "k5e6 k5e3 k5e6 k5e6", "k5e6 k5e6 k5e6 k5e3",
      "k5e6 k5e6 k5e6 k5e6", "k3e6"]  # fmt: skip
PROXY = ["k5e3 k3e3 skip skip", "k7e3 k3e3 k5e3 k5e3", "k7e6 k5e3 k5e3 k5e3",
         "k5e6 k5e3 k5e3 k5e3", "k7e6 k7e6 k7e3 k7e3", "k7e6"]  # fmt: skip
MOBILE = ["k3e6 k3e6 skip skip", "k3e6 k3e6 k3e6 skip", "k3e6 k3e6 k3e6 k3e6",
          "k3e6 k3e6 k3e6 skip", "k3e6 k3e6 k3e6 skip", "k3e6"]  # fmt: skip
SEEDS: dict[str, tuple[str, str, str, list[str]]] = {
    "FBNet-C": ("fbnetc_w0.25", "retinanet", "fbnetc", FB),
    "Proxyless": ("proxyless_w0.5", "ssdlite", "proxyless", PROXY),
    "MobileNetV2": ("mobilenetv2_w0.25", "ssdlite", "auto", MOBILE),
    "ResNet-18": ("resnet18_w0.25", "retinanet", "auto", ["k3g1 k3g1"] * 4),
    "ResNet-50": (
        "resnet50_w0.25", "retinanet", "resnet",
        [" ".join(["k3g1"] * n) for n in (3, 4, 6, 3)],
    ),
}  # fmt: skip


def prepared(name: str) -> tuple[Graph, ExpandSettings]:
    seed, head, space, _ = SEEDS[name]
    exported = export_seed(ExportSettings(seed=seed, weights="none", size=(64, 64)))
    settings = ExpandSettings(task="det", head=head, classes=3, space=space)
    return prepare_seed(exported, settings, manager=PassManager(verify=False)), settings


@pytest.mark.parametrize("name", SEEDS)
def test_the_seed_is_inside_its_space_and_costs_add_up(name: str) -> None:
    seed, settings = prepared(name)
    mixed = expand(renamed(seed), settings, manager=PassManager(verify=False))
    layers = mixed.manifest["layers"]
    expected = " ".join(SEEDS[name][3]).split()
    assert [la["seed_choice"] for la in layers] == expected
    back = mixed.copy()
    Choose().run(back)
    assert same_graph(back, expand_nothing(renamed(seed), settings))
    rng = np.random.default_rng(0)
    arch = [la["candidates"][rng.integers(len(la["candidates"]))] for la in layers]
    for chosen in (arch, [la["candidates"][0] for la in layers]):
        target = mixed.copy()
        choose(target, [c["name"] for c in chosen])
        counted = profile(target)
        assert counted.madds == mixed.manifest["fixed_madds"] + sum(c["madds"] for c in chosen)
        assert counted.params == mixed.manifest["fixed_params"] + sum(c["params"] for c in chosen)


def expand_nothing(seed: Graph, settings: ExpandSettings) -> Graph:
    """What ``expand`` mixes: the prepared seed, prepared once more."""
    return prepare_seed(seed, settings, manager=PassManager(verify=False))


def test_ssdlites_first_160_layer_offers_e6_only() -> None:
    seed, settings = prepared("MobileNetV2")
    mixed = expand(seed, settings, manager=PassManager(verify=False))
    offered = {la["name"]: [c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"]}
    assert offered["stage5.layer0"] == ["k3e6", "k5e6", "k7e6"]
    assert offered["stage5.layer1"] == ["k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6", "skip"]
    assert sum(len(names) == 3 for names in offered.values()) == 1


def test_fbnets_e1_blocks_are_one_more_candidate() -> None:
    seed, settings = prepared("FBNet-C")
    mixed = expand(seed, settings, manager=PassManager(verify=False))
    stage = [[c["name"] for c in la["candidates"]] for la in mixed.manifest["layers"][:4]]
    six = ["k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6"]
    assert stage == [six, [*six, "k3e1", "skip"], [*six, "k3e1", "skip"], [*six, "skip"]]


LONGEST = ("FBNet-C", "Proxyless")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in LONGEST else ()) for n in SEEDS],
)
def test_every_candidate_of_every_seed_is_proven(name: str) -> None:
    seed, settings = prepared(name)
    manager = PassManager()
    expand(seed, settings, manager=manager)
    assert manager.ledger[-1].name == "mix"
    assert manager.ledger[-1].verdict == "equal"
