"""Weights of a linear map on fewer of its inputs, by least squares on second moments.

A convolution gives y = W h. Of its input channels only some are kept, S. With the moments of
:mod:`.gram`, K = G - (means), the covariance of h, and t the target (W h, or what another network
gave at this place), the best map on what is kept is

    W_S = cov(t, h_S) K_SS^-1        b = mean(t) - W_S mean(h_S)

The constant is free: it goes into the bias, or out of the mean of the batch normalisation behind.
A ridge lambda = ``ridge`` * trace(K) / n, and REFINEMENTS steps of iterated Tikhonov towards the
weights that were, keep this solvable and near W where the images determine nothing; in every
direction that they do determine, the ridge is gone to float rounding.

Errors are mean squares over pixels, summed over outputs, relative to the same of the target about
its mean: 0 is exact, 1 is what a constant achieves. ``row_weights``, one |s| for each output,
count an output's error s^2 times. All in float64; arguments are never written to.

Sources: channel pruning by reconstruction (He 2017), ThiNet (Luo 2017).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ..errors import FitDataError
from .gram import Floats, Indices, Target

RIDGE = 1e-6  # of the mean variance of a feature
REFINEMENTS = 4  # an eigenvalue mu keeps (lambda / (mu + lambda))^4 of what it has to change


@dataclasses.dataclass(frozen=True)
class Refit:
    """A linear map on the kept channels.

    weight      (m, kept channels, ...), trailing axes as in the weight that was
    bias        (m,): what the map's constant changes by; with a target the whole constant
    error       relative error, one number
    row_errors  (m,) relative error of each output alone
    """

    weight: Floats
    bias: Floats
    error: float
    row_errors: Floats


@dataclasses.dataclass(frozen=True)
class Problem:
    """A least-squares problem about its means.

    covariance  K: (n, n)        mean    of the features: (n,)
    cross       cov(t, h): (m, n)
    target_mean mean of t: (m,)  energy  variance of t: (m,)
    prior       weights that were: (m, n)
    importance  s^2 of each output: (m,)
    ridge       lambda, absolute
    """

    covariance: Floats
    mean: Floats
    cross: Floats
    target_mean: Floats
    energy: Floats
    prior: Floats
    importance: Floats
    ridge: float
    own: bool  # the target is what the weights that were give

    def relative(self, row_errors: Floats) -> float:
        """Return the error of all outputs together, relative to the target's energy."""
        return _ratio(float(self.importance @ row_errors), float(self.importance @ self.energy))

    def solve(self, columns: Indices) -> Floats:
        """Return the best weights on these features: (m, columns).

        Raises FitDataError if the covariance is singular even with the ridge.
        """
        start = self.prior[:, columns]
        missing = self._missing(start, columns)
        if not missing.any():
            return start
        covariance = self.covariance[np.ix_(columns, columns)]
        factor = cholesky(covariance, self.ridge)
        change = np.zeros_like(start)
        for _ in range(REFINEMENTS):
            rest = missing - change @ covariance
            change += scipy.linalg.cho_solve(factor, rest.T, check_finite=False).T
        return np.asarray(start + change)

    def _missing(self, start: Floats, columns: Indices) -> Floats:
        """Return cov(t - W_S h_S, h_S) of the original weights: exactly 0 if nothing is lost."""
        if not self.own:
            covariance = self.covariance[np.ix_(columns, columns)]
            return np.asarray(self.cross[:, columns] - start @ covariance)
        lost = np.setdiff1d(np.arange(len(self.mean)), columns)
        return np.asarray(self.prior[:, lost] @ self.covariance[np.ix_(lost, columns)])

    def errors(self, weight: Floats, columns: Indices) -> Floats:
        """Return mean squared errors of weights on these features, best constant: (m,)."""
        if self.own:
            change = self.prior.copy()
            change[:, columns] -= weight
            errors = np.einsum("mi,mi->m", change @ self.covariance, change)
        else:
            covariance = self.covariance[np.ix_(columns, columns)]
            slope = weight @ covariance - 2 * self.cross[:, columns]
            errors = self.energy + np.einsum("mi,mi->m", slope, weight)
        return np.asarray(np.maximum(errors, 0.0))

    def constant(self, weight: Floats, columns: Indices) -> Floats:
        """Return mean(t) - W mean(h): (m,); exactly 0 where nothing has changed."""
        if self.own:
            change = self.prior.copy()
            change[:, columns] -= weight
            return np.asarray(change @ self.mean)
        return np.asarray(self.target_mean - weight @ self.mean[columns])


