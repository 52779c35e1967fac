"""The stored arrays of a block, by the role of each convolution; independent of graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from .rules import Array, kaiming

ZERO = -1  # source of a channel that starts as zeros


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """The four vectors of a batch normalisation, each (channels,)."""

    gamma: Array
    beta: Array
    mean: Array
    var: Array


@dataclasses.dataclass(frozen=True)
class ConvArrays:
    """A convolution with its BN: weight (out, in / groups, k, k), bias (out,) or None."""

    weight: Array
    bias: Array | None = None
    bn: BatchNorm | None = None
    groups: int = 1

    def parts(self) -> Iterator[tuple[str, Array]]:
        """Yield (part name, array) of everything stored."""
        yield "weight", self.weight
        if self.bias is not None:
            yield "bias", self.bias
        if self.bn is not None:
            for field in dataclasses.fields(BatchNorm):
                yield field.name, getattr(self.bn, field.name)


BlockArrays = Mapping[str, ConvArrays]
"""Role of a convolution (``expand``, ``depthwise``, ...) -> its arrays, in execution order."""


def block_parts(block: BlockArrays) -> Iterator[tuple[str, Array]]:
    """Yield (``expand.weight``, array) for everything stored in a block."""
    for role, conv in block.items():
        for part, array in conv.parts():
            yield f"{role}.{part}", array


def gather(values: Array, source: Array, fill: float) -> Array:
    """Return ``values[source]`` along the first axis, ``fill`` where the source is ZERO."""
    result: Array = values[np.maximum(source, 0)]
    result[source == ZERO] = fill
    return result


def remap_batchnorm(bn: BatchNorm, source: Array) -> BatchNorm:
    """Gather the channels of a batch normalisation; new ones are the identity.

    source   (new channels,) index into the old channels, or ZERO for gamma 1, beta 0, mean 0, var 1
    """
    return BatchNorm(
        gather(bn.gamma, source, 1.0),
        gather(bn.beta, source, 0.0),
        gather(bn.mean, source, 0.0),
        gather(bn.var, source, 1.0),
    )


def identity_batchnorm(like: BatchNorm | None, channels: int) -> BatchNorm | None:
    """Return a new batch normalisation of the same dtype, or None if there is none."""
    if like is None:
        return None
    return remap_batchnorm(like, np.full(channels, ZERO))


def fresh_conv(
    like: ConvArrays, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> ConvArrays:
    """Return a convolution that starts at random: He-normal weight, bias 0, identity BN."""
    dtype = like.weight.dtype
    bias = None if like.bias is None else np.zeros(shape[0], dtype)
    weight = kaiming(shape, dtype, rng)
    return ConvArrays(weight, bias, identity_batchnorm(like.bn, shape[0]), groups)


def remap_words(
    before: BlockArrays, after: BlockArrays, *, cropped: str, grown: str, wider: str
) -> dict[str, str]:
    """Describe for each part of ``after`` how the same part of ``before`` changed.

    cropped, grown  words for lost channels and new channels
    wider           word for a window that grew
    """
    result = {}
    old_parts = dict(block_parts(before))
    for part, array in block_parts(after):
        old = old_parts[part]
        changes = []
        if any(n < o for n, o in zip(array.shape, old.shape, strict=True)):
            changes.append(cropped)
        if any(n > o for n, o in zip(array.shape[:2], old.shape[:2], strict=True)):
            changes.append(grown)
        if array.shape[2:] > old.shape[2:]:
            changes.append(wider)
        result[part] = " and ".join(dict.fromkeys(changes)) or "copied"
    return result
