"""Open image and text files as cameras, labelling tools and editors write them, or refuse them.

An image comes out as a viewer shows it: turned as its EXIF orientation says, grey of 16 bits scaled
to 8, palettes and CMYK converted, alpha dropped. What has no one right reading (several frames,
grey of 32 bits, floats outside 0..1) is refused.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fnac.errors import DataError
from fnac.passes.files import LFS_POINTER, is_lfs_pointer

Pixels = npt.NDArray[np.generic]

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""What is opened, whatever a file is called: formats of pixels alone. PostScript is a program."""
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
    ".pgm", ".pbm",
)  # fmt: skip

ORIENTATION = 0x0112
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF's PhotometricInterpretation
REDUCED = 254  # TIFF's NewSubfileType; bit 0: a smaller version of another page
TURNED: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")

# What Pillow raises on files that are no images, or broken ones.
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError, MemoryError, EOFError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class ImageFacts:
    """The content of an image's header.

    width, height  in pixels, as a viewer shows the image
    turned         whether its EXIF orientation turns or mirrors what is stored
    """

    width: int
    height: int
    turned: bool = False


def is_there(path: Path) -> bool:
    """Say whether a file of this name exists, also for names that the system cannot handle."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a file system takes, or with a NUL in it
        return False


@contextmanager
def open_image(path: Path, what: str = "an image") -> Iterator[Image.Image]:
    """Open an image of one frame, in one of ``FORMATS``; any failure is a DataError."""
    if not is_there(path):
        raise DataError(f"{_shown(path)}: no such file; wanted {what}; check the path")
    try:
        with Image.open(path, formats=FORMATS) as file:
            frames = _frames(file)
            if frames > 1:
                kind = "pages" if file.format == "TIFF" else "frames (it is animated)"
                raise DataError(
                    f"{path}: {frames} {kind}; wanted one image per file; save each as its own file"
                )
            yield file
    except _BROKEN as error:
        raise _undecodable(path, error) from error


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image into uint8 (H, W, 3), RGB, as a viewer shows it; raises DataError."""
    with open_image(path) as file:
        file.load()
        return np.array(_colour(_turned(file), path, file.format or ""))


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) in pixels as a viewer shows the image, from its header; raises DataError."""
    with open_image(path) as file:
        facts = _facts(file)
    return facts.height, facts.width


def verify_image(path: Path) -> ImageFacts:
    """Read header and container, and the pixels only where the header cannot be trusted.

    Raises DataError where the file is missing, broken, or of a kind that is not read.
    """
    if not is_there(path):
        raise DataError(
            f"{_shown(path)}: no such file; wanted an image; add it, or take it off the list"
        )
    with open_image(path) as file:
        kind = file.format
        loads = kind != "PNG" or _mentions_exif(path)
        facts = _facts(file, loads)
        if file.mode in ("F", "I", *GREY_16, "LAB") or (kind == "TIFF"):
            file.load()
            _colour(file, path, kind or "")  # the values themselves decide whether it can be read
        elif kind == "PNG" and not loads:
            file.verify()  # checksums of all chunks, without inflating them
        elif kind not in ("JPEG", "MPO") or not _ends_well(path):
            file.load()  # a JPEG without its end marker, or another format: decode to know
    return facts


def lossy_coding(file: Image.Image, path: Path) -> str | None:
    """Name the coding of an open image that changes its pixels; None where they are as drawn."""
    if file.format in ("JPEG", "MPO"):
        return "JPEG"
    if file.format == "TIFF" and file.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        return f"TIFF with {file.info['compression'].removeprefix('tiff_').upper()} compression"
    if file.format == "WEBP" and b"VP8 " in _riff_chunks(path):
        return "lossy WebP"
    return None


def _riff_chunks(path: Path) -> list[bytes]:
    """Return the names of the chunks of a WebP file, in their order."""
    content, names, place = path.read_bytes(), [], 12
    while place + 8 <= len(content):
        names.append(content[place : place + 4])
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return names


def turned_pixels(file: Image.Image) -> Pixels:
    """Decode an open image as stored, including palette indices, rotated as a viewer does."""
    file.load()
    return np.array(_turned(file))


def read_text(path: Path, what: str) -> str:
    """Read a text file in UTF-8 or, if it begins with its BOM, UTF-16; raises DataError.

    Line ends of every system become ``\\n``; the mark that Windows' editors put in front goes.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{_shown(path)}: no such file; wanted {what}; check the path") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{_shown(path)}: cannot be read ({error}); wanted {what}") from error
    if content.startswith(LFS_POINTER):  # a label file, a list: as much a large file as any
        raise DataError(f"{path}: a Git LFS pointer; wanted {what}; run git lfs pull")
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: cannot be read as text (byte {error.start} is not UTF-8); wanted {what}; "
            "save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _facts(file: Image.Image, loads: bool = True) -> ImageFacts:
    """Read the header; ``loads``: with an orientation, for which Pillow decodes a whole PNG."""
    code = _orientation(file) if loads else 1
    width, height = file.size
    if code >= 5 and file.format != "TIFF":  # Pillow states a TIFF's size as shown
        width, height = height, width
    return ImageFacts(width, height, code != 1)


