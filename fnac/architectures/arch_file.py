"""Architectures as files: ``{"layers": [{"name", "choice"}, ...]}`` or a plain list of choices."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fnac.architectures.costs import SpaceCosts
from fnac.errors import UsageError

_WANTED = '{"layers": [{"name": ..., "choice": ...}, ...]} or {"layers": ["k3e6", ...]}'


class Offer(Protocol):
    """A layer of a super network, as any reader may represent it."""

    @property
    def name(self) -> str:
        """Name of the layer."""

    def index(self, choice: str) -> int:
        """Return the position of ``choice``; an error names the layer and its candidates."""


@dataclasses.dataclass(frozen=True)
class ArchFile:
    """What an architecture file says: one choice per layer, in its own order.

    ``names``  the layer of each choice; None where the choices are in network order
    """

    choices: tuple[str, ...]
    names: tuple[str, ...] | None = None

    def indices(self, layers: Sequence[Offer]) -> tuple[int, ...]:
        """Return one candidate index for each of ``layers``.

        raises   UsageError on a wrong length or layer, what ``layers`` raise on a wrong candidate
        """
        if self.names is None:
            _check_length(len(self.choices), layers)
            pairs = zip(layers, self.choices, strict=True)
            return tuple(layer.index(choice) for layer, choice in pairs)
        known = {layer.name for layer in layers}
        chosen: dict[str, str] = {}
        for name, choice in zip(self.names, self.choices, strict=True):
            if name not in known:
                raise UsageError(
                    f"layer {name!r}: the super network has no such layer; its layers are "
                    f"{layers[0].name} ... {layers[-1].name}"
                )
            if name in chosen:
                raise UsageError(f"layer {name!r}: named twice; wanted one choice per layer")
            chosen[name] = choice
        _check_length(len(self.choices), layers)
        return tuple(layer.index(chosen[layer.name]) for layer in layers)


def load_arch(path: Path, space: SpaceCosts) -> tuple[int, ...]:
    """Read an architecture file; UsageError names the file, the layer and its candidates."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--arch {path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UsageError(f"--arch {path}: not JSON ({error}); wanted {_WANTED}") from None
    try:
        return parse_arch(content).indices(space.layers)
    except UsageError as error:
        raise UsageError(f"--arch {path}: {error}") from None


def parse_arch(content: Any) -> ArchFile:
    """Read the content of an architecture file.

    content  a dict with "layers", or the list itself; of choices in network order, or of
             {"name", "choice"} in any order
    raises   UsageError on another form
    """
    layers = content.get("layers") if isinstance(content, dict) else content
    if not isinstance(layers, list):
        raise UsageError(f"found no list of layers; wanted {_WANTED}")
    if all(isinstance(entry, str) for entry in layers):
        return ArchFile(tuple(layers))
    if not all(isinstance(entry, dict) and {"name", "choice"} <= entry.keys() for entry in layers):
        raise UsageError(f"an entry is neither a choice nor a name with a choice; wanted {_WANTED}")
    choices = tuple(str(entry["choice"]) for entry in layers)
    return ArchFile(choices, tuple(str(entry["name"]) for entry in layers))


def arch_content(arch: Sequence[int], space: SpaceCosts) -> dict[str, Any]:
    """Return what ``arch.json`` holds for ``arch``."""
    pairs = zip(space.layers, arch, strict=True)
    return named_choices({layer.name: layer.candidates[choice] for layer, choice in pairs})


def named_choices(choices: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``arch.json`` holds for one choice per layer, by the layer's name."""
    return {"layers": [{"name": name, "choice": choice} for name, choice in choices.items()]}


def _check_length(count: int, layers: Sequence[Offer]) -> None:
    if count != len(layers):
        raise UsageError(
            f"found {count} layers; the super network has {len(layers)}; give one choice for each"
        )
