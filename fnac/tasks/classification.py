"""Classification: cross entropy, top-1, images with their true and predicted class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms.v2.functional import resize

from fnac.data.batches import BatchSettings
from fnac.data.loader import keep_in_memory
from fnac.data.preprocessing import preprocessing
from fnac.data.source import Dataset, DataSource, Sample
from fnac.data.transforms.classes import ClassTransform, cut_to_shape
from fnac.data.transforms.pictures import EvalTransform
from fnac.errors import TrainingError, UnsupportedGraphError, UsageError

from .base import MOST_CONFUSED, Manifest, Outputs, Scores, Size, Task
from .collapse import class_findings
from .divergence import softened_divergence
from .network_check import check_count
from .segmentation import whole_picture_transform
from .settings import ClassificationSettings

TOP = 5
PICTURE_SIDE = 420
CAPTION_SIZE = 18.0


def open_task(
    settings: ClassificationSettings, source: DataSource, manifest: Mapping[str, Any]
) -> Classification:
    """Return the task on the classes of ``source``."""
    return Classification(tuple(source.classes), settings)


@dataclass(frozen=True)
class Classification(Task):
    """The task ``cls``; ``classes`` are the class names in the order of their ids."""

    classes: tuple[str, ...]
    settings: ClassificationSettings = field(default_factory=ClassificationSettings)
    name: str = "cls"
    metric: str = "top-1"
    output_names: tuple[str, ...] = ("logits",)

    @property
    def num_classes(self) -> int:
        """Count the classes."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def check_network(self, manifest: Manifest) -> None:
        """Raise UsageError if the network was made for another number of classes."""
        check_count(manifest, self.name, self.classes)

    # ------------------------------------------------------------------ samples

    def train_transform(self, batches: BatchSettings, manifest: Manifest) -> ClassTransform:
        """Return random scale, crop, flip and colour about the network's own size."""
        return ClassTransform(whole_picture_transform(batches, manifest))

    def eval_transform(self, size: Size, manifest: Manifest) -> ClassTransform:
        """Return the largest centre crop, resized to ``size``."""
        return ClassTransform(EvalTransform(size, *preprocessing(manifest)))

    def cached(
        self,
        dataset: Dataset,
        batches: BatchSettings,
        manifest: Manifest,
        *,
        measured: bool = False,
    ) -> Dataset:
        """Keep images in memory if they fit, at the size that the largest scale needs."""
        whole = batches.whole_size(manifest)
        sides = [round(side * max(1.0, batches.scale[1])) for side in whole]

        def shrink(image: Tensor, truth: Tensor) -> Sample:
            part = cut_to_shape(image, whole)
            if part.shape[1] > sides[0]:
                part = resize(part, sides, antialias=True)
            return part, truth

        return keep_in_memory(dataset, 3 * sides[0] * sides[1], shrink)

    # ------------------------------------------------------------------ training

    def loss(self, outputs: Tensor | tuple[Tensor, ...], truths: Tensor, size: Size) -> Tensor:
        """Return the mean cross entropy in float32.

        outputs: logits (N, C), any float type; truths: int64 (N,). Raises TrainingError where
        the outputs are something else.
        """
        logits = self._checked(outputs, truths.shape[0])
        return functional.cross_entropy(
            logits.float(), truths, label_smoothing=self.settings.label_smoothing
        )

    def distillation(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        size: Size,
        temperature: float,
    ) -> Tensor:
        """Return the mean divergence over the images."""
        logits, softened = self._checked(outputs), self._checked(teacher)
        return softened_divergence(logits, softened, temperature).mean()

    def _checked(self, outputs: Tensor | tuple[Tensor, ...], count: int | None = None) -> Tensor:
        """Return the logits (N, C); TrainingError for anything else, or for another N."""
        logits = outputs if isinstance(outputs, Tensor) else outputs[0]
        shape = (logits.shape[0] if count is None else count, self.num_classes)
        if tuple(logits.shape) != shape:
            raise TrainingError(
                f"network output: found {tuple(logits.shape)}; wanted logits {shape} for the "
                f"{self.num_classes} classes of this data set; give the network a classifier for "
                "them: fnac adapt FILE.onnx --task cls --data SPEC (--strategy seed fine-tunes its "
                "own architecture)"
            )
        return logits

    # ------------------------------------------------------------------ measuring

    def evaluation(
        self, dataset: Dataset, size: Size, manifest: Manifest, where: str = "network"
    ) -> ClassEvaluation:
        """Begin counting hits."""
        return ClassEvaluation(self, where)

    def logits(self, outputs: Outputs, where: str) -> Tensor:
        """Return logits float32 (N, C) on the CPU: the first output.

        Raises UsageError for another number of classes, UnsupportedGraphError for something else.
        """
        logits = next(iter(outputs.values()))
        if logits.ndim != 2 or not logits.is_floating_point():
            raise UnsupportedGraphError(
                f"{where}: output {tuple(logits.shape)} {logits.dtype}; wanted logits "
                f"(N, {self.num_classes})"
            )
        if logits.shape[1] != self.num_classes:
            raise UsageError(
                f"{where}: {logits.shape[1]} classes; the data set has {self.num_classes}; "
                "use the data set it was made for"
            )
        return logits.float().cpu()

    @property
    def panels(self) -> tuple[str, ...]:
        """One image, its class and the predicted one written below."""
        return ("image, truth and prediction",)

    def picture(
        self, sample: Sample, output: Outputs, size: Size, manifest: Manifest
    ) -> Image.Image:
        """Draw the image with its class and the predicted one below."""
        image, truth = sample[0], int(sample[1])
        likely = self.logits(output, "model")[0].softmax(0)
        said = int(likely.argmax())
        caption = (
            f"truth: {self.classes[truth]}\n"
            f"prediction: {self.classes[said]}, {100 * float(likely[said]):.0f} %"
        )
        return _with_caption(cut_to_shape(image, size), caption, said == truth)


