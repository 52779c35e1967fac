"""``--data SPEC``: ``NAME:PATH``, a YAML file, or nothing for the built-in scenes.

YAML keys: ``reader`` (a NAME), ``path`` (relative to the YAML file) and, for ``folder``:
``classes`` (names, or a file of names), ``ignore`` (ids), ``ids`` (id of a mask: class name),
``colours`` (file of the masks' colours), ``images``, ``masks`` (folder names), ``val_fraction``
(``classes`` and ``val_fraction`` with ``--task cls``); for ``mpii``, ``lsp``, ``coco-keypoints``:
``annotations`` (split: file) and, in this order, nothing, ``val_fraction``, ``sigmas`` and
``mirror`` (pairs of joints); for ``coco``: ``annotations`` (split: json), ``images`` (split:
folder), ``classes`` (those wanted); for ``yolo``: ``classes``, ``val_fraction``; for ``voc`` with
``--task det``: ``lists`` (split: files of names), ``images``, ``annotations`` (folder names),
``classes``; for ``scenes``: ``train``, ``val`` (counts), ``size`` (S or HxW), ``seed``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fnac.errors import FnacError, UsageError
from fnac.models.yaml_text import load_yaml

from .class_files import read_classes
from .files import read_text
from .folders import expanded, same_spelling
from .readers.ade20k import read_ade20k
from .readers.box_options import COCO_KEYS, VOC_KEYS, coco_options, voc_options, with_classes
from .readers.camvid import read_camvid
from .readers.cityscapes import read_cityscapes
from .readers.class_folders import read_class_folders
from .readers.coco import read_coco
from .readers.coco_keypoints import read_coco_keypoints
from .readers.folder import FolderOptions, read_folder
from .readers.lsp import read_lsp
from .readers.mpii import read_mpii
from .readers.names import check_reader, readers_of
from .readers.voc import read_voc
from .readers.voc_segmentation import read_voc_segmentation
from .readers.yolo import read_yolo
from .scenes.source import SAMPLES, SceneSource
from .source import DataSource

Options = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request to a reader, besides its own options.

    base: folder that relative paths of the options start from; where: the SPEC, for messages
    """

    task: str
    random_seed: int
    skip_bad: bool
    base: Path
    where: str


@dataclass(frozen=True)
class Reader:
    """How one layout is opened for one task: ``open(root, options, asked)``; known options."""

    open: Callable[[Path, Options, Asked], DataSource]
    keys: frozenset[str] = frozenset()


def _stock(read: Callable[..., DataSource]) -> Reader:
    """Return the reader of a standard mask layout, without options."""

    def open_stock(root: Path, options: Options, asked: Asked) -> DataSource:
        return read(root, skip_bad=asked.skip_bad)

    return Reader(open_stock)


def _folder(root: Path, options: Options, asked: Asked) -> DataSource:
    options = _folder_options(options, asked.base, asked.where)
    known = FolderOptions(**options)
    return read_folder(root, known, random_seed=asked.random_seed, skip_bad=asked.skip_bad)


def _class_folders(root: Path, options: Options, asked: Asked) -> DataSource:
    options = _folder_options(options, asked.base, asked.where)
    return read_class_folders(
        root, random_seed=asked.random_seed, skip_bad=asked.skip_bad, **options
    )


def _mpii(root: Path, options: Options, asked: Asked) -> DataSource:
    return read_mpii(root, skip_bad=asked.skip_bad, **_person_options(options, asked.where))


def _lsp(root: Path, options: Options, asked: Asked) -> DataSource:
    options = _person_options(options, asked.where)
    return read_lsp(root, random_seed=asked.random_seed, skip_bad=asked.skip_bad, **options)


def _coco_keypoints(root: Path, options: Options, asked: Asked) -> DataSource:
    options = _person_options(options, asked.where)
    return read_coco_keypoints(root, skip_bad=asked.skip_bad, **options)


def _coco(root: Path, options: Options, asked: Asked) -> DataSource:
    options = coco_options(options, asked.base, asked.where)
    return read_coco(root, skip_bad=asked.skip_bad, **options)


def _voc(root: Path, options: Options, asked: Asked) -> DataSource:
    options = voc_options(options, asked.base, asked.where)
    return read_voc(root, skip_bad=asked.skip_bad, **options)


def _yolo(root: Path, options: Options, asked: Asked) -> DataSource:
    _check_fraction(options, asked.where)
    options = with_classes(options, asked.base, asked.where)
    return read_yolo(root, random_seed=asked.random_seed, skip_bad=asked.skip_bad, **options)


