"""Input sizes and output strides as choices in addition to the architecture.

At a fixed budget a narrower network that reads larger images competes with a wider one that reads
smaller images.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fnac.adaptation.settings import AUTO
from fnac.config import parse_size
from fnac.errors import UsageError
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    from fnac.adaptation.plan import Plan
    from fnac.stages.expand import ExpandSettings
    from fnac.stages.tune_settings import TuneSettings

INPUTS, CHOSEN_INPUT = "search/inputs", "search/input.json"
"""The seed at every input; the input that was chosen."""
log = logging.getLogger(__name__)

AUTO_AREAS = (2 / 3, 1.0, 3 / 2, 9 / 4)
"""Areas of the images that ``auto`` tries, over the area of the seed's."""
AUTO_MULTIPLE = 16
"""Pixels that sides found by ``auto`` are multiples of."""
NOT_WEIGHTS = ("Resize", "Upsample", "Reshape", "Slice", "Pad", "Expand", "Tile")
"""Operators whose constants may follow the size of the images."""


@dataclasses.dataclass(frozen=True)
class Input:
    """A network's input: (H, W) of its images; the output stride of its backbone, if any."""

    size: tuple[int, int]
    output_stride: int | None = None

    @property
    def name(self) -> str:
        """The name used in files: ``180x240`` or ``180x240-os16``."""
        stride = "" if self.output_stride is None else f"-os{self.output_stride}"
        return f"{self.size[0]}x{self.size[1]}{stride}"

    def settings(self, expand: ExpandSettings) -> ExpandSettings:
        """Return the settings that prepare a seed for this input."""
        stride = expand.output_stride if self.output_stride is None else self.output_stride
        return dataclasses.replace(expand, size=self.size, output_stride=stride)

    def tuning(self, settings: TuneSettings, base: Input) -> TuneSettings:
        """Return tuning settings for this input: at its own size where it is not the seed's."""
        return settings if self.size == base.size else dataclasses.replace(settings, size=None)


def input_of(graph: Graph) -> Input:
    """Return the input of a network, from its file."""
    size = graph.image_size()
    assert size is not None  # expand states it
    stride = graph.manifest.get("output_stride")
    return Input(size, None if stride is None else int(stride))


def are_choices(plan: Plan) -> bool:
    """Say whether sizes or output strides are searched."""
    return plan.adapt.sizes is not None or bool(plan.adapt.output_strides)


def inputs_to_try(plan: Plan, seed: Graph) -> list[Input]:
    """Return the inputs to choose architectures at; the seed's own if none are given.

    seed  with its head, at the size that the budget is counted at
    """
    base, how = input_of(seed), plan.adapt
    if how.sizes is None:
        sizes = [base.size]
    elif how.sizes == AUTO:
        sizes = automatic_sizes(base.size, plan.source.split("train")[0][0].shape[-2:])
    else:
        sizes = [parse_size(one.strip()) for one in how.sizes.split(",")]
    strides: Sequence[int | None] = how.output_strides or [base.output_stride]
    return [Input(size, stride) for size in sizes for stride in strides]


def automatic_sizes(base: tuple[int, int], images: Sequence[int]) -> list[tuple[int, int]]:
    """Return sizes around the base, of its shape, none larger than the data's images.

    base    (H, W) of the seed's images, which is one of them
    images  (H, W) of an image of the data set
    """
    sizes = {base}
    for area in AUTO_AREAS:
        sides = [
            max(32, AUTO_MULTIPLE * round(side * math.sqrt(area) / AUTO_MULTIPLE)) for side in base
        ]
        if area != 1 and all(a <= max(b, c) for a, b, c in zip(sides, base, images, strict=True)):
            sizes.add((sides[0], sides[1]))
    return sorted(sizes)


def keep_reference(base: Graph, at_input: Graph) -> None:
    """Keep the seed's cost at its own input as the reference for costs at another."""
    for key in ("seed_madds", "seed_params"):
        at_input.manifest[key] = base.manifest[key]


def carry_weights(trained: Graph, into: Graph) -> None:
    """Copy the weights of ``trained`` to ``into``, the same seed prepared for another input.

    Raises UsageError where the two do not have the same weights.
    """
    known = {constant.name: constant for constant in trained.constants()}
    for constant in into.constants():
        readers = into.consumers(constant)
        if constant.values.dtype.kind != "f" or all(node.op in NOT_WEIGHTS for node in readers):
            continue
        other = known.get(constant.name)
        if other is None or other.values.shape != constant.values.shape:
            raise UsageError(
                f"--sizes, --output-strides: {constant.name} has no counterpart in the tuned seed "
                "(the network is another one at this size); leave the size out"
            )
        constant.values = np.array(other.values)
