"""The seeds by name: network, size and weights."""

from __future__ import annotations

from dataclasses import dataclass

from .. import bundled
from ..errors import ModelError
from .mbconv import MBConvTable
from .resnet import ResNetTable
from .seed_names import BUNDLED, FAMILIES, parse_seed_name
from .tables import MOBILENETV2, TABLES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB pixels in [0, 1]; all seeds here were trained with these."""


@dataclass(frozen=True)
class Seed:
    """A network to start from.

    ``size`` is (H, W) in pixels; ``weights`` what is loaded unless the user says otherwise.
    """

    name: str
    table: MBConvTable | ResNetTable
    size: tuple[int, int] = (224, 224)
    weights: str = "imagenet"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def find_seed(name: str, width: float | None = None) -> Seed:
    """Return the seed called ``name``: ``resnet50``, ``mobilenetv2_w0.35``, ``bundled``.

    ``width`` multiplies the channels. Raises ModelError naming the seeds there are, or a width
    that contradicts the name.
    """
    if name == BUNDLED:
        if width not in (None, bundled.WIDTH):
            raise ModelError(f"bundled: its width is {bundled.WIDTH}, {width:g} was asked for")
        small = MOBILENETV2.scaled(bundled.WIDTH, bundled.LAST)
        return Seed(bundled.NAME, small, bundled.SIZE, weights="bundled")
    parsed = parse_seed_name(name)
    if parsed is None:
        known = ", ".join([*FAMILIES, BUNDLED])
        raise ModelError(
            f"seed {name!r}: no such seed; there are: {known} "
            "(and widths, as in mobilenetv2_w0.5); or timm:NAME, torchvision:NAME, an ONNX file"
        )
    family, named = parsed
    if named and width and named != width:
        raise ModelError(f"{name}: its name says width {named:g}, --width says {width:g}")
    scale = named or width or 1.0
    if scale <= 0:
        raise ModelError(f"{name}: width {scale:g}; wanted a number above 0")
    table = TABLES[family].scaled(scale)
    return Seed(table.name, table)
