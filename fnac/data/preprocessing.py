"""What a network's manifest says about its pictures: size, mean, std, colour order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Triple = tuple[float, float, float]


def preprocessing(manifest: Mapping[str, Any]) -> tuple[Triple, Triple, str]:
    """Return mean, std (on pixels / 255) and colour order; ImageNet's where the file says none."""
    stated = manifest.get("preprocessing")
    if not stated:
        logger.warning("no preprocessing in the file: ImageNet's mean and std are used")
        return IMAGENET_MEAN, IMAGENET_STD, "RGB"
    mean, std = tuple(stated["mean"]), tuple(stated["std"])
    return mean, std, str(stated.get("color", "RGB"))


def manifest_size(manifest: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the manifest's (H, W), or None."""
    size = manifest.get("size")
    return (int(size[0]), int(size[1])) if size else None
