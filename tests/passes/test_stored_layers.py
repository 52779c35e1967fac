from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fnac.passes.errors import ArchError, UnsupportedGraphError
from fnac.passes.graph.manifest import MANIFEST_VERSION, read_manifest
from fnac.passes.stored_layers import (
    StoredCandidate,
    StoredLayer,
    read_layers,
    seed_arch,
    write_layers,
)
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied
from tests.support.mbconv_networks import mbconv_network

LAYER = StoredLayer(
    "stage1.layer0", 1, (StoredCandidate("k3e3", 30, 3), StoredCandidate("skip", 0, 0)), "k3e3",
    stride=2, dilation=1, channels=24,
)  # fmt: skip
CANDIDATE = {"name": "k3e3", "madds": 1, "params": 1}


def test_what_is_written_is_read() -> None:
    manifest: dict[str, Any] = {}
    write_layers(manifest, [LAYER])
    assert read_layers(manifest) == (LAYER,)
    assert read_layers({"role": "seed"}) == ()


def test_mixing_writes_the_geometry_of_each_layer() -> None:
    mixed, _ = applied(Mix(kernels=(3, 5), expansions=(2,), depths=(3, 2)), mbconv_network())
    layers = read_layers(mixed.manifest)
    assert [layer.stride for layer in layers] == [2, 1, 1, 1, 1]
    assert [layer.dilation for layer in layers] == [1] * 5
    assert [layer.channels for layer in layers] == [6, 6, 6, 8, 8]


def test_a_layer_of_an_earlier_file_has_no_geometry() -> None:
    manifest: dict[str, Any] = {}
    write_layers(manifest, [LAYER])
    for key in ("stride", "dilation", "channels"):
        del manifest["layers"][0][key]
    (layer,) = read_layers(manifest)
    assert (layer.stride, layer.dilation, layer.channels) == (0, 0, 0)


@pytest.mark.parametrize("key", ["madds", "params"])
def test_a_candidate_that_is_not_whole_is_named(key: str) -> None:
    manifest: dict[str, Any] = {}
    write_layers(manifest, [LAYER])
    del manifest["layers"][0]["candidates"][1][key]
    with pytest.raises(UnsupportedGraphError, match=f"skip has no {key} in the manifest"):
        read_layers(manifest)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "a layer has no name in the manifest"),
        ({"stage": "x"}, "stage1.layer0 says 'x' of its stage in the manifest; wanted a count"),
        ({"candidates": [5]}, "layer stage1.layer0: a candidate is 5; wanted an object"),
        ({"candidates": [{"madds": 1, "params": 1}]}, "a candidate of the manifest's layer"),
        ({"candidates": [CANDIDATE] * 2}, "candidates are k3e3, k3e3; wanted different names"),
        ({"candidates": [CANDIDATE | {"madds": -1}]}, "k3e3 says -1 of its madds"),
        ({"seed_choice": "k9"}, "its seed_choice is 'k9'; wanted one of its candidates"),
    ],
)
def test_what_is_wrong_with_a_layer_is_named(change: dict[str, Any], words: str) -> None:
    manifest: dict[str, Any] = {}
    write_layers(manifest, [LAYER])
    manifest["layers"][0].update(change)
    with pytest.raises(UnsupportedGraphError, match=re.escape(words)):
        read_layers(manifest)


def test_a_manifest_whose_seed_is_not_said_is_read_back() -> None:
    manifest: dict[str, Any] = {}
    unsaid = StoredLayer("stage1.layer1", 1, LAYER.candidates)
    write_layers(manifest, [LAYER, unsaid])
    stored = read_manifest(json.dumps({"version": MANIFEST_VERSION, "role": "super"} | manifest))
    assert read_layers(stored) == (LAYER, unsaid)


def test_a_seed_that_is_not_said_is_named() -> None:
    assert seed_arch([LAYER]) == ["k3e3"]
    unsaid = StoredLayer("stage1.layer1", 1, LAYER.candidates)
    with pytest.raises(
        UnsupportedGraphError, match=r"layer stage1\.layer1: the super network does"
    ):
        seed_arch([LAYER, unsaid])


def test_a_choice_that_is_not_offered_is_named() -> None:
    assert LAYER.index("skip") == 1
    with pytest.raises(
        ArchError, match=r"stage1\.layer0: the arch asks for 'k5e3'; its candidates"
    ):
        LAYER.index("k5e3")