def _scenes(root: Path, options: Options, asked: Asked) -> DataSource:
    values = {key: _scene_value(key, value, asked.where) for key, value in options.items()}
    random_seed = values.pop("seed", asked.random_seed)
    return SceneSource(task=asked.task, random_seed=random_seed, **values)


FOLDER_KEYS = frozenset({"classes", "ignore", "images", "masks", "ids", "colours", "val_fraction"})
KEYPOINT_KEYS = frozenset({"annotations", "sigmas", "mirror"})
_SCENE_KEYS = frozenset({"train", "val", "test", "size", "seed"})
READERS: dict[str, dict[str, Reader]] = {
    "cityscapes": {"seg": _stock(read_cityscapes)},
    "camvid": {"seg": _stock(read_camvid)},
    "ade20k": {"seg": _stock(read_ade20k)},
    "voc": {"seg": _stock(read_voc_segmentation), "det": Reader(_voc, VOC_KEYS)},
    "coco": {"det": Reader(_coco, COCO_KEYS)},
    "yolo": {"det": Reader(_yolo, frozenset({"classes", "val_fraction"}))},
    "folder": {
        "seg": Reader(_folder, FOLDER_KEYS),
        "cls": Reader(_class_folders, frozenset({"classes", "val_fraction"})),
    },
    "mpii": {"pose": Reader(_mpii, frozenset({"annotations"}))},
    "lsp": {"pose": Reader(_lsp, frozenset({"annotations", "val_fraction"}))},
    "coco-keypoints": {"pose": Reader(_coco_keypoints, KEYPOINT_KEYS)},
    "scenes": {task: Reader(_scenes, _SCENE_KEYS) for task in SAMPLES},
}
"""Name of a SPEC -> task -> reader."""


def open_data(
    spec: str | None, task: str = "seg", *, random_seed: int = 0, skip_bad: bool = False
) -> DataSource:
    """Open the data set that ``--data`` names; only the lists of files are read.

    ``random_seed`` belongs to the data (which scenes, which images a fraction split keeps for
    validation), not to the run: leave it, so that all commands see the same splits. ``skip_bad``
    leaves out samples with wrong annotations, instead of refusing the data set. Raises
    UsageError for a SPEC that cannot be understood, DataError for missing or misplaced files.
    """
    spec = spec or "scenes:"
    where = f"--data {spec}"
    name, _, rest = spec.partition(":")
    if Path(spec).suffix.lower() in (".yaml", ".yml") and name not in READERS:
        file = expanded(spec)
        asked = Asked(task, random_seed, skip_bad, file.parent, spec)
        name, options = _read_yaml(file, task)
        return _open(name, options, asked)
    asked = Asked(task, random_seed, skip_bad, Path(), where)
    if name not in READERS:
        root = expanded(spec)
        if root.is_dir():
            fits = ", ".join(
                f"{reader}:{spec}" for reader in _readers_that_open(root, task, random_seed)
            )
            told = f"it looks like {fits}" if fits else "its layout is none that is known"
            raise UsageError(
                f"{where}: the reader is missing in front of the folder; {told}; wanted NAME:PATH "
                f"with NAME of {', '.join(readers_of(task))}, or a .yaml file"
            )
        check_reader(spec, task)
        raise UsageError(f"{where}: a file; wanted NAME:PATH, or a .yaml file")
    if name == "scenes":
        return _open(name, _scene_options(spec, rest), asked)
    if not rest:
        raise UsageError(f"{where}: no path; wanted {name}:PATH")
    return _open(name, {"path": rest}, asked)


def only_task_of(spec: str) -> str:
    """Return the one task that ``--data`` SPEC can be opened for.

    Raises UsageError where there are several, and what opening says where there is none.
    """
    name = spec.partition(":")[0]
    tasks = list(READERS.get(name, SAMPLES))
    opened, refusals = [], []
    for task in tasks:
        try:
            open_data(spec, task, skip_bad=True).split("train")
            opened.append(task)
        except FnacError as error:
            refusals.append(error)
    if not opened:
        raise refusals[0]
    if len(opened) > 1:
        raise UsageError(f"{spec} can be read for {', '.join(opened)}; say which with --task")
    return opened[0]


def _readers_that_open(root: Path, task: str, random_seed: int) -> list[str]:
    """Return the readers of a task that find a training set in a folder."""
    readers = []
    for name in readers_of(task):
        if name == "scenes":
            continue
        try:
            _open(
                name, {"path": str(root)}, Asked(task, random_seed, True, Path(), str(root))
            ).split("train")
        except FnacError:
            continue
        readers.append(name)
    return readers


