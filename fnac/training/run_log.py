"""The log of a run: CSV files that a resumed run continues bit-identically, checked losses."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnac.errors import TrainingError
from fnac.passes.files import write_atomically, writing
from fnac.training.watchers import Watchers

SMOOTHED = 50
"""Losses that the mean of the progress is over."""
Cell = int | float | str | None
Written = Mapping[str, Any]
"""What a checkpoint remembers of a log: its size in ``bytes``, and its ``sha256`` up to there."""


class CsvLog:
    """Appends rows to a CSV file; rows are on disk after ``flush``.

    path      None: nothing is written (all ranks but the first)
    keep      what a checkpoint remembers of the file (``flush``); what was written after it is cut
              off, so that the file ends as an undisturbed run's does. None: a new file

    Raises TrainingError where the file does not begin as it was left.
    """

    def __init__(
        self, path: Path | None, columns: Sequence[str], keep: Written | None = None
    ) -> None:
        self.path, self.columns = path, tuple(columns)
        self._digest = hashlib.sha256()
        self._waiting = io.StringIO()
        self._writer = csv.writer(self._waiting, lineterminator="\n")
        if path is None:
            return
        if keep is not None:
            self._digest.update(_as_left(path, keep))
            with writing(path):
                os.truncate(path, int(keep["bytes"]))
            return
        heading = (",".join(columns) + "\n").encode()
        self._digest.update(heading)
        write_atomically(path, heading)

    def row(self, **cells: Cell) -> None:
        """Add a row; a column without a cell stays blank."""
        unknown = cells.keys() - set(self.columns)
        if unknown:
            raise ValueError(f"no such columns: {sorted(unknown)}")
        self._writer.writerow([_text(cells.get(column)) for column in self.columns])

    def flush(self) -> Written:
        """Write the pending rows; return size and digest of the file."""
        if self.path is None:
            return {"bytes": 0, "sha256": ""}
        rows = self._waiting.getvalue().encode()
        with writing(self.path), self.path.open("ab") as file:
            file.write(rows)
            file.flush()
            os.fsync(file.fileno())
        self._digest.update(rows)
        self._waiting.seek(0)
        self._waiting.truncate()
        return {"bytes": self.path.stat().st_size, "sha256": self._digest.hexdigest()}


class LossTrace:
    """Losses wait on the device and are read, checked and logged together every few steps.

    raises   TrainingError naming the first step whose loss is not finite
    """

    def __init__(self, log: CsvLog, watchers: Watchers | None = None) -> None:
        self._log, self._watchers = log, watchers
        self._losses: list[Tensor] = []
        self._rows: list[dict[str, Cell]] = []
        self.last = math.nan
        self._recent: deque[float] = deque(maxlen=SMOOTHED)

    @property
    def smooth(self) -> float:
        """The mean of the last losses that were read; nan before the first."""
        return statistics.fmean(self._recent) if self._recent else self.last

    def add(self, loss: Tensor, **cells: Cell) -> None:
        """Store a loss and its row; ``cells`` has ``step``."""
        self._losses.append(loss.detach())
        self._rows.append(cells)

    def read(self) -> float:
        """Read the pending losses, pass the rows to the log, return the last loss."""
        if self._losses:
            values = torch.stack([loss.float() for loss in self._losses]).tolist()
            for row, value in zip(self._rows, values, strict=True):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"step {row['step']}: the loss is {value}; wanted a finite number; lower "
                        "the learning rate, clip gradients, or use precision 32"
                    )
                self._write(**row, loss=value)
            self.last = values[-1]
            self._recent.extend(values)
            self._losses.clear()
            self._rows.clear()
        return self.last

    def row(self, **cells: Cell) -> None:
        """Log a row without a loss, in order."""
        self.read()
        self._write(**cells)

    def _write(self, **cells: Cell) -> None:
        self._log.row(**cells)
        if self._watchers is not None:
            self._watchers.row({k: v for k, v in cells.items() if v is not None})

    def rows(self) -> list[dict[str, str]]:
        """Return what is logged; the first process has it, the others get []."""
        if self._log.path is None:
            return []
        self.flush()
        with self._log.path.open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def flush(self) -> Written:
        """Write everything to disk; return size and digest of the log."""
        self.read()
        return self._log.flush()


def _as_left(path: Path, keep: Written) -> bytes:
    """Return the part of a log that a checkpoint covers; TrainingError if it is missing."""
    size = int(keep["bytes"])
    known = path.read_bytes()[:size] if path.is_file() else b""
    if hashlib.sha256(known).hexdigest() != keep["sha256"]:
        rest = f"{len(known)} of them are there" if len(known) < size else "others are there"
        raise TrainingError(
            f"{path}: this run had written {size} bytes of it, {rest}; put the file back, or "
            f"delete {path.with_name('last.ckpt')} to begin this stage again"
        )
    return known


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return format(cell, ".8g") if isinstance(cell, float) else str(cell)
