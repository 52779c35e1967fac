"""The commands that the pages print, in order, each with what a test runs instead."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(fnac [^`]+|python [^`]+)`")


@dataclass(frozen=True)
class Command:
    """One command of a page: a line for the shell, or a program in Python."""

    line: int  # of the page, from 1
    language: str  # sh or python
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


def pages() -> list[str]:
    """Return the pages of a user, README first; the evidence is no user's page."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text()


def commands(page: str) -> list[Command]:
    """Return the fenced commands of a page, and the examples of the help that it shows."""
    text = text_of(page)
    listed = []
    for block in FENCE.finditer(text):
        first = text.count("\n", 0, block.start()) + 2
        if block[1] == "sh":
            listed += _lines(block[2], first)
        elif block[1] == "python":
            listed.append(Command(first, "python", block[2]))
        elif "  Examples:\n" in block[2]:
            before, _, examples = block[2].partition("  Examples:\n")
            listed += _lines(examples, first + before.count("\n") + 1)
    return listed


def spans(page: str) -> list[Command]:
    """Return the commands inside of sentences and tables: ``fnac ...`` between backticks."""
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text_of(page))
    return [
        Command(text.count("\n", 0, span.start()) + 1, "sh", " ".join(span[1].split()))
        for span in SPAN.finditer(text)
    ]


def _lines(block: str, first: int) -> list[Command]:
    """Return the lines of a block without comments; a line that goes on is one command."""
    listed = []
    begun, start = "", first
    for number, line in enumerate(block.splitlines(), start=first):
        begun += re.sub(r"(^|\s)#.*", "", line).strip()
        if begun.endswith("\\"):
            begun = begun[:-1].rstrip() + " "
            continue
        if begun:
            listed.append(Command(start, "sh", begun))
        begun, start = "", number + 1
    return listed
