"""Measuring a task's metric, on the ONNX file in onnxruntime or on a module in torch.

Both do the same: every image goes through the task's ``eval_transform``, the network's outputs,
raw or of an emitted file, go into one ``Evaluation`` of the task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fnac.data.loader import EpochLoader
from fnac.data.preprocessing import manifest_size
from fnac.data.source import Dataset, DataSource, Sample
from fnac.errors import DataError, UsageError
from fnac.findings import FINDINGS, Finding, written
from fnac.progress import StepProgress
from fnac.stages.opening.onnx_network import OnnxNetwork
from fnac.tasks.base import Manifest, Outputs, Size, Task


@dataclass(frozen=True)
class EvalResult:
    """What was measured: ``value`` in percent over ``images`` images at ``size`` (H, W)."""

    metric: str
    value: float
    images: int
    size: tuple[int, int]
    split: str
    runtime: str
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    extra: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what ``fnac eval --json`` prints."""
        return {
            "metric": self.metric,
            "value": self.value,
            "images": self.images,
            "size": list(self.size),
            "split": self.split,
            "runtime": self.runtime,
            "per_class": dict(self.per_class),
            "extra": dict(self.extra),
            **self.details,
            FINDINGS: written(self.findings),
        }


@dataclass(frozen=True)
class Feeding:
    """How samples are brought to a network that is measured.

    batch_size  samples at once; a file whose batch is fixed takes its own
    limit       only the first samples; None: all of them
    workers     processes that prepare samples
    shown       a bar on a terminal's stderr, plain lines elsewhere if it takes long
    """

    batch_size: int = 1
    limit: int | None = None
    workers: int = 1
    shown: bool = True


