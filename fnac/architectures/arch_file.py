"""Architectures as files: ``{"layers": [{"name", "choice"}, ...]}`` or a plain list of choices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnac.architectures.costs import SpaceCosts
from fnac.errors import UsageError


def load_arch(path: Path, space: SpaceCosts) -> tuple[int, ...]:
    """Read an architecture file; UsageError names the file, the layer and what it offers."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--arch {path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UsageError(f"--arch {path}: not JSON ({error}); wanted {_WANTED}") from None
    try:
        return parse_arch(content, space)
    except UsageError as error:
        raise UsageError(f"--arch {path}: {error}") from None


_WANTED = '{"layers": [{"name": ..., "choice": ...}, ...]} or {"layers": ["k3e6", ...]}'


def parse_arch(content: Any, space: SpaceCosts) -> tuple[int, ...]:
    """Turn the content of an architecture file into one candidate index per layer.

    content  a dict with "layers", or the list itself; of choices in network order, or of
             {"name", "choice"} in any order
    raises   UsageError on a wrong form, length, layer or candidate
    """
    layers = content.get("layers") if isinstance(content, dict) else content
    if not isinstance(layers, list):
        raise UsageError(f"found no list of layers; wanted {_WANTED}")
    if all(isinstance(entry, str) for entry in layers):
        _check_length(layers, space)
        return tuple(layer.index(name) for layer, name in zip(space.layers, layers, strict=True))
    if not all(isinstance(entry, dict) and {"name", "choice"} <= entry.keys() for entry in layers):
        raise UsageError(f"an entry is neither a choice nor a name with a choice; wanted {_WANTED}")
    chosen: dict[str, str] = {}
    known = {layer.name for layer in space.layers}
    for entry in layers:
        if entry["name"] not in known:
            raise UsageError(
                f"layer {entry['name']!r}: the super network has no such layer; its layers are "
                f"{space.layers[0].name} ... {space.layers[-1].name}"
            )
        if entry["name"] in chosen:
            raise UsageError(f"layer {entry['name']!r}: named twice; wanted one choice a layer")
        chosen[entry["name"]] = entry["choice"]
    _check_length(layers, space)
    return tuple(layer.index(chosen[layer.name]) for layer in space.layers)


def _check_length(layers: Sequence[Any], space: SpaceCosts) -> None:
    if len(layers) != len(space.layers):
        raise UsageError(
            f"found {len(layers)} layers; the super network has {len(space.layers)}; "
            "give one choice for each"
        )


def arch_content(arch: Sequence[int], space: SpaceCosts) -> dict[str, Any]:
    """Return what ``arch.json`` holds for ``arch``."""
    return {
        "layers": [
            {"name": layer.name, "choice": layer.candidates[choice]}
            for layer, choice in zip(space.layers, arch, strict=True)
        ]
    }
