"""Names of the seeds. No torch, so that a typo is reported at once."""

from __future__ import annotations

import re

FAMILIES = ("mobilenetv2", "resnet18", "resnet50", "fbnetc", "proxyless")
"""The networks of ``tables.TABLES``, at any width."""
BUNDLED = "bundled"
MEANINGS = {
    "mobilenetv2": "MobileNetV2, ImageNet, 224x224; any width: mobilenetv2_w0.5",
    "resnet18": "ResNet-18, ImageNet, 224x224; any width",
    "resnet50": "ResNet-50, ImageNet, 224x224; any width",
    "fbnetc": "FBNet-C, ImageNet, 224x224; any width",
    "proxyless": "ProxylessNAS (mobile), ImageNet, 224x224; any width",
    BUNDLED: "MobileNetV2 at width 0.35, trained on CIFAR-10; comes with fnac, no download",
}
"""Name of a seed -> what it is."""
_FORM = re.compile(r"([a-z0-9]+?)(?:_w(\d+(?:\.\d+)?))?")


def parse_seed_name(name: str) -> tuple[str, float | None] | None:
    """Return (family, width or None) of ``mobilenetv2_w0.5``; None: no seed has this name."""
    match = _FORM.fullmatch(name)
    if match is None or match[1] not in (*FAMILIES, BUNDLED):
        return None
    if match[1] == BUNDLED and match[2]:  # it is of one width
        return None
    return match[1], float(match[2]) if match[2] else None
