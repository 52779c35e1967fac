"""CSV files of a run that a resumed run continues to the byte."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

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


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return format(cell, ".8g") if isinstance(cell, float) else str(cell)
