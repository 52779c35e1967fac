"""A small searchable network as exporters write it, and every stage of fnac that takes one.

``STAGES`` is what a sweep goes through: each stage gets the file and asserts what has to hold there
whatever the file's spelling. ``QUICK`` leaves out ``expanded``, which takes seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from fnac.importer import import_onnx
from fnac.inspection.inspect import InspectSettings, inspect_file
from fnac.inspection.profile import ProfileSettings, profile_file
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed, run
from fnac.passes.running.verify import compare
from fnac.passes.stored_layers import read_layers
from fnac.stages.derive import DeriveSettings, derive
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.opening.canonical import take_pictures
from fnac.stages.opening.pairs import check_pair
from tests.support.written_nets import Written

Size = tuple[int, int]
SIZE: Size = (32, 48)
CHANNELS, HIDDEN = 4, 12
BLOCKS = 2
WEIGHTS = 3 * CHANNELS * 9 + BLOCKS * (2 * CHANNELS * HIDDEN + 9 * HIDDEN)
BIASES = CHANNELS + BLOCKS * (2 * HIDDEN + CHANNELS)


def backbone(net: Written, x: str) -> str:
    """Write a first layer and two inverted residual blocks of stride 1; return 4 channels."""

    def layer(x: str, *shape: int, act: bool = True, g: int = 1) -> str:
        o, i, k = shape
        weight, bias = net.weight(o, i, k, k), net.weight(o)
        made = net.op("Conv", x, weight, bias, kernel_shape=[k, k], pads=[k // 2] * 4, group=g)
        return str(net.op("Relu", made) if act else made)

    x = layer(x, CHANNELS, 3, 3)
    for _ in range(BLOCKS):
        wide = layer(x, HIDDEN, CHANNELS, 1)
        deep = layer(wide, HIDDEN, 1, 3, g=HIDDEN)
        x = str(net.op("Add", layer(deep, CHANNELS, HIDDEN, 1, act=False), x))
    return x


def madds(size: Size) -> int:
    """Return the multiply-adds of the backbone: every weight at every place."""
    return WEIGHTS * size[0] * size[1]


@dataclasses.dataclass(frozen=True)
class Case:
    """A file in a folder: the size of its images, and what it computes with beyond the backbone.

    ``own``  (blocks, multiply-adds, parameters) of a network that is not upon ``backbone``
    """

    path: Path
    size: Size | None = None
    more_madds: int = 0
    more_weights: int = 0
    own: tuple[int, int, int] | None = None

    @property
    def blocks(self) -> int:
        """Return the number of searchable blocks."""
        return self.own[0] if self.own else BLOCKS

    @property
    def madds(self) -> int:
        """Return the multiply-adds of the network."""
        if self.own:
            return self.own[1]
        return madds(self.size or SIZE) + self.more_madds

    @property
    def weights(self) -> int:
        """Return the number of parameters."""
        if self.own:
            return self.own[2]
        return WEIGHTS + BIASES + self.more_weights

    def beside(self, name: str) -> Path:
        """Return a path for what a stage writes."""
        return self.path.with_name(name)


def inspected(case: Case) -> None:
    """``inspect`` finds the blocks."""
    assert len(inspect_file(case.path, InspectSettings()).blocks) == case.blocks


def profiled(case: Case) -> None:
    """``profile`` counts the products and the weights, no more and no less."""
    counted, _ = profile_file(case.path, ProfileSettings(case.size))
    assert (counted.madds, counted.params) == (case.madds, case.weights)


def imported(case: Case) -> None:
    """The importer answers two images as onnxruntime answers each of them."""
    graph = Graph.load(case.path)
    apart = [
        {name: array[:1] for name, array in random_feed(graph, case.size, random_seed=seed).items()}
        for seed in (0, 1)
    ]
    module = import_onnx(onnx.load(case.path)).eval()
    assert sum(p.numel() for p in module.parameters()) == case.weights
    check_pair(module, graph)
    both = [torch.from_numpy(np.concatenate([one[n] for one in apart])) for n in apart[0]]
    with torch.no_grad():
        made = module(*both)
    found = [one.numpy() for one in (made if isinstance(made, tuple) else (made,))]
    right = [list(run(graph, one).values()) for one in apart]
    for mine, theirs in zip(found, zip(*right, strict=True), strict=True):
        np.testing.assert_allclose(mine, np.concatenate(theirs), rtol=1e-4, atol=1e-4)


def emitted(case: Case) -> None:
    """The emitted file answers as the file does, with the same weights."""
    made = emit(case.path, case.beside("emitted.onnx"), EmitSettings(size=case.size))
    assert made.profile.params == case.weights
    before, after = Graph.load(case.path), Graph.load(made.path)
    assert compare(before, after, size=case.size).equal
    floats = [c for c in after.constants() if c.values.dtype.kind == "f" and c.values.ndim]
    norms = [node for node in after.nodes if node.op == "BatchNormalization"]  # not folded
    trained = {t.name for node in norms for t in node.inputs[1:3]}
    kept = {t.name: t.shape[0] for node in norms for t in node.inputs[3:]}
    statistics = sum(length for name, length in kept.items() if name not in trained)
    # the scales of a Resize are four floats as well
    assert 0 <= sum(c.values.size for c in floats) - case.weights - statistics <= 4


def expanded(case: Case) -> None:
    """``expand`` gives every block a choice, and the seed comes back out of it."""
    seed = Graph.load(case.path)
    made = expand(Graph.load(case.path), ExpandSettings(size=case.size))
    assert len(read_layers(made.manifest)) == case.blocks
    made.save(case.beside("super.onnx"))
    derive(case.beside("super.onnx"), case.beside("back.onnx"), DeriveSettings(), arch="seed")
    take_pictures(seed, PassManager(verify=False))
    same = compare(seed, Graph.load(case.beside("back.onnx")), size=case.size)
    assert same.equal, same.detail


Stage = Callable[[Case], None]
QUICK: tuple[Stage, ...] = (inspected, profiled, imported, emitted)
STAGES: tuple[Stage, ...] = (*QUICK, expanded)


def through(
    model: onnx.ModelProto,
    folder: Path,
    size: Size | None = None,
    *,
    more_madds: int = 0,
    more_weights: int = 0,
    own: tuple[int, int, int] | None = None,
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Take a model through stages; the first that fails is named."""
    case = Case(folder / "net.onnx", size, more_madds, more_weights, own)
    onnx.save(model, case.path)
    for stage in stages:
        try:
            stage(case)
        except Exception as error:
            error.add_note(f"stage: {stage.__name__}")
            raise
