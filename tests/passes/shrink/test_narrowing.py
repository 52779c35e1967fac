from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fnac.passes.blocks.hidden_channels import find_hidden
from fnac.passes.errors import FitDataError
from fnac.passes.graph import Graph
from fnac.passes.running.calibrate import output_statistics
from fnac.passes.running.run import run
from fnac.passes.shrink import narrowing as module
from fnac.passes.shrink.linear import linear_of
from fnac.passes.shrink.narrowing import Narrowing
from fnac.passes.shrink.original import Original
from tests.support.graphs import graph
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network

Array = np.ndarray


def images(count: int = 24, size: int = 16) -> Array:
    return np.random.default_rng(5).integers(-3, 4, (count, 3, size, size)).astype("f4")


NETWORKS = {
    "mbconv": lambda: mbconv_network([(8, 2, 1)], expansion=4),
    "mbconv folded": lambda: mbconv_network([(8, 2, 1)], expansion=4, bn=False, bias=True),
    "mbconv without bias": lambda: mbconv_network([(8, 2, 1)], expansion=4, bn=False),
    "basic": lambda: resnet_network([(8, 2, 1), (16, 1, 2)]),
    "basic folded": lambda: resnet_network([(8, 2, 1)], bn=False, bias=True),
    "bottleneck folded": lambda: resnet_network(
        [(16, 1, 1)], kind="bottleneck", bn=False, bias=True
    ),
    "bottleneck": lambda: resnet_network([(16, 1, 1)], kind="bottleneck"),
    "gated": lambda: resnet_network([(16, 1, 1)], kind="bottleneck", squeeze="inside"),
}


def network(kind: str) -> Graph:
    g = NETWORKS[kind]()
    g.refresh_shapes()
    return g


def answers(g: Graph, x: Array) -> Array:
    return next(iter(run(g, {g.inputs[0].name: x}).values())).astype("f8")


def narrowed(g: Graph, widths: dict[str, int], x: Array, **options: Any) -> Narrowing:
    narrowing = Narrowing(Original(g, x), **options)
    for channels in find_hidden(g)[0]:
        narrowing.narrow(channels.name, widths.get(channels.name))
    narrowing.result.cleanup()
    narrowing.result.refresh_shapes()
    return narrowing


@pytest.mark.parametrize("kind", NETWORKS)
def test_all_channels_bring_the_network_back_to_the_bit(kind: str) -> None:
    g, x = network(kind), images()
    made = narrowed(g, {}, x)
    made.match()
    assert np.array_equal(answers(g, x), answers(made.result, x))
    assert made.initializers == {}


def twins(g: Graph, name: str, first: int, second: int) -> None:
    """Let channel ``second`` be the same as ``first``: what reads one can read the other."""
    channels = next(one for one in find_hidden(g)[0] if one.name == name)
    for slot in channels.slots:
        constant = slot.node.inputs[slot.index]
        values = constant.values.copy()
        rows = np.moveaxis(values, slot.axis, 0)
        rows[slot.offset + second] = rows[slot.offset + first]
        constant.values = values


def largest_gap(g: Graph, made: Graph, x: Array) -> float:
    """Of all tensors of one shape in both, in units of the tensor's largest number.

    A convolution with a norm behind is looked at behind it, where its constant has come in.
    """
    wanted, found = every_tensor(g, x), every_tensor(made, x)
    gaps = [
        float(abs(a - found[name]).max() / max(abs(a).max(), 1e-6))
        for name, a in wanted.items()
        if found[name].shape == a.shape
    ]
    assert len(gaps) > 1
    return max(gaps)


def every_tensor(g: Graph, x: Array) -> dict[str, Array]:
    names = [
        node.outputs[0].name
        for node in g.nodes
        if [r.op for r in g.consumers(node.outputs[0])] != ["BatchNormalization"]
    ]
    return {k: v.astype("f8") for k, v in run(g, {g.inputs[0].name: x}, names).items()}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_dependent_channel_goes_without_loss(kind: str) -> None:
    """Every set of hidden channels in turn; the first and the last channel are the same."""
    x = images()
    for channels in find_hidden(network(kind))[0]:
        g = network(kind)
        twins(g, channels.name, 0, channels.count - 1)
        made = narrowed(g, {channels.name: channels.count - 1}, x)
        assert made.result.nodes != []
        assert largest_gap(g, made.result, x) < 1e-4, channels.name


