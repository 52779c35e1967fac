"""Pictures and masks in files: decoding, and the check that names the first broken one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fnac.errors import DataError

from ..source import IGNORE
from .labels import LabelTable
from .listed import ListedSource, Seen, files_of
from .pictures import _BROKEN, _undecodable, list_by_stem, read_image, verify_picture

logger = logging.getLogger(__name__)

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
MASK_MODES = ("L", "P", "1", "I", "I;16")


@dataclass(frozen=True)
class Pair:
    """A picture, its mask, and how the mask's ids are read."""

    image: Path
    mask: Path
    labels: LabelTable


def read_mask(path: Path) -> npt.NDArray[np.generic]:
    """Decode a mask into the ids it stores, (H, W) of an integer type; raises DataError.

    Palette pictures give the index, not the colour.
    """
    try:
        with Image.open(path) as file:
            if file.mode not in MASK_MODES:
                raise DataError(
                    f"{path}: colour mask (mode {file.mode}); wanted one channel of label ids "
                    "(8-bit grey or palette); convert colours to ids"
                )
            mask = np.array(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; wanted a mask; check the path") from None
    except _BROKEN as error:
        raise _undecodable(path, error) from error
    return mask.astype(np.uint8) if mask.dtype == np.bool_ else mask


def look_at_pair(pair: Pair) -> Seen:
    """Say what is wrong with a pair in one sentence, or count the pixels of each class.

    The picture's header and container are read (checksums of PNG, end marker of JPEG), not its
    pixels; the mask is decoded, because its ids have to be seen.
    """
    if pair.image.is_file() and not pair.mask.is_file():
        return Seen(
            f"{pair.mask}: no such file; wanted the mask of {pair.image.name}; "
            "add it, or remove the picture"
        )
    try:
        width, height = verify_picture(pair.image)
        mask = read_mask(pair.mask)
    except DataError as error:
        return Seen(str(error))
    if mask.shape != (height, width):
        return Seen(
            f"{pair.mask}: {mask.shape[1]}x{mask.shape[0]} pixels; wanted {width}x{height} as "
            f"{pair.image.name}; export the mask at the picture's size"
        )
    wrong = pair.labels.first_wrong(mask)
    if wrong is not None:
        return Seen(
            f"{pair.mask}: label id {wrong}; wanted {pair.labels.wanted}; "
            "correct the mask, or the list of classes"
        )
    pixels = np.bincount(pair.labels.apply(mask).ravel(), minlength=IGNORE + 1)
    return Seen(None, pixels[:IGNORE], int(pixels[IGNORE]))


@dataclass(frozen=True)
class FileDataset:
    """One split of pictures and masks in files."""

    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample: image uint8 (3, H, W), mask uint8 (H, W)."""
        pair = self.pairs[index]
        image = torch.from_numpy(read_image(pair.image)).permute(2, 0, 1)
        mask = torch.from_numpy(pair.labels.apply(read_mask(pair.mask)))
        return image, mask

    def id(self, index: int) -> str:
        """Return the picture's file name without its suffix."""
        return self.pairs[index].image.stem

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples in order."""
        return (self[i] for i in range(len(self)))


def mask_source(
    name: str,
    root: Path,
    classes: Sequence[str],
    pairs: Mapping[str, Sequence[Pair]],
    skip_bad: bool = False,
) -> ListedSource[Pair]:
    """Return the data set of these pairs, split by split."""
    return ListedSource(
        name, root, list(classes), files_of(pairs), look_at_pair, FileDataset, skip_bad=skip_bad
    )


def list_masks(
    folder: Path, pictures: Mapping[str, Path], suffixes: Sequence[str] = (".png",)
) -> dict[str, Path]:
    """List the masks of a folder by stem (none where it is missing); tell of those alone."""
    found = list_by_stem(folder, suffixes) if folder.is_dir() else {}
    warn_without_picture([mask for stem, mask in found.items() if stem not in pictures])
    return found


def warn_without_picture(masks: Sequence[Path]) -> None:
    """Tell of masks that have no picture: they are not trained on."""
    if masks:
        logger.warning("%s and %d more: no picture of this mask", masks[0], len(masks) - 1)
