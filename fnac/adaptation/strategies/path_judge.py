"""Judges architectures by the super network's weights, with BatchNorm recalibrated for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fnac.data.loader import EpochLoader, split
from fnac.data.source import DataSource
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.search.settings import SearchSettings
from fnac.stages.evaluate import Feeding, evaluate_module
from fnac.stages.tune import recalibrate_bn
from fnac.tasks.base import Task

RECALIBRATED = 64
"""Images that the statistics of BatchNorm are averaged over."""


class PathJudge:
    """Measures single paths of a super network on images that its weights were not trained on.

    BatchNorm's statistics in a super network are a mixture over all paths; those of one path are
    averaged anew over images of the weights' part of the training set, always the same.

    images  of the alphas' part, that are measured
    """

    def __init__(
        self, network: Graph, source: DataSource, task: Task, settings: SearchSettings, images: int
    ) -> None:
        self._source, self._task, self._images = source, task, images
        self._manifest = network.manifest
        self._size = settings.whole_size(network.manifest)
        cuda = settings.device != "cpu" and torch.cuda.is_available()
        self._device = torch.device("cuda" if cuda else "cpu")
        self._module = import_onnx(network.to_model()).to(self._device)
        weights, held = split(source.split("train"), settings.split, settings.random_seed)
        still = task.eval_transform(self._size, network.manifest)
        self._batch = min(settings.batch_size, len(weights))
        loader = EpochLoader(weights, still, self._batch, shuffle=False, collate=task.collate)
        count = min(loader.batches_per_epoch, -(-RECALIBRATED // self._batch))
        self._batches = [inputs for inputs, _ in loader.iterate(0, count)]
        self._held = held

    def score(self, arch: Sequence[int]) -> float:
        """Return the metric of the path ``arch``, one candidate per layer, in percent."""
        for point, index in zip(self._module.choice_points, arch, strict=True):
            point.choose(index)
        self._module.train()
        recalibrate_bn(self._module, (batch.to(self._device) for batch in self._batches))
        result = evaluate_module(
            self._module,
            self._source,
            self._task,
            size=self._size,
            manifest=self._manifest,
            dataset=self._held,
            feeding=Feeding(self._batch, self._images, shown=False),
        )
        return result.value
