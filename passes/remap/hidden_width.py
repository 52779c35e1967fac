"""Change the hidden width of a block consistently wherever channels are produced or read.

A strategy says where each new hidden channel comes from (FNA++ Eq. 2, 3).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import StrategyError
from .block_arrays import ZERO, ConvArrays, gather, remap_batchnorm
from .rules import Array, channel_importance, top_channels
from .strategies import Strategy

LIVE_NOISE = 0.1  # noise on the copied rows of fna-live, in units of their own spread


def kept_channels(first: ConvArrays, hidden: int, how: Strategy) -> Array:
    """Return the indices of the ``hidden`` channels that a narrower block keeps, ascending.

    first  the convolution that makes the hidden channels, (old channels, ...)

    Raises StrategyError if the strategy needs a batch normalisation that is not there.
    """
    if how.select == "first" or hidden == first.weight.shape[0]:
        return np.arange(hidden)
    gamma = first.bn.gamma if first.bn is not None else None
    try:
        return top_channels(channel_importance(first.weight, gamma, how.select), hidden)
    except ValueError as error:
        raise StrategyError(f"{how.name}: {error}; restore it, or use --remap l1") from error


def channel_sources(
    first: ConvArrays, hidden: int, how: Strategy, rng: np.random.Generator
) -> Array:
    """For each of ``hidden`` new channels, return its source channel, or ZERO.

    first  the convolution that makes the hidden channels, (old channels, ...)
    """
    old = int(first.weight.shape[0])
    if hidden <= old:
        return kept_channels(first, hidden, how)
    extra = hidden - old
    if how.grow == "zeros":
        more = np.full(extra, ZERO)
    elif how.grow == "live":
        more = np.arange(extra) % old
    else:
        more = rng.integers(0, old, extra)
    return np.concatenate([np.arange(old), more])


def remap_rows(conv: ConvArrays, source: Array) -> ConvArrays:
    """Return a convolution that produces the channels of ``source``."""
    return dataclasses.replace(
        conv,
        weight=gather(conv.weight, source, 0.0),
        bias=None if conv.bias is None else gather(conv.bias, source, 0.0),
        bn=None if conv.bn is None else remap_batchnorm(conv.bn, source),
    )


def remap_columns(weight: Array, source: Array, new: Array, how: Strategy) -> Array:
    """Return a weight that reads the channels of ``source``, ``new`` ones as ``how`` says.

    new  (channels,) whether a channel was added
    """
    columns = np.ascontiguousarray(gather(weight.swapaxes(0, 1), source, 0.0).swapaxes(0, 1))
    if how.grow == "live":
        columns[:, new] = 0
    elif how.grow == "replicate" and new.any():
        # Net2Net: the copies of a channel share its outgoing weight
        columns /= np.bincount(source)[source].astype(weight.dtype)[None, :, None, None]
    return columns


def shaken(conv: ConvArrays, new: Array, rng: np.random.Generator) -> ConvArrays:
    """Return a convolution with noise on the rows where ``new`` is set."""
    weight = conv.weight.copy()
    noise = rng.standard_normal(weight[new].shape)
    axes = tuple(range(1, weight.ndim))
    spread = np.sqrt((weight[new].astype(np.float64) ** 2).mean(axis=axes, keepdims=True))
    weight[new] += (LIVE_NOISE * spread * noise).astype(weight.dtype)
    return dataclasses.replace(conv, weight=weight)


def width_words(source: Array, how: Strategy) -> dict[str, str]:
    """Return the words of :func:`remap_words` for removed and added channels."""
    jumps = how.select != "first" and bool((np.diff(source) > 1).any())
    grown = {"zeros": "padded", "live": "padded live", "replicate": "replicated"}[how.grow]
    return {"cropped": "selected" if jumps else "cropped", "grown": grown}
