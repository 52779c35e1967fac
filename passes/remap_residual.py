"""How the searched convolution of a residual block becomes grouped and larger (FNA++ Eq. 4-6)."""

from __future__ import annotations

import dataclasses

import numpy as np

from .block_arrays import BlockArrays, ConvArrays, block_parts, fresh_conv, remap_words
from .remap import remap_groups, remap_width
from .remap_mbconv import without_outer_taps
from .strategies import Strategy, remap_window


def remap_residual(
    seed: BlockArrays,
    *,
    heart: str,
    kernel: int,
    groups: int,
    in_channels: int,
    how: Strategy,
    rng: np.random.Generator,
) -> tuple[BlockArrays, dict[str, str]]:
    """Remap a basic or bottleneck block to another window, group count and input width.

    seed         convolutions by role, the first one reads the block's input
    heart        role of the convolution that changes; ``groups`` is a multiple of its own
    in_channels  new number of input channels of the first convolution, which is dense if it differs
    rng          used by ``random`` only
    returns      new arrays, and part (``first.weight``) -> copied, cropped, padded, fresh, ...

    In one step: the input width, then of each output channel the inputs of its own group (Eq. 4),
    then the window about its centre.
    """
    made: dict[str, ConvArrays] = {}
    for number, (role, conv) in enumerate(seed.items()):
        if number == 0 and conv.groups == 1 and int(conv.weight.shape[1]) != in_channels:
            weight = remap_width(conv.weight, int(conv.weight.shape[0]), in_channels)
            conv = dataclasses.replace(conv, weight=weight)
        if role == heart:
            weight = remap_groups(conv.weight, groups, conv.groups)
            conv = remap_window(
                dataclasses.replace(conv, weight=weight, groups=groups), kernel, how
            )
        if how.fresh:
            conv = fresh_conv(conv, conv.weight.shape, conv.groups, rng)
        made[role] = conv
    if how.fresh:
        return made, {part: "fresh: random" for part, _ in block_parts(made)}
    wider = "dilated" if how.kernel == "dilate" else "padded"
    return made, remap_words(seed, made, cropped="cropped", grown="padded", wider=wider)


def mask_residual(seed: BlockArrays, *, heart: str, kernel: int, groups: int) -> BlockArrays:
    """Zero what a grouped, smaller convolution has not: other groups' inputs, outer taps.

    returns  arrays of the same shapes
    """
    conv = without_outer_taps(seed[heart], kernel)
    rows, per_group = conv.weight.shape[:2]
    inputs = per_group * conv.groups
    row, column = np.indices((rows, per_group))
    read = row // (rows // conv.groups) * per_group + column  # which input a weight stands for
    lost = read // (inputs // groups) != row // (rows // groups)
    weight = conv.weight.copy()
    weight[lost] = 0
    return {**seed, heart: dataclasses.replace(conv, weight=weight)}
