"""Remap a residual block's convolution to more groups, a larger kernel, more width (Eq. 2-6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from .block_arrays import BlockArrays, ConvArrays, block_parts, fresh_conv, remap_words
from .hidden_width import (
    channel_sources,
    kept_channels,
    remap_columns,
    remap_rows,
    shaken,
    width_words,
)
from .mbconv import without_outer_taps
from .rules import Array, remap_groups, remap_width
from .strategies import Strategy, remap_window


@dataclasses.dataclass(frozen=True)
class Inner:
    """The channels inside a block: how many, and the roles that make and that read them."""

    hidden: int
    makes: Collection[str] = ()
    reads: Collection[str] = ()


def remap_residual(
    seed: BlockArrays,
    *,
    heart: str,
    kernel: int,
    groups: int,
    inner: Inner,
    in_channels: int,
    how: Strategy,
    rng: np.random.Generator,
) -> tuple[BlockArrays, dict[str, str]]:
    """Remap a basic or bottleneck block to another kernel, group count, hidden and input width.

    seed         convolutions by role, the first one reads the block's input
    heart        role of the convolution that changes; ``groups`` is a multiple of its own
    inner        new hidden channels; all that touch them are dense where their number changes
    in_channels  new number of input channels of the first convolution, which is dense if it differs
    rng          used by ``net2net``, ``fna-live`` and ``random`` only
    returns      new arrays, and part (``first.weight``) -> copied, cropped, padded, fresh, ...

    In one step: hidden and input width, then of each output channel the inputs of its own group
    (Eq. 4), then the window about its centre.

    Raises StrategyError if the strategy needs a batch normalisation that is not there.
    """
    old = int(seed[heart].weight.shape[0])
    first = next(iter(seed.values()))
    source = np.arange(old)
    if inner.hidden != old:
        source = channel_sources(first, inner.hidden, how, rng)
    new = np.arange(inner.hidden) >= old
    remapped: dict[str, ConvArrays] = {}
    for number, (role, conv) in enumerate(seed.items()):
        if number == 0 and conv.groups == 1 and int(conv.weight.shape[1]) != in_channels:
            weight = remap_width(conv.weight, int(conv.weight.shape[0]), in_channels)
            conv = dataclasses.replace(conv, weight=weight)
        if inner.hidden != old:
            if role in inner.makes:
                conv = remap_rows(conv, source)
            if role in inner.reads:
                weight = remap_columns(conv.weight, source, new, how)
                conv = dataclasses.replace(conv, weight=weight)
            if how.grow == "live" and new.any() and role in inner.makes and role != "excite":
                conv = shaken(conv, new, rng)
        if role == heart:
            weight = remap_groups(conv.weight, groups, conv.groups)
            conv = remap_window(
                dataclasses.replace(conv, weight=weight, groups=groups), kernel, how
            )
        if how.fresh:
            conv = fresh_conv(conv, conv.weight.shape, conv.groups, rng)
        remapped[role] = conv
    if how.fresh:
        return remapped, {part: "fresh: random" for part, _ in block_parts(remapped)}
    words = {"cropped": "cropped", "grown": "padded"}
    if inner.hidden != old:
        words = width_words(source, how)
    wider = "dilated" if how.kernel == "dilate" else "padded"
    return remapped, remap_words(seed, remapped, **words, wider=wider)


def mask_residual(
    seed: BlockArrays, heart: str, kernel: int, groups: int, inner: Inner, how: Strategy
) -> BlockArrays:
    """Zero what a block of another form lacks or does not use.

    That is: outer taps, inputs of other groups, and what reads the channels that it drops.

    returns  arrays of the same shapes
    """
    result = dict(seed)
    conv = without_outer_taps(seed[heart], kernel)
    rows, per_group = conv.weight.shape[:2]
    inputs = per_group * conv.groups
    place = _places(seed, rows, inner.hidden, how)
    columns = place if heart in inner.reads else np.arange(inputs)
    new_inputs = inner.hidden if heart in inner.reads else inputs
    row, column = np.indices((rows, per_group))
    read = row // (rows // conv.groups) * per_group + column  # which input a weight stands for
    lost = columns[read] // (new_inputs // groups) != place[row] // (inner.hidden // groups)
    weight = conv.weight.copy()
    weight[lost] = 0
    result[heart] = dataclasses.replace(conv, weight=weight)
    for role in inner.reads:
        if (place < 0).any() and role in result:
            weight = result[role].weight.copy()
            weight[:, place < 0] = 0
            result[role] = dataclasses.replace(result[role], weight=weight)
    return result


def _places(seed: BlockArrays, old: int, hidden: int, how: Strategy) -> Array:
    """For each of the ``old`` hidden channels, return its place among the new ones; -1: dropped."""
    if hidden >= old:
        return np.arange(old)
    places = np.full(old, -1)
    places[kept_channels(next(iter(seed.values())), hidden, how)] = np.arange(hidden)
    return places
