"""Images of any folder, without labels: for calibration, fitting and healing.

torch is imported when a sample is read as tensors, not before: what shrinks needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.errors import DataError

from ..files import IMAGE_SUFFIXES, read_image, verify_image
from ..folders import images_below, require_folder
from ..sets.listed import ListedSource, Seen, files_of
from ..source import IGNORE

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PictureDataset:
    """Images, each with an all-void mask (H, W)."""

    files: tuple[Path, ...]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one: image uint8 (3, H, W), mask uint8 (H, W), void."""
        import torch

        image = torch.from_numpy(read_image(self.files[index])).permute(2, 0, 1)
        return image, torch.full(image.shape[1:], IGNORE, dtype=torch.uint8)

    def id(self, index: int) -> str:
        """Return the file's name without its suffix."""
        return self.files[index].stem


def read_pictures(root: Path, *, skip_bad: bool = False) -> ListedSource[Path]:
    """Find the images in ``root`` and its sub-folders, sorted by path; skip hidden ones.

    skip_bad  leave out those that cannot be decoded
    """
    require_folder(root, "a folder of images")
    files = list(images_below(root))
    if not files:
        raise DataError(f"{root}: no image ({', '.join(IMAGE_SUFFIXES)}); wanted at least one")
    return ListedSource(
        "pictures", root, [], files_of({"train": files}), _look, PictureDataset, skip_bad=skip_bad
    )


def _look(path: Path) -> Seen:
    try:
        verify_image(path)
    except DataError as error:
        return Seen(str(error))
    return Seen()
