"""Pictures of any folder, without labels: enough to calibrate on, nothing to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fnac.errors import DataError

from ..sets.pictures import (
    IMAGE_SUFFIXES,
    no_split,
    on_threads,
    read_image,
    report_skipped,
    require_folder,
    verify_picture,
)
from ..source import IGNORE

SPEC = "pictures:"
"""How ``--data`` names such a folder, where a stage only calibrates."""


@dataclass(frozen=True)
class PictureFolder:
    """Its pictures, all of them for training; each with a mask (H, W) that is void throughout."""

    root: Path
    files: tuple[Path, ...]
    name: str = "pictures"

    @property
    def classes(self) -> list[str]:
        """No class: nothing is labelled."""
        return []

    @property
    def splits(self) -> tuple[str, ...]:
        """The one split."""
        return ("train",)

    def split(self, name: str) -> PictureFolder:
        """Return itself as ``train``; DataError for another one."""
        if name != "train":
            raise no_split(self, self.root, name, "pictures")
        return self

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one: image uint8 (3, H, W), mask uint8 (H, W), void."""
        image = torch.from_numpy(read_image(self.files[index])).permute(2, 0, 1)
        return image, torch.full(image.shape[1:], IGNORE, dtype=torch.uint8)

    def id(self, index: int) -> str:
        """Return the file's name without its suffix."""
        return self.files[index].stem

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Look at every file; DataError names the first broken."""
        for problem in on_threads(_problem, self.files):
            if problem is not None:
                raise DataError(problem)


def read_pictures(root: Path, *, skip_bad: bool = False) -> PictureFolder:
    """Find the pictures in ``root`` and its folders, in order of their paths; hidden ones are not.

    skip_bad  leave out those that cannot be decoded
    """
    require_folder(root, "a folder of pictures")
    files = sorted(path for path in root.rglob("*") if _is_picture(path.relative_to(root)))
    if skip_bad:
        problems = list(on_threads(_problem, files))
        report_skipped(root, "train", problems)
        files = [path for path, bad in zip(files, problems, strict=True) if bad is None]
    if not files:
        raise DataError(f"{root}: no picture ({', '.join(IMAGE_SUFFIXES)}); wanted at least one")
    return PictureFolder(root, tuple(files))


def _is_picture(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES


def _problem(path: Path) -> str | None:
    try:
        verify_picture(path)
    except DataError as error:
        return str(error)
    return None
