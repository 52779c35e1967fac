"""Remapping strategies by name: how the arrays of one MBConv become those of another.

A block is three convolutions (expansion, depthwise, projection) about one *hidden* width. A
strategy says where each new hidden channel comes from, consistently in all three, and how a
kernel changes size (FNA++ Sec. 3.1, 5.3, 5.4; ``fna-live`` is ours).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

from .errors import FnacError
from .remap import (
    Array,
    channel_importance,
    dilate_kernel,
    kaiming,
    remap_kernel,
    remap_width,
    top_channels,
)

LIVE_NOISE = 0.1  # noise on the copied rows of fna-live, in units of their own spread
ZERO = -1  # source of a channel that starts as zeros


class StrategyError(FnacError):
    """No remapping strategy has this name, or it cannot work on this block."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """The four vectors of a batch normalisation, each (channels,)."""

    gamma: Array
    beta: Array
    mean: Array
    var: Array


@dataclasses.dataclass(frozen=True)
class ConvArrays:
    """A convolution with what follows it: weight (out, in / group, k, k), bias (out,) or None."""

    weight: Array
    bias: Array | None = None
    bn: BatchNorm | None = None

    def parts(self) -> Iterator[tuple[str, Array]]:
        """Yield (part name, array) of everything stored."""
        yield "weight", self.weight
        if self.bias is not None:
            yield "bias", self.bias
        if self.bn is not None:
            for field in dataclasses.fields(BatchNorm):
                yield field.name, getattr(self.bn, field.name)


@dataclasses.dataclass(frozen=True)
class MBConvArrays:
    """The stored arrays of one MBConv; ``expand`` is None in a block without expansion."""

    expand: ConvArrays | None
    depthwise: ConvArrays
    project: ConvArrays


@dataclasses.dataclass(frozen=True)
class Strategy:
    """One way to remap: what shrinks to which channels, what new channels start as."""

    name: str
    select: Literal["first", "gamma", "std", "l1"] = "first"
    grow: Literal["zeros", "live", "replicate"] = "zeros"
    kernel: Literal["centre", "dilate"] = "centre"
    fresh: bool = False  # nothing is remapped, everything starts at random
    keeps_larger_kernel: bool = True
    keeps_wider: bool = True


STRATEGIES = {
    s.name: s
    for s in (
        Strategy("fna"),
        Strategy("fna-live", grow="live"),
        Strategy("net2net", grow="replicate"),
        Strategy("bn-gamma", select="gamma"),
        Strategy("std", select="std"),
        Strategy("l1", select="l1"),
        Strategy("dilate", kernel="dilate", keeps_larger_kernel=False),
        Strategy("random", fresh=True, keeps_larger_kernel=False, keeps_wider=False),
    )
}


def strategy(name: str) -> Strategy:
    """Return the strategy called ``name``. Raises StrategyError listing the known ones."""
    if name not in STRATEGIES:
        raise StrategyError(
            f"no remapping strategy is called {name!r}; known: {', '.join(STRATEGIES)}"
        )
    return STRATEGIES[name]


def remap_batchnorm(bn: BatchNorm, source: Array) -> BatchNorm:
    """Gather the channels of a batch normalisation; new ones are the identity.

    source   (new channels,) index into the old channels, or ZERO for gamma 1, beta 0, mean 0, var 1
    """
    return BatchNorm(
        _gather(bn.gamma, source, 1.0),
        _gather(bn.beta, source, 0.0),
        _gather(bn.mean, source, 0.0),
        _gather(bn.var, source, 1.0),
    )


def identity_batchnorm(like: BatchNorm | None, channels: int) -> BatchNorm | None:
    """Return a new batch normalisation of the same dtype, or None where there is none."""
    if like is None:
        return None
    return remap_batchnorm(like, np.full(channels, ZERO))


def remap_mbconv(
    seed: MBConvArrays,
    *,
    kernel: int,
    hidden: int,
    in_channels: int,
    how: Strategy,
    rng: np.random.Generator,
) -> tuple[MBConvArrays, dict[str, str]]:
    """Remap a block to another kernel, hidden width and input width.

    hidden       new number of hidden channels
    in_channels  new number of input channels (Eq. 2, 3 on the input axis)
    rng          used by ``net2net``, ``fna-live`` and ``random`` only
    returns      new arrays, and part (``expand.weight``) -> copied, cropped, padded, fresh, ...

    Raises StrategyError if the strategy needs a batch normalisation that is not there.
    """
    old_hidden = int(seed.depthwise.weight.shape[0])
    if seed.expand is None and hidden != in_channels:
        seed = dataclasses.replace(seed, expand=_identity_expansion(seed.depthwise, old_hidden))
        words = {"expand": "fresh: the identity"}
    else:
        words = {}
    if how.fresh:
        return _fresh(seed, kernel, hidden, in_channels, rng)
    source = _sources(seed, hidden, how, rng)
    new = np.arange(hidden) >= old_hidden
    depthwise = _window(_rows(seed.depthwise, source), kernel, how)
    expand = None
    if seed.expand is not None:
        rows = _rows(seed.expand, source)
        expand = dataclasses.replace(rows, weight=remap_width(rows.weight, hidden, in_channels))
    project = dataclasses.replace(
        seed.project, weight=_columns(seed.project.weight, source, new, how)
    )
    if how.grow == "live" and new.any():
        depthwise = _shaken(depthwise, new, rng)
        expand = None if expand is None else _shaken(expand, new, rng)
    result = MBConvArrays(expand, depthwise, project)
    return result, _account(seed, result, source, how, words)


def kept_channels(seed: MBConvArrays, hidden: int, how: Strategy) -> Array:
    """Return the indices of the ``hidden`` channels that a narrower block keeps, ascending.

    Raises StrategyError if the strategy needs a batch normalisation that is not there.
    """
    first = seed.expand or seed.depthwise
    if how.select == "first" or hidden == seed.depthwise.weight.shape[0]:
        return np.arange(hidden)
    gamma = first.bn.gamma if first.bn is not None else None
    try:
        return top_channels(channel_importance(first.weight, gamma, how.select), hidden)
    except ValueError as error:
        raise StrategyError(f"{how.name}: {error}; restore it, or use --remap l1") from error


def _sources(seed: MBConvArrays, hidden: int, how: Strategy, rng: np.random.Generator) -> Array:
    old = int(seed.depthwise.weight.shape[0])
    if hidden <= old:
        return kept_channels(seed, hidden, how)
    extra = hidden - old
    if how.grow == "zeros":
        more = np.full(extra, ZERO)
    elif how.grow == "live":
        more = np.arange(extra) % old
    else:
        more = rng.integers(0, old, extra)
    return np.concatenate([np.arange(old), more])


def _gather(values: Array, source: Array, fill: float) -> Array:
    result = values[np.maximum(source, 0)]
    result[source == ZERO] = fill
    return result


def _rows(conv: ConvArrays, source: Array) -> ConvArrays:
    return ConvArrays(
        _gather(conv.weight, source, 0.0),
        None if conv.bias is None else _gather(conv.bias, source, 0.0),
        None if conv.bn is None else remap_batchnorm(conv.bn, source),
    )


def _window(conv: ConvArrays, kernel: int, how: Strategy) -> ConvArrays:
    k = int(conv.weight.shape[-1])
    spread = how.kernel == "dilate" and kernel > k > 1 and (kernel - 1) % (k - 1) == 0
    remap = dilate_kernel if spread else remap_kernel
    return dataclasses.replace(conv, weight=remap(conv.weight, kernel))


def _columns(weight: Array, source: Array, new: Array, how: Strategy) -> Array:
    columns = np.ascontiguousarray(_gather(weight.swapaxes(0, 1), source, 0.0).swapaxes(0, 1))
    if how.grow == "live":
        columns[:, new] = 0
    elif how.grow == "replicate" and new.any():
        # Net2Net: the copies of a channel share its outgoing weight
        columns /= np.bincount(source)[source].astype(weight.dtype)[None, :, None, None]
    return columns


def _shaken(conv: ConvArrays, new: Array, rng: np.random.Generator) -> ConvArrays:
    weight = conv.weight.copy()
    noise = rng.standard_normal(weight[new].shape)
    axes = tuple(range(1, weight.ndim))
    spread = np.sqrt((weight[new].astype(np.float64) ** 2).mean(axis=axes, keepdims=True))
    weight[new] += (LIVE_NOISE * spread * noise).astype(weight.dtype)
    return dataclasses.replace(conv, weight=weight)


def _identity_expansion(depthwise: ConvArrays, channels: int) -> ConvArrays:
    dtype = depthwise.weight.dtype
    bias = None if depthwise.bias is None else np.zeros(channels, dtype)
    eye = np.eye(channels, dtype=dtype)[:, :, None, None]
    return ConvArrays(eye, bias, identity_batchnorm(depthwise.bn, channels))


def _fresh(
    seed: MBConvArrays, kernel: int, hidden: int, in_channels: int, rng: np.random.Generator
) -> tuple[MBConvArrays, dict[str, str]]:
    def conv(like: ConvArrays, shape: tuple[int, ...]) -> ConvArrays:
        dtype = like.weight.dtype
        bias = None if like.bias is None else np.zeros(shape[0], dtype)
        return ConvArrays(kaiming(shape, dtype, rng), bias, identity_batchnorm(like.bn, shape[0]))

    out_channels = int(seed.project.weight.shape[0])
    made = MBConvArrays(
        None if seed.expand is None else conv(seed.expand, (hidden, in_channels, 1, 1)),
        conv(seed.depthwise, (hidden, 1, kernel, kernel)),
        conv(seed.project, (out_channels, hidden, 1, 1)),
    )
    return made, {part: "fresh: random" for part, _ in block_parts(made)}


def block_parts(block: MBConvArrays) -> Iterator[tuple[str, Array]]:
    """Yield (``expand.weight``, array) for everything stored in a block."""
    for unit in ("expand", "depthwise", "project"):
        conv: ConvArrays | None = getattr(block, unit)
        if conv is not None:
            for part, array in conv.parts():
                yield f"{unit}.{part}", array


def _account(
    seed: MBConvArrays, made: MBConvArrays, source: Array, how: Strategy, words: dict[str, str]
) -> dict[str, str]:
    before = dict(block_parts(seed))
    selected = how.select != "first" and bool((np.diff(source) > 1).any())
    new_word = {"zeros": "padded", "live": "padded live", "replicate": "replicated"}[how.grow]
    result = {}
    for part, array in block_parts(made):
        old = before[part]
        changes = []
        unit = part.partition(".")[0]
        if unit in words:
            changes.append(words[unit])
        if any(n < o for n, o in zip(array.shape, old.shape, strict=True)):
            changes.append("selected" if selected else "cropped")
        if any(n > o for n, o in zip(array.shape[:2], old.shape[:2], strict=True)):
            changes.append(new_word)
        if array.shape[2:] > old.shape[2:]:
            changes.append("dilated" if how.kernel == "dilate" else "padded")
        result[part] = " and ".join(dict.fromkeys(changes)) or "copied"
    return result
