"""Taps are found by stride and depth, on exported and found networks, whatever the names."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.heads.cut_classifier import CutClassifier
from fnac.passes.heads.taps import find_cuts, find_taps
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from tests.support.graphs import applied, graph, outputs, renamed
from tests.support.mbconv_networks import mbconv_network

PYRAMID = ("c2", "c3", "c4", "c5")


@functools.cache
def exported(seed: str) -> Graph:
    return export_seed(ExportSettings(seed, "none", size=(64, 64)))


def shapes(g: Graph, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    g.refresh_shapes()
    return {name: tuple(t.shape[1:]) for name, t in find_taps(g, names).items()}


@pytest.mark.parametrize(
    ("seed", "channels", "expansion", "last"),
    [  # REFERENCE "RetinaNet": strides 8, 16, 32; in front of them the stage of stride 4
        ("mobilenetv2", (24, 32, 96, 320), 576, 1280),
        ("resnet18", (64, 128, 256, 512), 256, 512),
        ("resnet50", (256, 512, 1024, 2048), 1024, 2048),
        ("fbnetc", (24, 32, 112, 352), 672, 1984),
        ("proxyless", (32, 40, 96, 320), 576, 1280),
    ],
)
def test_taps_of_the_seeds(seed: str, channels: tuple[int, ...], expansion: int, last: int) -> None:
    for g in (exported(seed), renamed(exported(seed))):
        found = shapes(g, (*PYRAMID, "expansion", "features", "last"))
        sides = (16, 8, 4, 2)
        assert found == {
            **{n: (c, s, s) for n, c, s in zip(PYRAMID, channels, sides)},
            "expansion": (expansion, 4, 4),
            "features": (channels[-1], 2, 2),
            "last": (last, 2, 2),
        }


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        (Path("weights_imagenet") / "mobilenet_v2_tfhub_ptq.onnx", (24, 32, 96, 320)),
        # Gluon's halves the resolution at the stage of 96 channels, not at that of 64
        (Path("weights_mobilenet_bn") / "mobilenet_v2_gluon_bn.onnx", (24, 64, 96, 320)),
    ],
)
def test_taps_of_found_networks(shared_data: Path, name: Path, channels: tuple[int, ...]) -> None:
    from fnac.passes.manager import PassManager
    from fnac.passes.registry import parse_pipeline

    g = renamed(Graph.load(shared_data / name))
    PassManager(verify=False).run(parse_pipeline("normalize"), g)
    found = shapes(g, PYRAMID)
    assert tuple(shape[0] for shape in found.values()) == channels


def test_what_is_bypassed_is_no_cut() -> None:
    g = graph(
        """(float[1,2,8,8] x) => (float[1,c,h,w] y) <float[2,2,1,1] w, float[2,2,3,3] v>
        { a = Relu(x)
          b = Conv<pads=[1,1,1,1], strides=[2,2]>(a, v)
          s = Conv<strides=[2,2]>(a, w)
          d = Add(b, s)
          e = Relu(d)
          f = Mul(e, d)
          y = Relu(f) }"""
    )
    assert [t.name for t in find_cuts(g, g.outputs[0])] == ["a", "d", "f", "y"]


def test_the_expansion_in_front_of_a_stride_belongs_to_the_next_block() -> None:
    g = mbconv_network(((6, 1, 2), (8, 1, 2), (8, 1, 2)), size=32)  # strides 2, 4, 8, 16
    found = shapes(g, ("c2", "c3", "c4", "expansion", "features", "last"))
    assert found["c2"] == (6, 8, 8)
    assert found["c3"] == (8, 4, 4)
    assert found["c4"] == found["features"] == found["expansion"] == (8, 2, 2)
    assert found["last"] == (10, 2, 2)
    # where a block follows, its expansion is the last of the stride
    g = mbconv_network(((6, 1, 2), (8, 1, 2), (8, 1, 2), (8, 1, 2)), size=64)
    assert shapes(g, ("expansion", "c4")) == {"expansion": (16, 4, 4), "c4": (8, 4, 4)}


def test_several_taps_become_outputs_once() -> None:
    before = renamed(exported("mobilenetv2"))
    p = CutClassifier(taps=("c3", "c4", "c5"))
    after, report = applied(p, before)
    assert [t.name for t in after.outputs] == ["c3", "c4", "c5"]
    assert [t.shape[1:] for t in after.outputs] == [[32, 8, 8], [96, 4, 4], [320, 2, 2]]
    assert len(report.rewrote) == len(before.nodes) - len(after.nodes) == 7
    _, report = applied(p, renamed(after))
    assert report.rewrote == {}
    feed = {before.inputs[0].name: np.random.default_rng(0).random((1, 3, 64, 64), np.float32)}
    probe = before.copy()
    tensors = find_taps(probe, p.taps)
    for tensor in tensors.values():
        tensor.dtype, tensor.shape = np.dtype("f4"), ["N", "C", "h", "w"]
    probe.gs.outputs[:] = list(tensors.values())
    for a, b in zip(outputs(probe, feed).values(), outputs(after, feed).values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("taps", "why"),
    [
        (("c5",), "tap c5: no tensor of stride 32 holds all features of the network; those of str"),
        (("c9",), "tap 'c9': known are c2, c3, c4, c5, expansion, features, last"),
        (("expansion",), "tap expansion: no tensor of stride 16"),
    ],
)
def test_taps_that_are_not_there(taps: tuple[str, ...], why: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=why):
        find_taps(mbconv_network(), taps)


def test_a_convolution_in_front_of_the_pooling_may_be_the_classifier(shared_data: Path) -> None:
    g = renamed(Graph.load(shared_data / "weights_imagenet" / "squeezenet1_1.onnx"))
    g.refresh_shapes()
    found = find_taps(g, ("c2", "c3", "c4", "features", "last"))
    assert [t.shape[1] for t in found.values()] == [128, 256, 512, 512, 512]


def test_features_in_front_of_rows_of_a_computed_batch() -> None:
    """What torch exports for VGG below 224 pixels: the shape of the Reshape is computed."""
    g = graph(
        """(float[N,3,8,8] x) => (float[N,4] y)
        <float[6,3,3,3] a, float[384,4] b, int64[1] c = {384}>
        { f = Conv<pads=[1,1,1,1]>(x, a) n = Shape<start=0, end=1>(f) s = Concat<axis=0>(n, c)
          r = Reshape(f, s) y = Gemm(r, b) }"""
    )
    g.refresh_shapes()
    assert find_taps(g, ("last",))["last"].name == "f"
