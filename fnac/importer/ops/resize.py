"""Resize, Upsample, and sampling at computed places: GridSample, AffineGrid."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import fx

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Constant, Node
from ..runtime import resizing

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@converter("Upsample", 1)
def upsample_by_two_scales(builder: Builder, node: Node) -> Any:
    """Upsample of version 1: height_scale and width_scale."""
    scales = [1.0, 1.0, node.get("height_scale"), node.get("width_scale")]
    return _resize(builder, node, scales, None, "asymmetric", "floor")


@converter("Upsample", 7)
def upsample_by_attribute(builder: Builder, node: Node) -> Any:
    """Upsample with its scales as an attribute."""
    return _resize(builder, node, node.get("scales"), None, "asymmetric", "floor")


@converter("Upsample", 9)
@converter("Resize", 10)
def upsample(builder: Builder, node: Node) -> Any:
    """Upsample, and the first Resize: scales as the second input, asymmetric."""
    scales = builder.numbers(node.inputs[1])
    return _resize(builder, node, scales, None, "asymmetric", "floor")


@converter("Resize", 11)
def resize(builder: Builder, node: Node) -> Any:
    """Resize -> F.interpolate where torch has the mode, else weights along each axis."""
    scales = _given(builder, node, 2)
    sizes = _given(builder, node, 3) if scales is None else None
    where = node.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.get("nearest_mode", "round_prefer_floor")
    return _resize(builder, node, scales, sizes, where, rounding)


def _given(builder: Builder, node: Node, index: int) -> Any:
    value = node.input(index)
    if value is None or (isinstance(value, Constant) and value.tensor.numel() == 0):
        return None
    return builder.numbers(value)


def _resize(
    builder: Builder, node: Node, scales: Any, sizes: Any, where: str, rounding: str
) -> Any:
    x, rank = node.inputs[0], builder.rank(node)
    mode = {"bilinear": "linear", "trilinear": "linear"}.get(
        node.get("mode", "nearest"), node.get("mode", "nearest")
    )
    axes = node.get("axes")
    quick = _interpolation(node, rank, scales, sizes, mode, where, rounding, axes)
    if quick is not None:
        arguments = {"mode": quick[0], "align_corners": quick[1]}
        if sizes is not None:
            return builder.call(
                F.interpolate, x, size=tuple(sizes[-((rank or 4) - 2) :]), **arguments
            )
        factors = tuple(scales[-((rank or 4) - 2) :])
        return builder.call(F.interpolate, x, scale_factor=factors, **arguments)
    regions = node.input(1) if node.op == "Resize" and node.version >= 11 else None
    roi = builder.numbers(regions) if where == "tf_crop_and_resize" else None
    setting = resizing.Setting(
        mode,
        where,
        rounding,
        node.get("cubic_coeff_a", -0.75),
        bool(node.get("exclude_outside", 0)),
        bool(node.get("antialias", 0)),
        node.get("extrapolation_value", 0.0),
        node.get("keep_aspect_ratio_policy", "stretch"),
    )
    known = builder.facts.shape(node.tensors[0])
    plain = sizes is not None and axes is None and setting.policy == "stretch"
    if plain and known and sizes[0] == known[0]:
        axes, sizes = list(range(1, len(known))), list(sizes[1:])  # the batch is never resized
        if isinstance(roi, list):
            roi = [*roi[1 : len(known)], *roi[len(known) + 1 :]]
    return builder.call(resizing.resize, x, scales, sizes, roi, axes, tuple(setting))


def _interpolation(
    node: Node,
    rank: int | None,
    scales: Any,
    sizes: Any,
    mode: str,
    where: str,
    rounding: str,
    axes: list[int] | None,
) -> tuple[str, bool | None] | None:
    """Return F.interpolate's mode and align_corners where they mean the same, else None."""
    special = (
        node.get("antialias", 0)
        or node.get("exclude_outside", 0)
        or node.get("keep_aspect_ratio_policy", "stretch") != "stretch"
        or node.get("cubic_coeff_a", -0.75) != -0.75
    )
    given = scales if scales is not None else sizes
    if special or rank not in _LINEAR or not isinstance(given, list):
        return None
    spatial = rank - 2
    if axes is not None and [a % rank for a in axes] != list(range(2, rank)):
        return None
    if len(given) == rank and scales is not None and given[:2] != [1, 1]:
        return None
    if len(given) == rank and sizes is not None and axes is None:
        given = given[2:]  # batch and channels stay as they are
    if scales is not None and any(isinstance(n, fx.Node) for n in given[-spatial:]):
        return None
    one = sizes is not None and any(n == 1 for n in given[-spatial:])
    if mode == "nearest" and where == "asymmetric" and rounding == "floor":
        return "nearest", None
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel") and not one:
        return _LINEAR[rank], False
    if mode == "linear" and where == "align_corners":
        return _LINEAR[rank], True
    if mode == "cubic" and rank == 4 and where in ("half_pixel", "pytorch_half_pixel") and not one:
        return "bicubic", False
    if mode == "cubic" and rank == 4 and where == "align_corners":
        return "bicubic", True
    return None


_SAMPLING = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest",
             "bicubic": "bicubic", "cubic": "bicubic"}  # fmt: skip


@converter("GridSample", 16)
def grid_sample(builder: Builder, node: Node) -> Any:
    """GridSample -> F.grid_sample; before version 20 the modes have the names of images."""
    return builder.call(
        F.grid_sample,
        node.inputs[0],
        node.inputs[1],
        _SAMPLING[node.get("mode", "linear")],
        node.get("padding_mode", "zeros"),
        bool(node.get("align_corners", 0)),
    )


@converter("AffineGrid", 20)
def affine_grid(builder: Builder, node: Node) -> Any:
    """AffineGrid -> F.affine_grid."""
    size = builder.numbers(node.inputs[1])
    return builder.call(F.affine_grid, node.inputs[0], size, bool(node.get("align_corners", 0)))
