"""``shrink`` as the command line and the Python interface run it: settings, images, result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.adaptation.plan import Subject
from fnac.adaptation.single_stages import to_calibrate_on
from fnac.config import Config, read
from fnac.data.preprocessing import state_preprocessing, tell_assumed
from fnac.errors import UsageError
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    import numpy as np

    from fnac.stages.heal import HealResult
    from fnac.stages.shrink import ShrinkResult
    from fnac.stages.shrinking.settings import ShrinkSettings

DEFAULT_BUDGET = "0.6x"


def shrink_graph(
    graph: Graph,
    config: Config,
    *,
    only_curve: bool = False,
    journal: Path | None = None,
    resume: bool = False,
) -> ShrinkResult:
    """Shrink ``graph``, which is left as it is, by the sections ``shrink`` and ``adapt``.

    journal  file that keeps what is measured, until the shrink has ended
    resume   go on with what it holds

    Raises UsageError without images or for a budget that cannot be met, and what the stage raises.
    """
    from fnac.architectures.budget import parse_budget
    from fnac.stages.shrink import shrink
    from fnac.stages.shrinking.journal import Journal, digest
    from fnac.stages.shrinking.settings import ShrinkSettings

    settings = read(ShrinkSettings, config)
    on = Subject.read(config, str(graph.manifest.get("task") or "seg"))
    budget = parse_budget(on.adapt.budget or DEFAULT_BUDGET, on.adapt.budget_of)
    if budget.of == "latency":
        raise UsageError(
            "--budget-of latency: widths are chosen by MAdds or parameters; wanted madds or params"
        )
    graph = graph.copy()
    state_preprocessing(graph.manifest, settings.mean, settings.std)
    tell_assumed(graph.manifest)
    if settings.size is not None:  # costs are counted there
        graph = graph.copy()
        graph.manifest["size"] = list(settings.size)
    images = shrink_images(graph, on, settings)
    matters = digest(graph, images, f"{budget.text} {budget.of}", settings)
    notes = Journal(journal, matters, resume=resume)
    result = shrink(graph, images, budget, settings, only_curve=only_curve, journal=notes)
    notes.remove()
    return result


def shrink_images(graph: Graph, on: Subject, settings: ShrinkSettings) -> np.ndarray:
    """Return the images to fit to and to measure on, (N, C, H, W), prepared for the network."""
    from fnac.stages.opening.calibration import calibration_images

    if not on.adapt.data:
        raise UsageError(
            "--data: images are wanted to fit weights to; labels are not: --data pictures:FOLDER"
        )
    size = settings.size or graph.image_size()
    if size is None:
        raise UsageError("the file does not say how large its images are; give --size HxW")
    source, task = to_calibrate_on(on, graph)
    count = settings.images + settings.held_back
    return calibration_images(source, task, size, graph.manifest, count=count)


def heal_shrunk(
    shrunk: ShrinkResult, original: Graph, config: Config, epochs: int, folder: Path
) -> HealResult:
    """Train the smaller network towards what the original says, on the images of ``--data``.

    folder  gets checkpoint and metrics; it must not be there
    """
    from fnac.stages.heal import heal
    from fnac.stages.heal_settings import HealSettings

    if folder.exists():
        raise UsageError(
            f"{folder}: is there already; healing keeps its checkpoint in it: remove it"
        )
    settings = dataclasses.replace(read(HealSettings, config), epochs=epochs)
    on = Subject.read(config, str(original.manifest.get("task") or "seg"))
    source, _ = to_calibrate_on(on, original)
    folder.mkdir(parents=True)
    return heal(shrunk.graph, original, source.split("train"), settings, folder)
