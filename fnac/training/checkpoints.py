"""Checkpoints of search and tune: written atomically, refused where they do not fit."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from fnac.errors import TrainingError
from fnac.passes.files import write_atomically

# settings that change how fast a run is, not what comes out
_NO_MATTER = ("workers", "checkpoint_every", "log_every", "cache")


def save_checkpoint(fabric: Fabric, path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint from the first rank; the old one stays until the new one is complete.

    The scale of float16 losses goes into it; ``restore_precision`` brings it back.
    """
    if fabric.is_global_zero:
        buffer = io.BytesIO()
        torch.save({**state, "precision_state": fabric.strategy.precision.state_dict()}, buffer)
        write_atomically(path, buffer.getvalue())
    fabric.barrier()


def load_checkpoint(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint of a run with the same ``settings``.

    raises   TrainingError when it is broken, of something else, or of other settings
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        words = str(error).split("\n")[0]
        raise TrainingError(
            f"{path}: not a readable checkpoint ({words}); delete it to start again"
        ) from error
    if not isinstance(state, dict) or "settings" not in state:
        raise TrainingError(f"{path}: not a checkpoint of fnac; delete it to start again")
    before, now = json.loads(state["settings"]), json.loads(fingerprint(settings))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise TrainingError(
                f"{path}: {key} was {before.get(key)!r} when this run began and is "
                f"{now.get(key)!r} now; resume with the same settings, or start a new run"
            )
    return state


def restore_precision(fabric: Fabric, state: Mapping[str, Any]) -> None:
    """Continue with the loss scale of a checkpoint."""
    fabric.strategy.precision.load_state_dict(state["precision_state"])


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return the settings that change results, as JSON."""
    kept = {key: value for key, value in settings.items() if key not in _NO_MATTER}
    return json.dumps(kept, sort_keys=True)


def load_network(path: Path, module: nn.Module, state: Mapping[str, Any]) -> None:
    """Load a checkpoint's network; TrainingError when it is of another one."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        words = str(error).split("\n")[0].rstrip(":")
        raise TrainingError(
            f"{path}: the checkpoint is of another network ({words}); resume with the file this "
            "run began with, or start a new run"
        ) from error
