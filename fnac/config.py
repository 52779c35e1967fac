"""Settings: frozen dataclasses filled from recipe, file, ``--set`` and options, in that order.

A configuration is a mapping of sections (``expand``, ``search``, ``derive``, ``tune``, ...); each
section fills one settings class. What was resolved is written to ``config.yaml`` of the run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from fnac.errors import UsageError
from fnac.names import precision_name, task_name
from fnac.passes.names import did_you_mean

OPTIONS_ONLY = ("profile", "inspect", "verify", "bench", "run-pass", "report")
"""Sections of commands that have options and no settings class."""
SECTIONS = (
    "adapt", "task", "export", "expand", "search", "derive", "tune", "heal", "emit", "eval",
    "shrink", *OPTIONS_ONLY,
)  # fmt: skip

VERSION = 2
"""Layout of a written configuration: 1 had ``search.seed`` and no version."""
RENAMED = {("search", "seed"): "random_seed", ("tune", "seed"): "random_seed"}
"""(section, key) of earlier configurations -> what the key is called now."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_COUNTS = {2: "two", 3: "three"}
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    type(None): "null",
}

Section = dict[str, Any]
Config = dict[str, Section]
T = TypeVar("T")


class InSection(Protocol):
    """A settings class that names the configuration section it is read from."""

    section: ClassVar[str]


S = TypeVar("S", bound=InSection)


