"""Let every convolution behind a change leave what it left before: the same mean and variance.

A fit makes errors small by making features small; every convolution behind reads that. Channel by
channel a scale and a shift bring the statistics of the original back: in the batch normalisation
where there is one, in weight and bias where it is folded. Without a change nothing changes.

Where a fit keeps little, its features are as much error as signal, and scaling them up scales the
errors: half of the way (in the logarithm of the scale) is better then. Which, is to be measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from ..blocks.units import why_not_stored
from ..graph import Graph
from ..remap.block_arrays import ConvArrays
from ..remap.fit_arrays import recalibrated
from ..remap.gram import Floats
from ..running.calibrate import Statistics
from ..running.features import Features
from .linear import EPSILON, Linear, linear_of

IMAGES = 256  # late layers have few pixels an image, and those of one image are alike
DEAD = 1e-12  # variance below which a channel is constant
FURTHEST = 3.0  # a scale beyond this, or below its inverse, is a channel that died: cut off
FURTHEST_VARIANCE = 1e3  # a variance so much below the stored one: a channel that died on these
Places = Mapping[str, np.ndarray]


def match_statistics(
    graph: Graph,
    narrowed: Graph,
    images: np.ndarray,
    *,
    first: int,
    kept: Places,
    initializers: dict[str, str],
    strength: float = 1.0,
    batch: int = 8,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Give each convolution of ``narrowed`` the output statistics it has in ``graph``, in order.

    images    (N, C, H, W); IMAGES of them, spread evenly, are used
    first     place of the first node that may have changed
    kept      convolution's name -> of each of its channels the number it has in ``graph``; those
              that are not named have all
    strength  how far: 1 all the way, 0.5 half of the way
    """
    before = Features(graph, _some(images), batch=batch)
    after = before.fork(narrowed)
    for place, node in enumerate(narrowed.nodes):
        if place < first or node.op != "Conv" or why_not_stored(node) is not None:
            continue
        before.advance(place)
        after.advance(place)
        name = node.outputs[0].name
        if any(len(t.outputs) > 1 for t in node.inputs[1:3]):
            continue  # shared with another convolution
        ours, theirs = _statistics(before, name), _statistics(after, name)
        if ours is None or theirs is None:
            continue
        channels = kept.get(node.name)
        mean, variance = ours.mean, ours.variance
        if channels is not None:
            mean, variance = mean[channels], variance[channels]
        linear = linear_of(narrowed, node)
        mean, variance = _toward(theirs, mean, variance, strength)
        arrays = _moved(linear, theirs.mean, theirs.variance, mean, variance)
        linear.store(narrowed, arrays, initializers)
        if progress is not None:
            progress(node.name)


def recalibrate(
    narrowed: Graph,
    images: np.ndarray,
    *,
    first: int,
    initializers: dict[str, str],
    batch: int = 8,
) -> None:
    """Give each batch normalisation behind a change the statistics of what it reads, in order.

    That is what training does: what is normalised has mean 0 and variance 1 again. The original's
    own statistics may be those of its last few training steps; these are better. Convolutions
    without a normalisation of their own stay, and so do channels that do not vary.

    images  (N, C, H, W); IMAGES of them, spread evenly, are used
    first   place of the first node that may have changed
    """
    features = Features(narrowed, _some(images), batch=batch)
    for place, node in enumerate(narrowed.nodes):
        if place < first or node.op != "Conv" or why_not_stored(node) is not None:
            continue
        linear = linear_of(narrowed, node)
        if linear.bn is None:
            continue
        features.advance(place)
        own = _statistics(features, node.outputs[0].name)
        if own is None:
            continue
        arrays = linear.arrays()
        assert arrays.bn is not None
        alive = own.variance > np.maximum(DEAD, arrays.bn.var / FURTHEST_VARIANCE)
        mean = np.where(alive, own.mean, arrays.bn.mean)
        variance = np.where(alive, own.variance, arrays.bn.var)
        linear.store(narrowed, recalibrated(arrays, mean, variance), initializers)


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
    """Return what lies between the statistics now and those that are wanted."""
    if strength == 1:
        return mean, variance
    alive = (now.variance > DEAD) & (variance > DEAD)
    ratio = np.where(alive, variance, 1.0) / np.where(alive, now.variance, 1.0)
    return now.mean + strength * (mean - now.mean), now.variance * ratio**strength


def _moved(
    linear: Linear, mean: Floats, variance: Floats, wanted_mean: Floats, wanted_variance: Floats
) -> ConvArrays:
    """Return arrays under which the output has the wanted statistics in place of those it has."""
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
