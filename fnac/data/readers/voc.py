"""Pascal VOC detection: ``VOCdevkit/VOC2007`` and/or ``VOC2012`` with Annotations, ImageSets/Main.

Or ``train/`` and ``val/`` with each image's XML beside it, as labelImg and Roboflow leave them.
Splits follow the usual protocol where ``VOC2007``'s test set is annotated: training on trainval of
all years, evaluation on the 2007 test; otherwise the lists ``train`` and ``val`` of every year.
Corners in the files are 1-based and inclusive: pixel k covers k-1 .. k. Objects marked
``difficult`` are ignored in training and evaluation.
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fnac.errors import DataError

from ..class_files import read_classes
from ..files import image_size, is_there
from ..folders import image_named, names_in_list, require_folder, same_spelling, split_folders
from ..json_files import as_number, as_whole
from ..sets.boxes import TODO, BoxPicture, box_problem, box_rows, box_source, clipped
from ..sets.listed import Listed, ListedSource

logger = logging.getLogger(__name__)

CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]  # fmt: skip
CLASS_FILES = ("classes.txt", "labels.txt")
YEARS = ("VOC2007", "VOC2012")


def read_voc(
    root: Path,
    *,
    lists: Mapping[str, Sequence[str]] | None = None,
    images: str = "JPEGImages",
    annotations: str = "Annotations",
    classes: Sequence[str] | None = None,
    first_pixel: int = 1,
    skip_bad: bool = False,
) -> ListedSource[BoxPicture]:
    """Find the lists of each split; annotations are read when a split is asked for.

    lists: split -> files of image names relative to ``root``, where the data set is laid out
    in VOC's way but is not VOC. images, annotations: folders beside ``ImageSets`` (or beside the
    list), ``{split}`` in them stands for the split. classes: names in the order of their ids;
    default those of ``classes.txt`` or ``labels.txt``, else the twenty of VOC. first_pixel: its
    number; 0 where the boxes of a tool count from 0, xmax and ymax being edges. Raises DataError.
    """
    require_folder(root, "the VOCdevkit folder")
    if lists is not None:
        files = {split: [root / name for name in names] for split, names in lists.items()}
    else:
        files = _find_lists(root, annotations)
    if not any(files.values()):
        files = {s: [f] for s, f in split_folders(root).items() if any(f.glob("*.xml"))}
    if not any(files.values()):
        raise DataError(
            f"{root}: no lists of images; wanted VOCdevkit/VOC2007/ImageSets/Main/trainval.txt "
            "or VOC2012's, or train/ and val/ with NAME.xml beside NAME.jpg; check the path in "
            "--data, or name the lists in a YAML file (reader: voc, lists: {train: FILE})"
        )
    listing = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    if classes is None and listing is not None:
        classes = read_classes(listing, least=1)
    names = list(CLASSES if classes is None else classes)
    form = _Form({name: place for place, name in enumerate(names)}, first_pixel)
    readers = {
        split: partial(
            _read_split, tuple(paths), images.replace("{split}", split),
            annotations.replace("{split}", split), form,
        )
        for split, paths in files.items()
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
    """Say whether any image of a list has annotations (of VOC2012's test set none has)."""
    home = _home(listing) / annotations
    return any(is_there(home / f"{name}.xml") for name in _names(listing, home))


def _home(listing: Path) -> Path:
    """Return the folder that Annotations and JPEGImages of a list lie in."""
    return next((p.parent for p in listing.parents if p.name == "ImageSets"), listing.parent)


def _names(listing: Path, annotations: Path) -> Iterator[str]:
    """Yield the names of a list, or of the annotations in a folder."""
    if listing.is_dir():
        yield from sorted(path.stem for path in listing.glob("*.xml"))
        return
    yield from names_in_list(listing, lambda name: is_there(annotations / f"{name}.xml"))


@dataclass(frozen=True)
class _Form:
    """How annotations are read: ids of the classes, the number of the first pixel (1 or 0)."""

    ids: Mapping[str, int]
    first_pixel: int


def _read_split(
    listings: Sequence[Path], images: str, annotations: str, form: _Form
) -> Listed[BoxPicture]:
    at_zero: list[Path] = []
    pictures: list[BoxPicture] = []
    problems: list[str] = []
    for listing in listings:
        home = _home(listing)
        flat = listing.is_dir()
        folder = listing if flat else home / annotations
        beside = listing if flat else home / images
        for name in _names(listing, folder):
            file = folder / f"{name}.xml"
            try:
                tree = ElementTree.parse(file)
            except FileNotFoundError:
                problems.append(f"{file}: no such file; wanted the annotations of {name}; {TODO}")
                continue
            except (ElementTree.ParseError, LookupError, ValueError, OSError) as error:
                problems.append(
                    f"{file}: not XML ({error}); wanted VOC annotations, as UTF-8; {TODO}"
                )
                continue
            root = _plainly_tagged(tree.getroot())
            if root.tag != "annotation":
                problems.append(
                    f"{file}: <{root.tag}> was found; wanted <annotation>, VOC's annotations of "
                    f"one image; {TODO}"
                )
                continue
            picture = _read_picture(root, file, beside, name, form, problems)
            if picture is not None:
                pictures.append(picture)
                at_zero += [file] * _begins_at_zero(root)
    if at_zero and form.first_pixel:
        logger.warning(
            "%s: boxes begin at 0 (in %d of %d files), and VOC counts pixels from 1, so that all "
            "boxes are moved by one; if these count from 0, add 'first_pixel: 0' to a YAML file as "
            "--data",
            at_zero[0], len(at_zero), len(pictures),
        )  # fmt: skip
    return Listed(tuple(pictures), tuple(problems))


def _read_picture(
    root: ElementTree.Element,
    file: Path,
    folder: Path,
    name: str,
    form: _Form,
    problems: list[str],
) -> BoxPicture | None:
    image = _picture_file(folder, name, root.findtext("filename"))
    height, width = (_integer(root.find(f"size/{side}")) for side in ("height", "width"))
    if not height or not width:  # tools that never saw the image write nothing, or 0
        try:
            height, width = image_size(image)
        except DataError as error:
            problems.append(f"{file}: no size of the image is stated, and {error}; {TODO}")
            return None
    rows: list[list[float]] = []
    ignored: list[list[float]] = []
    for place, thing in enumerate(root.iter("object")):
        row = _read_object(thing, (height, width), form)
        if isinstance(row, str):
            problems.append(f"{file}: object {place}: {row}; {TODO}")
        elif _says_yes(thing.find("difficult")):
            ignored.append(row)
        else:
            rows.append(row)
    boxes = box_rows(rows)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return BoxPicture(image, name, (height, width), boxes, areas, box_rows(ignored))


def _picture_file(folder: Path, name: str, stated: str | None) -> Path:
    """Return the image with the name used in the list and the annotations.

    What the annotations say of its name is stale where files were renamed; it is taken only where
    there is no such image.
    """
    file = image_named(folder, name)
    if is_there(file) or not (stated or "").strip():
        return file if is_there(file) else folder / f"{name}.jpg"
    other = image_named(folder, (stated or "").strip())
    return other if is_there(other) else folder / f"{name}.jpg"


def _read_object(
    thing: ElementTree.Element, size: tuple[int, int], form: _Form
) -> list[float] | str:
    """Return the row x0, y0, x1, y1, class id, or what is wrong."""
    name = same_spelling((thing.findtext("name") or "").strip())
    if name not in form.ids:
        known = ", ".join(form.ids)
        return f"class '{name}'; wanted one of {known}; other classes stand in classes.txt"
    if len(thing.findall("bndbox")) > 1:
        return f"{len(thing.findall('bndbox'))} bndbox; wanted one; write an object for each"
    corners = [thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x0, y0, x1, y1 = (float((value or "").strip()) for value in corners)
    except ValueError:
        return f"bndbox {corners}; wanted the numbers xmin, ymin, xmax, ymax"
    if x1 <= x0 or y1 <= y0:  # in whole pixels, such a box is one row or column: a slip
        return f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}] has no area; wanted xmax > xmin, ymax > ymin"
    edges = (x0 - form.first_pixel, y0 - form.first_pixel, x1, y1)
    problem = box_problem(edges, size)
    return problem if problem is not None else [*clipped(edges, size), form.ids[name]]


def _plainly_tagged(root: ElementTree.Element) -> ElementTree.Element:
    """Return the tree with tags in small letters, without namespaces; changed in place."""
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2].lower()
    return root


def _begins_at_zero(root: ElementTree.Element) -> bool:
    """Say whether a box begins at pixel 0, which annotations that count from 1 cannot have."""
    sides = [root.iter(side) for side in ("xmin", "ymin")]
    return any((as_number((one.text or "").strip()) or 0) <= 0 for side in sides for one in side)


def _says_yes(element: ElementTree.Element | None) -> bool:
    text = (element.text or "").strip().lower() if element is not None else ""
    return text not in ("", "0", "false", "no", "unspecified")


def _integer(element: ElementTree.Element | None) -> int | None:
    return as_whole((element.text or "").strip()) if element is not None else None