def read_yaml(path: Path, *, of_run: bool = False) -> Config:
    """Read a configuration file: a mapping of sections, and the ``version`` of its layout.

    of_run  it is a run's own ``config.yaml``, which always has a version

    Raises UsageError naming the file and what is wrong, among it another version.
    """
    import yaml

    from fnac.models.yaml_text import load_yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a YAML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 ({error}); save it as UTF-8") from error
    try:
        loaded = load_yaml(text) or {}
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise UsageError(f"{path}: is not YAML: {words}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{path}: {_kind(loaded)} was found; wanted a mapping of sections")
    version = loaded.pop("version", None if of_run else VERSION)
    if version != VERSION:
        raise UsageError(
            f"{path}: settings of version {version or 1} were found; this fnac reads version "
            f"{VERSION}, in which keys have other names (docs/settings.md); begin a new run"
        )
    for section, values in loaded.items():
        if values is None:  # all its lines are comments
            loaded[section] = {}
        elif not isinstance(values, dict):
            raise UsageError(
                f"{path}: section {section}: {_kind(values)} was found; wanted a mapping "
                "of settings"
            )
    return {str(section): dict(values) for section, values in loaded.items()}


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """Read ``section.key=value`` (value as YAML) of ``--set``; raises UsageError."""
    import yaml

    from fnac.models.yaml_text import load_yaml

    path, equals, value = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot or not key:
        raise UsageError(f"--set {text}: wanted section.key=value, e.g. --set tune.epochs=12")
    try:
        return section, key, load_yaml(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: {value!r} is not a YAML value") from error


def gather(
    *,
    recipe: Config | None = None,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Merge the sources of settings; later ones win; options that are None are not given.

    A null in a recipe or a file is a value: ``clip: null`` removes the clipping.

    Raises UsageError for a section that does not exist.
    """
    sources: list[Mapping[str, Mapping[str, Any]]] = [recipe or {}]
    if file is not None:
        sources.append(read_yaml(file))
    for text in assignments:
        section, key, value = parse_assignment(text)
        sources.append({section: {key: value}})
    sources.append(
        {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in (options or {}).items()
        }
    )
    return merge(*sources)


def merge(*sources: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return all settings together; later sources win. UsageError for an unknown section."""
    merged: Config = {}
    for source in sources:
        for section, values in source.items():
            if section not in SECTIONS:
                raise UsageError(
                    f"{section}: no such section of settings{did_you_mean(section, SECTIONS)}; "
                    f"known: {', '.join(SECTIONS)}"
                )
            given = {k.replace("-", "_"): v for k, v in values.items()}
            for key, meant in (("task", task_name), ("precision", precision_name)):
                if isinstance(given.get(key), str | int):
                    given[key] = meant(str(given[key]), f"{section}.{key}")
            merged.setdefault(section, {}).update(given)
    return merged


def read(kind: type[S], config: Config) -> S:
    """Fill the settings class ``kind`` from its section; the one place where settings are built."""
    return build(kind, config.get(kind.section, {}), kind.section)


def build(kind: type[T], section: Mapping[str, Any], where: str) -> T:
    """Fill the settings class ``kind`` from ``section``.

    Raises UsageError naming ``where.key``, what was found and what is wanted.
    """
    values = converted(kind, section, where)
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from error


def converted(kind: type[Any], section: Mapping[str, Any], where: str) -> Section:
    """Return the values of ``section`` in the types of the settings class ``kind``.

    Raises UsageError for a key that it does not have and a value of another type.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name for f in dataclasses.fields(kind) if f.init}
    values: Section = {}
    for key, value in section.items():
        if key not in fields:
            if (where, key) in RENAMED:
                raise UsageError(f"{where}.{key}: it is called {where}.{RENAMED[where, key]} now")
            known = ", ".join(sorted(fields))
            close = did_you_mean(key, fields)
            raise UsageError(f"{where}.{key}: no such setting{close}; known: {known}")
        values[key] = convert(value, hints[key], f"{where}.{key}")
    return values


def convert(value: Any, hint: Any, where: str) -> Any:
    """Turn a YAML value into the annotated type; raises UsageError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        for option in arguments:
            try:
                return convert(value, option, where)
            except UsageError:
                continue
        raise _wrong(where, value, hint)
    if origin is typing.Literal:
        if value in arguments:
            return value
        close = did_you_mean(value, [one for one in arguments if isinstance(one, str)])
        raise UsageError(f"{where}: {value!r} was found{close}; wanted {in_words(hint)}")
    if origin is tuple:
        items = _items(value)
        inner = arguments[0] if arguments else Any
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(convert(v, inner, where) for v in items)
        if len(items) != len(arguments):
            raise _wrong(where, value, hint)
        return tuple(convert(v, a, where) for v, a in zip(items, arguments, strict=True))
    if hint in (Any, dict) or origin in (dict, list):
        return value
    if hint is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    if hint is bool and isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, str) and value.lower() in _SWITCHES:
        return _SWITCHES[value.lower()]
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UsageError(f"{where}: {value} was found; wanted a finite number")
        return float(value)
    if hint is float and isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if hint is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        is_whole = isinstance(value, float) and value.is_integer()
        return str(int(value) if is_whole else value)
    if value is None and hint is type(None):
        return None
    if isinstance(hint, type) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise _wrong(where, value, hint)


def as_plain(value: Any) -> Any:
    """Return settings as plain YAML/JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def differing(settings: Any) -> Any:
    """Return the fields of a settings object that are not their defaults; {} for None.

    What is no settings object is returned as it is.
    """
    if settings is None:
        return {}
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        return settings
    defaults = type(settings)()
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return {name: value for name, value in values.items() if value != getattr(defaults, name)}


def parse_size(text: str) -> tuple[int, int]:
    """Read a size in pixels: ``96x128``, ``96,128``, ``96 x 128`` or ``96``; raises UsageError."""
    numbers = re.fullmatch(r"\s*(\d+)(?:\s*[x,\s]\s*(\d+))?\s*", text.lower())
    height, width = (int(one or numbers[1]) for one in numbers.groups()) if numbers else (0, 0)
    if not height or not width:
        raise _wrong("--size", text, tuple[int, int])
    return height, width


def _items(value: Any) -> list[Any]:
    """Return the parts of a list, also of one written as ``96x128`` or ``0.5,0.5,0.5``."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        return [value]
    parts = [part.strip() for part in re.split(r"[,x]|\s+", value.strip()) if part.strip()]
    if not parts or not all(map(_NUMBER.fullmatch, parts)):
        return [value]
    return [int(part) if part.isdigit() else float(part) for part in parts]


def _wrong(where: str, value: Any, hint: Any) -> UsageError:
    return UsageError(f"{where}: {_shown(value)} was found; wanted {in_words(hint)}")


def in_words(hint: Any) -> str:
    """Describe a type in words: ``two whole numbers, e.g. 96x128``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(one) for one in arguments)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list of {'numbers' if arguments[0] in (int, float) else 'names'}, e.g. 8,11"
    if origin is tuple:
        kind = "whole numbers" if int in arguments else "numbers"
        example = {2: "96x128" if int in arguments else "0.75,1.5", 3: "0.5,0.5,0.5"}
        return f"{_COUNTS[len(arguments)]} {kind}, e.g. {example[len(arguments)]}"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _kind(value: Any) -> str:
    return type(value).__name__


def as_json(value: Any) -> bytes:
    """Return ``value`` as the text of a JSON file."""
    return (json.dumps(as_plain(value), indent=1) + "\n").encode()


def as_yaml(value: Any) -> bytes:
    """Return ``value`` as the text of a YAML file."""
    from fnac.models.yaml_text import dump_yaml

    return dump_yaml(as_plain(value)).encode()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically."""
    from fnac.passes.files import write_atomically

    write_atomically(path, as_json(value))


def write_yaml(path: Path, value: Any) -> None:
    """Write ``value`` as YAML, atomically."""
    from fnac.passes.files import write_atomically

    write_atomically(path, as_yaml(value))
