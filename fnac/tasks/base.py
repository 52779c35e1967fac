"""The interface of a task: transforms, a loss, a metric, drawings.

One class a kind of problem; ``fnac.tasks.make_task`` builds it for a data set and a network.
Stages know nothing of masks, boxes or joints: a truth is one tensor (see ``fnac.data.source``),
a network's outputs are named tensors, and only the task looks inside.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from fnac.data.batches import BatchSettings
from fnac.data.loader import stack
from fnac.data.source import Batch, Dataset, Sample, source_sample
from fnac.data.transforms.pictures import Transform
from fnac.findings import Finding
from fnac.passes.graph.contract import state_input, usual_resize

from .panels import file_name, write_png

Size = tuple[int, int]
"""(height, width) in pixels."""
Outputs = Mapping[str, Tensor]
"""The outputs of a network, by name, in the order of the graph's outputs."""
Manifest = Mapping[str, Any]
MOST_CONFUSED = 40
"""Classes up to which a measurement keeps its confusion matrix."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """A measured metric.

    ``value`` and ``per_class`` are in percent (None: the class does not occur); ``extra`` holds
    whatever else the task measures (``AP50``), ``findings`` what the number hides. ``details`` is
    what is drawn rather than printed: ``confusion`` (rows: truth, columns: answers) or
    ``precision_recall`` (class -> precision at recalls 0, 0.05, ... 1 for an overlap of half).
    """

    value: float
    per_class: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Evaluation(Protocol):
    """One measurement over a dataset, batch by batch."""

    def add(self, indices: Sequence[int], outputs: Outputs, truths: Tensor) -> None:
        """Add the outputs for samples ``indices`` of the dataset, raw or of an emitted file."""
        ...

    def compute(self) -> Scores:
        """Return the metric of all batches so far; value nan if there was nothing to count."""
        ...


class Task(ABC):
    """One kind of problem: seg, det, pose, cls."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The task's name on the command line."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """Name of the metric, as in ``fnac eval --json``: ``mIoU``."""

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """The outputs of a network with this task's head, in their order."""

    @abstractmethod
    def check_network(self, manifest: Manifest) -> None:
        """Raise UsageError if the network was made for other classes than this data set's."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of its classes or joints, by id."""

    def describe(self, manifest: dict[str, Any]) -> None:
        """Write the task's preprocessing and names into the network's manifest."""
        state_input(manifest, resize=usual_resize(self.name, manifest.get("head")))
        manifest["classes"] = list(self.names)

    @abstractmethod
    def train_transform(self, batches: BatchSettings, manifest: Manifest) -> Transform:
        """Return the transform from a sample to a training sample for the network."""

    @abstractmethod
    def eval_transform(self, size: Size, manifest: Manifest) -> Transform:
        """Return the transform from a sample to an evaluation sample at ``size``."""

    @abstractmethod
    def cached(
        self,
        dataset: Dataset,
        batches: BatchSettings,
        manifest: Manifest,
        *,
        measured: bool = False,
    ) -> Dataset:
        """Return ``dataset`` kept in memory if it fits, else as it is.

        measured  a metric is taken on it: what the metric reads stays as it is
        """

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack transformed samples: images (N, 3, h, w) and the truths, padded where needed."""
        return stack(samples)

    @abstractmethod
    def loss(self, outputs: Tensor | tuple[Tensor, ...], truths: Tensor, size: Size) -> Tensor:
        """Return the scalar training loss in float32; TrainingError if shapes do not fit.

        outputs: as the module returns them; size: of the images that were fed.
        """

    @abstractmethod
    def distillation(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        size: Size,
        temperature: float,
    ) -> Tensor:
        """Return the distance of ``outputs`` from a teacher's for the same images, 0 if equal.

        A scalar in float32, in the loss's own scale; class scores are divided by ``temperature``
        before they are compared. TrainingError where shapes do not fit.
        """

    def predict(self, network: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
        """Run ``network`` on images as this task evaluates it: once, unless overridden."""
        return network(images)

    @abstractmethod
    def evaluation(
        self, dataset: Dataset, size: Size, manifest: Manifest, where: str = "network"
    ) -> Evaluation:
        """Begin a measurement on ``dataset``; ``where`` names the network in error messages."""

    @property
    def panels(self) -> tuple[str, ...]:
        """What the images that ``picture`` lays side by side show, from left to right."""
        return ("image", "truth", "prediction")

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Return names with the RGB colours that ``picture`` draws them in."""
        return []

    @abstractmethod
    def picture(
        self, sample: Sample, output: Outputs, size: Size, manifest: Manifest
    ) -> Image.Image:
        """Draw one output (of a batch of 1) next to the sample and its truth.

        sample: as the data set stores it, before any transform; size: (H, W) of what was fed.
        """

    def pictures(
        self,
        dataset: Dataset,
        outputs: Sequence[Outputs],
        folder: Path,
        size: Size,
        manifest: Manifest,
    ) -> list[Path]:
        """Draw the outputs (one mapping per image, batch of 1) for the first samples.

        Writes ``folder/prediction_NUMBER-ID.png``, input beside truth beside prediction.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for index, output in enumerate(outputs):
            base, place = source_sample(dataset, index)
            path = folder / f"prediction_{index:02d}-{file_name(dataset.id(index))}.png"
            write_png(path, self.picture(base[place], output, size, manifest))
            written.append(path)
        return written
