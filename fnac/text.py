"""Plain-text tables and quantities for the command line and the report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fnac.passes.stored_layers import StoredLayer

MADDS_NOTE = "MAdds = multiply-adds = MACs = FLOPs/2"


_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks of writing direction, and what is left of bytes that are no UTF-8."""


def human(quantity: float) -> str:
    """Format a count for people: `24.52G`, `301M`, `2.57M`, `15.2K`, `640`."""
    sign = "-" if quantity < 0 else ""
    value = abs(quantity)
    if value >= 999.5e6:  # what would round to 1000M is written in G
        return f"{sign}{value / 1e9:.2f}G"
    for unit, symbol in ((1e6, "M"), (1e3, "K")):
        if value >= 0.9995 * unit:
            scaled = value / unit
            decimals = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{sign}{scaled:.{decimals}f}{symbol}"
    return f"{sign}{value:.0f}"


def percent(part: float, whole: float) -> str:
    """Format a change for people: `-12.3%`, `+4.0%`, `±0%`; a dash if there is no reference."""
    if not whole:
        return "–"
    change = 100.0 * (part - whole) / whole
    return "±0%" if abs(change) < 0.05 else f"{change:+.1f}%"


def file_size(count: float) -> str:
    """Write a number of bytes as ``2.71 MB``, or ``8.4 kB`` if it is small."""
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Write seconds as ``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def printable(text: str, *, lines: bool = True) -> str:
    """Return a text that is safe for a terminal, with control characters escaped.

    Names in files may hold such sequences (set the title, wipe the line, turn the order of
    letters), and bytes that are no UTF-8. ``lines``: line ends and tabs stay.
    """

    def escaped(match: re.Match[str]) -> str:
        letter = match[0]
        return letter if lines and letter in "\n\t" else letter.encode("unicode_escape").decode()

    return _STEERING.sub(escaped, text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, indent: str = "") -> str:
    """Align rows under a header; right-align columns of numbers and quantities.

    Cells are written with `str`; `None` is left blank. A row shorter than the header is padded.
    Returns lines joined by a newline, without trailing blanks.
    """
    cells = [
        ["" if cell is None else printable(str(cell), lines=False) for cell in row] for row in rows
    ]
    cells = [row + [""] * (len(header) - len(row)) for row in cells]
    columns = list(zip(header, *cells))
    widths = [max(map(len, column)) for column in columns]
    right = [
        any(cell for cell in column[1:])
        and all(not cell or _is_quantity(cell) for cell in column[1:])
        for column in columns
    ]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right)
        ]
        return (indent + "  ".join(padded)).rstrip()

    rule = ["-" * width for width in widths]
    return "\n".join(line(row) for row in [list(header), rule, *cells])


def profile_text(
    profile: Mapping[str, Any],
    *,
    rows: Sequence[Mapping[str, Any]] | None = None,
    top: int | None = None,
) -> str:
    """Show a profile (`{"params", "madds", "nodes": [...]}`) as totals and a table.

    `rows` replaces the nodes by groups of them (by op, by block): mappings with `name`, `madds`,
    `params` and optionally `op`, `output_shape`, `count`. `top` keeps the most expensive rows only
    and says how many are not shown.
    """
    entries = list(profile.get("nodes", []) if rows is None else rows)
    total = float(profile.get("madds") or 0)
    shown = entries
    if top is not None and len(entries) > top:
        shown = sorted(entries, key=lambda entry: -float(entry.get("madds") or 0))[:top]
    optional = [key for key in ("op", "count", "output_shape") if any(key in e for e in shown)]
    header = ["name", *(key.replace("_", " ") for key in optional), "MAdds", "share", "params"]
    body = []
    for entry in shown:
        madds = float(entry.get("madds") or 0)
        share = f"{100 * madds / total:.1f}%" if total else ""
        extra = [_cell(entry.get(key)) for key in optional]
        params = f"{int(entry.get('params') or 0):,}"
        body.append([entry.get("name", ""), *extra, human(madds), share, params])
    lines = [table(header, body), ""]
    if len(shown) < len(entries):
        lines.append(f"{len(entries) - len(shown)} cheaper rows are not shown")
    madds_total = int(profile.get("madds") or 0)
    lines.append(f"MAdds   {madds_total:,} ({human(madds_total)}; {MADDS_NOTE})")
    lines.append(f"params  {int(profile.get('params') or 0):,}")
    return "\n".join(lines)


def layers_text(layers: Sequence[StoredLayer]) -> str:
    """Show the layers of a super network, one per line.

    The seed's own candidate is marked by `*`; every candidate carries its MAdds.
    """
    body = []
    for layer in layers:
        candidates = "  ".join(
            f"{candidate.name}{'*' if candidate.name == layer.seed_choice else ''}"
            f" {human(candidate.madds)}"
            for candidate in layer.candidates
        )
        body.append([layer.stage, layer.name, candidates])
    text = table(["stage", "layer", "candidates (MAdds)"], body)
    return f"{text}\n\n* the seed's own choice; {MADDS_NOTE}"


def _cell(value: object) -> str:
    """Shapes as `1x3x96x96`, everything else as it is."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return "" if value is None else str(value)


def _is_quantity(cell: str) -> bool:
    """Whether a cell is a number, with thousands separators, a unit letter or a sign."""
    digits = cell.strip().lstrip("+-±").rstrip("GMK%x×").replace(",", "").replace(".", "", 1)
    return digits.isdigit() or cell in {"–", "-"}
