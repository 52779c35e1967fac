"""A super network small enough to be searched in a test, and a data set that it can learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.super_network.choice_points import find_choice_points
from tests.support.graphs import graph

CLASSES = ("ground", "red", "blue")
CANDIDATES = {"k1e1": 1, "k3e1": 3, "k5e1": 5}
SIZE = 12


def tiny_super(layers: int = 3, width: int = 6, seed: int = 0) -> Graph:
    """Return a super network: a stem, ``layers`` layers of k1e1/k3e1/k5e1 (and skip), a head.

    The first layer has no ``skip``; the seed's choice is k3e1 everywhere.
    """
    weights: list[str] = []
    body: list[str] = []

    def conv_bn(name: str, source: str, inputs: int, outputs: int, kernel: int) -> str:
        weights.append(f"float[{outputs},{inputs},{kernel},{kernel}] {name}_weight")
        for part in ("gamma", "beta", "mean", "var"):
            weights.append(f"float[{outputs}] {name}_{part}")
        pad = kernel // 2
        body.append(
            f"{name}_conv = Conv<kernel_shape=[{kernel},{kernel}],pads=[{pad},{pad},{pad},{pad}]>"
            f"({source}, {name}_weight)"
        )
        body.append(
            f"{name}_bn = BatchNormalization<epsilon=1e-5>({name}_conv, {name}_gamma, "
            f"{name}_beta, {name}_mean, {name}_var)"
        )
        body.append(f"{name}_relu = Relu({name}_bn)")
        return f"{name}_relu"

    entry = conv_bn("stem", "image", 3, width, 3)
    for number in range(layers):
        layer = f"layer{number}"
        outs = [
            conv_bn(f"{layer}_{name}", entry, width, width, kernel)
            for name, kernel in CANDIDATES.items()
        ]
        if number:
            outs.append(entry)
        count = len(outs)
        weights.append(f"float[{count}] {layer}_alpha")
        shares = [f"{layer}_p{i}" for i in range(count)]
        weights.append(f"int64[{count}] {layer}_ones")
        body.append(f"{layer}_p = Softmax<axis=0>({layer}_alpha)")
        body.append(f"{', '.join(shares)} = Split<axis=0>({layer}_p, {layer}_ones)")
        mixed = []
        for i, (out, share) in enumerate(zip(outs, shares)):
            body.append(f"{layer}_m{i} = Mul({out}, {share})")
            mixed.append(f"{layer}_m{i}")
        body.append(f"{layer}_y = Sum({', '.join(mixed)})")
        entry = f"{layer}_y"
    weights.append(f"float[{len(CLASSES)},{width},1,1] head_weight")
    weights.append(f"float[{len(CLASSES)}] head_bias")
    body.append(f"logits = Conv<kernel_shape=[1,1]>({entry}, head_weight, head_bias)")
    text = (
        f"(float[N,3,{SIZE},{SIZE}] image) => (float[N,{len(CLASSES)},{SIZE},{SIZE}] logits) "
        f"<{', '.join(weights)}> {{ {' '.join(body)} }}"
    )
    values: dict[str, object] = {
        name: 1 for _, name in (w.split() for w in weights) if name.endswith(("_var", "_ones"))
    }
    made = graph(text, values=values)
    _fill(made, seed)
    _write_manifest(made, layers)
    return made


def _fill(made: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for constant in made.constants():
        shape, kind = constant.shape, constant.name.rsplit("_", 1)[-1]
        if kind == "weight":
            spread = np.sqrt(2 / np.prod(shape[1:]))
            constant.values = (spread * rng.standard_normal(shape)).astype(np.float32)
        elif kind in ("gamma", "var"):
            constant.values = np.ones(shape, np.float32)
        elif kind != "ones":
            constant.values = np.zeros(shape, np.float32)
    for node in made.nodes:
        if node.name == "logits":
            node.metadata["fnac.part"] = "head"


def _write_manifest(made: Graph, layers: int) -> None:
    costs = {cost.name: cost for cost in profile(made).nodes}
    points = find_choice_points(made)
    inside = {node.name for point in points for region in point.regions for node in region}
    alphas = {node.name for point in points for node in point.mixing}
    outside = [cost for name, cost in costs.items() if name not in inside | alphas]
    listed = []
    for number, point in enumerate(points):
        names = [*CANDIDATES, "skip"][: len(point.regions)]
        listed.append(
            {
                "name": f"layer{number}",
                "stage": 0 if number == 0 else 1,
                "candidates": [
                    {
                        "name": name,
                        "madds": sum(costs[node.name].madds for node in region),
                        "params": sum(costs[node.name].params for node in region),
                    }
                    for name, region in zip(names, point.regions, strict=True)
                ],
                "seed_choice": "k3e1",
            }
        )
    made.manifest = {
        "role": "super",
        "name": "tiny",
        "task": "seg",
        "size": [SIZE, SIZE],
        "preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3, "color": "RGB"},
        "num_classes": len(CLASSES),
        "classes": list(CLASSES),
        "layers": listed,
        "fixed_madds": sum(cost.madds for cost in outside),
        "fixed_params": sum(cost.params for cost in outside),
    }
    assert len(points) == layers


@dataclasses.dataclass(frozen=True)
class Squares:
    """Pictures of a red and a blue square on noise, made from the index."""

    count: int
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(self.first + index)
        image = rng.integers(60, 120, (3, SIZE, SIZE)).astype(np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for label, channel in ((1, 0), (2, 2)):
            top, left = rng.integers(0, SIZE - 4, 2)
            image[channel, top : top + 4, left : left + 4] = 250
            mask[top : top + 4, left : left + 4] = label
        mask[0, 0] = 255
        return torch.from_numpy(image), torch.from_numpy(mask)

    def id(self, index: int) -> str:
        return f"squares-{self.first + index}"


@dataclasses.dataclass(frozen=True)
class SquaresSource:
    """The squares as a data source: 16 to train, 8 to validate."""

    name: str = "squares"
    train: int = 16

    @property
    def classes(self) -> list[str]:
        return list(CLASSES)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "val")

    def split(self, name: str) -> Squares:
        return Squares(self.train) if name == "train" else Squares(8, first=1000)

    def check(self, splits: Sequence[str] | None = None) -> None:
        return None
