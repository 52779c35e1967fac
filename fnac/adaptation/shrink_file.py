"""``shrink`` for the command line and the Python interface: settings, images, result."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.adaptation.calibrating import images_to_calibrate, to_calibrate_on
from fnac.adaptation.plan import Subject
from fnac.adaptation.settings import task_of
from fnac.config import Config, read
from fnac.data.preprocessing import state_preprocessing, tell_assumed
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.stages.opening.uncounted import tell_uncounted

if TYPE_CHECKING:
    import numpy as np

    from fnac.data.source import DataSource
    from fnac.stages.heal import HealResult
    from fnac.stages.heal_settings import HealSettings
    from fnac.stages.shrinking.result import ShrinkResult

DEFAULT_BUDGET = "0.6x"


@dataclasses.dataclass(frozen=True)
class ShrinkJob:
    """A network to shrink, and to heal, on the images of one data set, which is opened once.

    original  the network, which is left as it is
    config    sections ``shrink``, ``heal`` and ``adapt``
    """

    original: Graph
    config: Config

    @functools.cached_property
    def on(self) -> Subject:
        """The data set's settings."""
        return Subject.read(self.config, task_of(self.original.manifest))

    @functools.cached_property
    def data(self) -> DataSource:
        """The images."""
        return to_calibrate_on(self.on)

    def shrink(
        self, *, only_curve: bool = False, journal: Path | None = None, resume: bool = False
    ) -> ShrinkResult:
        """Shrink the network by the sections ``shrink`` and ``adapt``.

        journal  file that keeps what is measured, until the shrink has ended
        resume   go on with what it holds

        Raises UsageError without images or for a budget that cannot be met, and what the stage
        raises.
        """
        from fnac.architectures.budget import parse_budget
        from fnac.stages.shrink import shrink
        from fnac.stages.shrinking.journal import Journal, digest
        from fnac.stages.shrinking.settings import ShrinkSettings

        settings, how = read(ShrinkSettings, self.config), self.on.adapt
        budget = parse_budget(how.budget or DEFAULT_BUDGET, how.budget_of)
        graph = self.original.copy()
        tell_uncounted(graph)
        state_preprocessing(graph.manifest, settings.mean, settings.std)
        tell_assumed(graph.manifest)
        if settings.size is not None:  # costs are counted there
            graph.manifest["size"] = list(settings.size)
        images = self._images(graph, settings.size, settings.images + settings.held_back)
        matters = digest(graph, images, f"{budget.text} {budget.of}", settings)
        notes = Journal(journal, matters, resume=resume)
        result = shrink(graph, images, budget, settings, only_curve=only_curve, journal=notes)
        notes.remove()
        return result

    def _images(self, graph: Graph, size: tuple[int, int] | None, count: int) -> np.ndarray:
        """Return the images to fit to and to measure on, (N, C, H, W), prepared for the network."""
        if not self.on.adapt.data:
            raise UsageError(
                "--data: wanted images to fit weights to; they need no labels: "
                "--data pictures:FOLDER"
            )
        size = size or graph.image_size()
        if size is None:
            raise UsageError("the file does not say how large its images are; give --size HxW")
        return images_to_calibrate(self.on, graph, size, count, self.data)

    def healing(self, epochs: int, folder: Path) -> HealSettings:
        """Return the settings of a healing in ``folder``; refuse early what could not run."""
        from fnac.stages.heal_settings import HealSettings
        from fnac.training.runtime import check_device

        if folder.exists():
            raise UsageError(
                f"{folder}: exists already; healing keeps its checkpoint there; remove it"
            )
        settings = dataclasses.replace(read(HealSettings, self.config), epochs=epochs)
        check_device(settings)
        return settings

    def heal(self, shrunk: ShrinkResult, settings: HealSettings, folder: Path) -> HealResult:
        """Train the smaller network towards the original's outputs, on the same images.

        folder  is made; it gets checkpoint and metrics
        """
        from fnac.stages.heal import heal

        folder.mkdir(parents=True)
        return heal(shrunk.graph, self.original, self.data.split("train"), settings, folder)
