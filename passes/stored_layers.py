"""A super network's layers as its manifest stores them: written, read and checked here alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ArchError, UnsupportedGraphError

LAYERS = "layers"


@dataclasses.dataclass(frozen=True)
class StoredCandidate:
    """One choice at a layer and its cost: exact MAdds at the manifest's size, parameters."""

    name: str
    madds: int
    params: int


@dataclasses.dataclass(frozen=True)
class StoredLayer:
    """One searchable position of a super network.

    ``candidates``   in the order of the layer's alphas
    ``seed_choice``  the candidate that is the seed; None where the manifest does not say
    ``stride``       of the layer's window; 1 of a layer that deepens its stage
    ``dilation``     of the searched convolution
    ``channels``     that the layer leaves

    The last three are 0 in a file whose manifest does not say them.
    """

    name: str
    stage: int
    candidates: tuple[StoredCandidate, ...]
    seed_choice: str | None = None
    stride: int = 0
    dilation: int = 0
    channels: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates' names, in their order."""
        return tuple(candidate.name for candidate in self.candidates)

    def index(self, choice: str) -> int:
        """Return the position of the candidate ``choice``.

        Raises ArchError naming the layer, what was asked for and what there is.
        """
        if choice not in self.names:
            raise ArchError(
                f"{self.name}: the arch asks for {choice!r}; its candidates are "
                f"{', '.join(self.names)}"
            )
        return self.names.index(choice)


def read_layers(manifest: Mapping[str, Any]) -> tuple[StoredLayer, ...]:
    """Return the layers of a super network in network order; () of any other network.

    Raises UnsupportedGraphError naming the layer whose entry is not whole, or what else is wrong.
    """
    entries = manifest.get(LAYERS, ())
    if not isinstance(entries, list | tuple):
        raise UnsupportedGraphError(f"the manifest's {LAYERS} are {_shown(entries)}; wanted a list")
    layers = tuple(_read_layer(entry) for entry in entries)
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise UnsupportedGraphError(
            f"the manifest's layers are {', '.join(names)}; wanted layers of different names"
        )
    return layers


def write_layers(manifest: dict[str, Any], layers: Sequence[StoredLayer]) -> None:
    """Store ``layers`` in a manifest, as :func:`read_layers` reads them."""
    manifest[LAYERS] = [
        {
            "name": layer.name,
            "stage": layer.stage,
            "candidates": [dataclasses.asdict(candidate) for candidate in layer.candidates],
            "seed_choice": layer.seed_choice,
            "stride": layer.stride,
            "dilation": layer.dilation,
            "channels": layer.channels,
        }
        for layer in layers
    ]


def seed_arch(layers: Sequence[StoredLayer]) -> list[str]:
    """Return the candidates that are the seed, in network order.

    Raises UnsupportedGraphError naming the layer of which the manifest does not say it.
    """
    arch = [layer.seed_choice for layer in layers if layer.seed_choice is not None]
    if len(arch) != len(layers):
        unsaid = next(layer.name for layer in layers if layer.seed_choice is None)
        raise UnsupportedGraphError(
            f"layer {unsaid}: the super network does not say which candidate is the seed's; "
            "name an architecture, or expand the seed again"
        )
    return arch


def _read_layer(entry: Any) -> StoredLayer:
    if not isinstance(entry, Mapping):
        raise UnsupportedGraphError(f"a layer of the manifest is {_shown(entry)}; wanted an object")
    layer = StoredLayer(
        name=_name(entry, "a layer"),
        stage=_count(entry, "stage", 0),
        candidates=_read_candidates(entry),
        seed_choice=entry.get("seed_choice"),
        stride=_count(entry, "stride", 0),
        dilation=_count(entry, "dilation", 0),
        channels=_count(entry, "channels", 0),
    )
    if layer.seed_choice is not None and layer.seed_choice not in layer.names:
        raise UnsupportedGraphError(
            f"the manifest's layer {layer.name}: its seed_choice is {_shown(layer.seed_choice)}; "
            f"wanted one of its candidates ({', '.join(layer.names)})"
        )
    return layer


def _read_candidates(entry: Mapping[str, Any]) -> tuple[StoredCandidate, ...]:
    where = f"the manifest's layer {entry['name']}"
    listed = entry.get("candidates")
    if not isinstance(listed, list | tuple) or not listed:
        raise UnsupportedGraphError(f"{where}: its candidates are {_shown(listed)}; wanted a list")
    candidates = []
    for one in listed:
        if not isinstance(one, Mapping):
            raise UnsupportedGraphError(f"{where}: a candidate is {_shown(one)}; wanted an object")
        name = _name(one, f"a candidate of {where}")
        candidates.append(StoredCandidate(name, _count(one, "madds"), _count(one, "params")))
    names = [candidate.name for candidate in candidates]
    if len(set(names)) < len(names):
        raise UnsupportedGraphError(
            f"{where}: its candidates are {', '.join(names)}; wanted different names"
        )
    return tuple(candidates)


def _name(entry: Mapping[str, Any], what: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str):
        raise UnsupportedGraphError(f"{what} has no name in the manifest; expand the seed again")
    return name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _count(entry: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Return a number from 0 on; what older files do not say is ``default``."""
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        said = f"says {_shown(value)} of its {key}" if key in entry else f"has no {key}"
        raise UnsupportedGraphError(
            f"{entry['name']} {said} in the manifest; wanted a count; expand the seed again"
        )
    return value
