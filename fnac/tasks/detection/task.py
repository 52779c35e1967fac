"""Detection: anchors, RetinaNet's and SSD's losses, COCO's average precision, boxes in images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import torch
from PIL import Image
from torch import Tensor

from fnac.data.batches import BatchSettings
from fnac.data.loader import keep_in_memory
from fnac.data.preprocessing import padding, preprocessing
from fnac.data.source import Batch, Dataset, DataSource, Sample
from fnac.data.transforms.boxes import (
    MULTIPLE,
    BoxEvalTransform,
    BoxTrainTransform,
    Fit,
    collate_boxes,
    resize_boxed,
)
from fnac.errors import TrainingError, UnsupportedGraphError, UsageError
from fnac.passes.emit.anchors import AnchorSpec, anchor_boxes
from fnac.passes.graph.contract import Contract, state_input

from ..base import Manifest, Outputs, Size, Task
from ..network_check import check_count
from ..panels import coloured
from ..settings import DetectionSettings, Resize
from .decoding import detect
from .evaluation import ANSWERS, DetectionEvaluation, stacked, unstacked
from .losses import distilled_losses, focal_losses, mining_losses
from .pictures import draw_boxes

RAW = ("class_logits", "box_deltas")


def open_task(
    settings: DetectionSettings, source: DataSource, manifest: Mapping[str, Any]
) -> Detection:
    """Return the task on the classes of ``source`` for the network of ``manifest``."""
    stored = manifest.get("anchors")
    spec = AnchorSpec.read(stored) if stored is not None else None
    return Detection(tuple(source.classes), _as_trained(settings, manifest), spec)


def _as_trained(settings: DetectionSettings, manifest: Mapping[str, Any]) -> DetectionSettings:
    """Use the network's own resize mode, unless the settings say otherwise."""
    stated = Contract.read(manifest).input.resize
    mode: Resize | None = next((mode for mode in get_args(Resize) if mode == stated), None)
    return settings if settings.resize else replace(settings, resize=mode)


