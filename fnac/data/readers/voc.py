"""Pascal VOC detection: ``VOCdevkit/VOC2007`` and/or ``VOC2012`` with Annotations, ImageSets/Main.

Splits follow the usual protocol where ``VOC2007``'s test set is annotated: trainval of all years
is learnt, the 2007 test measured; otherwise the lists ``train`` and ``val`` of every year. Corners
in the files are 1-based and inclusive: pixel k covers k-1 .. k. Objects marked ``difficult`` are
not learnt, and what is found there is not counted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from fnac.errors import DataError

from ..files import IMAGE_SUFFIXES
from ..folders import require_folder
from ..sets.boxes import TODO, BoxPicture, box_problem, box_rows, box_source, clipped
from ..sets.listed import Listed, ListedSource

CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]  # fmt: skip
YEARS = ("VOC2007", "VOC2012")


def read_voc(
    root: Path,
    *,
    lists: Mapping[str, Sequence[str]] | None = None,
    images: str = "JPEGImages",
    annotations: str = "Annotations",
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> ListedSource[BoxPicture]:
    """Find the lists of each split; annotations are read when a split is asked for.

    lists: split -> files of picture names relative to ``root``, where the data set is laid out
    in VOC's way but is not VOC. images, annotations: folders beside ``ImageSets`` (or beside the
    list), ``{split}`` in them stands for the split. classes: names in the order of their ids;
    default the twenty of VOC. Raises DataError.
    """
    require_folder(root, "the VOCdevkit folder")
    if lists is not None:
        found = {split: [root / name for name in names] for split, names in lists.items()}
    else:
        found = _find_lists(root, annotations)
    if not any(found.values()):
        raise DataError(
            f"{root}: no lists of pictures; wanted VOCdevkit/VOC2007/ImageSets/Main/trainval.txt "
            "or VOC2012's; check the path in --data"
        )
    names = list(CLASSES if classes is None else classes)
    readers = {
        split: partial(
            _read_split, tuple(paths), images.format(split=split),
            annotations.format(split=split), names,
        )
        for split, paths in found.items()
        if paths
    }  # fmt: skip
    return box_source("voc", root, names, readers, skip_bad)


def _find_lists(root: Path, annotations: str) -> dict[str, list[Path]]:
    base = root / "VOCdevkit" if (root / "VOCdevkit").is_dir() else root
    years = [base / year for year in YEARS if (base / year / "ImageSets").is_dir()]
    if not years and (base / "ImageSets").is_dir():
        years = [base]

    def there(name: str, folders: Sequence[Path]) -> list[Path]:
        paths = [folder / "ImageSets" / "Main" / f"{name}.txt" for folder in folders]
        return [p for p in paths if p.is_file() and _is_annotated(p, annotations)]

    test = there("test", [y for y in years if y.name == "VOC2007"])
    if test and there("trainval", years):
        return {"train": there("trainval", years), "val": test}
    return {name: there(name, years) for name in ("train", "val")}


def _is_annotated(listing: Path, annotations: str) -> bool:
    """Say whether the first picture of a list has annotations (VOC2012's test set has none)."""
    first = next(_names(listing), None)
    return first is not None and (_home(listing) / annotations / f"{first}.xml").is_file()


def _home(listing: Path) -> Path:
    """Return the folder that Annotations and JPEGImages of a list lie in."""
    return next((p.parent for p in listing.parents if p.name == "ImageSets"), listing.parent)


def _names(listing: Path) -> Iterator[str]:
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{listing}: cannot be read ({error}); wanted a picture's name a line"
        ) from error
    for line in lines:
        if line.split():
            yield line.split()[0]


def _read_split(
    listings: Sequence[Path], images: str, annotations: str, classes: Sequence[str]
) -> Listed[BoxPicture]:
    ids = {name: place for place, name in enumerate(classes)}
    pictures: list[BoxPicture] = []
    problems: list[str] = []
    for listing in listings:
        home = _home(listing)
        for name in _names(listing):
            file = home / annotations / f"{name}.xml"
            try:
                tree = ElementTree.parse(file)
            except FileNotFoundError:
                problems.append(f"{file}: no such file; wanted the annotations of {name}; {TODO}")
                continue
            except (ElementTree.ParseError, LookupError, ValueError) as error:
                problems.append(f"{file}: not XML ({error}); wanted VOC annotations; {TODO}")
                continue
            found = _read_picture(tree.getroot(), file, home / images, name, ids, problems)
            if found is not None:
                pictures.append(found)
    return Listed(tuple(pictures), tuple(problems))


def _read_picture(
    root: ElementTree.Element,
    file: Path,
    folder: Path,
    name: str,
    ids: Mapping[str, int],
    problems: list[str],
) -> BoxPicture | None:
    height, width = (_integer(root.find(f"size/{side}")) for side in ("height", "width"))
    if height is None or width is None or min(height, width) < 1:
        problems.append(
            f"{file}: no size of the picture; wanted size/width and size/height; {TODO}"
        )
        return None
    rows: list[list[float]] = []
    ignored: list[list[float]] = []
    for place, thing in enumerate(root.iter("object")):
        found = _read_object(thing, (height, width), ids)
        if isinstance(found, str):
            problems.append(f"{file}: object {place}: {found}; {TODO}")
        elif _says_yes(thing.find("difficult")):
            ignored.append(found)
        else:
            rows.append(found)
    boxes = box_rows(rows)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    image = _picture_file(folder, name, root.findtext("filename"))
    return BoxPicture(image, name, (height, width), boxes, areas, box_rows(ignored))


def _picture_file(folder: Path, name: str, stated: str | None) -> Path:
    """Return the picture: what the annotations name if it is there, else NAME.jpg or another."""
    names = [stated] if stated else []
    names += [f"{name}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((folder / n for n in names if (folder / n).is_file()), folder / f"{name}.jpg")


def _read_object(
    thing: ElementTree.Element, size: tuple[int, int], ids: Mapping[str, int]
) -> list[float] | str:
    """Return the row x0, y0, x1, y1, class id, or what is wrong."""
    name = (thing.findtext("name") or "").strip()
    if name not in ids:
        return f"class '{name}'; wanted one of {', '.join(ids)}"
    corners = [thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x0, y0, x1, y1 = (float(value or "") for value in corners)
    except ValueError:
        return f"bndbox {corners}; wanted the numbers xmin, ymin, xmax, ymax"
    if x1 <= x0 or y1 <= y0:  # in whole pixels, such a box is one row or column: a slip
        return f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}] has no area; wanted xmax > xmin, ymax > ymin"
    edges = (x0 - 1, y0 - 1, x1, y1)
    problem = box_problem(edges, size)
    return problem if problem is not None else [*clipped(edges, size), ids[name]]


def _says_yes(element: ElementTree.Element | None) -> bool:
    text = (element.text or "").strip().lower() if element is not None else ""
    return text not in ("", "0", "false", "no", "unspecified")


def _integer(element: ElementTree.Element | None) -> int | None:
    text = (element.text or "").strip() if element is not None else ""
    return int(text) if text.isdecimal() else None
