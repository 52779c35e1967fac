"""Images and masks in files: decoding, and the check that names the first broken one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fnac.errors import DataError

from ..class_files import Colour
from ..files import (
    GREY_16,
    is_there,
    lossy_coding,
    open_image,
    read_image,
    turned_pixels,
    verify_image,
)
from ..folders import list_by_stem
from ..source import IGNORE, DataSource
from .labels import ColourTable, Ids, LabelTable
from .listed import ListedSource, Seen, files_of

logger = logging.getLogger(__name__)

GREY = ("L", "P", "1", "I", *GREY_16)
OPAQUE = 255
LOOKED_AT = 8
"""Masks that are asked for the colours of the classes."""


@dataclass(frozen=True)
class Pair:
    """An image, its mask, and how the mask's ids are read."""

    image: Path
    mask: Path
    labels: LabelTable | ColourTable


def read_mask(path: Path, labels: LabelTable | ColourTable | None = None) -> Ids:
    """Decode a mask into the ids it stores, (H, W) of an integer type; raises DataError.

    Palette images give the index; with a table of colours, colours give 65536 r + 256 g + b. Masks
    that lossy compression has touched hold other values than were drawn: they are refused.
    """
    with open_image(path, "a mask") as file:
        mode, lossy = file.mode, lossy_coding(file, path)
        if lossy is not None:
            raise DataError(
                f"{path}: a mask coded as {lossy}, which changes label ids; wanted PNG or another "
                "lossless format; export it again"
            )
        if isinstance(labels, ColourTable):
            file.load()
            image = file if mode in ("RGB", "RGBA") else file.convert("RGBA")
            return _packed(turned_pixels(image), path)
        pixels = turned_pixels(file)
    if mode in GREY:
        return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
    if mode == "F":
        if not (np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()):
            raise DataError(
                f"{path}: a mask of float numbers, not all whole; wanted label ids; export it "
                "with 8 bits per pixel"
            )
        return pixels.astype(np.int64)
    if mode in ("LA", "RGB", "RGBA"):
        return _grey_ids(pixels, mode, path)
    raise DataError(
        f"{path}: a mask of mode {mode}; wanted one channel of label ids (8-bit grey or palette)"
    )


def _grey_ids(pixels: Ids, mode: str, path: Path) -> Ids:
    """Return the ids of a grey mask that was saved with alpha or as three equal channels."""
    if mode in ("LA", "RGBA"):
        _require_opaque(pixels[..., -1], path)
    if mode != "LA" and not (pixels[..., :1] == pixels[..., 1:3]).all():
        row, column = np.argwhere((pixels[..., :1] != pixels[..., 1:3]).any(axis=-1))[0]
        raise DataError(
            f"{path}: colour mask (mode {mode}), {_rgb(pixels[row, column])} at {column}, {row}; "
            "wanted one channel of label ids, or the colours' classes in colours.txt ('R G B NAME' "
            "per line)"
        )
    return pixels[..., 0]


def _packed(pixels: Ids, path: Path) -> Ids:
    if pixels.shape[-1] == 4:
        _require_opaque(pixels[..., 3], path)
    red, green, blue = (pixels[..., i].astype(np.int64) for i in range(3))
    return (red << 16) + (green << 8) + blue


def _require_opaque(alpha: Ids, path: Path) -> None:
    if not (alpha == OPAQUE).all():
        raise DataError(
            f"{path}: a mask with transparent pixels (alpha channel); wanted label ids alone; "
            "export it without transparency"
        )


def _rgb(pixel: Ids) -> str:
    return " ".join(str(int(value)) for value in pixel[:3])


def look_at_pair(pair: Pair) -> Seen:
    """Say what is wrong with a pair in one sentence, or count the pixels of each class.

    The image's header and container are read (checksums of PNG, end marker of JPEG), not its
    pixels; the mask is decoded, because its ids have to be seen.
    """
    if is_there(pair.image) and not is_there(pair.mask):
        return Seen(
            f"{pair.mask}: no such file; wanted the mask of {pair.image.name}; "
            "add it, or remove the image"
        )
    try:
        image = verify_image(pair.image)
        mask = read_mask(pair.mask, pair.labels)
    except DataError as error:
        return Seen(str(error))
    if mask.shape != (image.height, image.width):
        turned = " (turned as its EXIF orientation says)" if image.turned else ""
        return Seen(
            f"{pair.mask}: {mask.shape[1]}x{mask.shape[0]} pixels; wanted {image.width}x"
            f"{image.height} as {pair.image.name}{turned}; export the mask at the image's size"
        )
    wrong = pair.labels.wrong(mask)
    if wrong is not None:
        return Seen(f"{pair.mask}: {wrong}")
    pixels = np.bincount(pair.labels.apply(mask).ravel(), minlength=IGNORE + 1)
    palette: Mapping[int, int] = {}
    if isinstance(pair.labels, LabelTable):
        palette = _palette(pair.mask, np.unique(mask).tolist())
    return Seen(None, pixels[:IGNORE], int(pixels[IGNORE]), palette)