def shifted(fit: Any) -> Any:
    return dataclasses.replace(fit, weight=np.roll(fit.weight, 1, axis=1))


def without_constant(fit: Any) -> Any:
    return dataclasses.replace(fit, bias=np.zeros_like(fit.bias))


@pytest.mark.parametrize("spoil", [shifted, without_constant])
def test_a_wrong_permutation_and_a_forgotten_constant_are_seen(
    spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.refit
    monkeypatch.setattr(module, "refit", lambda *a, **k: spoil(right(*a, **k)))
    g, x = network("mbconv folded"), images()
    twins(g, "b1_ex", 0, 15)
    assert largest_gap(g, narrowed(g, {"b1_ex": 15}, x).result, x) > 1e-2


def test_a_channel_off_by_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = module.keep_channels

    def off_by_one(g: Graph, channels: Any, kept: Array, account: dict[str, str]) -> None:
        right(g, channels, (kept + 1) % channels.count, account)

    monkeypatch.setattr(module, "keep_channels", off_by_one)
    g, x = network("mbconv"), images()
    twins(g, "b1_ex", 0, 15)
    assert largest_gap(g, narrowed(g, {"b1_ex": 15}, x).result, x) > 1e-2


@pytest.mark.parametrize("kind", ["mbconv folded", "basic folded", "bottleneck folded"])
def test_the_curve_is_the_error_that_is_measured(kind: str) -> None:
    """Of the first set that goes: what its reader leaves, held against the original."""
    x = images(16)
    for channels in find_hidden(network(kind))[0][:4]:
        if len(channels.readings) > 1:
            continue  # then the curve is the mean of their errors
        g = network(kind)
        reader = channels.readings[0].node
        width = channels.count // 2
        narrowing = Narrowing(Original(g, x), weighted=False)
        step = narrowing.narrow(channels.name, width)
        name = reader.outputs[0].name
        a, b = (
            run(one, {one.inputs[0].name: x}, [name])[name].astype("f8")
            for one in (g, narrowing.result)
        )
        centred = a - a.mean(axis=(0, 2, 3), keepdims=True)
        measured = float(((a - b) ** 2).sum() / (centred**2).sum())
        assert step.curve is not None
        assert step.curve[width] == pytest.approx(measured, rel=1e-3, abs=1e-6)
        assert step.error[reader.name] == pytest.approx(measured, rel=1e-3, abs=1e-6)


def test_later_blocks_make_good_what_earlier_ones_lost() -> None:
    x = images(40)
    g = network("mbconv")
    sets = [c for c in find_hidden(g)[0] if c.name in ("b1_ex", "b2_ex")]
    widths = {one.name: one.count // 4 for one in sets}
    gaps = []
    for residual in (True, False):
        made = narrowed(g, widths, x, residual=residual).result
        name = "b2_add"
        a, b = (run(one, {one.inputs[0].name: x}, [name])[name] for one in (g, made))
        gaps.append(float(((a - b) ** 2).mean()))
    assert gaps[0] < gaps[1]


@pytest.mark.parametrize("bn", [True, False])
def test_what_makes_channels_is_adapted_to_what_it_reads(bn: bool) -> None:
    """Behind a sum of two blocks that lost most of their channels; behind one a fit is best."""
    x = images(40)
    g = mbconv_network([(8, 3, 1)], expansion=4, bn=bn, bias=not bn)
    g.refresh_shapes()
    conv = next(n for n in g.nodes if n.name == "b3_ex").outputs[0]
    name = g.consumers(conv)[0].outputs[0].name if bn else conv.name  # the constant has come in
    gaps = []
    for adapted in (True, False):
        narrowing = Narrowing(Original(g, x), adapted=adapted)
        for block, width in (("b1_ex", 2), ("b2_ex", 2), ("b3_ex", None)):
            narrowing.narrow(block, width)
        a, b = (run(one, {one.inputs[0].name: x}, [name])[name] for one in (g, narrowing.result))
        gaps.append(float(((a.astype("f8") - b) ** 2).mean()))
    assert gaps[0] < 0.995 * gaps[1]


def test_features_that_are_no_numbers_are_refused() -> None:
    g = network("mbconv")
    x = images()
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(FitDataError, match="image 3: channel"):
        narrowed(g, {"b1_ex": 8}, x)


def test_statistics_are_matched_where_norms_are_folded() -> None:
    """A convolution whose rows were scaled behind our back gets its statistics back."""
    g, x = network("mbconv folded"), images()
    narrowing = Narrowing(Original(g, x))
    narrowing.touched, narrowing.first = True, 0
    conv = next(node for node in narrowing.result.nodes if node.name == "b1_ex")
    for index in (1, 2):
        conv.inputs[index].values = conv.inputs[index].values * np.float32(0.5)
    assert largest_gap(g, narrowing.result, x) > 1e-2
    narrowing.match()
    assert largest_gap(g, narrowing.result, x) < 1e-4


def test_statistics_are_matched_in_norms() -> None:
    g, x = network("mbconv"), images()
    narrowing = Narrowing(Original(g, x))
    narrowing.touched, narrowing.first = True, 0
    conv = next(node for node in narrowing.result.nodes if node.name == "b1_ex")
    conv.inputs[1].values = conv.inputs[1].values * np.float32(2)
    assert largest_gap(g, narrowing.result, x) > 1e-2
    narrowing.match()
    assert largest_gap(g, narrowing.result, x) < 1e-4


@pytest.mark.parametrize("kind", ["mbconv", "mbconv folded"])
def test_half_of_the_way_is_between(kind: str) -> None:
    """A convolution twice as large: half of the way leaves the square root of 2."""
    g, x = network(kind), images()
    narrowing = Narrowing(Original(g, x))
    narrowing.touched, narrowing.first = True, 0
    conv = next(node for node in narrowing.result.nodes if node.name == "b1_pw")
    name = conv.outputs[0].name
    conv.inputs[1].values = conv.inputs[1].values * np.float32(2)
    gained = {}
    for strength in (0.5, 1.0):
        matched = narrowing.matched(strength)
        linear = linear_of(matched, next(n for n in matched.nodes if n.name == "b1_pw"))
        size = output_statistics(matched, [name], x)[name].variance
        gained[strength] = np.sqrt(size) * np.abs(linear.scale)
    assert np.allclose(gained[0.5], gained[1.0] * np.sqrt(2), rtol=1e-3)
    assert conv.inputs[1].values is not None  # the network itself is left as it is


def test_recalibrated_norms_hold_what_they_read() -> None:
    """Every one behind the change, in order; those in front of it stay."""
    g, x = network("mbconv"), images()
    narrowing = Narrowing(Original(g, x))
    narrowing.touched, narrowing.first = True, [n.name for n in g.nodes].index("b1_ex")
    new = narrowing.recalibrated()
    norms = [node for node in new.nodes if node.op == "BatchNormalization"]
    assert norms
    behind = False
    for node, old in zip(norms, (n for n in g.nodes if n.op == "BatchNormalization"), strict=True):
        behind = behind or node.name.startswith("b1_ex")
        if behind:
            read = output_statistics(new, [node.inputs[0].name], x)[node.inputs[0].name]
            alive = read.variance > 1e-2 * old.inputs[4].values
            assert alive.any()
            new_mean, new_variance = node.inputs[3].values[alive], node.inputs[4].values[alive]
            assert np.allclose(new_mean, read.mean[alive], rtol=1e-4, atol=1e-4)
            assert np.allclose(new_variance, read.variance[alive], rtol=1e-3)
        else:
            assert np.array_equal(node.inputs[3].values, old.inputs[3].values)


def test_readers_in_a_concatenation_are_fitted_together() -> None:
    """What one branch loses the other makes good where it can: here it can do all."""
    g = graph(
        """(float[N,3,8,8] x) => (y) <float[6,3,1,1] a, float[6,3,1,1] b, float[4,12,1,1] c> {
        s = Conv(x, a)
        t = Conv(x, b)
        u = Concat<axis=1>(s, t)
        v = Relu(u)
        y = Conv(v, c)
    }"""
    )
    g.refresh_shapes()
    values = next(n for n in g.nodes if n.name == "t").inputs[1]
    values.values = next(n for n in g.nodes if n.name == "s").inputs[1].values.copy()
    x = images(16, 8)
    made = narrowed(g, {"s": 2}, x).result
    assert [t.shape[1] for n in made.nodes for t in n.outputs] == [2, 6, 8, 8, 4]
    assert largest_gap(g, made, x) < 1e-4
