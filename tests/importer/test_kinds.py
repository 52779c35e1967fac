"""Super networks of every kind of block, in torch: mixed, and one path at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.passes.super_network.choice_points import set_alphas
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from tests.passes.blocks.test_tapped_expansion import MIX, tapped_network
from tests.passes.test_other_families import PLAIN, chain, squeezed
from tests.support.graphs import applied, feeds, outputs
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network

KINDS: dict[str, tuple[Callable[[], Graph], Mix]] = {
    "basic": (resnet_network, Mix(depths=(2, 3))),
    "bottleneck": (lambda: resnet_network(((16, 2, 1),), kind="bottleneck"), Mix()),
    "e1": (lambda: mbconv_network(((6, 3, 2),), plain_tail=True), Mix(kernels=(3, 5))),
    "tapped": (tapped_network, MIX),
    "squeezed": (squeezed, Mix(kernels=(3, 5), expansions=(1, 3))),
    "plain": (chain, PLAIN),
}


@pytest.mark.parametrize(("make", "mix"), KINDS.values(), ids=KINDS)
def test_torch_computes_what_onnxruntime_does(make: Callable[[], Graph], mix: Mix) -> None:
    """Integers, held to equality: mixed under softmaxes that are exactly one-hot, and one path."""
    mixed, _ = applied(mix, make())
    stored = mixed.manifest["layers"]
    rng = np.random.default_rng(0)
    arch = [int(rng.integers(len(la["candidates"]))) for la in stored]
    names = [la["candidates"][i]["name"] for la, i in zip(stored, arch, strict=True)]
    target, _ = applied(Choose(tuple(names)), mixed)
    feed = feeds(mixed)
    x = torch.from_numpy(next(iter(feed.values())))
    module = import_onnx(set_alphas(mixed, arch).to_model()).eval()
    assert [len(p) for p in module.choice_points] == [len(la["candidates"]) for la in stored]
    for mode in ("mixed", "one path"):
        with torch.no_grad():
            made = module(x)
        tensors = made if isinstance(made, tuple) else (made,)
        for got, wanted in zip(tensors, outputs(target, feed).values(), strict=True):
            np.testing.assert_array_equal(got.numpy(), wanted, err_msg=mode)
        for point, index in zip(module.choice_points, arch, strict=True):
            point.choose(index)
