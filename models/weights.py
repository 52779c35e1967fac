"""Weights from files and from torchvision, in torchvision's or timm's parameter names."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import WeightsError
from .mbconv import MBConvTable

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

CLASSIFIER = "classifier."
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
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
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


def published_weights(table: MBConvTable) -> StateDict:
    """Fetch torchvision's ImageNet weights of this network, or take them from torch's cache.

    Raises WeightsError when there are none for it or when they cannot be fetched.
    """
    if table.name != "mobilenetv2":
        raise WeightsError(
            f"{table.name}: no ImageNet weights are published for it; give a file with "
            "--weights FILE, or --weights none for a random start"
        )
    from torchvision.models import MobileNet_V2_Weights

    try:
        return dict(MobileNet_V2_Weights.IMAGENET1K_V1.get_state_dict(progress=False))
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{table.name}: torchvision's ImageNet weights could not be downloaded ({reason}); "
            "give a local copy with --weights FILE, or --weights none for a random start"
        ) from error


def torchvision_names(state: StateDict, table: MBConvTable) -> StateDict:
    """Return the weights under torchvision's names; those in timm's layout are renamed."""
    if "conv_stem.weight" not in state:
        return state
    parts = {"conv_stem": "features.0.0", "bn1": "features.0.1"}
    index = 1
    for s, stage in enumerate(table.stages):
        for b, spec in enumerate(stage.parse()):
            timm, ours = f"blocks.{s}.{b}", f"features.{index}.conv"
            names: tuple[str, ...]
            places: tuple[str, ...]
            if spec.expansion == 1:
                names = ("conv_dw", "bn1", "conv_pw", "bn2")
                places = ("0.0", "0.1", "1", "2")
            else:
                names = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
                places = ("0.0", "0.1", "1.0", "1.1", "2", "3")
            parts |= {f"{timm}.{n}": f"{ours}.{p}" for n, p in zip(names, places)}
            index += 1
    parts |= {
        "conv_head": f"features.{index}.0",
        "bn2": f"features.{index}.1",
        "classifier": "classifier.1",
    }
    renamed: StateDict = {}
    for key, value in state.items():
        owner, _, kind = key.rpartition(".")
        renamed[f"{parts.get(owner, owner)}.{kind}"] = value
    return renamed


def classes_in(state: StateDict) -> int | None:
    """Return the number of classes of the classifier in a state_dict; None without one."""
    weight = state.get("classifier.1.weight")
    return None if weight is None else int(weight.shape[0])


def load_weights(model: nn.Module, state: StateDict, where: str) -> list[str]:
    """Put every weight into ``model``; returns the names of the classifier's fresh ones.

    The classifier alone may be missing, superfluous or of another number of classes (and what
    only feeds it, the last convolution, superfluous in a backbone); a fresh one is warned of.
    Raises WeightsError naming missing and unexpected keys or the first wrong shape.
    """
    wanted = model.state_dict()
    own = {name for name in wanted if not name.endswith(COUNTERS)}
    given = {name for name in state if not name.endswith(COUNTERS)}
    optional = {n for n in given - own if n.startswith(CLASSIFIER)} | _last_conv(model, given - own)
    missing, unexpected = own - given, given - own - optional
    fresh = {
        name
        for name in own
        if name.startswith(CLASSIFIER)
        and (name in missing or state[name].shape[0] != wanted[name].shape[0])
    }
    if missing - fresh or unexpected:
        raise WeightsError(
            f"{where}: does not fit the network: {_some(missing - fresh)} missing, "
            f"{_some(unexpected)} unexpected; wanted torchvision's or timm's layout of the same "
            "architecture and width"
        )
    for name in sorted(own - fresh):
        if state[name].shape != wanted[name].shape:
            raise WeightsError(
                f"{where}: {name} has shape {tuple(state[name].shape)}; the network wants "
                f"{tuple(wanted[name].shape)}; is it of another width?"
            )
    model.load_state_dict({n: state[n] for n in own - fresh}, strict=False)
    if fresh:
        logger.warning(
            "%s: the classifier does not fit or is not there; a fresh one is used", where
        )
    return sorted(fresh)


def _last_conv(model: nn.Module, names: set[str]) -> set[str]:
    """Return those of ``names`` that belong to the convolution behind the last stage."""
    features = model.get_submodule("features")
    if not isinstance(features, nn.Sequential):
        return set()
    return {name for name in names if name.startswith(f"features.{len(features)}.")}


def _some(names: set[str]) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(sorted(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