@dataclass(frozen=True)
class Measurement:
    """A measurement: a task's metric on the samples of a split, at one image size.

    size      (H, W) that images are fed at; manifest: of the network (its preprocessing)
    """

    task: Task
    dataset: Dataset
    split: str
    size: Size
    manifest: Manifest
    feeding: Feeding

    @property
    def images(self) -> int:
        """Count the samples; DataError if there are none."""
        count, limit = len(self.dataset), self.feeding.limit
        images = count if limit is None else min(limit, count)
        if images < 1:
            cut = "" if limit is None else f", limited to {limit}"
            raise DataError(
                f"eval: split '{self.split}' has {count} images{cut}; wanted at least 1 to measure"
            )
        return images

    def of(self, network: Callable[[Tensor], Outputs], *, runtime: str, where: str) -> EvalResult:
        """Measure ``network``; ``where`` names it in error messages, ``runtime`` what runs it."""
        task, images, feeding = self.task, self.images, self.feeding
        loader = EpochLoader(
            self.dataset,
            task.eval_transform(self.size, self.manifest),
            feeding.batch_size,
            workers=feeding.workers,
            shuffle=False,
            drop_last=False,
            collate=task.collate,
        )
        evaluation = task.evaluation(self.dataset, self.size, self.manifest, where)
        done = 0
        with StepProgress(
            "eval", images, unit="image", brief=True, shown=feeding.shown
        ) as progress:
            for inputs, truths in loader.iterate(0, -(-images // feeding.batch_size)):
                count = min(len(inputs), images - done)
                outputs = task.predict(network, inputs[:count])
                evaluation.add(range(done, done + count), outputs, truths[:count])
                done += count
                progress.advance(done)
        scores = evaluation.compute()
        return EvalResult(
            metric=task.metric,
            value=scores.value,
            images=images,
            size=self.size,
            split=self.split,
            runtime=runtime,
            per_class=scores.per_class,
            extra=scores.extra,
            findings=scores.findings,
            details=scores.details,
        )


def evaluate_onnx(
    path: Path | str,
    source: DataSource,
    task: Task,
    split: str = "val",
    size: tuple[int, int] | None = None,
    *,
    manifest: Manifest | None = None,
    device: str = "auto",
    threads: int = 0,
    feeding: Feeding | None = None,
) -> EvalResult:
    """Measure the file at ``path`` on a split of ``source`` in onnxruntime.

    size      evaluation size (H, W); default: the file's fixed input size, else its manifest's
    manifest  how to prepare the input, if it differs from what the file says
    device    ``auto`` (CUDA if there is one), ``cuda`` or ``cpu``
    threads   onnxruntime's intra-op threads, 0 = its choice

    Raises UnsupportedGraphError for a file that cannot be run or has outputs that the task does
    not know, UsageError if it does not fit the data set or the size, DataError if there is
    nothing to count.
    """
    feeding = feeding or Feeding()
    network = OnnxNetwork(
        Path(path), device=device, threads=threads, with_scores=task.name == "seg"
    )
    measurement = Measurement(
        task,
        source.split(split),
        split,
        network.evaluation_size(size),
        network.manifest if manifest is None else manifest,
        replace(feeding, batch_size=network.fixed_batch or feeding.batch_size),
    )
    return measurement.of(network, runtime="onnxruntime", where=str(path))


def evaluate_module(
    module: nn.Module,
    source: DataSource,
    task: Task,
    split: str = "val",
    size: tuple[int, int] | None = None,
    *,
    manifest: Manifest,
    dataset: Dataset | None = None,
    feeding: Feeding | None = None,
) -> EvalResult:
    """Measure a torch module as ``evaluate_onnx`` measures a file; restores its mode afterwards.

    ``manifest`` gives preprocessing, and the size where it is not given; ``dataset`` stands in for
    ``source.split(split)`` (a cached one). By default without a bar and by batches of 8. In a
    distributed run each rank measures all of it.
    """
    size = size or manifest_size(manifest)
    if size is None:
        raise UsageError("evaluation size: found none; wanted (height, width), or a manifest")
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    training = module.training
    module.eval()

    def run(images: Tensor) -> Outputs:
        outputs = module(images.to(device, non_blocking=True))
        several = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return dict(zip(task.output_names, several))

    measurement = Measurement(
        task,
        source.split(split) if dataset is None else dataset,
        split,
        size,
        manifest,
        feeding or Feeding(batch_size=8, shown=False),
    )
    try:
        with torch.inference_mode():
            return measurement.of(run, runtime="torch", where="network")
    finally:
        module.train(training)


def predict_first(
    path: Path, task: Task, dataset: Dataset, count: int, size: tuple[int, int] | None = None
) -> tuple[list[Outputs], tuple[int, int]]:
    """Return an ONNX file's outputs for the first ``count`` samples, and the (H, W) they had."""
    network = OnnxNetwork(path)
    at = network.evaluation_size(size)
    transform = task.eval_transform(at, network.manifest)
    outputs = []
    for index in range(min(count, len(dataset))):
        images, _ = task.collate([transform(*dataset[index])])
        outputs.append(task.predict(network, images))
    return outputs, at


@dataclass(frozen=True)
class Ranked:
    """One sample and how well a network does on it alone: its metric in percent."""

    index: int
    value: float


def extremes(
    path: Path,
    task: Task,
    dataset: Dataset,
    count: int,
    size: tuple[int, int] | None = None,
    *,
    looked_at: int = 48,
) -> dict[str, list[Ranked]]:
    """Return the samples that an ONNX file does best, middling and worst on, ``count`` of each.

    So many as ``looked_at`` are measured one by one, spread over the dataset. A sample that the
    metric says nothing of (an image without an object) is none of them. A sample is in one group.
    """
    network = OnnxNetwork(path, with_scores=task.name == "seg")
    at = network.evaluation_size(size)
    transform = task.eval_transform(at, network.manifest)
    total = min(looked_at, len(dataset))
    ranked = []
    for index in (place * len(dataset) // total for place in range(total)):
        images, truths = task.collate([transform(*dataset[index])])
        evaluation = task.evaluation(dataset, at, network.manifest, str(path))
        evaluation.add([index], task.predict(network, images), truths)
        try:
            value = evaluation.compute().value
        except DataError:
            continue
        if math.isfinite(value):
            ranked.append(Ranked(index, value))
    ranked.sort(key=lambda one: (-one.value, one.index))
    groups: dict[str, list[Ranked]] = {"best": ranked[:count]}
    rest = ranked[count:]
    groups["worst"] = rest[max(0, len(rest) - count) :]
    between = rest[: max(0, len(rest) - count)]
    middle = max(0, (len(between) - count) // 2)
    groups["median"] = between[middle : middle + count]
    return {name: groups[name] for name in ("best", "median", "worst")}


@dataclass(frozen=True)
class Picked:
    """Samples of a dataset, in an order of one's own."""

    dataset: Dataset
    places: tuple[int, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample at a place."""
        return self.dataset[self.places[index]]

    def id(self, index: int) -> str:
        """Return the sample's name."""
        return self.dataset.id(self.places[index])

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the dataset, and the place in it."""
        return self.dataset, self.places[index]