class ClassEvaluation:
    """Counts the images whose highest logit is the true class."""

    def __init__(self, task: Classification, where: str) -> None:
        self._task, self._where = task, where
        self._all = MulticlassAccuracy(task.num_classes, average="micro")
        self._top = MulticlassAccuracy(
            task.num_classes, top_k=min(TOP, task.num_classes), average="micro"
        )
        count = task.num_classes
        self._seen, self._said, self._hits = torch.zeros(3, count, dtype=torch.int64)
        kept = count if count <= MOST_CONFUSED else 0  # of 10,000 classes it is 800 MB
        self._confusion = torch.zeros(kept, kept, dtype=torch.int64)

    def add(self, indices: Sequence[int], outputs: Outputs, truths: Tensor) -> None:
        """Add logits (n, C) of these samples; truths: int64 (n,)."""
        logits, truth = self._task.logits(outputs, self._where), truths.cpu()
        for metric in (self._all, self._top):
            metric.update(logits, truth)
        said = logits.argmax(dim=1)
        self._seen += torch.bincount(truth, minlength=self._task.num_classes)
        self._said += torch.bincount(said, minlength=self._task.num_classes)
        self._hits += torch.bincount(truth[said == truth], minlength=self._task.num_classes)
        if len(self._confusion):
            self._confusion.index_put_((truth, said), torch.tensor(1), accumulate=True)

    def compute(self) -> Scores:
        """Return top-1 in percent, the hits of each class, and top-5 if there are more classes."""
        if not int(self._seen.sum()):
            return Scores(float("nan"))
        each = self._hits.float() / self._seen
        per_class = {
            name: 100 * float(each[i]) if self._seen[i] else None
            for i, name in enumerate(self._task.classes)
        }
        more = self._task.num_classes > TOP
        extra = {f"top-{TOP}": 100 * float(self._top.compute())} if more else {}
        findings = class_findings(self._task.classes, self._said, self._seen, "images")
        details = {"confusion": self._confusion.tolist()} if len(self._confusion) else {}
        return Scores(100 * float(self._all.compute()), per_class, extra, findings, details)


def _with_caption(image: Tensor, caption: str, right: bool) -> Image.Image:
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    factor = PICTURE_SIDE / min(picture.size)
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    font = ImageFont.load_default(CAPTION_SIZE)
    pen = ImageDraw.Draw(picture)
    widest = max(pen.textlength(line, font=font) for line in caption.splitlines())
    if widest > picture.width - 8:  # every picture has the width of its image
        font = ImageFont.load_default(max(6.0, CAPTION_SIZE * (picture.width - 8) / widest))
    _, _, _, high = pen.multiline_textbbox((0, 0), caption, font=font)
    whole = Image.new("RGB", (picture.width, picture.height + round(high) + 10), "white")
    whole.paste(picture, (0, 0))
    colour = (0, 110, 0) if right else (190, 0, 0)
    ImageDraw.Draw(whole).text((4, picture.height + 3), caption, fill=colour, font=font)
    return whole
