"""Free the batch dimension of a network that was exported for one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.surgery import argument, known, set_input, set_inputs, stored
from ..shapes.sized_shapes import known_at

BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class MakeBatchSymbolic(Pass):
    """Let a network for one image take any number of images.

    Matches  a network all of whose inputs have a first dimension of exactly 1.
    Changes  that dimension, and the outputs', becomes ``batch``; a Reshape to [1, ...] copies its
             input's first dimension (0) instead, one that merges the batch uses -1; a
             Resize to fixed sizes becomes one by scales; a reduction over images, rows and columns
             that keeps its axes becomes one over rows and columns, equal for one image; a
             Concat with a ConstantOfShape for one image, as exporters write the shortcut of more
             channels, becomes a Pad.
    Keeps    outputs for one image; the interface widens on purpose. Left unchanged unless two
             images in one batch give the same results in onnxruntime as each alone.
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
        stored = [end.name for end in graph.outputs if isinstance(end, gs.Constant)]
        if stored:
            report.left[graph.inputs[0].name] = f"output {stored[0]} is stored, whatever the image"
            return report
        trial = graph.copy()
        undone = _Trial(trial, known_at(graph, batch=1).shapes)
        for node in trial.nodes:
            undone.free(node)
        ends: list[gs.Tensor] = [*trial.inputs, *trial.outputs]
        for end in ends:
            if end.shape:
                end.shape = [BATCH, *end.shape[1:]]
        why_not = _why_not_free(graph, trial)
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
        if node.op.startswith("Reduce"):
            self._reduce(node)
            return
        if node.op == "Concat":
            self._concat(node)
            return
        rule = self.rules.get(node.op)
        values = rule(node) if rule is not None else None
        if values is None:
            return
        place = 1
        if node.op == "Resize":
            place = 2
            set_inputs(node, list(node.inputs)[:3])
        constant = gs.Constant(self.graph.new_name(f"{node.name}.{node.op.lower()}"), values)
        set_input(node, place, constant)
        self.rewrote[node.name] = "batch freed"

    def _reshape(self, node: gs.Node) -> np.ndarray | None:
        target = stored(argument(node, 1))
        shape = self.shapes.get(node.inputs[0].name)
        if isinstance(node.inputs[0], gs.Constant) or target is None or target.size == 0:
            return None
        if not shape or shape[0] != 1 or node.attrs.get("allowzero", 0):
            return None
        shuffles = len(shape) == 4 and len(target) > 2 and (target > 0).all()
        if target[0] > 1 and shuffles:  # (1, C, h, w) -> (C / 2, 2, h * w): it takes up the batch
            return np.array([-1, *target[1:]], np.int64)
        return np.array([0, *target[1:]], np.int64) if target[0] == 1 else None

    def _reduce(self, node: gs.Node) -> None:
        given = argument(node, 1)
        axes = node.attrs.get("axes") if given is None else stored(given)
        shape = self.shapes.get(node.inputs[0].name)
        apart = axes_without_batch(axes, shape, keeps=bool(node.attrs.get("keepdims", 1)))
        unknown = axes is None and (given is not None or node.attrs.get("noop_with_empty_axes", 0))
        if apart is None or unknown:
            return
        if self.graph.opset >= (13 if node.op == "ReduceSum" else 18):
            name = self.graph.new_name(f"{node.name}.axes")
            set_inputs(node, [node.inputs[0], gs.Constant(name, np.array(apart, np.int64))])
        else:
            node.attrs["axes"] = apart
        self.rewrote[node.name] = "batch freed"

    def _concat(self, node: gs.Node) -> None:
        """Replace a Concat with a constant for one image by a Pad, which takes any batch."""
        fills = [self._fill(tensor) for tensor in node.inputs]
        others = [i for i, fill in enumerate(fills) if fill is None]
        if len(others) != 1 or len(fills) < 2 or self.graph.opset < 11:
            return
        place = others[0]
        shape = self.shapes.get(node.inputs[place].name)
        known_fills = [fill for fill in fills if fill is not None]
        sizes = [fill[0] for fill in known_fills]
        if shape is None or any(len(size) != len(shape) for size in sizes):
            return
        axis = int(node.attrs["axis"]) % len(shape)
        values = {value.tobytes(): value for _, value in known_fills}
        if axis == 0 or len(values) != 1 or any(size[0] != 1 for size in sizes):
            return
        amounts = [0 if fill is None else int(fill[0][axis]) for fill in fills]
        pads = np.zeros(2 * len(shape), np.int64)
        pads[axis], pads[len(shape) + axis] = sum(amounts[:place]), sum(amounts[place + 1 :])
        name = self.graph.new_name(f"{node.name}.pads")
        value = gs.Constant(self.graph.new_name(f"{node.name}.value"), next(iter(values.values())))
        data = node.inputs[place]
        node.op = "Pad"
        node.attrs = {"mode": "constant"}
        set_inputs(node, [data, gs.Constant(name, pads), value])
        self.rewrote[node.name] = "batch freed"

    def _fill(self, tensor: gs.Tensor) -> tuple[np.ndarray, np.ndarray] | None:
        """Return shape and value of a tensor of one number everywhere; None for any other."""
        maker = self.graph.producer(tensor)
        if maker is None or maker.op != "ConstantOfShape":
            return None
        shape, value = stored(maker.inputs[0]), maker.attrs.get("value")
        if shape is None or not len(shape):
            return None
        fill = np.float32(0) if value is None else np.asarray(value.values).reshape(())
        return shape, np.asarray(fill)

    def _resize(self, node: gs.Node) -> np.ndarray | None:
        sizes = stored(argument(node, 3))
        shape = known(self.shapes.get(node.inputs[0].name))
        if sizes is None or shape is None or "axes" in node.attrs or len(sizes) != len(shape):
            return None
        return np.array([out / side for out, side in zip(sizes, shape)], np.float32)


def axes_without_batch(
    axes: Iterable[int] | np.ndarray | None, shape: Shape | None, *, keeps: bool
) -> list[int] | None:
    """Return the axes of a reduction over one image (first size 1), without the batch axis.

    axes     as the node says, negative ones from the end; None: all
    keeps    whether the axes stay, with size 1
    returns  None where nothing is to be changed: it does not go over the batch together with other
             axes, or drops them, and its answer has no place for several images
    """
    if shape is None or len(shape) < 2 or shape[0] != 1 or not keeps:
        return None
    over = sorted({int(a) % len(shape) for a in (range(len(shape)) if axes is None else axes)})
    return over[1:] if over[:1] == [0] and len(over) > 1 else None


def _why_not_free(graph: Graph, trial: Graph) -> str | None:
    """Say why a batch of two in ``trial`` is not two batches of one in ``graph``; None if it is."""
    from ..running.batch import why_not_two

    why_not = why_not_two(graph, trial)
    if why_not is None:
        try:
            trial.refresh_shapes()
        except UnsupportedGraphError as error:
            return f"with two images, {error}"
    return why_not
