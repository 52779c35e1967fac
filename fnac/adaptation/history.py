"""A network's history, from its file, and the command that comes next."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_HINTS = ContextVar("hints", default=True)
_COMMAND: ContextVar[tuple[str, ...]] = ContextVar("command", default=())
"""The command line that is being worked on; (): fnac is used from Python."""


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


def tell_continue(folder: Path, adaptation: bool) -> None:
    """Say how a run that was interrupted is continued.

    A study continues as a whole. A single stage that was called from Python has no command.

    adaptation  it is one of ``fnac adapt``, whose folder knows all that it was told
    """
    words = [word for word in _COMMAND.get() if word != "--resume"]
    if not words and not adaptation:
        log.warning("interrupted; what it did so far is in %s", folder)
        return
    if "study" in words[:2]:  # a global option may come before it
        log.warning("interrupted; it goes on from here with: fnac %s --resume", shlex.join(words))
        return
    if adaptation:
        words = ["adapt"]
    for option in ("-o", "--out"):
        if option in words[:-1]:
            at = words.index(option)
            del words[at : at + 2]
    command = shlex.join([*words, "--resume", "-o", str(folder)])
    log.warning("interrupted; it goes on from here with: fnac %s", command)


@contextlib.contextmanager
def working_on(words: Sequence[str]) -> Iterator[None]:
    """Remember the command line that is being worked on."""
    before = _COMMAND.set(tuple(words))
    try:
        yield
    finally:
        _COMMAND.reset(before)


def command() -> tuple[str, ...]:
    """Return the arguments after ``fnac`` on the command line; () if there is none."""
    return _COMMAND.get()


@contextlib.contextmanager
def without_hints() -> Iterator[None]:
    """Suppress ``tell_next``: a program that reads JSON needs no hint."""
    before = _HINTS.set(False)
    try:
        yield
    finally:
        _HINTS.reset(before)
