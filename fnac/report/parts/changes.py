"""How was the seed changed? Both architectures drawn, and every changed layer in words."""

from __future__ import annotations

from fnac.passes.stored_layers import StoredLayer
from fnac.report.architecture import read_choice
from fnac.report.drawing import Drawing, to_svg
from fnac.report.html import Html, details, element, join, missing, raw, section, table
from fnac.report.run_folder import RunFolder
from fnac.text import human, percent

HEADING = "Architecture"


def architecture(run: RunFolder, drawing: Drawing | None) -> Html:
    """Seed and target block by block, and what differs."""
    if drawing is None:
        if run.widths:
            return section(HEADING, _widths(run.widths), anchor="architecture")
        return section(HEADING, missing("Super network (super.onnx)"), anchor="architecture")
    note = (
        "A rectangle is a block: its colour is the kernel, its height the expansion; a thin dashed "
        "outline is a block that is left out, a dashed box is one stage, bold: differs from the "
        "seed. S: stride, D: dilation. Point at a block for its layer and cost; on a phone the "
        "drawing scrolls sideways."
    )
    parts: list[object] = [element("div", raw(to_svg(drawing)), cls="wide")]
    if run.arch is None:
        parts.append(missing("Target (arch.json)"))
    parts.append(element("p", note, cls="note"))
    if run.arch is not None and run.network is not None:
        changed = [
            [
                f"{layer.stage}",
                layer.name,
                in_words(str(layer.seed_choice), chosen),
                _cost(layer, chosen),
            ]
            for layer, chosen in zip(run.network.layers, run.arch, strict=True)
            if chosen != layer.seed_choice
        ]
        told = f"{len(changed)} of {len(run.arch)} layers differ from the seed"
        if changed:
            rows = table(["stage", "layer", "was → is", "MAdds"], changed, (3,))
            parts.append(details(f"{told}: in words", rows))
        else:
            parts.append(element("p", f"{told}: the target is the seed's own architecture."))
    return section(HEADING, *parts, anchor="architecture")


def in_words(before: str, after: str) -> str:
    """Write how a layer changed: ``kernel 3 → 7, expansion 6 → 3``, ``left out``, ``added``."""
    if after == "skip":
        return "left out"
    if before == "skip":
        return f"added: {after}"
    old, new = read_choice(before), read_choice(after)
    if old is None or new is None:
        return f"{before} → {after}"
    words = [
        f"{name} {_shown(was)} → {_shown(now)}"
        for name, was, now in (
            ("kernel", old.kernel, new.kernel),
            ("expansion", old.expansion, new.expansion),
            ("groups", old.groups, new.groups),
            ("width", old.width, new.width),
        )
        if was != now
    ]
    return ", ".join(words) or f"{before} → {after}"


def _shown(value: float | None) -> str:
    return "1" if value is None else f"{value:g}"


def _cost(layer: StoredLayer, chosen: str) -> str:
    was = layer.candidates[layer.index(str(layer.seed_choice))].madds
    now = layer.candidates[layer.index(chosen)].madds
    return f"{human(was)} → {human(now)} ({percent(now, was)})"


def _widths(widths: list[tuple[str, int, int]]) -> Html:
    """Say how many hidden channels each block kept, of a network that was shrunk."""
    rows = [
        [name, f"{was}", f"{now}", percent(now, was), _bar(now / was)] for name, was, now in widths
    ]
    note = (
        "The seed was tuned, then hidden channels were taken away where its answers miss them "
        "least. A block that kept all of them is one that the task needs most."
    )
    heading = ["block", "channels", "kept", "change", "share kept"]
    return join([element("p", note, cls="note"), table(heading, rows, (1, 2, 3))])


def _bar(share: float) -> Html:
    return element("div", element("i", "", style=f"width:{100 * share:.1f}%"), cls="bar")
