"""Remap the arrays of one MBConv to those of another, by strategy.

An MBConv is three convolutions (expansion, depthwise, projection) about one *hidden* width, and
with squeeze-excitation two more that read and gate it. A strategy says where each new hidden
channel comes from, consistently in all of them (FNA++ Eq. 2, 3), and how the kernel changes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .block_arrays import (
    BlockArrays,
    ConvArrays,
    block_parts,
    fresh_conv,
    identity_batchnorm,
    remap_words,
)
from .hidden_width import (
    channel_sources,
    kept_channels,
    remap_columns,
    remap_rows,
    shaken,
    width_words,
)
from .rules import remap_width
from .strategies import Strategy, remap_window

MADE = ("expand", "depthwise", "excite")  # roles that make hidden channels
READ = ("squeeze", "project")  # roles that read them


def remap_mbconv(
    seed: BlockArrays,
    *,
    kernel: int,
    hidden: int,
    in_channels: int,
    how: Strategy,
    rng: np.random.Generator,
) -> tuple[BlockArrays, dict[str, str]]:
    """Remap a block to another kernel, hidden width and input width.

    seed         roles ``start`` (may be missing; stays as it is), ``expand`` (may be missing),
                 ``depthwise``, ``squeeze`` and ``excite`` (both or neither), ``project``
    hidden       new number of hidden channels
    in_channels  new number of input channels (Eq. 2, 3 on the input axis)
    rng          used by ``net2net``, ``fna-live`` and ``random`` only
    returns      new arrays, and part (``expand.weight``) -> copied, cropped, padded, fresh, ...

    A block without expansion gets the identity as one if ``hidden`` asks for it.

    Raises StrategyError if the strategy needs a batch normalisation that is not there.
    """
    first = seed.get("expand", seed["depthwise"])
    old_hidden = int(first.weight.shape[0])
    made_up = "expand" not in seed and hidden != in_channels
    if made_up:
        seed = {"expand": _identity_expansion(seed["depthwise"], old_hidden), **seed}
    if how.fresh:
        return _fresh(seed, kernel, hidden, in_channels, rng)
    source = channel_sources(first, hidden, how, rng)
    new = np.arange(hidden) >= old_hidden
    remapped = {}
    for role, conv in seed.items():
        if role in MADE:
            conv = remap_rows(conv, source)
        if role == "expand":
            weight = remap_width(conv.weight, hidden, in_channels)
            conv = dataclasses.replace(conv, weight=weight)
        if role == "depthwise":
            conv = dataclasses.replace(remap_window(conv, kernel, how), groups=hidden)
        if role in READ:
            conv = dataclasses.replace(conv, weight=remap_columns(conv.weight, source, new, how))
        if how.grow == "live" and new.any() and role in ("expand", "depthwise"):
            conv = shaken(conv, new, rng)
        remapped[role] = conv
    words = remap_words(
        seed,
        remapped,
        **width_words(source, how),
        wider="dilated" if how.kernel == "dilate" else "padded",
    )
    if made_up:
        words |= {
            part: "fresh: the identity" + ("" if what == "copied" else f" and {what}")
            for part, what in words.items()
            if part.startswith("expand.")
        }
    return remapped, words


def mask_mbconv(seed: BlockArrays, *, kernel: int, hidden: int, how: Strategy) -> BlockArrays:
    """Zero what a smaller block drops: outer taps, and weights that read missing channels.

    returns  arrays of the same shapes
    """
    result = dict(seed)
    result["depthwise"] = without_outer_taps(seed["depthwise"], kernel)
    first = seed.get("expand", seed["depthwise"])
    if hidden < len(first.weight):
        gone = np.ones(len(first.weight), bool)
        gone[kept_channels(first, hidden, how)] = False
        for role in READ:
            if role in result:
                weight = result[role].weight.copy()
                weight[:, gone] = 0
                result[role] = dataclasses.replace(result[role], weight=weight)
    return result


def without_outer_taps(conv: ConvArrays, kernel: int) -> ConvArrays:
    """Return a convolution whose taps outside the central ``kernel`` x ``kernel`` are zero."""
    k = int(conv.weight.shape[-1])
    edge = (k - kernel) // 2
    if edge <= 0:
        return conv
    outer = np.ones((k, k), bool)
    outer[edge:-edge, edge:-edge] = False
    weight = conv.weight.copy()
    weight[..., outer] = 0
    return dataclasses.replace(conv, weight=weight)


def _identity_expansion(depthwise: ConvArrays, channels: int) -> ConvArrays:
    dtype = depthwise.weight.dtype
    bias = None if depthwise.bias is None else np.zeros(channels, dtype)
    eye = np.eye(channels, dtype=dtype)[:, :, None, None]
    return ConvArrays(eye, bias, identity_batchnorm(depthwise.bn, channels))


def _fresh(
    seed: BlockArrays, kernel: int, hidden: int, in_channels: int, rng: np.random.Generator
) -> tuple[BlockArrays, dict[str, str]]:
    fresh = {}
    for role, conv in seed.items():
        rows, columns = conv.weight.shape[:2]
        rows = hidden if role in MADE else rows
        columns = hidden if role in READ else in_channels if role == "expand" else columns
        window = (kernel, kernel) if role == "depthwise" else conv.weight.shape[2:]
        groups = hidden if role == "depthwise" else conv.groups
        fresh[role] = fresh_conv(conv, (rows, columns, *window), groups, rng)
    return fresh, {part: "fresh: random" for part, _ in block_parts(fresh)}
