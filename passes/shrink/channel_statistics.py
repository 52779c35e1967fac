"""Restore the output mean and variance of every convolution after a change.

A fit makes errors small by making features small; every convolution behind reads that. Channel by
channel a scale and a shift bring the statistics of the original back: in the batch normalisation
where there is one, in weight and bias where it is folded. Without a change nothing changes.

Where a fit keeps little, its features are as much error as signal, and scaling them up scales the
errors: half of the way (in the logarithm of the scale) is better then. Which, is to be measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_graphsurgeon as gs

from ..blocks.units import why_not_stored
from ..graph import Graph
from ..remap.block_arrays import ConvArrays
from ..remap.fit_arrays import recalibrated
from ..remap.gram import Floats
from ..running.calibrate import Statistics, output_statistics
from ..running.features import Features
from .linear import EPSILON, Linear, linear_of

IMAGES = 256  # late layers have few pixels an image, and those of one image are alike
DEAD = 1e-12  # variance below which a channel is constant
FURTHEST = 3.0  # a scale beyond this, or below its inverse, is a channel that died: cut off
FURTHEST_VARIANCE = 1e3  # a variance so much below the stored one: a channel that died on these
Places = Mapping[str, np.ndarray]


def conv_statistics(graph: Graph, images: np.ndarray) -> dict[str, Statistics]:
    """Return the statistics of what each convolution gives, by tensor.

    images  (N, C, H, W); IMAGES of them, spread evenly, are used
    """
    names = [node.outputs[0].name for _, node in _convolutions(graph, 0)]
    return output_statistics(graph, names, _some(images)) if names else {}


def match_statistics(
    narrowed: Graph,
    original: Mapping[str, Statistics],
    images: np.ndarray,
    *,
    first: int,
    kept: Places,
    initializers: dict[str, str],
    strength: float = 1.0,
    batch: int = 8,
) -> None:
    """Give each convolution the output statistics that it has in the original, in order.

    original  see :func:`conv_statistics`, of the same images
    images    (N, C, H, W); IMAGES of them, spread evenly, are used
    first     place of the first node that may have changed
    kept      convolution's name -> of each of its channels the number it has in the original;
              those that are not named have all
    strength  how far: 1 all the way, 0.5 half of the way
    """
    features = Features(narrowed, _some(images), batch=batch)
    for place, node in _convolutions(narrowed, first):
        if any(len(t.outputs) > 1 for t in node.inputs[1:3]):
            continue  # shared with another convolution
        linear = linear_of(narrowed, node)
        own = _given(features, place, linear)
        if own is None:
            continue
        channels = kept.get(node.name)
        theirs = original[node.outputs[0].name]
        mean, variance = theirs.mean, theirs.variance
        if channels is not None:
            mean, variance = mean[channels], variance[channels]
        mean, variance = _toward(own, mean, variance, strength)
        arrays = _moved(linear, own.mean, own.variance, mean, variance)
        linear.store(narrowed, arrays, initializers)


def recalibrate(
    narrowed: Graph,
    images: np.ndarray,
    *,
    first: int,
    initializers: dict[str, str],
    batch: int = 8,
) -> None:
    """Give each batch normalisation after a change the statistics of its new input, in order.

    That is what training does: what is normalised has mean 0 and variance 1 again. The original's
    own statistics may be those of its last few training steps; these are better. Convolutions
    without a normalisation of their own stay, and so do channels that do not vary.

    images  (N, C, H, W); IMAGES of them, spread evenly, are used
    first   place of the first node that may have changed
    """
    features = Features(narrowed, _some(images), batch=batch)
    for place, node in _convolutions(narrowed, first):
        linear = linear_of(narrowed, node)
        own = _given(features, place, linear) if linear.bn is not None else None
        if own is None:
            continue
        arrays = linear.arrays()
        assert arrays.bn is not None
        alive = own.variance > np.maximum(DEAD, arrays.bn.var / FURTHEST_VARIANCE)
        mean = np.where(alive, own.mean, arrays.bn.mean)
        variance = np.where(alive, own.variance, arrays.bn.var)
        linear.store(narrowed, recalibrated(arrays, mean, variance), initializers)


def _convolutions(graph: Graph, first: int) -> Iterator[tuple[int, gs.Node]]:
    """Yield those with weights of their own, with their places, from a place on."""
    for place, node in enumerate(graph.nodes):
        if place >= first and node.op == "Conv" and why_not_stored(node) is None:
            yield place, node


def _given(features: Features, place: int, linear: Linear) -> Statistics | None:
    """Return the statistics of what a convolution gives; None if it is a single pixel.

    What is given is kept where only a normalisation behind it may change: it is run once.
    """
    features.advance(place if linear.bn is None else place + 1)
    return _statistics(features, linear.node.outputs[0].name)


def _some(images: np.ndarray) -> np.ndarray:
    places = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)
    return np.ascontiguousarray(images[places])


def _statistics(features: Features, name: str) -> Statistics | None:
    """Return the statistics of a tensor; None if it has a single pixel."""
    result: Statistics | None = None
    for batch in features.stream([name]):
        values = batch[name]
        if values.ndim != 4 or values.shape[2] * values.shape[3] == 1:
            return None
        measured = Statistics.of(values)
        if result is None:
            result = measured
        else:
            result.merge(measured)
    return result


def _toward(
    now: Statistics, mean: Floats, variance: Floats, strength: float
) -> tuple[Floats, Floats]:
    """Interpolate between the present statistics and the target ones."""
    if strength == 1:
        return mean, variance
    alive = (now.variance > DEAD) & (variance > DEAD)
    ratio = np.where(alive, variance, 1.0) / np.where(alive, now.variance, 1.0)
    return now.mean + strength * (mean - now.mean), now.variance * ratio**strength


def _moved(
    linear: Linear, mean: Floats, variance: Floats, wanted_mean: Floats, wanted_variance: Floats
) -> ConvArrays:
    """Return arrays that give the output the target statistics instead of its present ones."""
    alive = (variance > DEAD) & (wanted_variance > DEAD)
    ratio = np.sqrt(np.where(alive, wanted_variance, 1.0) / np.where(alive, variance, 1.0))
    ratio = np.clip(ratio, 1 / FURTHEST, FURTHEST)
    arrays = linear.arrays()
    if arrays.bn is not None and linear.bn is not None:
        bn, dtype = arrays.bn, arrays.bn.mean.dtype
        epsilon = float(linear.bn.attrs.get("epsilon", EPSILON))
        var = (bn.var.astype(np.float64) + epsilon) / ratio**2 - epsilon
        own = np.maximum(var, 0.0)
        applied = np.sqrt((bn.var.astype(np.float64) + epsilon) / (own + epsilon))
        moved = mean - (wanted_mean - bn.mean.astype(np.float64)) / applied
        bn = dataclasses.replace(bn, mean=moved.astype(dtype), var=own.astype(dtype))
        return dataclasses.replace(arrays, bn=bn)
    bias = np.zeros(len(mean)) if arrays.bias is None else arrays.bias.astype(np.float64)
    shape = [-1] + [1] * (arrays.weight.ndim - 1)
    return dataclasses.replace(
        arrays,
        weight=(arrays.weight * ratio.reshape(shape)).astype(arrays.weight.dtype),
        bias=((bias - mean) * ratio + wanted_mean).astype(arrays.weight.dtype),
    )
