"""Smaller kernels by least squares: central taps replace the outer ones as well as possible.

Moments are those of the patches of the *old* window (or of any window that holds both), so that
what the lost taps read is known. A larger window gets zeros about the old one: nothing changes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from .fit import REFINEMENTS, RIDGE, columns_of, problem
from .gram import Floats, Indices, Target


@dataclasses.dataclass(frozen=True)
class WindowFit:
    """A convolution with another kernel.

    weight      (m, channels / groups, kernel, kernel)
    bias        (m,): what its constant changes by; with a target the whole constant
    error       relative error, one number, as in :mod:`.fit`
    row_errors  (m,) relative error of each output alone
    """

    weight: Floats
    bias: Floats
    error: float
    row_errors: Floats


def fit_depthwise(
    grams: Floats,
    weight: NDArray[np.floating],
    kernel: int,
    target: Target | None = None,
    *,
    row_weights: Floats | None = None,
    ridge: float = RIDGE,
) -> WindowFit:
    """Fit a depthwise convolution with another kernel, each channel separately.

    grams        (c, taps + 1, taps + 1) of a window of taps = w x w, :class:`.Gram` with
                 ``depthwise``; w at least the old kernel, with a target at least the new one
    weight       (c, 1, k, k), k odd
    kernel       odd
    target       what to aim at; None: what ``weight`` gives. Then a kernel of at least k brings
                 the weights back to the bit with zeros about them.
    row_weights  (c,) |s|, for ``error`` alone
    ridge        relative to the mean variance of a channel's taps

    Raises ValueError for windows that do not fit.
    """
    c, window = len(weight), math.isqrt(grams.shape[-1] - 1)
    old = _odd(weight, kernel, window, target)
    if target is None and kernel >= old:
        return WindowFit(_framed(weight, kernel), np.zeros(c), 0.0, np.zeros(c))
    mean = grams[:, -1, :-1]
    covariance = grams[:, :-1, :-1] - mean[:, :, None] * mean[:, None, :]
    prior = _framed(weight, window).reshape(c, -1)
    if target is None:
        cross = _times(prior, covariance)
        target_mean = (prior * mean).sum(axis=1)
        energy = (cross * prior).sum(axis=1)
    else:
        target_mean = target.cross[:, -1]
        cross = target.cross[:, :-1] - target_mean[:, None] * mean
        energy = target.square - target_mean**2
    taps = centre_taps(window, kernel)
    kept = np.zeros_like(prior)
    kept[:, taps] = prior[:, taps]
    missing = (
        _times(prior - kept, covariance) if target is None else cross - _times(kept, covariance)
    )
    solved = np.zeros_like(prior)
    solved[:, taps] = _solved(covariance, missing, prior, taps, ridge)
    if target is None:
        change = prior - solved
        errors = (_times(change, covariance) * change).sum(axis=1)
        bias = (change * mean).sum(axis=1)
    else:
        errors = energy + ((_times(solved, covariance) - 2 * cross) * solved).sum(axis=1)
        bias = target_mean - (solved * mean).sum(axis=1)
    errors, energy = np.maximum(errors, 0.0), np.maximum(energy, 0.0)
    importance = np.ones(c) if row_weights is None else row_weights**2
    return WindowFit(
        solved[:, taps].reshape(c, 1, kernel, kernel),
        bias,
        float(_ratios((importance @ errors)[None], (importance @ energy)[None])[0]),
        _ratios(errors, energy),
    )


def fit_dense_window(
    gram: Floats,
    weight: NDArray[np.floating],
    kernel: int,
    target: Target | None = None,
    *,
    kept: Indices | None = None,
    row_weights: Floats | None = None,
    ridge: float = RIDGE,
) -> WindowFit:
    """Fit a dense convolution with another kernel, on all of its channels or on some.

    gram    (n + 1, n + 1) of patches, n = c * w * w; w at least the old kernel, with a target at
            least the new one
    weight  (m, c, k, k), k odd
    kernel  odd
    target  what to aim at; None: what ``weight`` gives. Then a kernel of at least k and all
            channels bring the weights back to the bit with zeros about them.
    kept    channels that stay, in the order in which they shall stand; None: all
    others  as in :func:`.fit.refit`

    Raises as :func:`.fit.refit`, and ValueError for windows that do not fit.
    """
    m, c = weight.shape[:2]
    window = math.isqrt((len(gram) - 1) // c)
    old = _odd(weight, kernel, window, target)
    everything = kept is None or np.array_equal(kept, np.arange(c))
    if target is None and kernel >= old and everything:
        return WindowFit(_framed(weight, kernel), np.zeros(m), 0.0, np.zeros(m))
    inner = min(kernel, window)
    this = problem(gram, _framed(weight, window), target, row_weights, ridge)
    shape = (m, c, window, window)
    columns = columns_of(np.arange(c) if kept is None else kept, shape)
    columns = columns.reshape(-1, window**2)[:, centre_taps(window, inner)].reshape(-1)
    solved = this.solve(columns)
    errors = this.errors(solved, columns)
    return WindowFit(
        _framed(solved.reshape(m, -1, inner, inner), kernel),
        this.constant(solved, columns),
        this.relative(errors),
        _ratios(errors, this.energy),
    )


def centre_taps(window: int, kernel: int) -> Indices:
    """Return the taps of the central ``kernel`` x ``kernel`` in a window, row by row."""
    edge = (window - kernel) // 2
    return (
        np.arange(window**2)
        .reshape(window, window)[edge : edge + kernel, edge : edge + kernel]
        .reshape(-1)
    )


def _odd(weight: NDArray[np.floating], kernel: int, window: int, target: Target | None) -> int:
    old = int(weight.shape[-1])
    if weight.shape[-2] != old or not old % 2 == kernel % 2 == window % 2 == 1:
        raise ValueError(
            f"fitting {weight.shape[-2]}x{old} to {kernel}x{kernel} with moments of {window}x"
            f"{window}: all must be square and odd"
        )
    needed = old if target is None else max(old, kernel)
    if window < needed:
        raise ValueError(f"moments of {window}x{window} patches do not hold {needed}x{needed}")
    return old


def _framed(weight: NDArray[np.floating], kernel: int) -> Floats:
    """Return a float64 copy, zero-padded to the kernel if it is smaller."""
    edge = (kernel - weight.shape[-1]) // 2
    return np.pad(np.asarray(weight, np.float64), [(0, 0), (0, 0), (edge, edge), (edge, edge)])


def _times(rows: Floats, matrices: Floats) -> Floats:
    return np.asarray((rows[:, None, :] @ matrices)[:, 0])


def _solved(
    covariance: Floats, missing: Floats, prior: Floats, taps: Indices, ridge: float
) -> Floats:
    """Return (c, taps): the refinements of :meth:`.fit.Problem.solve`, channel by channel."""
    variance = np.trace(covariance, axis1=1, axis2=2) / covariance.shape[-1]
    extra = ridge * np.where(variance > 0, variance, 1.0)
    inner = covariance[:, taps[:, None], taps]
    inverse = np.asarray(
        np.linalg.inv(inner + extra[:, None, None] * np.eye(len(taps))), np.float64
    )
    change = np.zeros((len(prior), len(taps)))
    for _ in range(REFINEMENTS):
        change += _times(missing[:, taps] - _times(change, inner), inverse)
    return np.asarray(prior[:, taps] + change)


def _ratios(errors: Floats, energy: Floats) -> Floats:
    some = energy > 0
    return np.where(some, errors / np.where(some, energy, 1.0), (errors > 0).astype(np.float64))