def _palette(path: Path, indices: Iterable[int]) -> dict[int, int]:
    """Return the packed colours of indices in a mask with a palette; {} where it has none."""
    with open_image(path, "a mask") as file:
        if file.mode != "P":
            return {}
        file.load()
        colours = file.getpalette() or []
    return {
        i: (colours[3 * i] << 16) + (colours[3 * i + 1] << 8) + colours[3 * i + 2]
        for i in indices
        if 3 * i + 2 < len(colours)
    }


@dataclass(frozen=True)
class FileDataset:
    """One split of images and masks in files."""

    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample: image uint8 (3, H, W), mask uint8 (H, W)."""
        pair = self.pairs[index]
        image = torch.from_numpy(read_image(pair.image)).permute(2, 0, 1)
        mask = torch.from_numpy(pair.labels.apply(read_mask(pair.mask, pair.labels)))
        return image, mask

    def id(self, index: int) -> str:
        """Return the image's file name without its suffix."""
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
    colours: Mapping[int, Colour] | None = None,
) -> ListedSource[Pair]:
    """Return the data set of these pairs, split by split; ``colours``: class id -> colour."""
    return ListedSource(
        name, root, list(classes), files_of(pairs), look_at_pair, FileDataset,
        skip_bad=skip_bad, colours=colours or {},
    )  # fmt: skip


def class_colours(source: DataSource) -> dict[int, Colour]:
    """Return the colours that a data set of masks gives its classes, by id; {} if it has none.

    They are those of its reader (Cityscapes), of its list of colours, or those stored in its masks
    (the palettes of CamVid and VOC): the first mask with colours that tell the classes apart.
    """
    if not isinstance(source, ListedSource) or source.colours:
        return dict(getattr(source, "colours", {}))
    for pair in source.kept("val" if "val" in source.splits else source.splits[0])[:LOOKED_AT]:
        if not isinstance(pair, Pair):
            return {}
        table = pair.labels
        if isinstance(table, ColourTable):
            stored = {colour: colour for colour in table.mapping}
        else:
            stored = _palette(pair.mask, table.mapping)
        named = {table.mapping[one]: _unpacked(colour) for one, colour in stored.items()}
        named.pop(IGNORE, None)
        if len(set(named.values())) == len(source.classes) and not all(
            map(_is_grey, named.values())
        ):
            return named
    return {}


def _unpacked(colour: int) -> Colour:
    return colour >> 16, colour >> 8 & 255, colour & 255


def _is_grey(colour: Colour) -> bool:
    return len(set(colour)) == 1


MASK_ENDINGS = ("_mask", "-mask", "_label", "_labels", "_seg", "_gt", "_L", "_labelIds")
"""What tools put behind an image's name to call its mask."""


def list_masks(folder: Path, pictures: Mapping[str, Path]) -> dict[str, Path]:
    """List the masks of a folder by their image's stem (none where it is missing).

    Masks are called as their images, with another suffix or one of ``MASK_ENDINGS``; those that
    belong to no image are told. Raises DataError where two belong to one image.
    """
    by_stem = list_by_stem(folder, "masks") if folder.is_dir() else {}
    masks = {stem: mask for stem, mask in by_stem.items() if stem in pictures}
    alone = []
    for stem, mask in by_stem.items():
        if stem in masks:
            continue
        names = [stem.removesuffix(end) for end in MASK_ENDINGS if stem.endswith(end)]
        names.append(stem.removesuffix(mask.suffix))
        names += [Path(stem).with_suffix("").as_posix()] if "." in stem else []  # a.jpg.png
        fitting = [name for name in names if name in pictures and name not in by_stem]
        if fitting and fitting[0] in masks:
            raise DataError(
                f"{mask}: {masks[fitting[0]].name} is a mask of {pictures[fitting[0]].name} as "
                "well; wanted one mask per image; move the others away"
            )
        if fitting:
            masks[fitting[0]] = mask
        else:
            alone.append(mask)
    warn_without_picture(alone)
    return masks


def warn_without_picture(masks: Sequence[Path]) -> None:
    """Warn of masks without an image: they are not used."""
    if masks:
        logger.warning("%s and %d more: no image of this mask", masks[0], len(masks) - 1)
