"""Free the batch dimension of a network that was exported for one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.surgery import argument, known, stored

BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class MakeBatchSymbolic(Pass):
    """Let a network for one image take any number of them.

    Matches  a network all of whose inputs have a first dimension of exactly 1.
    Changes  that dimension, and the outputs', becomes ``batch``; a Reshape to [1, ...] copies its
             input's first dimension (0) instead, a Resize to fixed sizes becomes one by scales.
    Keeps    outputs for one image; the interface widens on purpose. Left, unchanged, unless two
             images in one batch give in onnxruntime what each gives alone.
    """

    name: ClassVar[str] = "make-batch-symbolic"
    keeps: ClassVar[Keeps] = Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        firsts = [t.shape[0] if t.shape else None for t in graph.inputs]
        if not firsts or any(first != 1 for first in firsts):
            for tensor, first in zip(graph.inputs, firsts, strict=True):
                if isinstance(first, int) and first > 1:
                    report.left[tensor.name] = f"its batch is fixed to {first}, not 1"
            return report
        trial = graph.copy()
        undone = _Trial(trial, graph.infer(batch=1).shapes)
        for node in trial.nodes:
            undone.free(node)
        ends: list[gs.Tensor] = [*trial.inputs, *trial.outputs]
        for end in ends:
            if end.shape:
                end.shape = [BATCH, *end.shape[1:]]
        why_not = _why_not_apart(graph, trial)
        if why_not is not None:
            report.left[graph.inputs[0].name] = why_not
            return report
        graph.become(trial)
        report.rewrote.update(undone.rewrote)
        report.rewrote[graph.inputs[0].name] = f"1 -> {BATCH}"
        return report


class _Trial:
    """Rewrites the nodes that hold the batch as a number."""

    def __init__(self, graph: Graph, shapes: dict[str, Shape]) -> None:
        self.graph = graph
        self.shapes = shapes
        self.rewrote: dict[str, str] = {}
        self.rules: dict[str, Callable[[gs.Node], np.ndarray | None]] = {
            "Reshape": self._reshape,
            "Resize": self._resize,
        }

    def free(self, node: gs.Node) -> None:
        """Rewrite ``node`` if it holds the batch."""
        rule = self.rules.get(node.op)
        values = rule(node) if rule is not None else None
        if values is None:
            return
        place = 1
        if node.op == "Resize":
            place = 2
            node.inputs = list(node.inputs)[:3]
        made = gs.Constant(self.graph.new_name(f"{node.name}.{node.op.lower()}"), values)
        node.inputs[place] = made
        self.rewrote[node.name] = "batch freed"

    def _reshape(self, node: gs.Node) -> np.ndarray | None:
        target = stored(argument(node, 1))
        shape = self.shapes.get(node.inputs[0].name)
        if isinstance(node.inputs[0], gs.Constant) or target is None or target.size == 0:
            return None
        if target[0] != 1 or not shape or shape[0] != 1 or node.attrs.get("allowzero", 0):
            return None
        return np.array([0, *target[1:]], np.int64)

    def _resize(self, node: gs.Node) -> np.ndarray | None:
        sizes = stored(argument(node, 3))
        shape = known(self.shapes.get(node.inputs[0].name))
        if sizes is None or shape is None or "axes" in node.attrs or len(sizes) != len(shape):
            return None
        return np.array([out / side for out, side in zip(sizes, shape)], np.float32)


def _why_not_apart(graph: Graph, trial: Graph) -> str | None:
    """Say why a batch of two in ``trial`` is not two batches of one in ``graph``; None if it is."""
    from ..running.run import probe_size, random_feed
    from ..running.runner import Runner
    from ..running.verify import NOISE_FACTOR, noise

    runner = Runner()
    size = probe_size(graph, runner)
    one, two = random_feed(graph, size, seed=0), random_feed(graph, size, seed=1)
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    try:
        together = runner.run(trial, both)
        trial.refresh_shapes()
    except (PassFailedError, UnsupportedGraphError) as error:
        return f"with two images, {error}"
    apart = [runner.run(graph, one), runner.run(graph, two)]
    level: dict[str, float] = {}
    for name, pair in together.items():
        wanted = np.concatenate([apart[0][name], apart[1][name]])
        if pair.shape != wanted.shape:
            return f"with two images, output {name} has the shape {list(pair.shape)}"
        if np.array_equal(pair, wanted, equal_nan=True):
            continue
        level = level or noise(graph, one, runner=runner, base=apart[0])
        gap = float(np.abs(pair.astype(np.float64) - wanted.astype(np.float64)).max())
        if not gap <= NOISE_FACTOR * level[name]:
            return f"two images in one batch mix: output {name} differs by {gap:.3g}"
    return None
