"""Small HTML builders. Text becomes HTML only through `text`; `Html` marks finished HTML."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import NewType

Html = NewType("Html", str)

Cell = object  # an Html cell is taken as it is, anything else is escaped


class _Markup(str):
    """The result of `raw`; distinguishes markup from text at run time."""


def raw(markup: str) -> Html:
    """Declare a string to be HTML already."""
    return Html(_Markup(markup))


def text(value: object) -> Html:
    """Escape a value for HTML; markup stays as it is, None is empty."""
    if isinstance(value, _Markup):
        return Html(value)
    return raw("" if value is None else escape(str(value)))


def join(parts: Sequence[object], between: str = "\n") -> Html:
    """Join parts, each escaped unless it is markup."""
    return raw(between.join(text(part) for part in parts))


def element(tag: str, body: object, **attributes: str) -> Html:
    """`<tag class="...">body</tag>`; the attribute `cls` is written `class`."""
    written = "".join(
        f' {name.replace("cls", "class")}="{escape(value)}"' for name, value in attributes.items()
    )
    return raw(f"<{tag}{written}>{text(body)}</{tag}>")


def section(title: str, *parts: object, anchor: str = "") -> Html:
    """A heading and its content; links lead to its ``anchor``."""
    body = join([element("h2", title), *parts])
    return element("section", body, id=anchor) if anchor else element("section", body)


def missing(what: str) -> Html:
    """Say that a part of the run does not exist yet."""
    return element("p", f"{what}: not run yet.", cls="missing")


def details(summary: object, body: object) -> Html:
    """A part that opens on a click."""
    return element("details", join([element("summary", summary), body]))


def table(
    header: Sequence[object], rows: Sequence[Sequence[Cell]], numbers: Sequence[int] = ()
) -> Html:
    """A table; columns in `numbers` are right-aligned. Wide tables scroll on their own."""

    def line(tag: str, cells: Sequence[Cell]) -> Html:
        built = [
            element(tag, cell, cls="number") if at in numbers else element(tag, cell)
            for at, cell in enumerate(cells)
        ]
        return element("tr", join(built, ""))

    body = join([line("th", header), *(line("td", row) for row in rows)])
    return element("div", element("table", body), cls="wide")


def picture(
    light: bytes,
    caption: str,
    dark: bytes | None = None,
    *,
    above: Html | None = None,
    reading: str = "",
) -> Html:
    """An embedded PNG with a caption; `dark` is shown where the reader prefers dark pages.

    above    stands over the image
    reading  how the image is read, below the caption
    """
    source = (
        raw(f'<source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}">')
        if dark is not None
        else raw("")
    )
    image = raw(f'<img alt="{escape(caption)}" src="{_data(light)}">')
    shown = element("picture", join([source, image], ""))
    told = [element("b", caption), element("span", f" {reading}")] if reading else [caption]
    parts = [shown, element("figcaption", join(told))]
    return element("figure", join(parts if above is None else [above, *parts]))


def _data(png: bytes) -> str:
    return "data:image/png;base64," + b64encode(png).decode("ascii")
