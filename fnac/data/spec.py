"""``--data SPEC``: ``NAME:PATH``, a YAML file, or nothing for the built-in scenes.

YAML keys: ``reader`` (a NAME), ``path`` (relative to the YAML file) and, for ``folder``:
``classes`` (names, or a file of names), ``ignore`` (ids), ``images``, ``masks`` (folder names),
``val_fraction``; for ``scenes``: ``train``, ``val`` (counts), ``size`` (S or HxW), ``seed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fnac.errors import DataError, UsageError

from .camvid import read_camvid
from .cityscapes import read_cityscapes
from .folder import read_classes, read_folder
from .scene_source import SceneSource
from .source import DataSource

READERS = ("cityscapes", "camvid", "folder", "scenes")
_KEYS = {
    "cityscapes": {"path"},
    "camvid": {"path"},
    "folder": {"path", "classes", "ignore", "images", "masks", "val_fraction"},
    "scenes": {"train", "val", "test", "size", "seed"},
}


def open_data(spec: str | None, task: str = "seg", *, seed: int = 0) -> DataSource:
    """Open the data set that ``--data`` names; nothing but the lists of files is read.

    ``seed`` belongs to the data (which scenes, which pictures a fraction split keeps for
    validation), not to the run: leave it, so that all commands see the same splits. Raises
    UsageError for a SPEC that cannot be understood, DataError for missing or misplaced files.
    """
    if task not in ("seg", "segmentation"):
        raise UsageError(f"--task {task}: no data reader for it yet; wanted seg")
    if spec is None or spec == "":
        return SceneSource(seed=seed)
    if Path(spec).suffix.lower() in (".yaml", ".yml") and spec.split(":")[0] not in READERS:
        return _open_yaml(Path(spec), seed)
    name, _, rest = spec.partition(":")
    if name not in READERS:
        raise UsageError(
            f"--data {spec}: unknown reader '{name}'; wanted NAME:PATH with NAME of "
            f"{', '.join(READERS)}, or a .yaml file"
        )
    if name == "scenes":
        return _open(name, _scene_options(spec, rest), Path(), seed, f"--data {spec}")
    if not rest:
        raise UsageError(f"--data {spec}: no path; wanted {name}:PATH")
    return _open(name, {"path": rest}, Path(), seed, f"--data {spec}")


def _open_yaml(path: Path, seed: int) -> DataSource:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); wanted a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not YAML ({reason}); wanted reader, path, ...") from error
    if not isinstance(content, dict) or content.get("reader") not in READERS:
        found = content.get("reader") if isinstance(content, dict) else type(content).__name__
        raise UsageError(f"{path}: reader {found!r}; wanted 'reader:' of {', '.join(READERS)}")
    reader = content.pop("reader")
    return _open(reader, content, path.parent, seed, str(path))


def _open(name: str, options: Mapping[str, Any], base: Path, seed: int, where: str) -> DataSource:
    unknown = sorted(str(key) for key in options if key not in _KEYS[name])
    if unknown:
        known = ", ".join(sorted(_KEYS[name]))
        raise UsageError(f"{where}: unknown key {', '.join(unknown)}; {name} knows {known}")
    options = dict(options)
    if name == "scenes":
        options.setdefault("seed", seed)
        return SceneSource(**{k: _scene_value(k, v, where) for k, v in options.items()})
    if not isinstance(options.get("path"), str):
        raise UsageError(f"{where}: no path; wanted 'path:' of the {name} folder")
    root = base / options.pop("path")
    if name == "cityscapes":
        return read_cityscapes(root)
    if name == "camvid":
        return read_camvid(root)
    return read_folder(root, seed=seed, **_folder_options(options, base, where))


def _folder_options(options: dict[str, Any], base: Path, where: str) -> dict[str, Any]:
    classes = options.get("classes")
    if isinstance(classes, str):
        options["classes"] = read_classes(base / classes)
    elif classes is not None:
        if not isinstance(classes, list) or not 2 <= len(classes) <= 255:
            raise UsageError(f"{where}: classes {classes!r}; wanted a list of 2 to 255 names")
        options["classes"] = [str(name) for name in classes]
    if "ignore" in options:
        ignore = options["ignore"]
        ignore = ignore if isinstance(ignore, list) else [ignore]
        if not all(isinstance(i, int) and 0 <= i <= 255 for i in ignore):
            raise UsageError(f"{where}: ignore {ignore!r}; wanted ids from 0 to 255")
        options["ignore"] = ignore
    if not isinstance(options.get("val_fraction", 0.2), float):
        raise UsageError(f"{where}: val_fraction {options['val_fraction']!r}; wanted e.g. 0.2")
    return options


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
