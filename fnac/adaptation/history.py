"""A network's history, from its file, and the command that comes next."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_HINTS = ContextVar("hints", default=True)


def tell_unsearched(model: Path, manifest: Mapping[str, Any]) -> None:
    """Warn if the alphas were never trained."""
    if manifest.get("role") == "super" and "search" not in manifest:
        log.warning(
            "%s was never searched: its alphas say nothing, and the choice is as good as any; "
            "search it first (fnac search %s --data SPEC), or name the choice with --arch",
            model,
            shlex.quote(str(model)),
        )


def tell_untuned(model: Path, manifest: Mapping[str, Any]) -> None:
    """Warn if a derived network was never fine-tuned."""
    if manifest.get("arch") and not {"tune", "heal"} & set(manifest):
        log.warning(
            "%s was derived and never tuned: its weights are those of the super network; tune the "
            "target first (fnac tune TARGET.onnx --data SPEC leaves RUN/target.onnx)",
            model,
        )


def tell_next(*words: object) -> None:
    """Print the command that continues from a stage's output, for a person."""
    if not _HINTS.get():
        return
    log.info("next: fnac %s", " ".join(shlex.quote(str(word)) for word in words))


@contextlib.contextmanager
def without_hints() -> Iterator[None]:
    """Suppress ``tell_next``: a program that reads JSON needs no hint."""
    before = _HINTS.set(False)
    try:
        yield
    finally:
        _HINTS.reset(before)
