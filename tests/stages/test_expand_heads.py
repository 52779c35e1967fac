"""The seed is inside its super network, for every seed under every head."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from fnac.errors import UnsupportedGraphError
from fnac.importer import import_onnx
from fnac.models.heads.kinds import HEADS as HEAD_KINDS
from fnac.models.seeds.find import find_seed
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed, run
from fnac.passes.super_network.choice_points import find_choice_points, set_alphas
from fnac.passes.super_network.choose import Choose
from fnac.stages.expand import ExpandSettings, expand, prepare_seed
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from tests.models.test_seeds_with_heads import CLASSES, HEADS, PAIRS, SEEDS, SIZE
from tests.support.graphs import applied, renamed
from tests.support.mbconv_networks import same_graph


@functools.cache
def exported(seed: str) -> Graph:
    return export_seed(ExportSettings(seed, "none", size=(SIZE, SIZE)))


def settings(head: str) -> ExpandSettings:
    return ExpandSettings(task=HEADS[head], head=head, classes=CLASSES)


def prepared(seed: str, head: str) -> Graph:
    made = prepare_seed(exported(seed), settings(head), manager=PassManager(verify=False))
    made.refresh_shapes()
    return made


def seed_comes_back(made: Graph, before: Graph) -> None:
    """Choosing the seed's candidates leaves the seed to the bit, and costs what it costs."""
    target, _ = applied(Choose(), made)
    target.refresh_shapes()
    assert same_graph(target, before)
    cost = profile(before)
    assert (made.manifest["seed_madds"], made.manifest["seed_params"]) == (cost.madds, cost.params)
    chosen = [
        candidate["madds"]
        for layer in made.manifest["layers"]
        for candidate in layer["candidates"]
        if candidate["name"] == layer["seed_choice"]
    ]
    assert made.manifest["fixed_madds"] + sum(chosen) == cost.madds


def alphas_lead_to_the_seed(made: Graph, before: Graph) -> None:
    """With all weight on the seed's candidates the super network computes the seed exactly."""
    at = [
        [c["name"] for c in layer["candidates"]].index(layer["seed_choice"])
        for layer in made.manifest["layers"]
    ]
    feed = random_feed(before, (SIZE, SIZE))
    wanted, found = run(before, feed), run(set_alphas(made, at), feed)
    assert list(wanted) == list(found)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    other = [(i + 1) % len(la["candidates"]) for i, la in zip(at, made.manifest["layers"])]
    changed = run(set_alphas(made, other), feed)
    assert any(not np.array_equal(changed[name], wanted[name]) for name in wanted)


def torch_mixes_as_onnxruntime(made: Graph) -> None:
    """With soft alphas of any value the file and the re-imported module agree."""
    mixed = made.copy()
    rng = np.random.default_rng(0)
    for point in find_choice_points(mixed):
        point.alpha.values = rng.normal(size=point.alpha.shape).astype(point.alpha.dtype)
    feed = random_feed(mixed, (SIZE, SIZE))
    wanted = run(mixed, feed)
    module = import_onnx(mixed.to_model()).eval()
    assert len(module.choice_points) == len(made.manifest["layers"])
    with torch.no_grad():
        found = module(*map(torch.from_numpy, feed.values()))
    outputs = found if isinstance(found, tuple) else (found,)
    for value, ours in zip(wanted.values(), outputs, strict=True):
        assert np.abs(ours.numpy() - value).max() <= 2e-5 * np.abs(value).max()


def choices(made: Graph) -> list[tuple[str, list[str]]]:
    """Return each layer's seed choice and what it may choose."""
    return [
        (layer["seed_choice"], [candidate["name"] for candidate in layer["candidates"]])
        for layer in made.manifest["layers"]
    ]


DEAR = ("mobilenetv2", "resnet50")
"""Kinds of blocks of which one head is enough by default; ResNet-18 is tried under every head."""