@dataclass(frozen=True)
class Detection(Task):
    """The task ``det``; ``classes`` in the order of their ids, ``spec``: the network's anchors."""

    classes: tuple[str, ...]
    settings: DetectionSettings = field(default_factory=DetectionSettings)
    spec: AnchorSpec | None = None
    name: str = "det"
    metric: str = "mAP"
    output_names: tuple[str, ...] = RAW
    _anchors: dict[tuple[Size, torch.device], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def check_network(self, manifest: Manifest) -> None:
        """Raise UsageError if the network was made for another number of classes."""
        check_count(manifest, self.name, self.classes)

    def describe(self, manifest: dict[str, Any]) -> None:
        """Write classes and resize mode into a network's manifest."""
        super().describe(manifest)
        state_input(manifest, resize=self.fit((1, 1), manifest).mode)

    # ------------------------------------------------------------------ samples

    def fit(self, size: Size, manifest: Manifest) -> Fit:
        """Return how whole images are resized to ``size``."""
        usual: Resize = "stretch" if manifest.get("head") == "ssdlite" else "letterbox"
        return Fit(size, self.settings.resize or usual)

    def train_transform(self, batches: BatchSettings, manifest: Manifest) -> BoxTrainTransform:
        """Return random crop, scale, flip and colour about the network's own size."""
        mean, std, color = preprocessing(manifest)
        iou_crop = self.settings.iou_crop
        return BoxTrainTransform(
            self.fit(batches.whole_size(manifest), manifest),
            mean,
            std,
            color,
            crop=batches.crop,
            scale=batches.scale,
            flip=batches.flip,
            colour=batches.colour,
            iou_crop=manifest.get("head") == "ssdlite" if iou_crop is None else iou_crop,
        )

    def eval_transform(self, size: Size, manifest: Manifest) -> BoxEvalTransform:
        """Return the resizing to ``size``."""
        pad = padding(manifest)
        return BoxEvalTransform(self.fit(size, manifest), *preprocessing(manifest), pad=pad)

    def cached(
        self,
        dataset: Dataset,
        batches: BatchSettings,
        manifest: Manifest,
        *,
        measured: bool = False,
    ) -> Dataset:
        """Keep images in memory, at the network's size if no transform needs more."""
        if len(dataset) == 0:
            return dataset
        transform = self.train_transform(batches, manifest)
        height, width = dataset[0][0].shape[1:]
        if batches.scale != (1.0, 1.0) or transform.iou_crop:
            return keep_in_memory(dataset, 3 * height * width)

        def shrink(image: Tensor, boxes: Tensor) -> Sample:
            return resize_boxed(image, boxes, transform.fit.scaled(*image.shape[1:]))

        rows, columns = transform.fit.scaled(height, width)
        return keep_in_memory(dataset, 3 * rows * columns, shrink)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack images (of several sizes: padded to a multiple of 32) and boxes (N, M, 5)."""
        return collate_boxes(samples, MULTIPLE if self.settings.resize == "sides" else 1)

    # ------------------------------------------------------------------ training

    def loss(self, outputs: Tensor | tuple[Tensor, ...], truths: Tensor, size: Size) -> Tensor:
        """Return the loss of classes and boxes together.

        outputs: class logits (N, A, C or 1 + C) and box deltas (N, A, 4), any float type; truths:
        float32 (N, M, 5); size: (H, W) of the images. Computed in float32.
        """
        spec = self._spec()
        logits, deltas = self._checked(outputs, spec, size)
        anchors = self._anchors_at(size, logits.device)
        losses = focal_losses if spec.scores == "sigmoid" else mining_losses
        device = logits.device.type
        with torch.autocast(device, enabled=False):
            classes, boxes = losses(logits.float(), deltas.float(), truths, anchors, spec)
        return classes + boxes

    def distillation(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        size: Size,
        temperature: float,
    ) -> Tensor:
        """Return the distance of classes and boxes from the teacher's on the same anchors."""
        spec = self._spec()
        student, original = (self._checked(each, spec, size) for each in (outputs, teacher))
        with torch.autocast(student[0].device.type, enabled=False):
            classes, boxes = distilled_losses(student, original, spec, temperature)
        return classes + boxes

    # ------------------------------------------------------------------ measuring

    def predict(self, network: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
        """Run the network; decode raw outputs into boxes, scores and labels, as an emitted file.

        Raises UnsupportedGraphError for outputs that are neither.
        """
        outputs = network(images)
        values = list(outputs.values())
        if len(values) == 3 and values[0].shape[-1:] == (4,) and values[1].ndim == 2:
            return dict(zip(ANSWERS, values, strict=True))
        spec, size = self._spec(), (int(images.shape[2]), int(images.shape[3]))
        try:
            logits, deltas = self._checked(tuple(values), spec, size)
        except TrainingError as error:
            raise UnsupportedGraphError(str(error)) from error
        anchors = self._anchors_at(size, logits.device)
        return stacked(detect(logits, deltas, anchors, spec, size, self.settings.answers()))

    def evaluation(
        self, dataset: Dataset, size: Size, manifest: Manifest, where: str = "network"
    ) -> DetectionEvaluation:
        """Begin COCO's average precision, in the pixels of the original images."""
        return DetectionEvaluation(self.classes, dataset, self.fit(size, manifest), where)

    @property
    def panels(self) -> tuple[str, ...]:
        """The image with its boxes, and with those that are predicted."""
        return ("truth", "prediction")

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Return the classes in the colours of the boxes."""
        return coloured(self.classes, first=1)

    def picture(
        self, sample: Sample, output: Outputs, size: Size, manifest: Manifest
    ) -> Image.Image:
        """Draw truth and detections side by side, in the pixels of the original image."""
        image, boxes = sample
        shape = (int(image.shape[1]), int(image.shape[2]))
        detections = unstacked(output, self.fit(size, manifest), [shape])[0]
        return draw_boxes(image, boxes, detections, self.classes)

    # ------------------------------------------------------------------ inside

    def _spec(self) -> AnchorSpec:
        if self.spec is None:
            raise UsageError(
                "the network's manifest has no anchors; wanted a detector made by fnac (expand or "
                "export with --task det), or an emitted one"
            )
        return self.spec

    def _anchors_at(self, size: Size, device: torch.device) -> Tensor:
        key = (size, device)
        if key not in self._anchors:
            anchors = torch.from_numpy(anchor_boxes(self._spec(), size))
            self._anchors[key] = anchors.to(device)
        return self._anchors[key]

    def _checked(
        self, outputs: Tensor | tuple[Tensor, ...], spec: AnchorSpec, size: Size
    ) -> tuple[Tensor, Tensor]:
        columns = len(self.classes) + (spec.scores == "softmax")
        count = spec.count(size)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        shapes = [tuple(o.shape[1:]) for o in several]
        if shapes != [(count, columns), (count, 4)]:
            given = ", ".join(str(tuple(o.shape)) for o in several)
            raise TrainingError(
                f"network output: found {given}; wanted class logits (N, {count}, {columns}) and "
                f"box deltas (N, {count}, 4) for {len(self.classes)} classes at "
                f"{size[0]}x{size[1]}; attach a detection head for this data set (fnac expand "
                "--task det)"
            )
        return several[0], several[1]
