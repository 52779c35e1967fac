"""Measuring a task's metric, on the ONNX file in onnxruntime or on a module in torch.

Both do the same: every image goes through the task's ``eval_transform``, the network's outputs,
raw or of an emitted file, go into one ``Evaluation`` of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fnac.data.loader import EpochLoader
from fnac.data.preprocessing import manifest_size
from fnac.data.source import Dataset, DataSource
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
            FINDINGS: written(self.findings),
        }


@dataclass(frozen=True)
class Measurement:
    """A measurement: a task's metric on the samples of a split, at one image size.

    size      (H, W) that images are fed at; manifest: of the network (its preprocessing)
    limit     only the first samples; None: all of them
    shown     a bar on a terminal's stderr, plain lines elsewhere where it takes long
    """

    task: Task
    dataset: Dataset
    split: str
    size: Size
    manifest: Manifest
    batch_size: int = 1
    limit: int | None = None
    workers: int = 1
    shown: bool = True

    @property
    def images(self) -> int:
        """Count the samples; DataError where there is none."""
        count = len(self.dataset)
        images = count if self.limit is None else min(self.limit, count)
        if images < 1:
            cut = "" if self.limit is None else f", limited to {self.limit}"
            raise DataError(
                f"eval: split '{self.split}' has {count} images{cut}; wanted at least 1 to measure"
            )
        return images

    def of(self, network: Callable[[Tensor], Outputs], *, runtime: str, where: str) -> EvalResult:
        """Measure ``network``; ``where`` names it in error messages, ``runtime`` what runs it."""
        task, images = self.task, self.images
        loader = EpochLoader(
            self.dataset,
            task.eval_transform(self.size, self.manifest),
            self.batch_size,
            workers=self.workers,
            shuffle=False,
            drop_last=False,
            collate=task.collate,
        )
        evaluation = task.evaluation(self.dataset, self.size, self.manifest, where)
        done = 0
        with StepProgress("eval", images, unit="image", brief=True, shown=self.shown) as progress:
            for inputs, truths in loader.iterate(0, -(-images // self.batch_size)):
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
        )


def evaluate_onnx(
    path: Path | str,
    source: DataSource,
    task: Task,
    split: str = "val",
    size: tuple[int, int] | None = None,
    *,
    batch_size: int = 1,
    limit: int | None = None,
    manifest: Manifest | None = None,
    device: str = "auto",
    threads: int = 0,
    workers: int = 1,
    shown: bool = True,
) -> EvalResult:
    """Measure the file at ``path`` on a split of ``source`` in onnxruntime.

    size: evaluation size (H, W); default: the file's fixed input size, else its manifest's.
    batch_size: used where the file's batch is symbolic. limit: only the first images. manifest:
    how the network is fed, where the file says otherwise.
    device: ``auto`` (CUDA where there is one), ``cuda`` or ``cpu``; threads: onnxruntime's
    intra-op threads, 0 = its choice. shown: a bar on a terminal's stderr, plain lines elsewhere
    where it takes long.

    Raises UnsupportedGraphError for a file that cannot be run or puts out something else than the
    task knows, UsageError where it does not fit the data set or the size, DataError where there
    is nothing to count.
    """
    network = OnnxNetwork(
        Path(path), device=device, threads=threads, with_scores=task.name == "seg"
    )
    measurement = Measurement(
        task,
        source.split(split),
        split,
        network.evaluation_size(size),
        network.manifest if manifest is None else manifest,
        batch_size=network.fixed_batch or batch_size,
        limit=limit,
        workers=workers,
        shown=shown,
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
    batch_size: int = 8,
    limit: int | None = None,
    workers: int = 1,
    dataset: Dataset | None = None,
    shown: bool = False,
) -> EvalResult:
    """Measure a torch module as ``evaluate_onnx`` measures a file; restores its mode afterwards.

    ``manifest`` gives preprocessing, and the size where it is not given; ``dataset`` stands in for
    ``source.split(split)`` (a cached one). In a distributed run each rank measures all of it.
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
        batch_size=batch_size,
        limit=limit,
        workers=workers,
        shown=shown,
    )
    try:
        with torch.inference_mode():
            return measurement.of(run, runtime="torch", where="network")
    finally:
        module.train(training)


def predict_first(
    path: Path, task: Task, dataset: Dataset, count: int, size: tuple[int, int] | None = None
) -> tuple[list[Outputs], tuple[int, int]]:
    """Return what an ONNX file puts out for the first ``count`` samples, one by one; and at what
    size (H, W) they were fed.
    """
    network = OnnxNetwork(path)
    at = network.evaluation_size(size)
    transform = task.eval_transform(at, network.manifest)
    outputs = []
    for index in range(min(count, len(dataset))):
        images, _ = task.collate([transform(*dataset[index])])
        outputs.append(task.predict(network, images))
    return outputs, at