def marked(seed: str, head: str) -> object:
    """Leave to the slow tests what costs seconds and has its like among the others.

    The relatives of MobileNetV2 have blocks of its kind.
    """
    slow = seed.startswith(("fbnetc", "proxyless"))
    slow |= seed.startswith(DEAR) and head not in ("deeplabv3", "linear")
    return pytest.param(seed, head, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("seed", "head"), [marked(*pair) for pair in PAIRS])
def test_the_seed_is_inside_and_every_candidate_is_proven(seed: str, head: str) -> None:
    before = prepared(seed, head)
    manager = PassManager()
    made = expand(exported(seed), settings(head), manager=manager)
    assert (manager.ledger[-1].name, manager.ledger[-1].verdict) == ("mix", "equal")
    seed_comes_back(made, before)
    alphas_lead_to_the_seed(made, before)
    torch_mixes_as_onnxruntime(made)

    anonymous = renamed(exported(seed))
    twin = expand(anonymous, settings(head), manager=PassManager(verify=False))
    assert choices(twin) == choices(made), "names must not matter"
    before = prepare_seed(anonymous, settings(head), manager=PassManager(verify=False))
    before.refresh_shapes()
    seed_comes_back(twin, before)


def test_a_head_on_the_file_or_by_expand_is_the_same_network(tmp_path: Path) -> None:
    torch.save(find_seed(SEEDS[0]).table.network(5).state_dict(), tmp_path / "w.pth")
    of_file = {"seed": SEEDS[0], "weights": str(tmp_path / "w.pth"), "size": (SIZE, SIZE)}
    one = export_seed(ExportSettings(**of_file, task="det", head="ssdlite", classes=CLASSES))
    other = prepare_seed(
        export_seed(ExportSettings(**of_file)),
        settings("ssdlite"),
        manager=PassManager(verify=False),
    )
    x = {"input": np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), np.float32)}
    a, b = run(one, x), run(other, x)
    assert list(a) == list(b) == ["class_logits", "box_deltas"]
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert one.manifest["anchors"] == other.manifest["anchors"]
    assert one.manifest["taps"] == other.manifest["taps"]


@pytest.mark.parametrize(
    ("file", "head", "channels"),
    [
        ("weights_imagenet/mobilenet_v2_tfhub_ptq.onnx", "retinanet", [32, 96, 320]),
        ("weights_imagenet/mobilenet_v2_tfhub_ptq.onnx", "ssdlite", [576, 1280]),
        ("weights_mobilenet_bn/mobilenet_v2_gluon_bn.onnx", "deeplabv3plus", [320, 24]),
        ("weights_imagenet/squeezenet1_1.onnx", "linear", [512]),
    ],
)
def test_heads_go_on_found_networks(
    shared_data: Path, file: str, head: str, channels: list[int]
) -> None:
    asked = ExpandSettings(task=HEADS[head], head=head, classes=CLASSES, size=(96, 96))
    made = prepare_seed(
        renamed(Graph.load(shared_data / file)), asked, manager=PassManager(verify=False)
    )
    assert [tap["channels"] for tap in made.manifest["taps"]] == channels
    batch = made.inputs[0].shape[0]
    assert [t.shape[0] for t in made.outputs] == [batch] * len(made.outputs)
    found = run(made, random_feed(made, (96, 96)))
    assert list(found) == list(HEAD_KINDS[head].outputs(CLASSES))
    assert all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("retinanet", "tap c3: no tensor of stride 8 holds all features of the network; those of"),
        ("simplebaseline", "features: its stride is 4; the head simplebaseline reads features of "),
    ],
)
def test_a_backbone_that_is_too_fine_is_refused(shared_data: Path, head: str, why: str) -> None:
    seed = Graph.load(shared_data / "weights_cifar10_resnet" / "resnet20.onnx")
    with pytest.raises(UnsupportedGraphError, match=why):
        prepare_seed(seed, settings(head), manager=PassManager(verify=False))
