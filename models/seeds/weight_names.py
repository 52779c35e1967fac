"""Key mappings: state_dicts in timm's and mit-han-lab's layout under this project's names.

Ours are torchvision's (``features.3.conv.1.0.weight``, ``layer1.0.conv1.weight``). timm names its
ResNets as torchvision does, its MBConv networks ``blocks.<stage>.<block>.conv_dw.weight``;
ProxylessNAS has ``blocks.<place>.mobile_inverted_conv.depth_conv.conv.weight``, and a skipped
place counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from .mbconv import BlockSpec, MBConvTable, Stage
from .resnet import ResNetTable

StateDict = dict[str, Tensor]
Table = MBConvTable | ResNetTable

OWN = {True: ("0.0", "0.1", "1.0", "1.1", "2", "3"), False: ("0.0", "0.1", "1", "2")}
"""Layers of one of our blocks in order, with and without its expansion convolution."""

TIMM = {
    True: ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    False: ("conv_dw", "bn1", "conv_pw", "bn2"),
}
PROXYLESS = tuple(
    f"mobile_inverted_conv.{layer}.{part}"
    for layer in ("inverted_bottleneck", "depth_conv", "point_linear")
    for part in ("conv", "bn")
)

FBNETC_EPSILON = 1e-3  # timm's fbnetc_100 weights were trained with it


def own_names(state: StateDict, table: Table) -> tuple[StateDict, Table]:
    """Return the weights under this project's names, and the network that they belong to.

    The network is ``table`` but for timm's FBNet-C, whose blocks of expansion 1 have an expansion
    convolution and whose BN has an epsilon of 1e-3. Other layouts are returned as they are.
    """
    if isinstance(table, ResNetTable):
        return state, table
    if "conv_stem.weight" in state:
        table = _as_published(state, table)
        return _renamed(state, _timm_parts(table)), table
    if "first_conv.conv.weight" in state:
        return _renamed(state, _proxyless_parts(table)), table
    return state, table


def _as_published(state: StateDict, table: MBConvTable) -> MBConvTable:
    """Give blocks of expansion 1 the expansion convolution that timm's file has for them."""
    stages = []
    for s, stage in enumerate(table.stages):
        words = []
        for b, spec in enumerate(stage.parse()):
            pointwise = spec.expansion == 1 and f"blocks.{s}.{b}.conv_pwl.weight" in state
            words.append(f"k{spec.kernel}e{spec.expansion}{'+' if pointwise else ''}")
        stages.append(Stage(" ".join(words), stage.channels, stage.stride))
    if not any("+" in stage.blocks for stage in stages):
        return table
    return replace(table, stages=tuple(stages), epsilon=FBNETC_EPSILON)


def _timm_parts(table: MBConvTable) -> dict[str, str]:
    parts = {"conv_stem": "features.0.0", "bn1": "features.0.1"}
    index = 0
    for s, stage in enumerate(table.stages):
        for b, spec in enumerate(stage.parse()):
            index += 1
            own = [f"features.{index}.conv.{layer}" for layer in OWN[spec.expands]]
            given = [f"blocks.{s}.{b}.{layer}" for layer in TIMM[spec.expands]]
            parts |= dict(zip(given, own, strict=True))
    return parts | {
        "conv_head": f"features.{index + 1}.0",
        "bn2": f"features.{index + 1}.1",
        "classifier": "classifier.1",
    }


def _proxyless_parts(table: MBConvTable) -> dict[str, str]:
    parts = {"first_conv.conv": "features.0.0", "first_conv.bn": "features.0.1"}
    index = 0
    for place, spec in enumerate(_places(table)):
        if spec is None:
            continue
        index += 1
        own = [f"features.{index}.conv.{layer}" for layer in OWN[spec.expands]]
        given = [f"blocks.{place}.{layer}" for layer in PROXYLESS[-len(own) :]]
        parts |= dict(zip(given, own, strict=True))
    return parts | {
        "feature_mix_layer.conv": f"features.{index + 1}.0",
        "feature_mix_layer.bn": f"features.{index + 1}.1",
        "classifier.linear": "classifier.1",
    }


def _places(table: MBConvTable) -> Iterator[BlockSpec | None]:
    for stage in table.stages:
        yield from stage.places()


def _renamed(state: StateDict, parts: dict[str, str]) -> StateDict:
    renamed: StateDict = {}
    for key, value in state.items():
        owner, _, kind = key.rpartition(".")
        renamed[f"{parts.get(owner, owner)}.{kind}"] = value
    return renamed
