"""The images that a stage calibrates on: those of ``--data``, which need no labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fnac.data.preprocessing import state_pixels
from fnac.data.readers.names import PICTURES
from fnac.data.readers.picture_folder import PictureDataset, read_pictures
from fnac.data.transforms.plain_images import plain_images
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.stages.opening.calibration import calibration_images, evenly

if TYPE_CHECKING:
    import numpy as np

    from fnac.adaptation.plan import Subject
    from fnac.data.source import DataSource
    from fnac.stages.emit import EmitSettings
    from fnac.stages.expand import Images


def to_calibrate_on(on: Subject) -> DataSource:
    """Return the data set that the settings name, or ``pictures:FOLDER`` without labels."""
    spec = on.adapt.data or ""
    if not spec.startswith(PICTURES):
        return on.source
    folder = spec.removeprefix(PICTURES)
    if not folder:
        raise UsageError(f"--data {spec}: it names no folder; wanted {PICTURES}FOLDER")
    return read_pictures(Path(folder), skip_bad=on.adapt.skip_bad)


def images_to_calibrate(
    on: Subject, network: Graph, size: tuple[int, int], count: int, source: DataSource | None = None
) -> np.ndarray:
    """Return ``count`` training images, (count, 3, H, W) float32, prepared for ``network``.

    They lie evenly over the split; fewer if it has fewer. Those of ``pictures:FOLDER`` are prepared
    without torch, so that the result does not depend on whether it is installed; those of a data
    set with labels as its task measures them.

    source  the data set, if it is open already
    """
    source = source or to_calibrate_on(on)
    if isinstance(dataset := source.split("train"), PictureDataset):
        return plain_images(evenly(dataset.files, count), size, network.manifest)
    task = on.task_for(network.manifest)
    return calibration_images(source, task, size, network.manifest, count=count)


def images_for_batchnorm(on: Subject | None) -> Images | None:
    """Return a function that loads the images for calibrating restored BatchNorms."""
    if on is None:
        return None

    def images(network: Graph) -> np.ndarray:
        return images_to_calibrate(on, network, image_size(network), on.adapt.calibrate)

    return images


def emit_images(graph: Graph, settings: EmitSettings, on: Subject) -> np.ndarray | None:
    """Return the images that int8 is calibrated on; None if they are not needed."""
    if not settings.int8:
        return None
    if getattr(graph.inputs[0].dtype, "kind", "f") in "iu":
        state_pixels(graph.manifest)
    return images_to_calibrate(on, graph, image_size(graph), settings.calibration)


def image_size(graph: Graph) -> tuple[int, int]:
    """Return the (H, W) of a network's images; raises UsageError if the file does not say it."""
    size = graph.image_size()
    if size is None:
        raise UsageError("the network's image size is not known; give --size HxW")
    return size