def _mentions_exif(path: Path) -> bool:
    """Say whether a PNG may have EXIF: a chunk of its own, or ImageMagick's text."""
    content = path.read_bytes()
    return b"eXIf" in content or b"Raw profile type" in content


def _orientation(file: Image.Image) -> int:
    code = file.getexif().get(ORIENTATION, 1)
    return code if code in TURNED else 1


def _turned(file: Image.Image) -> Image.Image:
    """Return a loaded image as a viewer shows it."""
    code = _orientation(file)  # 1 for a TIFF: Pillow turns it while loading
    return file.transpose(TURNED[code]) if code in TURNED else file


def _frames(file: Image.Image) -> int:
    if file.format == "MPO":  # a camera's photograph, with its preview or second view behind
        return 1
    count = int(getattr(file, "n_frames", 1))
    if file.format != "TIFF" or count == 1:
        return count
    whole = 0
    for page in range(count):  # smaller versions of a page are none of their own
        file.seek(page)
        whole += not int(file.tag_v2.get(REDUCED, 0)) & 1  # type: ignore[attr-defined]
    file.seek(0)
    return whole


def _colour(image: Image.Image, path: Path, kind: str) -> Image.Image:
    """Return an RGB image; DataError for values whose white level is not defined."""
    if image.mode in GREY_16 or (image.mode == "I" and kind in ("PNG", "PPM")):
        grey = np.asarray(image, dtype=np.int64)
        if kind == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # type: ignore[attr-defined]
            grey = 65535 - grey  # Pillow turns such grey round with 8 bits alone
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        raise DataError(
            f"{path}: grey of 32 bits (or signed); wanted 8 or 16 bits per channel, where white is "
            "agreed; convert it"
        )
    if image.mode == "F":
        grey = np.asarray(image)
        if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= 1):
            raise DataError(
                f"{path}: float grey from {grey.min():g} to {grey.max():g}; wanted 0..1, or 8 or "
                "16 bits per channel; convert it"
            )
        return Image.fromarray(np.rint(grey * 255).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def is_16_bit(path: Path) -> bool:
    """Say whether the channels of an image have 16 bits in its file."""
    with path.open("rb") as file:
        head = file.read(25)
    if head.startswith(b"\x89PNG"):
        return head[24:] == b"\x10"  # the bit depth, whatever Pillow makes of it
    with open_image(path) as image:
        return image.mode in (*GREY_16, "I")


def _ends_well(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-min(2, path.stat().st_size), os.SEEK_END)
        return stream.read() == b"\xff\xd9"


def _undecodable(path: Path, error: BaseException) -> DataError:
    if path.stat().st_size == 0:
        return DataError(f"{path}: empty file; wanted an image; copy it again")
    if is_lfs_pointer(path):
        return DataError(f"{path}: a Git LFS pointer; wanted the image itself; run git lfs pull")
    reason = str(error).rstrip(".") or type(error).__name__
    if "cannot identify" in reason:
        reason = "not an image of a known format"
    return DataError(f"{path}: cannot be decoded ({reason}); wanted a whole image; copy it again")


def _shown(path: Path) -> str:
    """Return a path for a message, shortened if it is very long."""
    text = str(path)
    return text if len(text) <= 1000 else f"{text[:500]}...{text[-60:]}"
