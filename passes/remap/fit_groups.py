"""Fit grouped convolutions to dense ones by least squares, and choose the groups.

Each group of outputs is fitted on the inputs of its own group. Where the channels on a side may be
permuted (a block's hidden channels: the caller takes the permutation into the neighbours), the
groups are chosen:

1. by energy: what input j contributes to output i alone; split along the second singular vectors,
   then outputs and inputs reassigned in turn, each time optimally, while the energy inside grows;
2. outputs reassigned by their fitted errors (an assignment problem, solved exactly);
3. pairs of inputs swapped while the fitted error falls, the most promising by the elimination's
   formulas first, and 2 again; until PATIENCE * channels in a row do not help, or ``effort`` is
   spent.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from .fit import RIDGE, Problem, cholesky, problem
from .gram import Floats, Indices, Target

EFFORT = 4e10  # floating-point operations of tried swaps: some seconds on one core
TRIAL = 1e7  # what trying a swap costs beside its arithmetic, in operations
PATIENCE = 2  # times the channels: swaps that may fail before a round ends
GAIN = 1e-9  # of the target's energy: a smaller improvement is none


@dataclasses.dataclass(frozen=True)
class GroupFit:
    """A grouped convolution.

    weight   (m, c / groups, ...), in the new order of outputs and inputs
    bias     (m,) in the new order: what the constant changes by; with a target the whole constant
    inputs   (c,): the old number of the channel that is now i-th
    outputs  (m,): the same of the outputs
    error    relative error, as in :mod:`.fit`
    """

    weight: Floats
    bias: Floats
    inputs: Indices
    outputs: Indices
    error: float


def fit_groups(
    gram: Floats,
    weight: NDArray[np.floating],
    groups: int,
    target: Target | None = None,
    *,
    permute_inputs: bool = False,
    permute_outputs: bool = False,
    row_weights: Floats | None = None,
    ridge: float = RIDGE,
    effort: float = EFFORT,
) -> GroupFit:
    """Fit a convolution of equal groups to a dense one.

    gram             (n + 1, n + 1) of what it reads, n = c * taps
    weight           (m, c, ...) dense; see :func:`dense_weight` for one that has groups already
    permute_inputs   the inputs may be put into any order
    permute_outputs  the outputs may
    row_weights      (m,) |s| in the old order: an output's error counts s^2 times
    effort           floating-point operations for step 3; the result is the same on every run
    others           as in :func:`.fit.refit`

    Within a group channels stay in ascending order. One group is the fit on all channels.

    Raises ValueError unless ``groups`` divides both numbers of channels.
    """
    m, c = weight.shape[:2]
    if m % groups or c % groups:
        raise ValueError(f"{groups} groups do not divide {m} output and {c} input channels")
    this = problem(gram, weight, target, row_weights, ridge)
    choice = _Choice(this, c, groups)
    inputs, outputs = np.arange(c) // (c // groups), np.arange(m) // (m // groups)
    if groups > 1 and (permute_inputs or permute_outputs):
        inputs, outputs = choice.search(permute_inputs, permute_outputs, effort)
    return _result(choice, inputs, outputs, weight.shape)


def dense_weight(weight: NDArray[np.floating], groups: int) -> Floats:
    """Return a grouped weight (m, c / groups, ...) as a dense one (m, c, ...), zeros between."""
    m, some = weight.shape[:2]
    dense = np.zeros((m, some * groups, *weight.shape[2:]))
    for group in range(groups):
        rows = slice(group * m // groups, (group + 1) * m // groups)
        dense[rows, group * some : (group + 1) * some] = weight[rows]
    return dense


class _Choice:
    """Look for the group of each input, (c,), and of each output, (m,)."""

    def __init__(self, this: Problem, channels: int, groups: int) -> None:
        self.this = this
        self.channels = channels
        self.groups = groups
        self.taps = len(this.mean) // channels
        self.scale = np.sqrt(this.importance)
        self.total = float(this.importance @ this.energy) or 1.0

    def columns(self, members: Indices) -> Indices:
        return np.asarray((members[:, None] * self.taps + np.arange(self.taps)).reshape(-1))

    def search(
        self, permute_inputs: bool, permute_outputs: bool, effort: float
    ) -> tuple[Indices, Indices]:
        """Return the best groups found: of the positional ones and of steps 1 to 3."""
        m = len(self.this.energy)
        place = np.arange(self.channels) * self.groups // self.channels
        starts = [(place, np.arange(m) * self.groups // m)]
        starts.append(self._by_energy(*starts[0], permute_inputs, permute_outputs))
        best: tuple[float, Indices, Indices] | None = None
        for inputs, outputs in starts:
            left = effort / len(starts)
            while True:
                if permute_outputs:
                    outputs = self._best_outputs(inputs)
                before = inputs
                if permute_inputs:
                    inputs, left = self._swapped(inputs, outputs, left)
                if np.array_equal(before, inputs) or not permute_outputs:
                    break
            error = float(self.errors(inputs, outputs).sum())
            if best is None or error < best[0] - GAIN * self.total:
                best = (error, inputs, outputs)
        assert best is not None
        return best[1], best[2]

    def errors(self, inputs: Indices, outputs: Indices) -> Floats:
        """Return the weighted error of each group, fitted: (groups,)."""
        return np.array(
            [
                self._error(np.flatnonzero(inputs == group), np.flatnonzero(outputs == group))
                for group in range(self.groups)
            ]
        )

    def _error(self, members: Indices, rows: Indices) -> float:
        explained, _, _ = self._fitted(members, rows)
        return float(self.this.importance[rows] @ (self.this.energy[rows] - explained))

    def _fitted(
        self, members: Indices, rows: Indices
    ) -> tuple[Floats, Floats, tuple[Floats, bool]]:
        """Return the variance explained of each row, the weights, the factor that gave them."""
        columns = self.columns(members)
        factor = cholesky(self.this.covariance[np.ix_(columns, columns)], self.this.ridge)
        cross = self.this.cross[np.ix_(rows, columns)]
        weight = scipy.linalg.cho_solve(factor, cross.T, check_finite=False).T
        return np.einsum("mi,mi->m", weight, cross), weight, factor

    def _by_energy(
        self, inputs: Indices, outputs: Indices, permute_inputs: bool, permute_outputs: bool
    ) -> tuple[Indices, Indices]:
        """Step 1."""
        energy = self._energy()
        if permute_inputs and permute_outputs:
            inputs = _split(energy, self.groups)
        inside = -1.0
        while True:
            if permute_outputs:
                outputs = _assigned(_pooled(energy, inputs, self.groups))
            if permute_inputs:
                inputs = _assigned(_pooled(energy.T, outputs, self.groups))
            now = float(energy[outputs[:, None] == inputs].sum())
            if now <= inside * (1 + 1e-12):
                return inputs, outputs
            inside = now

    def _energy(self) -> Floats:
        """Return the energy that each input adds to each output, s^2 w_ij K_jj w_ij^T: (m, c)."""
        c, taps = self.channels, self.taps
        each = np.arange(c)
        blocks = self.this.covariance.reshape(c, taps, c, taps)[each, :, each, :]
        weight = (self.scale[:, None] * self.this.prior).reshape(-1, c, taps)
        energy = np.einsum("mci,cij,mcj->mc", weight, blocks, weight, optimize=True)
        return np.asarray(np.maximum(energy, 0.0))

    def _best_outputs(self, inputs: Indices) -> Indices:
        """Step 2."""
        rows = np.arange(len(self.this.energy))
        gains = [
            self._fitted(np.flatnonzero(inputs == group), rows)[0] for group in range(self.groups)
        ]
        return _assigned(np.stack(gains, axis=1) * self.this.importance[:, None])

    def _swapped(self, inputs: Indices, outputs: Indices, effort: float) -> tuple[Indices, float]:
        """Step 3: return the groups of inputs, and the effort that is left."""
        inputs = inputs.copy()
        size = self.channels * self.taps / self.groups
        rows = len(outputs) / self.groups
        price = TRIAL + 2 * (size**3 / 3 + 2 * size**2 * rows)  # of two groups' fits
        errors = self.errors(inputs, outputs)
        members = [np.flatnonzero(outputs == group) for group in range(self.groups)]
        improved = True
        while improved and effort > 0:
            improved = False
            old, failed = inputs.copy(), 0
            for first, second in self._promising(inputs, outputs):
                g, h = int(inputs[first]), int(inputs[second])
                if (g, h) != (old[first], old[second]):
                    continue  # moved in this round: scored again in the next
                if effort <= 0 or failed > PATIENCE * self.channels:
                    break
                effort -= price
                inputs[first], inputs[second] = h, g
                new = [self._error(np.flatnonzero(inputs == i), members[i]) for i in (g, h)]
                if sum(new) < errors[g] + errors[h] - GAIN * self.total:
                    errors[g], errors[h] = new
                    improved, failed = True, 0
                else:
                    failed += 1
                    inputs[first], inputs[second] = g, h
        return inputs, effort

    def _promising(self, inputs: Indices, outputs: Indices) -> Indices:
        """Return pairs of inputs of different groups, the largest expected gain first: (pairs, 2).

        Expected: what leaving costs its group, what joining gains the other, as if nothing else
        moved.
        """
        moving = np.empty((self.channels, self.groups))  # gain of being in a group
        for group in range(self.groups):
            moving[:, group] = self._gains(inputs == group, np.flatnonzero(outputs == group))
        here = moving[np.arange(self.channels), inputs]
        there = moving[:, inputs]  # [i, j]: gain of i in the group of j
        gain = there + there.T - here[:, None] - here
        first, second = np.nonzero(np.triu(inputs[:, None] != inputs))
        order = np.argsort(-gain[first, second], kind="stable")
        return np.stack([first, second], axis=1)[order]

    def _gains(self, within: NDArray[np.bool_], rows: Indices) -> Floats:
        """Return for each input what the fit of a group gains by having it: (c,)."""
        members, others = np.flatnonzero(within), np.flatnonzero(~within)
        _, weight, factor = self._fitted(members, rows)
        weight = self.scale[rows, None] * weight
        columns, outside = self.columns(members), self.columns(others)
        inverse = scipy.linalg.cho_solve(factor, np.eye(len(columns)), check_finite=False)
        between = self.this.covariance[np.ix_(columns, outside)]
        rest = self.scale[rows, None] * self.this.cross[np.ix_(rows, outside)] - weight @ between
        left = self.this.covariance[np.ix_(outside, outside)] - between.T @ inverse @ between
        left[np.diag_indices_from(left)] += self.this.ridge
        result = np.empty(self.channels)
        result[members] = self._worth(weight, self._blocks(inverse))
        result[others] = self._worth(rest, self._blocks(left))
        return result

    def _blocks(self, matrix: Floats) -> Floats:
        count = len(matrix) // self.taps
        each = np.arange(count)
        return matrix.reshape(count, self.taps, count, self.taps)[each, :, each, :]

    def _worth(self, rows: Floats, blocks: Floats) -> Floats:
        middle = np.linalg.inv(blocks)
        columns = rows.reshape(len(rows), -1, self.taps)
        return np.asarray(np.einsum("mci,cij,mcj->c", columns, middle, columns, optimize=True))


def _result(choice: _Choice, inputs: Indices, outputs: Indices, shape: tuple[int, ...]) -> GroupFit:
    this, groups = choice.this, choice.groups
    m, c = shape[:2]
    by_input, by_output = (np.argsort(place, kind="stable") for place in (inputs, outputs))
    weight = np.empty((m, c // groups, math.prod(shape[2:])))
    bias, errors = np.empty(m), np.empty(m)
    for group in range(groups):
        columns = choice.columns(by_input[group * c // groups : (group + 1) * c // groups])
        rows = slice(group * m // groups, (group + 1) * m // groups)
        own = by_output[rows]
        part = dataclasses.replace(
            this,
            cross=this.cross[own],
            target_mean=this.target_mean[own],
            energy=this.energy[own],
            prior=this.prior[own],
            importance=this.importance[own],
        )
        solved = part.solve(columns)
        weight[rows] = solved.reshape(len(own), -1, choice.taps)
        bias[rows] = part.constant(solved, columns)
        errors[own] = part.errors(solved, columns)
    grouped = weight.reshape(m, c // groups, *shape[2:])
    return GroupFit(grouped, bias, by_input, by_output, this.relative(errors))


def _split(energy: Floats, groups: int) -> Indices:
    """Return groups of columns along the leading singular vectors of the normalised energy."""
    rows, columns = (np.sqrt(np.maximum(energy.sum(axis=a), 1e-300)) for a in (1, 0))
    _, _, vectors = np.linalg.svd(energy / rows[:, None] / columns, full_matrices=False)
    place = np.zeros(energy.shape[1], np.int64)
    parts = [np.arange(energy.shape[1])]
    axis = 1
    while len(parts) < groups and axis < len(vectors) and groups % (2 * len(parts)) == 0:
        halves = []
        for part in parts:
            order = part[np.argsort(vectors[axis, part], kind="stable")]
            halves += [order[: len(part) // 2], order[len(part) // 2 :]]
        parts, axis = halves, axis + 1
    if len(parts) < groups:  # not a power of two, or no vectors left: the first one alone
        order = np.argsort(vectors[min(1, len(vectors) - 1)], kind="stable")
        parts = np.split(order, groups)
    for group, part in enumerate(parts):
        place[part] = group
    return place


def _pooled(energy: Floats, place: Indices, groups: int) -> Floats:
    """Return the energy of each row in each group of columns: (rows, groups)."""
    return np.stack([energy[:, place == group].sum(axis=1) for group in range(groups)], axis=1)


def _assigned(gains: Floats) -> Indices:
    """Return a group for each row so that all are equally large and the gain is greatest."""
    count, groups = gains.shape
    seats = np.repeat(np.arange(groups), count // groups)
    rows, chosen = scipy.optimize.linear_sum_assignment(gains[:, seats], maximize=True)
    result = np.empty(count, np.int64)
    result[rows] = seats[chosen]
    return result
