"""What fnac knows about a network, stored as JSON in the file: read and validated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from ..errors import UnsupportedGraphError
from ..stored_layers import LAYERS, read_layers
from .contract import LAYOUTS, RESIZES

MANIFEST_KEY = "fnac"
MANIFEST_VERSION = 1

COSTS = ("fixed_madds", "fixed_params", "seed_madds", "seed_params")

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _positive(value: Any) -> bool:
    return _count(value) and 0 < value < 2**31


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(check: Check, length: int | None = None) -> Check:
    return lambda value: (
        isinstance(value, list)
        and length in (None, len(value))
        and all(check(item) for item in value)
    )


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _finding(value: Any) -> bool:
    return _object(value) and _text(value.get("kind")) and _text(value.get("text"))


def _preprocessing(value: Any) -> bool:
    if not _object(value):
        return False
    triple, pair = _list_of(_number, 3), _list_of(_number, 2)
    checks: dict[str, Check] = {
        **dict.fromkeys(("mean", "std", "pad"), triple),
        **dict.fromkeys(("range", "sides"), pair),
        "color": lambda word: word in ("RGB", "BGR"),
        "layout": lambda word: word in LAYOUTS,
        "resize": lambda word: word in RESIZES,
        "window": _number,
        "assumed": lambda word: isinstance(word, bool),
    }
    return ("mean" in value) == ("std" in value) and all(
        check(value[key]) for key, check in checks.items() if key in value
    )


def _colour(value: Any) -> bool:
    return _list_of(lambda part: _count(part) and part <= 255, 3)(value)


def _output(value: Any) -> bool:
    return _object(value) and _text(value.get("name"))


# key -> what its value must be, in words, and the question whether it is; other keys are free
FORM: dict[str, tuple[str, Check]] = {
    "role": ("a text", _text),
    "task": ("a text or null", _or_null(_text)),
    "head": ("a text or null", _or_null(_text)),
    "remap": ("a text", _text),
    "postprocess": ("a text", _text),
    "size": ("two positive numbers of pixels or null", _or_null(_list_of(_positive, 2))),
    "cost_size": ("two positive numbers of pixels or null", _or_null(_list_of(_positive, 2))),
    "num_classes": ("a count or null", _or_null(_count)),
    "output_stride": ("a count or null", _or_null(_count)),
    "classes": ("a list of texts or null", _or_null(_list_of(_text))),
    "arch": ("a list of texts", _list_of(_text)),
    "arch_layers": ("a list of texts", _list_of(_text)),
    "ledger": ("a list of objects", _list_of(_object)),
    "search": ("an object", _object),
    "findings": ("a list of findings, each with kind and text", _list_of(_finding)),
    "tune": ("an object", _object),
    "heal": ("an object", _object),
    "preprocessing": ("an object with mean and std, three numbers each, ...", _preprocessing),
    "outputs": ("a list of objects, each with a name", _list_of(_output)),
    "colours": ("a list of RGB colours, three numbers of 0 to 255 each", _list_of(_colour)),
    **dict.fromkeys(
        ("limbs", "mirrored"), ("a list of pairs of joints", _list_of(_list_of(_count, 2)))
    ),
    "stride": ("a count or null", _or_null(_count)),
    **dict.fromkeys(
        ("fixed_madds", "fixed_params", "seed_madds", "seed_params"), ("a count", _count)
    ),
}


def read_manifest(stored: str) -> dict[str, Any]:
    """Read the manifest's JSON, without its version.

    Raises UnsupportedGraphError naming the entry, or the layer, that is not of its form.
    """
    try:
        manifest = json.loads(stored)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UnsupportedGraphError(
            f"the manifest (metadata {MANIFEST_KEY!r}) is not JSON: {error}; "
            "remove that entry or build the file again"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("version") != MANIFEST_VERSION:
        version = manifest.get("version") if isinstance(manifest, dict) else type(manifest).__name__
        raise UnsupportedGraphError(
            f"the manifest is of version {version!r}; this fnac reads version {MANIFEST_VERSION}"
        )
    del manifest["version"]
    for key, value in manifest.items():
        words, fits = FORM.get(key, ("", None))
        if fits is not None and not fits(value):
            raise _not_of_its_form(key, value, words)
    if not read_layers(manifest) and manifest.get("role") == "super":
        raise _not_of_its_form(LAYERS, manifest.get(LAYERS), "at least one layer")
    return manifest


def _not_of_its_form(key: str, value: Any, form: str) -> UnsupportedGraphError:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return UnsupportedGraphError(
        f"the manifest (metadata {MANIFEST_KEY!r}): {key} is {shown}; wanted {form}; "
        "build the file again"
    )
