"""Where published ImageNet weights come from, and how they are fetched."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from torch import Tensor

from ..errors import WeightsError

StateDict = dict[str, Tensor]

FBNETC_URL = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
    "fbnetc_100-c345b898.pth"
)
PROXYLESS_FILE = (
    "proxyless_mobile.pth of mit-han-lab's ProxylessNAS "
    "(github.com/han-cai/files, folder proxylessnas)"
)


def _torchvision(name: str) -> StateDict:
    import torchvision.models

    weights = getattr(torchvision.models, name).IMAGENET1K_V1
    return dict(weights.get_state_dict(progress=False))


def _fbnetc() -> StateDict:
    import torch

    return dict(
        torch.hub.load_state_dict_from_url(
            FBNETC_URL, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    )


SOURCES: dict[str, tuple[str, Callable[[], StateDict]]] = {
    "mobilenetv2": ("torchvision", lambda: _torchvision("MobileNet_V2_Weights")),
    "resnet18": ("torchvision", lambda: _torchvision("ResNet18_Weights")),
    "resnet50": ("torchvision", lambda: _torchvision("ResNet50_Weights")),
    "fbnetc": ("timm (fbnetc_100)", _fbnetc),
}
"""Seed -> who publishes its weights, how they are had."""

LICENCES = {
    "torchvision": "BSD-3-Clause (torchvision); trained on ImageNet-1k",
    "timm (fbnetc_100)": "Apache-2.0 (timm); trained on ImageNet-1k",
}


def published_weights(name: str) -> tuple[StateDict, str]:
    """Return the ImageNet weights of the seed called ``name`` and their licence.

    They are downloaded, or taken from torch's cache. Raises WeightsError when there are none for
    it or when they cannot be fetched.
    """
    if name == "proxyless":
        raise WeightsError(
            f"{name}: its weights are not downloaded; give {PROXYLESS_FILE} with --weights FILE "
            "(adapt: --set export.weights=FILE), or --weights none for a random start"
        )
    if name not in SOURCES:
        raise WeightsError(
            f"{name}: no ImageNet weights are published for it; give a file with "
            "--weights FILE, or --weights none for a random start"
        )
    publisher, fetch = SOURCES[name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            return fetch(), LICENCES[publisher]
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        copy = f" of {FBNETC_URL}" if name == "fbnetc" else ""
        raise WeightsError(
            f"{name}: {publisher}'s ImageNet weights could not be downloaded ({reason}); "
            f"give a local copy{copy} with --weights FILE, or --weights none for a random start"
        ) from error