def problem(
    gram: Floats,
    weight: NDArray[np.floating],
    target: Target | None = None,
    row_weights: Floats | None = None,
    ridge: float = RIDGE,
) -> Problem:
    """Return the least-squares problem about its means.

    gram         (n + 1, n + 1), :attr:`.Moments.second`
    weight       (m, c, ...) with c * taps = n
    target       what to aim at, measured with the same features; None: W h
    row_weights  (m,)
    ridge        relative, above 0

    Raises ValueError for shapes that do not fit.
    """
    prior = np.asarray(weight, np.float64).reshape(len(weight), -1)
    m, n = prior.shape
    if gram.shape != (n + 1, n + 1):
        raise ValueError(f"a weight of {n} numbers an output, moments {gram.shape}")
    if target is not None and target.cross.shape != (m, n + 1):
        raise ValueError(f"a target {target.cross.shape}, not {(m, n + 1)}")
    if row_weights is not None and row_weights.shape != (m,):
        raise ValueError(f"weights of rows {row_weights.shape}, not {(m,)}")
    mean = gram[-1, :-1].copy()
    covariance = gram[:-1, :-1] - np.outer(mean, mean)
    if target is None:
        cross = prior @ covariance
        target_mean = prior @ mean
        energy = np.einsum("mi,mi->m", cross, prior)
    else:
        target_mean = target.cross[:, -1].copy()
        cross = target.cross[:, :-1] - np.outer(target_mean, mean)
        energy = target.square - target_mean**2
    importance = np.ones(m) if row_weights is None else np.asarray(row_weights, np.float64) ** 2
    return Problem(
        covariance,
        mean,
        cross,
        target_mean,
        np.maximum(energy, 0.0),
        prior,
        importance,
        absolute_ridge(covariance, ridge),
        own=target is None,
    )


def refit(
    gram: Floats,
    weight: NDArray[np.floating],
    kept: Indices,
    target: Target | None = None,
    *,
    row_weights: Floats | None = None,
    ridge: float = RIDGE,
) -> Refit:
    """Solve for the weights on the kept channels, exactly, with the constant.

    gram         (n + 1, n + 1) of what the map reads
    weight       (m, c, ...); trailing axes are the taps of a channel, n = c * taps
    kept         channels that stay, in the order in which they shall stand
    target       what to aim at; None: what ``weight`` gives. Then all channels in their order
                 bring the weights back to the bit and change no constant.
    row_weights  (m,) |s|; they change what ``error`` says, not the weights

    Raises FitDataError if the moments are singular even with the ridge; ValueError for shapes
    that do not fit or channels that are not there.
    """
    this = problem(gram, weight, target, row_weights, ridge)
    columns = columns_of(kept, weight.shape)
    solved = this.solve(columns)
    errors = this.errors(solved, columns)
    return Refit(
        solved.reshape(len(weight), len(kept), *weight.shape[2:]),
        this.constant(solved, columns),
        this.relative(errors),
        np.array([_ratio(e, total) for e, total in zip(errors, this.energy)]),
    )


