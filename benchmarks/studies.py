"""What the studies that are scripts share: their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]], output: Path | None) -> None:
    """Print a table row by row as the rows come, and write it to ``output`` if one is named."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    print("\n".join(lines), flush=True)
    for row in rows:
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    if output is not None:
        output.write_text("\n".join(lines) + "\n")
