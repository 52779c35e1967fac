"""The log of a run: CSV files that a resumed run continues to the byte, losses that are watched."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fnac.errors import TrainingError

Cell = int | float | str | None


class CsvLog:
    """Appends rows to a CSV file; rows are on disk after ``flush``.

    path      None: nothing is written (all ranks but the first)
    keep      size in bytes that a checkpoint remembers; what lies behind it is cut off, so that
              the file ends as an undisturbed run's does. None: a new file
    """

    def __init__(self, path: Path | None, columns: Sequence[str], keep: int | None = None) -> None:
        self.path, self.columns = path, tuple(columns)
        self._waiting = io.StringIO()
        self._writer = csv.writer(self._waiting, lineterminator="\n")
        if path is None:
            return
        if keep is not None and path.exists() and path.stat().st_size >= keep:
            os.truncate(path, keep)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(columns) + "\n", encoding="utf-8")

    def row(self, **cells: Cell) -> None:
        """Add a row; a column without a cell stays blank."""
        unknown = cells.keys() - set(self.columns)
        if unknown:
            raise ValueError(f"no such columns: {sorted(unknown)}")
        self._writer.writerow([_text(cells.get(column)) for column in self.columns])

    def flush(self) -> int:
        """Write the rows that wait; returns the size of the file in bytes."""
        if self.path is None:
            return 0
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._waiting.getvalue())
            file.flush()
            os.fsync(file.fileno())
        self._waiting.seek(0)
        self._waiting.truncate()
        return self.path.stat().st_size


class LossTrace:
    """Losses wait on the device and are read, checked and logged together every few steps.

    raises   TrainingError naming the first step whose loss is not finite
    """

    def __init__(self, log: CsvLog) -> None:
        self._log = log
        self._losses: list[Tensor] = []
        self._rows: list[dict[str, Cell]] = []
        self.last = math.nan

    def add(self, loss: Tensor, **cells: Cell) -> None:
        """Remember a loss and the row that it belongs to; ``cells`` has ``step``."""
        self._losses.append(loss.detach())
        self._rows.append(cells)

    def read(self) -> float:
        """Read what waits, hand the rows to the log, return the last loss."""
        if self._losses:
            values = torch.stack([loss.float() for loss in self._losses]).tolist()
            for row, value in zip(self._rows, values, strict=True):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"step {row['step']}: the loss is {value}; wanted a finite number; lower "
                        "the learning rate, clip gradients, or use precision 32"
                    )
                self._log.row(**row, loss=value)
            self.last = values[-1]
            self._losses.clear()
            self._rows.clear()
        return self.last

    def row(self, **cells: Cell) -> None:
        """Log a row without a loss, in order."""
        self.read()
        self._log.row(**cells)

    def flush(self) -> int:
        """Bring everything to disk; returns the size of the log in bytes."""
        self.read()
        return self._log.flush()


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return format(cell, ".8g") if isinstance(cell, float) else str(cell)
