"""Mixup and CutMix: batches of images and classes that are blended, by torchvision's v2 transforms.

They draw from torch's global generator, which a run seeds before every step: a resumed run sees the
same batches.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import v2

from fnac.errors import UsageError
from fnac.tasks.base import Task

Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes images (n, 3, H, W) and class ids int64 (n,); returns images and shares float32 (n, C)."""


def open_mixing(task: Task, *, mixup: float, cutmix: float) -> Mixing | None:
    """Return what mixes the batches of a classification; None: nothing does.

    mixup, cutmix  parameter of the Beta distribution of the shares; 0: off; with both, each batch
                   gets one of them, drawn evenly

    Raises UsageError for another task, whose truths cannot be blended.
    """
    if not mixup and not cutmix:
        return None
    if task.name != "cls":
        raise UsageError(
            f"tune.mixup, tune.cutmix: they blend the classes of whole images, for --task cls; "
            f"the task is {task.name}"
        )
    count = len(task.names)
    mixings = [v2.MixUp(alpha=mixup, num_classes=count)] if mixup else []
    mixings += [v2.CutMix(alpha=cutmix, num_classes=count)] if cutmix else []
    mixing: Mixing = mixings[0] if len(mixings) == 1 else v2.RandomChoice(mixings)
    return mixing