def _read_yaml(path: Path, task: str) -> tuple[str, Options]:
    text = read_text(path, "a YAML file")
    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{path}: not YAML ({reason}); wanted reader, path, ...") from error
    if not isinstance(content, dict) or str(content.get("reader")) not in READERS:
        named = content.get("reader") if isinstance(content, dict) else type(content).__name__
        known = ", ".join(readers_of(task))
        raise UsageError(f"{path}: reader {named!r}; wanted 'reader:' of {known}")
    return str(content.pop("reader")), content


def _open(name: str, options: Options, asked: Asked) -> DataSource:
    reader = READERS[name].get(asked.task)
    if reader is None:
        raise UsageError(
            f"{asked.where}: {name} has no annotations for --task {asked.task}; it is read for "
            f"{', '.join(READERS[name])}; for {asked.task} there are: "
            f"{', '.join(readers_of(asked.task)) or 'no readers'}"
        )
    known = reader.keys if name == "scenes" else reader.keys | {"path"}
    unknown = sorted(str(key) for key in options if key not in known)
    if unknown:
        raise UsageError(
            f"{asked.where}: unknown key {', '.join(unknown)}; {name} knows "
            f"{', '.join(sorted(known))}"
        )
    options = dict(options)
    if name == "scenes":
        return reader.open(Path(), options, asked)
    if not isinstance(options.get("path"), str):
        raise UsageError(f"{asked.where}: no path; wanted 'path:' of the {name} folder")
    return reader.open(asked.base / expanded(options.pop("path")), options, asked)


def _folder_options(options: dict[str, Any], base: Path, where: str) -> dict[str, Any]:
    classes = options.get("classes")
    if isinstance(classes, str):
        options["classes"] = read_classes(base / classes)
    elif classes is not None:
        if not isinstance(classes, list) or not 2 <= len(classes) <= 255:
            raise UsageError(f"{where}: classes {classes!r}; wanted a list of 2 to 255 names")
        options["classes"] = [same_spelling(str(name)) for name in classes]
    if "ignore" in options:
        ignore = options["ignore"]
        ignore = [] if ignore is None else ignore if isinstance(ignore, list) else [ignore]
        if not all(isinstance(i, int) and 0 <= i <= 255 for i in ignore):
            raise UsageError(f"{where}: ignore {ignore!r}; wanted ids from 0 to 255")
        options["ignore"] = ignore
    ids = options.get("ids", {})
    if not isinstance(ids, dict) or not all(
        isinstance(i, int) and 0 <= i <= 255 and isinstance(name, str) for i, name in ids.items()
    ):
        raise UsageError(f"{where}: ids {ids!r}; wanted 'ID: CLASS NAME' lines, ids from 0 to 255")
    if not isinstance(options.get("colours", ""), str):
        raise UsageError(f"{where}: colours {options['colours']!r}; wanted a file's name")
    _check_fraction(options, where)
    return options


def _person_options(options: Options, where: str) -> Options:
    files = options.get("annotations", {})
    if not isinstance(files, dict) or not all(isinstance(f, str) for f in files.values()):
        raise UsageError(f"{where}: annotations {files!r}; wanted 'split: file' lines")
    sigmas = options.get("sigmas", [])
    if not isinstance(sigmas, list) or not all(_is_positive(s) for s in sigmas):
        raise UsageError(f"{where}: sigmas {sigmas!r}; wanted positive numbers, one per joint")
    mirror = options.get("mirror", [])
    if not isinstance(mirror, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, str) for n in pair)
        for pair in mirror
    ):
        raise UsageError(f"{where}: mirror {mirror!r}; wanted pairs of joints, [LEFT, RIGHT] each")
    _check_fraction(options, where)
    return options


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _check_fraction(options: Options, where: str) -> None:
    if not isinstance(options.get("val_fraction", 0.2), float):
        raise UsageError(f"{where}: val_fraction {options['val_fraction']!r}; wanted e.g. 0.2")


def _scene_options(spec: str, text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--data {spec}: '{part}'; wanted e.g. scenes:train=512,val=128")
        options[key.strip()] = value.strip()
    return options


def _scene_value(key: str, value: object, where: str) -> Any:
    parts = str(value).lower().split("x") if key == "size" else [str(value)]
    least = {"seed": 0, "size": 32, "test": 0}.get(key, 1)
    if not all(part.isdecimal() and int(part) >= least for part in parts) or len(parts) > 2:
        raise UsageError(f"{where}: {key} {value!r}; wanted a whole number, at least {least}")
    if key == "size":
        return int(parts[0]), int(parts[-1])
    return int(parts[0])
