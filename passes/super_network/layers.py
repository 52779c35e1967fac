"""The layers of a super network as its manifest stores them: written and read here alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ArchError, UnsupportedGraphError

LAYERS = "layers"


@dataclasses.dataclass(frozen=True)
class StoredCandidate:
    """One choice at a layer and what it costs: exact MAdds at the manifest's size, parameters."""

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

    Raises UnsupportedGraphError naming the layer whose entry is not whole.
    """
    return tuple(_read_layer(entry) for entry in manifest.get(LAYERS, ()))


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


def _read_layer(entry: Mapping[str, Any]) -> StoredLayer:
    try:
        return StoredLayer(
            name=str(entry["name"]),
            stage=int(entry.get("stage", 0)),
            candidates=tuple(
                StoredCandidate(str(one["name"]), int(one["madds"]), int(one["params"]))
                for one in entry["candidates"]
            ),
            seed_choice=entry.get("seed_choice"),
            stride=int(entry.get("stride", 0)),
            dilation=int(entry.get("dilation", 0)),
            channels=int(entry.get("channels", 0)),
        )
    except KeyError as error:
        name = entry.get("name", "without a name")
        raise UnsupportedGraphError(
            f"the manifest's layer {name} has no {error.args[0]}, which each layer and each "
            "candidate of it needs; expand the seed again"
        ) from error
