"""Find the files of a data set in its folders; report files that match nothing."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from fnac.errors import DataError

from .files import IMAGE_SUFFIXES, read_text

logger = logging.getLogger(__name__)

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Our name of a split -> what its folder may be called, in letters of any case."""
LEFT_BY_SYSTEMS = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")
BESIDE_IMAGES = (
    "", ".txt", ".json", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".md", ".html", ".db", ".ini",
    ".mat", ".cache", ".npy", ".npz", ".log", ".zip",
)  # fmt: skip
"""Suffixes of files that lie beside images and are no images."""


def expanded(path: str) -> Path:
    """Expand a leading ``~`` in a path: after ``NAME:`` no shell does it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)


def require_folder(folder: Path, what: str) -> None:
    """Raise DataError unless ``folder`` exists."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; wanted {what}; check the path in --data")


def split_folders(root: Path) -> dict[str, Path]:
    """Return split -> folder for those below ``root``, by the names that tools give them."""
    by_split: dict[str, Path] = {}
    folders = {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir()}
    for split, names in SPLIT_NAMES.items():
        there = [folders[name] for name in names if name in folders]
        if len(there) > 1:
            raise DataError(
                f"{root}: {' and '.join(p.name for p in there)}; wanted one folder for '{split}'; "
                "rename or remove one"
            )
        if there:
            by_split[split] = there[0]
    return by_split


def is_hidden(path: Path) -> bool:
    """Say whether a path inside a data set is the system's: hidden, or a resource folder."""
    return any(p.startswith(".") or p.lower() in LEFT_BY_SYSTEMS for p in path.parts)


def images_below(folder: Path, what: str = "images") -> Iterator[Path]:
    """Yield the images in a folder and the folders below it, in order of their paths.

    Files that look like images of formats that are not read are counted, and told.
    """
    others: Counter[str] = Counter()
    for path in sorted(folder.rglob("*")):
        if is_hidden(path.relative_to(folder)) or not path.is_file():
            continue
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            yield path
        elif suffix not in BESIDE_IMAGES:
            others[suffix] += 1
    if others:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        logger.warning(
            "%s: files that are not read as %s: %s; read are %s", folder, what, counts,
            ", ".join(IMAGE_SUFFIXES),
        )  # fmt: skip


def list_by_stem(folder: Path, what: str = "images") -> dict[str, Path]:
    """List the images below a folder by name without suffix; DataError where two share one.

    Names are relative to the folder, and accents are compared as letters, however they are coded
    (macOS codes them in two characters).
    """
    by_stem: dict[str, Path] = {}
    for path in images_below(folder, what):
        stem = same_spelling(path.relative_to(folder).with_suffix("").as_posix())
        if stem in by_stem:
            raise DataError(
                f"{path}: {by_stem[stem].name} has the same name; wanted one image per name, "
                "because masks are found by it; remove one of them"
            )
        by_stem[stem] = path
    return by_stem


def same_spelling(name: str) -> str:
    """Return a name in one Unicode normal form."""
    return unicodedata.normalize("NFC", name)


def names_in_list(listing: Path, is_known: Callable[[str], bool]) -> Iterator[str]:
    """Yield the names of a list of images, one per line, without folder and suffix.

    What stands behind the first blank (a mask's path, the 1 or -1 of a per-class list) is passed
    over, and so are lines that ``#`` begins. A name with blanks is one where it ``is_known``.
    """
    for line in read_text(listing, "one image name per line").split("\n"):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        for spelt in (text, text.split()[0]):
            name = spelt.replace("\\", "/").rsplit("/", 1)[-1]
            end = Path(name).suffix.lower()
            name = name[: -len(end)] if end in (*IMAGE_SUFFIXES, ".xml") else name
            if " " not in name or is_known(name):
                yield name
                break


def image_named(folder: Path, name: str, others: Sequence[Path] = ()) -> Path:
    """Return the image that an annotation file calls ``name``: in ``folder``, or in ``others``.

    Names are taken as they are; where there is no such file, with Windows' separators turned round,
    with their folders left out, accents coded in the other way, ``%20`` decoded, and with a suffix
    added. Without any: the path as it is named.
    """
    spelt = [name]
    if "\\" in name:
        spelt.append(name.replace("\\", "/"))
    spelt += [spelt[-1].rsplit("/", 1)[-1]] if "/" in spelt[-1] else []
    spelt += [unquote(text) for text in spelt if "%" in text]  # Label Studio writes addresses
    spelt += [unicodedata.normalize(form, text) for text in spelt for form in ("NFC", "NFD")]
    spelt = list(dict.fromkeys(spelt))
    for place in (folder, *others):
        for text in spelt:
            try:
                if (place / text).is_file():
                    return place / text
                if Path(text).suffix.lower() not in IMAGE_SUFFIXES:
                    for suffix in IMAGE_SUFFIXES:
                        for end in (suffix, suffix.upper(), f".{suffix[1:].capitalize()}"):
                            if (place / f"{text}{end}").is_file():
                                return place / f"{text}{end}"
            except (OSError, ValueError):  # a name that no file can have
                break
    return folder / name
