"""Store a fit in a block: weight, constant, statistics of the following normalisation."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from .block_arrays import BatchNorm, ConvArrays
from .gram import Floats


def with_fit(
    conv: ConvArrays, weight: Floats, change: Floats, *, groups: int | None = None
) -> ConvArrays:
    """Return a convolution with a fitted weight, in the dtype it has.

    weight  (m, channels / groups, k, k)
    change  (m,): what its constant changes by, in units of the convolution's output. It goes into
            the bias; without one, out of the mean of the batch normalisation; without that either,
            into a new bias. A change of 0 leaves all three as they are.
    groups  new number of groups; None: as before
    """
    dtype = conv.weight.dtype
    conv = dataclasses.replace(
        conv, weight=weight.astype(dtype), groups=conv.groups if groups is None else groups
    )
    if not change.any():
        return conv
    if conv.bias is not None:
        return dataclasses.replace(conv, bias=_moved(conv.bias, change))
    if conv.bn is not None:
        bn = dataclasses.replace(conv.bn, mean=_moved(conv.bn.mean, -change))
        return dataclasses.replace(conv, bn=bn)
    return dataclasses.replace(conv, bias=change.astype(dtype))


def with_constant(
    conv: ConvArrays, weight: Floats, constant: Floats, *, groups: int | None = None
) -> ConvArrays:
    """Return a convolution fitted to a target: ``constant`` replaces the bias, (m,).

    The target is what the convolution gave with its bias, before the batch normalisation.
    """
    before = np.zeros(len(constant)) if conv.bias is None else conv.bias.astype(np.float64)
    return with_fit(conv, weight, constant - before, groups=groups)


def recalibrated(conv: ConvArrays, mean: Floats, variance: Floats) -> ConvArrays:
    """Return a convolution whose batch normalisation has these statistics.

    mean, variance  (m,) of the convolution's output with its bias, see :func:`.fit.output_moments`

    Without a batch normalisation it comes back as it is.
    """
    if conv.bn is None:
        return conv
    bn = dataclasses.replace(
        conv.bn,
        mean=mean.astype(conv.bn.mean.dtype),
        var=variance.astype(conv.bn.var.dtype),
    )
    return dataclasses.replace(conv, bn=bn)


def row_weights(bn: BatchNorm | None, outputs: int, epsilon: float = 1e-5) -> Floats:
    """Return |s| of each output, the scale of the following normalisation: (outputs,).

    epsilon  of the BatchNormalization node
    """
    return np.ones(outputs) if bn is None else np.abs(_scale(bn, epsilon))


def normalized_mean(bn: BatchNorm | None, mean: Floats, epsilon: float = 1e-5) -> Floats:
    """Return a mean after the following normalisation: (m,).

    The constant that a skipped branch leaves behind, from :func:`.fit.mean_of` of its last
    convolution.
    """
    if bn is None:
        return mean
    return np.asarray((mean - bn.mean.astype(np.float64)) * _scale(bn, epsilon) + bn.beta)


def _scale(bn: BatchNorm, epsilon: float) -> Floats:
    gamma, variance = bn.gamma.astype(np.float64), bn.var.astype(np.float64)
    return np.asarray(gamma / np.sqrt(variance + epsilon))


def _moved(vector: NDArray[np.floating], change: Floats) -> NDArray[np.floating]:
    return (vector.astype(np.float64) + change).astype(vector.dtype)
