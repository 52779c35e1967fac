"""Text for terminals."""

from __future__ import annotations

from fnac.text import printable, table


def test_what_steers_a_terminal_is_shown_escaped() -> None:
    evil = "\x1b]0;owned\x07\nfnac: all is well\udcff\u202e"
    assert printable(evil, lines=False) == r"\x1b]0;owned\x07\nfnac: all is well\udcff\u202e"
    assert printable("a\n\tb") == "a\n\tb"
    assert printable("für 日本 👩\u200d🔬") == "für 日本 👩\u200d🔬"
    assert r"a\nb" in table(["name"], [["a\nb"]])
