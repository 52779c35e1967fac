"""Numbers to fit to, and what a fit must agree with: errors measured on the numbers themselves."""

from __future__ import annotations

import itertools

import numpy as np

from fnac.passes.remap.gram import Gram, Moments

Array = np.ndarray


def features(seed: int, pixels: int, channels: int) -> Array:
    """(pixels, channels) that depend on each other, none with mean zero, as behind a ReLU."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((pixels, channels)) @ rng.standard_normal((channels, channels))
    return np.maximum(common + rng.standard_normal(channels), -0.5)


def moments_of(h: Array, t: Array | None = None) -> Moments:
    gram = Gram(h.shape[1], outputs=0 if t is None else t.shape[1])
    gram.add(h, t)
    return gram.moments()


def measured_error(wanted: Array, given: Array, row_weights: Array | float = 1.0) -> float:
    """Relative squared error of (pixels, m), about the mean of what is wanted."""
    rest = (wanted - given) * row_weights
    return float((rest**2).sum() / (((wanted - wanted.mean(axis=0)) * row_weights) ** 2).sum())


def least_squares(h: Array, t: Array) -> tuple[Array, Array]:
    """Weights (m, channels) and constant (m,) by an orthogonal factorisation of the numbers."""
    solved = np.linalg.lstsq(np.column_stack([h, np.ones(len(h))]), t, rcond=None)[0].T
    return solved[:, :-1], solved[:, -1]


def least_error(h: Array, t: Array, row_weights: Array | float = 1.0) -> float:
    """Relative error of the best linear map with a constant."""
    weight, constant = least_squares(h, t)
    return measured_error(t, h @ weight.T + constant, row_weights)


def equal_parts(count: int) -> list[list[int]]:
    """Every set of half of ``count`` numbers."""
    return [list(part) for part in itertools.combinations(range(count), count // 2)]
