"""The parameter remapping of FNA++ (Sec. 3.1, 5.3, 5.4) on arrays; independent of graphs.

Convolution weights are (out, in / group, k, k). Every function returns new arrays of the dtype it
was given and never writes into its arguments.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def remap_kernel(weight: Array, kernel: int) -> Array:
    """Crop or zero-pad a convolution weight to ``kernel`` x ``kernel`` about its centre (Eq. 5, 6).

    weight   (out, in / group, k, k), k odd
    kernel   odd
    returns  (out, in / group, kernel, kernel), same dtype, always a new array

    Raises ValueError unless both kernels are square and odd.
    """
    k = _odd_square(weight, kernel)
    grow = (kernel - k) // 2
    if grow < 0:
        return weight[..., -grow : k + grow, -grow : k + grow].copy()
    return np.pad(weight, [(0, 0), (0, 0), (grow, grow), (grow, grow)])


def dilate_kernel(weight: Array, kernel: int) -> Array:
    """Spread the taps of a weight evenly over ``kernel`` x ``kernel``, zeros between (Eq. 11).

    weight   (out, in / group, k, k), k odd
    kernel   odd, at least k, with kernel - 1 a multiple of k - 1 (3 -> 5, 3 -> 7, not 5 -> 7)
    returns  (out, in / group, kernel, kernel), same dtype, always a new array

    Raises ValueError for kernels that the taps do not fit.
    """
    k = _odd_square(weight, kernel)
    if kernel < k or (k > 1 and (kernel - 1) % (k - 1)) or (k == 1 and kernel > 1):
        raise ValueError(
            f"the taps of a {k}x{k} kernel do not spread evenly over {kernel}x{kernel}"
        )
    wide = np.zeros((*weight.shape[:2], kernel, kernel), weight.dtype)
    step = (kernel - 1) // (k - 1) if k > 1 else 1
    wide[..., ::step, ::step] = weight
    return wide


def remap_width(weight: Array, out_channels: int, in_channels: int | None = None) -> Array:
    """Keep the first channels of a convolution weight, or pad with zero channels (Eq. 2, 3).

    weight        (p, q, ...); only the first two axes change
    out_channels  r; the first min(p, r) output channels are kept
    in_channels   s; the same for the input axis; None leaves it
    returns       (r, s, ...), same dtype, always a new array
    """
    s = weight.shape[1] if in_channels is None else in_channels
    result = np.zeros((out_channels, s, *weight.shape[2:]), weight.dtype)
    r, q = min(out_channels, weight.shape[0]), min(s, weight.shape[1])
    result[:r, :q] = weight[:r, :q]
    return result


def remap_groups(weight: Array, groups: int, old_groups: int = 1) -> Array:
    """Keep the part of a weight that ``groups`` groups can hold (Eq. 4, counted from 0).

    Output channel i of group i // (r / groups) keeps the seed's inputs (that group) * s + j.

    weight      (r, q / old_groups, k, k), dense with one group
    groups      a multiple of ``old_groups``: groups only split
    returns     (r, q / groups, k, k), same dtype, always a new array

    Raises ValueError unless ``groups`` divides both channel counts and splits the old groups.
    """
    r, q = weight.shape[0], weight.shape[1] * old_groups
    if r % groups or q % groups:
        raise ValueError(f"{groups} groups do not divide {r} output and {q} input channels")
    if groups % old_groups:
        raise ValueError(f"its {old_groups} groups do not split into {groups}")
    s = q // groups
    row = np.arange(r)
    first = row // (r // groups) * s - row // (r // old_groups) * (q // old_groups)
    columns = first[:, None] + np.arange(s)
    return np.ascontiguousarray(weight[row[:, None], columns])


def top_channels(reference: Array, count: int) -> Array:
    """Return the indices of the ``count`` largest values of a vector, ascending (Algorithm 1).

    reference  (p,); ties keep the lower index
    returns    (count,) int64
    """
    order = np.argsort(-reference.astype(np.float64), kind="stable")
    return np.sort(order[:count])


def channel_importance(weight: Array, gamma: Array | None, by: str) -> Array:
    """Return one number per output channel: how much it matters (Sec. 5.4.1, 5.4.2).

    weight   (p, ...) of the convolution that makes the channels
    gamma    (p,) of the batch normalisation behind it, for ``by="gamma"``
    by       ``gamma`` (its absolute value), ``std`` or ``l1`` (of the channel's weights)
    returns  (p,) float64

    Raises ValueError when gamma is wanted and there is none, or for an unknown measure.
    """
    rows = weight.reshape(weight.shape[0], -1).astype(np.float64)
    if by == "std":
        return np.asarray(rows.std(axis=1))
    if by == "l1":
        return np.asarray(np.abs(rows).sum(axis=1))
    if by != "gamma":
        raise ValueError(f"no measure of channels is called {by!r}; known: gamma, std, l1")
    if gamma is None:
        raise ValueError("channels are chosen by BN gamma, but there is no batch normalisation")
    return np.abs(gamma.astype(np.float64))


def kaiming(shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> Array:
    """Return He-normal values for a convolution weight: std sqrt(2 / fan-in)."""
    fan_in = int(np.prod(shape[1:]))
    return np.asarray(rng.standard_normal(shape) * np.sqrt(2.0 / fan_in), dtype)


def _odd_square(weight: Array, kernel: int) -> int:
    k = int(weight.shape[-1])
    if weight.shape[-2] != k or k % 2 == 0 or kernel % 2 == 0:
        raise ValueError(
            f"remapping {weight.shape[-2]}x{k} to {kernel}x{kernel}: both must be square and odd"
        )
    return k
