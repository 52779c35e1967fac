"""Checkpoints of search and tune: written atomically, refused if they do not fit."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from fnac.errors import TrainingError
from fnac.passes.files import write_atomically
from fnac.training.settings import NO_MATTER

BEGUN_WITH = "network_begun_with"
"""Entry of a run's settings: the digest of the network that it began with."""
TAUGHT_BY = "teacher_begun_with"
"""Entry of a run's settings: the digest of the teacher that it began with, if it has one."""
_UNREADABLE = (
    *(OSError, RuntimeError, EOFError, NotImplementedError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
)
_NOT_OURS = (AttributeError, LookupError, TypeError, ValueError)
"""What reading a state of another shape ends in."""


def save_checkpoint(fabric: Fabric, path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint from the first rank; the old one stays until the new one is complete.

    The scale of float16 losses goes into it; ``restore_precision`` brings it back.
    """
    if fabric.is_global_zero:
        buffer = io.BytesIO()
        torch.save({**state, "precision_state": fabric.strategy.precision.state_dict()}, buffer)
        write_atomically(path, buffer.getvalue())
    fabric.barrier()


def load_checkpoint(
    path: Path, settings: Mapping[str, Any], holds: Collection[str] | None = None
) -> dict[str, Any]:
    """Read a checkpoint of a run with the same ``settings``.

    holds    what is in it, no more and no less; None: that does not matter
    raises   TrainingError when it is broken, of something else, or of other settings
    """
    try:
        with zipfile.ZipFile(path) as records:  # torch does not look at the checksums
            if records.testzip() is not None:
                raise zipfile.BadZipFile(f"the checksum of {records.testzip()} is wrong")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        before = json.loads(state["settings"])
    except (*_UNREADABLE, *_NOT_OURS) as error:
        words = str(error).split("\n")[0]
        raise TrainingError(
            f"{path}: not a readable checkpoint ({words}); delete it to begin this stage again"
        ) from error
    if not isinstance(before, dict) or (holds is not None and set(holds) != set(state)):
        raise TrainingError(
            f"{path}: not a checkpoint of this run; delete it to begin this stage again"
        )
    now = json.loads(fingerprint(settings))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            if key in (BEGUN_WITH, TAUGHT_BY):
                what = "network" if key == BEGUN_WITH else "teacher"
                raise TrainingError(
                    f"{path}: this run began with another {what} than the one given now (its "
                    "weights, nodes or metadata differ); give that one, or start a new run"
                )
            raise TrainingError(
                f"{path}: {key} was {before.get(key)!r} when this run began and is "
                f"{now.get(key)!r} now; resume with the same settings, or start a new run"
            )
    return state


@contextlib.contextmanager
def of_this_run(path: Path) -> Iterator[None]:
    """Turn errors from loading another network's state into a TrainingError that names the file."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (*_NOT_OURS, RuntimeError) as error:
        words = str(error).split("\n")[0].rstrip(":")
        raise TrainingError(
            f"{path}: the checkpoint is of another network ({words}); resume with the file this "
            "run began with, or start a new run"
        ) from error


def restore_precision(fabric: Fabric, state: Mapping[str, Any]) -> None:
    """Continue with the loss scale of a checkpoint."""
    fabric.strategy.precision.load_state_dict(state["precision_state"])


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return the settings that change results, as JSON."""
    kept = {key: value for key, value in settings.items() if key not in NO_MATTER}
    return json.dumps(kept, sort_keys=True)