def error_of(
    gram: Floats,
    weight: NDArray[np.floating],
    kept: Indices,
    new_weight: NDArray[np.floating],
    bias: Floats,
    target: Target | None = None,
    *,
    row_weights: Floats | None = None,
) -> float:
    """Return the relative error of any weights on the kept channels, with the constant they have.

    This is what to hold a fit, or another way to remap, against: it takes nothing for granted.

    new_weight  (m, kept channels, ...)
    bias        (m,): change of the constant; with a target the whole constant
    others      as in :func:`refit`
    """
    this = problem(gram, weight, target, row_weights)
    columns = columns_of(kept, weight.shape)
    rows = np.asarray(new_weight, np.float64).reshape(len(weight), -1)
    offset = this.constant(rows, columns) - bias
    return this.relative(this.errors(rows, columns) + offset**2)


def mean_of(
    gram: Floats, weight: NDArray[np.floating], bias: NDArray[np.floating] | None = None
) -> Floats:
    """Return the mean output of a linear map, W mean(h) + b: (m,).

    The constant that a skipped branch leaves behind.
    """
    rows = np.asarray(weight, np.float64).reshape(len(weight), -1)
    mean = rows @ gram[-1, :-1]
    return np.asarray(mean if bias is None else mean + bias)


def output_moments(
    gram: Floats,
    weight: NDArray[np.floating],
    bias: NDArray[np.floating] | None = None,
    kept: Indices | None = None,
) -> tuple[Floats, Floats]:
    """Return mean and (population) variance of W_S h_S + b over the pixels: (m,) each.

    These are the statistics of a batch normalisation behind the map; nothing has to be run.

    gram    (n + 1, n + 1) of all features
    weight  (m, kept channels, ...)
    kept    channels of the features that the weight reads; None: all
    """
    rows = np.asarray(weight, np.float64).reshape(len(weight), -1)
    if kept is not None:
        columns = columns_of(kept, weight.shape, channels=None)
        places = np.append(columns, len(gram) - 1)
        gram = gram[np.ix_(places, places)]
    mean = gram[-1, :-1]
    covariance = gram[:-1, :-1] - np.outer(mean, mean)
    variance = np.maximum(np.einsum("mi,mi->m", rows @ covariance, rows), 0.0)
    return mean_of(gram, weight, bias), variance


def columns_of(kept: Indices, shape: tuple[int, ...], channels: int | None = -1) -> Indices:
    """Return the features of the kept channels, tap after tap: (kept * taps,).

    shape     of the weight, (m, c, ...)
    channels  how many there are, -1: c of the shape; None: not known

    Raises ValueError for channels that are not there or are there twice.
    """
    taps = math.prod(shape[2:])
    channels = shape[1] if channels == -1 else channels
    kept = np.asarray(kept, np.int64)
    above = channels is not None and kept.size and int(kept.max()) >= channels
    if above or (kept < 0).any() or len(np.unique(kept)) != len(kept):
        raise ValueError(f"channels {kept.tolist()} of {channels}: each at most once, from 0")
    return (kept[:, None] * taps + np.arange(taps)).reshape(-1)


def absolute_ridge(covariance: Floats, ridge: float) -> float:
    """Return lambda: ``ridge`` of the mean variance, or of 1 where nothing varies."""
    variance = float(np.trace(covariance)) / max(1, len(covariance))
    return ridge * variance if variance > 0 else ridge


def cholesky(covariance: Floats, ridge: float) -> tuple[Floats, bool]:
    """Return the factor of covariance + ridge * I for ``scipy.linalg.cho_solve``.

    Raises FitDataError if that is not positive definite.
    """
    matrix = covariance.copy(order="F")
    matrix[np.diag_indices_from(matrix)] += ridge
    try:
        factor, _ = scipy.linalg.cho_factor(
            matrix, lower=True, overwrite_a=True, check_finite=False
        )
    except np.linalg.LinAlgError as error:
        raise FitDataError(
            f"the moments of {len(covariance)} features are singular with a ridge of {ridge:g};"
            f" give more images, or a larger ridge"
        ) from error
    return factor, True


def _ratio(error: float, energy: float) -> float:
    return error / energy if energy > 0 else float(error > 0)
