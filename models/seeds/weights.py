"""Read weights from files and load them into a network."""

from __future__ import annotations

import logging
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import WeightsError

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

CLASSIFIERS = ("classifier.", "fc.")
_UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, TypeError),
    *(LookupError, AttributeError, struct.error),
)
"""What ``torch.load`` ends in on files that are no state_dicts."""
COUNTERS = ".num_batches_tracked"  # of no use to a trained network; files may lack them


def read_weights(path: Path) -> StateDict:
    """Read a ``.safetensors``, ``.pth`` or ``.pt`` file (no pickled code is run) as float32.

    A checkpoint's ``state_dict`` or ``model`` entry and the prefix ``module.`` are seen through.
    Raises WeightsError naming the file.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; give a .safetensors, .pth or .pt file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            loaded: object = load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    else:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except _UNREADABLE as error:
            raise WeightsError(
                f"{path}: torch cannot read it as a file of plain tensors "
                f"({type(error).__name__}); save it with torch.save(model.state_dict(), FILE) "
                "or as .safetensors"
            ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(f"{path}: no table of named tensors; wanted a state_dict")
    state = {str(k).removeprefix("module."): v for k, v in loaded.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def classes_in(state: StateDict) -> int | None:
    """Return the number of classes of the classifier in a state_dict; None without one."""
    for name in ("classifier.1.weight", "fc.weight"):
        if name in state:
            return int(state[name].shape[0])
    return None


def load_weights(model: nn.Module, state: StateDict, where: str) -> list[str]:
    """Load every weight into ``model``; return the names of freshly initialised classifier weights.

    The classifier alone may be missing, superfluous or of another number of classes (and what
    only feeds it, the last convolution, superfluous in a backbone); a fresh one is warned of.
    Raises WeightsError naming missing and unexpected keys or the first wrong shape.
    """
    expected = model.state_dict()
    own = {name for name in expected if not name.endswith(COUNTERS)}
    given = {name for name in state if not name.endswith(COUNTERS)}
    optional = {n for n in given - own if n.startswith(CLASSIFIERS)} | _last_conv(
        model, given - own
    )
    missing, unexpected = own - given, given - own - optional
    fresh = {
        name
        for name in own
        if name.startswith(CLASSIFIERS)
        and (name in missing or state[name].shape[0] != expected[name].shape[0])
    }
    if missing - fresh or unexpected:
        raise WeightsError(
            f"{where}: does not fit the network: {_some(missing - fresh)} missing, "
            f"{_some(unexpected)} unexpected; wanted torchvision's, timm's or ProxylessNAS's "
            "layout of the same architecture and width"
        )
    for name in sorted(own - fresh):
        if state[name].shape != expected[name].shape:
            raise WeightsError(
                f"{where}: {name} has shape {tuple(state[name].shape)}; the network wants "
                f"{tuple(expected[name].shape)}; is it of another width?"
            )
    model.load_state_dict({n: state[n] for n in own - fresh}, strict=False)
    if fresh:
        logger.warning(
            "%s: the classifier does not fit or is not there; a fresh one is used", where
        )
    return sorted(fresh)


def _last_conv(model: nn.Module, names: set[str]) -> set[str]:
    """Return those of ``names`` that belong to the convolution after the last stage."""
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential):
        return set()
    return {name for name in names if name.startswith(f"features.{len(features)}.")}


def _some(names: set[str]) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(sorted(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
