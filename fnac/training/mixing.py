"""Mixup, CutMix (by torchvision's v2 transforms) and mosaic: batches whose images are mixed.

They draw from torch's global generator, which a run seeds before every step: a resumed run sees the
same batches.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import v2

from fnac.data.transforms.mosaic import JOINED, Mosaic
from fnac.errors import UsageError
from fnac.tasks.base import Task

Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes images (n, 3, H, W) and truths; returns images, and truths of the same kind.

For cls it takes class ids int64 (n,) and returns shares float32 (n, C).
"""


def open_mixing(
    task: Task, *, mixup: float = 0.0, cutmix: float = 0.0, mosaic: float = 0.0, images: int = 0
) -> Mixing | None:
    """Return what mixes the batches of a task; None: nothing does.

    mixup, cutmix  cls: parameter of the Beta distribution of the shares; 0: off; with both, each
                   batch gets one of them, drawn evenly
    mosaic         det: probability that an image becomes a mosaic; 0: off
    images         of a batch, on each device

    Raises UsageError for a task whose truths cannot be mixed so, or too few images for a mosaic.
    """
    if mosaic:
        if task.name != "det":
            raise UsageError(
                f"tune.mosaic: it joins images with their boxes, for --task det; the task is "
                f"{task.name}"
            )
        if images < JOINED:
            raise UsageError(
                f"tune.mosaic: it joins {JOINED} images of a batch, which has {images} on each "
                f"device; give a --batch of at least {JOINED} images per device"
            )
    if (mixup or cutmix) and task.name != "cls":
        raise UsageError(
            f"tune.mixup, tune.cutmix: they blend the classes of whole images, for --task cls; "
            f"the task is {task.name}"
        )
    if mosaic:
        return Mosaic(mosaic)
    if not mixup and not cutmix:
        return None
    count = len(task.names)
    mixings = [v2.MixUp(alpha=mixup, num_classes=count)] if mixup else []
    mixings += [v2.CutMix(alpha=cutmix, num_classes=count)] if cutmix else []
    mixing: Mixing = mixings[0] if len(mixings) == 1 else v2.RandomChoice(mixings)
    return mixing
