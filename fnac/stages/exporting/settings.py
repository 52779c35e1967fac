"""Settings of `fnac export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from fnac.errors import UsageError
from fnac.models.seeds.seed_names import BUNDLED, FAMILIES, parse_seed_name
from fnac.names import known_name
from fnac.passes.files import is_lfs_pointer
from fnac.stages.opening.task_head import check_head


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What to export. Fields are the options of ``fnac export``.

    ``seed``           ``mobilenetv2``, ``resnet18``, ``resnet50``, ``fbnetc``, ``proxyless``
                       (``mobilenetv2_w0.35``: width), ``bundled``, ``timm:NAME``,
                       ``torchvision:NAME``
    ``weights``        ``imagenet``, ``none``, a file; None: the seed's usual weights
    ``size``           input height and width in pixels; None: the seed's own
    ``width``          multiplier of all channels
    ``task``           attach a freshly initialized head for it; None: the seed's classifier
    ``head``           which head to attach; None: the task's first one
    ``classes``        outputs of head or classifier; None: what the weights have, else 1000
    ``output_stride``  of the backbone under a dense head: 8, 16 or 32; None: 16
    ``random_seed``    of all random initial values
    """

    section: ClassVar[str] = "export"

    seed: str = "mobilenetv2"
    weights: str | None = None
    size: tuple[int, int] | None = None
    width: float | None = None
    task: str | None = None
    head: str | None = None
    classes: int | None = None
    output_stride: int | None = None
    random_seed: int = 0

    def __post_init__(self) -> None:
        _check_seed(self.seed)
        if self.weights is not None and is_lfs_pointer(Path(self.weights)):
            raise UsageError(
                f"--weights {self.weights}: a Git LFS pointer; wanted the file that it points to; "
                "run git lfs pull"
            )
        if self.size is not None and min(self.size) < 32:
            raise UsageError(f"--size {self.size[0]}x{self.size[1]}: wanted at least 32x32")
        if self.width is not None and self.width <= 0:
            raise UsageError(f"--width {self.width:g}: wanted a multiplier above 0")
        check_head(self.task, self.head, self.classes, self.output_stride)
        if self.task is not None and self.classes is None:
            raise UsageError(f"--task {self.task}: the head needs --classes N")


def _check_seed(seed: str) -> None:
    """Refuse anything that is not a seed's name, a library's network or an ONNX file."""
    if ":" in seed or parse_seed_name(seed) is not None or is_model_file(seed):
        return
    others = " (widths as in mobilenetv2_w0.5), timm:NAME, torchvision:NAME, or an ONNX file"
    known_name("seed", seed, [*FAMILIES, BUNDLED], also=others)


def is_model_file(seed: str) -> bool:
    """Say whether a seed is a file (or the folder of one) instead of a name."""
    if ":" in seed or parse_seed_name(seed) is not None:
        return False
    return Path(seed).suffix == ".onnx" or Path(seed).exists()
