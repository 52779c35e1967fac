"""Which channels to keep, and the error of every width, in one elimination.

With A the covariance of the features plus lambda I, H = A^-1 and W the best weights on the channels
that are left, taking away channel j costs

    tr(w_j (H_jj)^-1 w_j^T)

in squared output error *with the best refit of all others* (w_j, H_jj: columns and block of its k*k
taps). The cheapest goes; then W <- W - w_j H_jj^-1 H_j and H <- H - H_j^T H_jj^-1 H_j. The running
sum is the error of every width. The constant is never taken away: covariance, not G.

Sources: optimal brain surgeon (Hassibi & Stork 1993) on channels; OBC (Frantar & Alistarh 2022).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from .fit import RIDGE, Problem, cholesky, problem
from .gram import Floats, Indices, Target

LAZY_ROWS = 96  # rows of updates that wait before they are multiplied into H and W
DEAD = 1e-13  # variance over mean square below which a feature counts as constant


@dataclasses.dataclass(frozen=True)
class Elimination:
    """The order in which channels are removed, and the error after each.

    removed  (c,) channels, the first to go first
    error    (c + 1,): error[n] with n channels left and refitted, relative to the target's
             energy. It includes lambda |change of weights|^2, the ridge's share.
    """

    removed: Indices
    error: Floats

    def kept(self, width: int) -> Indices:
        """Return the ``width`` channels that stay, ascending. Raises ValueError if out of reach."""
        if not 0 <= width <= len(self.removed):
            raise ValueError(f"{width} of {len(self.removed)} channels cannot stay")
        return np.sort(self.removed[len(self.removed) - width :])


@dataclasses.dataclass(frozen=True)
class Reader:
    """One linear map that reads the channels; arguments of :func:`.fit.problem`."""

    gram: Floats
    weight: NDArray[np.floating]
    target: Target | None = None
    row_weights: Floats | None = None


def eliminate(
    gram: Floats,
    weight: NDArray[np.floating],
    target: Target | None = None,
    *,
    row_weights: Floats | None = None,
    ridge: float = RIDGE,
) -> Elimination:
    """Remove channels one by one, always the one whose removal costs least after a refit.

    gram         (n + 1, n + 1) of what the map reads, n = c * taps
    weight       (m, c, ...), trailing axes are the taps of a channel
    target       in sequence: aim at this instead of W h; the start is the best fit of all channels
    row_weights  (m,) |s|: an output's error counts s^2 times
    ridge        relative to the mean variance of a feature

    Channels that do not vary go first and cost nothing. Of equals the last one goes first.
    Memory: three n x n matrices. Raises as :func:`.fit.refit`.
    """
    return eliminate_together([Reader(gram, weight, target, row_weights)], ridge=ridge)


def eliminate_together(readers: Sequence[Reader], *, ridge: float = RIDGE) -> Elimination:
    """Eliminate channels that several maps read, by the mean of the maps' relative errors.

    Their windows may differ. Raises ValueError if their numbers of channels do.
    """
    counts = {reader.weight.shape[1] for reader in readers}
    if len(counts) != 1:
        raise ValueError(f"maps that read {sorted(counts)} channels do not read the same ones")
    channels = int(counts.pop())
    problems = [problem(r.gram, r.weight, r.target, r.row_weights, ridge) for r in readers]
    dead = np.all([_dead(this, channels) for this in problems], axis=0)
    live = np.flatnonzero(~dead)
    removed = list(np.flatnonzero(dead)[::-1])
    scales = [_scale(this) / len(problems) for this in problems]
    states = [_start(problems.pop(0), live, channels) for _ in readers]
    floor = sum(scale * state.start_error for scale, state in zip(scales, states))
    losses = [0.0] * len(removed)
    for _ in live:
        costs = np.zeros(len(live))
        for scale, state in zip(scales, states):
            own = np.full(len(live), np.inf)  # each forgets gone channels in its own time
            own[state.channels] = scale * state.costs()
            costs += own
        channel = len(costs) - 1 - int(np.argmin(costs[::-1]))
        removed.append(live[channel])
        losses.append(max(0.0, float(costs[channel])))
        for state in states:
            state.remove(int(np.flatnonzero(state.channels == channel)[0]))
    error = floor + np.concatenate([[0.0], np.cumsum(losses)])
    return Elimination(np.array(removed, np.int64), error[::-1].copy())


def width_on_grid(channels: int, share: float, multiple: int = 8) -> int:
    """Return the multiple of ``multiple`` that is nearest to ``share`` of the channels.

    Halves go up; never below one multiple, nor past ``channels`` in the wrong direction. A share of
    1, or no more channels than one multiple, gives ``channels``.

    Raises ValueError unless share and multiple are above 0.
    """
    if share <= 0 or multiple < 1:
        raise ValueError(f"a share of {share} on multiples of {multiple}: both must be above 0")
    if share == 1 or (share < 1 and channels <= multiple):
        return channels
    width = max(multiple, math.floor(channels * share / multiple + 0.5) * multiple)
    return min(width, channels) if share < 1 else max(width, channels)


def _divided(row: Floats, column: Floats, block: Floats) -> tuple[Floats, Floats]:
    """Return L^-1 row and column L^-T for the Cholesky factor L of a diagonal block of H.

    Raises LinAlgError if the block is not positive definite.
    """
    if len(block) == 1:  # a number: the solver's overhead would be most of the elimination
        if not block[0, 0] > 0:
            raise np.linalg.LinAlgError("a channel's own entry of H is not positive")
        root = np.sqrt(block[0, 0])
        return row / root, column / root
    corner = np.linalg.cholesky((block + block.T) / 2)
    new = scipy.linalg.solve_triangular(corner, row, lower=True, check_finite=False)
    factor = scipy.linalg.solve_triangular(corner, column.T, lower=True, check_finite=False).T
    return new, factor


class _State:
    """H and W of one map while channels are removed.

    Updates of H and W wait in ``rows`` and ``factors`` until LAZY_ROWS are together:
    H = inverse - rows^T rows, W = weight - factors rows. Diagonal blocks of H, and W^T W of each
    channel, are kept up to date; they are all that costs need.
    """

    def __init__(self, inverse: Floats, weight: Floats, taps: int, start_error: float) -> None:
        self.taps = taps
        self.start_error = start_error
        self.channels = np.arange(len(inverse) // taps)
        self.gone = np.zeros(len(self.channels), bool)
        self.inverse, self.weight = inverse, weight
        self._settle()

    def costs(self) -> Floats:
        """Return the cost of removing each channel; inf for those already removed."""
        if self.taps == 1:
            costs = self.norms[:, 0, 0] / self.blocks[:, 0, 0]
        else:
            costs = np.einsum("cij,cji->c", np.linalg.inv(self.blocks), self.norms)
        return np.where(self.gone, np.inf, costs)

    def remove(self, place: int) -> None:
        """Remove the channel at a place of ``channels``."""
        taps, used = self.taps, self.used
        own = slice(place * taps, (place + 1) * taps)
        rows, factors = self.rows[:used], self.factors[:, :used]
        row = self.inverse[own] - rows[:, own].T @ rows
        column = self.weight[:, own] - factors @ rows[:, own]
        new, factor = _divided(row, column, row[:, own])
        along = factor.T @ self.weight - (factor.T @ factors) @ rows
        self._follow(new, along, factor.T @ factor)
        self.rows[used : used + taps] = new
        self.factors[:, used : used + taps] = factor
        self.used += taps
        self._retire(place)
        if self.used + taps > len(self.rows):
            self._apply()

    def _follow(self, new: Floats, along: Floats, square: Floats) -> None:
        """Bring blocks and norms up to date with W <- W - factor new, H <- H - new^T new."""
        if self.taps == 1:
            u = new[0]
            self.blocks[:, 0, 0] -= u * u
            self.norms[:, 0, 0] += u * (square[0, 0] * u - 2 * along[0])
            return
        u = new.reshape(self.taps, -1, self.taps).transpose(1, 0, 2)  # (channels, rows, taps)
        v = along.reshape(self.taps, -1, self.taps).transpose(1, 0, 2)
        turned = u.transpose(0, 2, 1)
        mixed = turned @ v
        self.blocks -= turned @ u
        self.norms += turned @ square @ u - mixed - mixed.transpose(0, 2, 1)

    def _retire(self, place: int) -> None:
        self.gone[place] = True
        self.blocks[place] = np.eye(self.taps)  # anything that can be inverted

    def _apply(self) -> None:
        """Apply the pending updates and drop the removed channels."""
        stay = np.repeat(~self.gone, self.taps)
        rows = np.ascontiguousarray(self.rows[: self.used, stay])
        weight = self.weight[:, stay]
        weight -= self.factors[:, : self.used] @ rows
        inverse = self.inverse[np.ix_(stay, stay)]
        inverse -= rows.T @ rows
        self.inverse, self.weight = inverse, weight
        self.channels = self.channels[~self.gone]
        self.gone = np.zeros(len(self.channels), bool)
        self._settle()

    def _settle(self) -> None:
        taps, count = self.taps, len(self.channels)
        self.used = 0
        self.rows = np.empty((max(LAZY_ROWS // taps, 1) * taps, len(self.inverse)))
        self.factors = np.empty((len(self.weight), len(self.rows)))
        each = np.arange(count)
        grid = self.inverse.reshape(count, taps, count, taps)
        self.blocks = grid[each, :, each, :].copy()
        columns = self.weight.reshape(len(self.weight), count, taps).transpose(1, 2, 0)
        self.norms = columns @ columns.transpose(0, 2, 1)


def _start(this: Problem, live: Indices, channels: int) -> _State:
    """Return the state with all live channels, with rows weighted."""
    taps = len(this.mean) // channels
    columns = (live[:, None] * taps + np.arange(taps)).reshape(-1)
    scale = np.sqrt(this.importance)[:, None]
    prior = this.prior[:, columns]
    if not len(live):
        return _State(np.empty((0, 0)), scale * prior, taps, _error(this, prior, columns))
    whole = len(columns) == len(this.mean)
    covariance = this.covariance if whole else this.covariance[np.ix_(columns, columns)]
    inverse = _inverse(covariance, this.ridge)
    weight = prior
    if not this.own:
        weight = (this.cross[:, columns] + this.ridge * prior) @ inverse
    return _State(inverse, scale * weight, taps, _error(this, weight, columns))


def _error(this: Problem, weight: Floats, columns: Indices) -> float:
    if this.own:
        return 0.0
    change = weight - this.prior[:, columns]
    errors = this.errors(weight, columns) + this.ridge * (change**2).sum(axis=1)
    return float(this.importance @ errors)


def _scale(this: Problem) -> float:
    energy = float(this.importance @ this.energy)
    return 1 / energy if energy > 0 else 1.0


def _dead(this: Problem, channels: int) -> NDArray[np.bool_]:
    variance = np.diagonal(this.covariance).reshape(channels, -1)
    square = variance + this.mean.reshape(channels, -1) ** 2
    return np.asarray((variance <= DEAD * square).all(axis=1))


def _inverse(covariance: Floats, ridge: float) -> Floats:
    factor, _ = cholesky(covariance, ridge)
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    for row in range(len(inverse)):  # in place: the matrix may be large
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    return np.ascontiguousarray(inverse.T)
