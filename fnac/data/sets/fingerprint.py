"""A digest of each split of a data set, so that a resumed run continues with the same data.

It holds names and sizes of the images and the content of the labels. Where the folder lies does not
matter, and images are not decoded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fnac.errors import DataError

from ..source import DataSource
from .listed import ListedSource

IMAGE = "image"
"""The field of a sample that names its image; other files of a sample are its labels."""

Fingerprint = dict[str, dict[str, Any]]


def fingerprint(source: DataSource) -> Fingerprint:
    """Return ``{"train": {"samples": 40, "digest": ...}, ...}`` of a data set."""
    return {
        name: {"samples": len(source.split(name)), "digest": _digest(_parts(source, name))}
        for name in source.splits
    }


def check_same_data(source: DataSource, begun: Mapping[str, Any]) -> None:
    """Raise DataError if ``source`` is not the data set of the fingerprint ``begun``."""
    now = fingerprint(source)
    for split in (*begun, *(name for name in now if name not in begun)):
        before, after = begun.get(split), now.get(split)
        if before == after:
            continue
        if before is None or after is None:
            what = f"split '{split}' {'is new' if before is None else 'is gone'}"
        elif before["samples"] != after["samples"]:
            what = f"'{split}' had {before['samples']} samples, and has {after['samples']} now"
        else:
            what = f"images or labels of '{split}' are others now"
        raise DataError(
            f"{source.name}: the data set has changed since this run began: {what}; put it back as "
            "it was, or begin a new run"
        )


def _parts(source: DataSource, split: str) -> Iterable[str]:
    yield json.dumps(source.classes)
    if isinstance(source, ListedSource):
        for item in source.kept(split):
            yield from _described(item, source.root)
        return
    dataset = source.split(split)  # what is painted follows from its settings and numbers
    yield repr({f.name: getattr(source, f.name) for f in _shown(source)})
    for index in range(len(dataset)):
        yield dataset.id(index)


def _described(value: Any, root: Path, name: str = "") -> Iterable[str]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in _shown(value):
            yield field.name
            yield from _described(getattr(value, field.name), root, field.name)
    elif isinstance(value, Path):
        yield value.relative_to(root).as_posix() if value.is_relative_to(root) else value.name
        if value.is_file():
            content = value.stat().st_size if name == IMAGE else _content(value)
            yield str(content)
    elif isinstance(value, Tensor | np.ndarray):
        array = np.asarray(value)
        yield f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    elif isinstance(value, Mapping):
        yield from _described(sorted(value.items(), key=repr), root, name)
    elif isinstance(value, list | tuple):
        yield str(len(value))
        for one in value:
            yield from _described(one, root, name)
    else:
        yield repr(value)


def _shown(value: Any) -> list[dataclasses.Field[Any]]:
    if not dataclasses.is_dataclass(value):
        return []
    return [field for field in dataclasses.fields(value) if field.repr]


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
