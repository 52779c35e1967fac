"""The lowest error within a budget: one width for every set of hidden channels, exactly.

minimise  sum_i error_i[width_i]   subject to   fixed + sum a_i w_i + sum c_ij w_i w_j <= budget

An integer program. Where two widths multiply (a convolution between two sets), a share for each
pair of widths is added whose sums are the choices of the two: exact, and tight enough to be quick.
As in :mod:`.solve`, HiGHS is not taken at its word: answers are counted again in whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from fnac.passes.shrink.width_costs import WidthCosts

_SPREAD = 1e3  # the objective is stretched to this range: HiGHS stops at an absolute gap of 1e-6


def choose_widths(
    errors: Sequence[Sequence[float]],
    widths: Sequence[Sequence[int]],
    costs: WidthCosts,
    budget: int,
) -> tuple[int, ...] | None:
    """Return the widths with the lowest summed error that cost at most ``budget``; None if none do.

    errors  one row a set: the error at each of its ``widths``
    """
    program = _Program(errors, widths, costs, budget)
    while True:
        chosen = program.solve()
        if chosen is None or costs.of(chosen) <= budget:
            return chosen
        program.forbid(chosen)


class _Program:
    def __init__(
        self,
        errors: Sequence[Sequence[float]],
        widths: Sequence[Sequence[int]],
        costs: WidthCosts,
        budget: int,
    ) -> None:
        self.widths = [list(row) for row in widths]
        sizes = [len(row) for row in widths]
        self.starts = [int(s) for s in np.cumsum([0, *sizes])]
        self.count = self.starts[-1]
        value = np.concatenate([np.asarray(row, np.float64) for row in errors])
        value = value * (_SPREAD / (float(np.abs(value).max()) or 1.0))
        price = np.concatenate(
            [a * np.asarray(row, np.float64) for a, row in zip(costs.linear, widths, strict=True)]
        )
        rows: list[np.ndarray] = []
        columns: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        height = len(sizes)
        for i, size in enumerate(sizes):
            rows.append(np.full(size, i))
            columns.append(np.arange(self.starts[i], self.starts[i] + size))
            numbers.append(np.ones(size))
        right = [1.0] * len(sizes)
        place = self.count
        extra: list[np.ndarray] = []
        for (i, j), each in costs.pairs.items():
            first, second = sizes[i], sizes[j]
            share = place + np.arange(first * second).reshape(first, second)
            extra.append(each * np.outer(widths[i], widths[j]).astype(np.float64).ravel())
            for lines, start in ((share, self.starts[i]), (share.T, self.starts[j])):
                for k, line in enumerate(lines):  # sum of the shares = the choice
                    rows.append(np.full(len(line) + 1, height))
                    columns.append(np.append(line, start + k))
                    numbers.append(np.append(np.ones(len(line)), -1.0))
                    right.append(0.0)
                    height += 1
            place += first * second
        self.size = place
        price = np.concatenate([price, *extra])
        room = float(budget - costs.fixed)
        scale = max(abs(room), 1.0) / _SPREAD
        matrix = scipy.sparse.csr_array(
            (np.concatenate(numbers), (np.concatenate(rows), np.concatenate(columns))),
            shape=(height, place),
        )
        self.value = np.concatenate([value, np.zeros(place - self.count)])
        self.constraints = [
            scipy.optimize.LinearConstraint(matrix, right, right),
            scipy.optimize.LinearConstraint(
                scipy.sparse.csr_array(price[None] / scale), -np.inf, (room + 0.5) / scale
            ),
        ]

    def solve(self) -> tuple[int, ...] | None:
        whole = np.concatenate([np.ones(self.count), np.zeros(self.size - self.count)])
        result = scipy.optimize.milp(
            self.value,
            constraints=self.constraints,
            integrality=whole,
            bounds=scipy.optimize.Bounds(0, 1),
            options={"mip_rel_gap": 1e-4, "time_limit": 60.0},
        )
        if result.x is None:
            return None
        self.chosen = [
            int(result.x[start : start + len(row)].argmax())
            for start, row in zip(self.starts, self.widths)
        ]
        return tuple(row[k] for row, k in zip(self.widths, self.chosen, strict=True))

    def forbid(self, chosen: tuple[int, ...]) -> None:
        """Exclude a solution that exceeds the budget within the solver's tolerance."""
        cut = np.zeros(self.size)
        cut[[start + k for start, k in zip(self.starts, self.chosen)]] = 1
        most = len(self.widths) - 1
        self.constraints.append(
            scipy.optimize.LinearConstraint(scipy.sparse.csr_array(cut[None]), -np.inf, most)
        )
