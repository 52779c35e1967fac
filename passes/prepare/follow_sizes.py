"""Make fixed sizes inside a network follow the image, so that it takes other sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..errors import UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.node_maker import NodeMaker, part_of_shape, resized_like
from ..graph.operators import RESIZES
from ..graph.surgery import argument, known, set_input, set_inputs, stored
from ..shapes.sized_shapes import known_at

SYMBOLS = ("height", "width")
RESIZE_SINCE = 13


@dataclasses.dataclass(frozen=True)
class FollowSizes(Pass):
    """Make a Resize or Reshape with fixed height and width read them from a tensor.

    Matches  in a network for images of one size: 1. Resize (N, C, h, w) -> (N, C, H, W) where H
             and W would stay if the image had another size (a decoder, as exporters write it);
             2. Reshape (..., H, W) -> (..., H, W) to a stored shape (a channel shuffle);
             3. Reshape (..., H, W) -> (..., H * W, ...) to a stored shape (a detector's outputs),
             4. and back, (..., H * W) -> (..., H, W) (a shuffle over three dimensions).
    Changes  1. its sizes are computed: those of the image if H and W are the image's, else
             those of the tensor computed last before it that has them and follows the image;
             2. the sizes are those of what it reads, 4. or of the maps that became rows;
             3. the product becomes -1, or is computed where -1 has to stand for the batch.
    Keeps    interface and outputs, bit-identical. Left where no tensor has this size.
    """

    name: ClassVar[str] = "follow-sizes"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        images = [t for t in graph.inputs if t.shape is not None and len(t.shape) == 4]
        if len(images) != 1 or not _are_numbers(images[0].shape[2:]):
            return report
        shapes = known_at(graph).shapes
        for node in list(graph.nodes):
            if node.op == "Reshape":
                report.note(node.name, _follow_input(graph, node, shapes))
        if not any(node.op in RESIZES for node in graph.nodes):
            return report
        try:
            free = known_at(graph, SYMBOLS).shapes
        except UnsupportedGraphError as error:
            report.left[images[0].name] = f"its size cannot be freed: {error}"
            return report
        following: list[gs.Tensor] = [images[0]]
        for node in list(graph.nodes):
            output = node.outputs[0] if node.outputs else None
            if output is None or len(shapes.get(output.name, ())) != 4:
                continue
            if not _are_numbers(free.get(output.name, (0,) * 4)[2:]):
                following.append(output)
            elif node.op in RESIZES:
                report.note(node.name, _follow(graph, node, shapes, following))
        graph.cleanup()
        return report


def _are_numbers(sides: Sequence[object]) -> bool:
    return all(isinstance(side, int) for side in sides)


def _follow_input(graph: Graph, node: gs.Node, shapes: dict[str, Shape]) -> Rewrote | Left | None:
    """Free a Reshape to a stored shape from the height and width of what it reads."""
    target = stored(argument(node, 1))
    source = shapes.get(node.inputs[0].name, ())
    if target is None or target.ndim != 1 or not source or isinstance(node.inputs[0], gs.Constant):
        return None
    maps = _maps_in_front(graph, node.inputs[0], target, shapes)
    sides = None if maps is None else known(shapes[maps.name][-2:])
    if maps is None or sides is None or sides == (1, 1):
        return None
    as_sides = len(target) >= 4 and tuple(target[-2:]) == sides
    product = sides[0] * sides[1]
    places = np.flatnonzero(target == product)
    one = len(places) == 1 and not (target <= 0).any() and maps is node.inputs[0]
    absorbs = source[0] == 1 and target[0] > 1 and one and places[0] != 0
    if not as_sides and one and not absorbs:
        free = target.copy()
        free[places[0]] = -1
        set_input(node, 1, gs.Constant(graph.new_name(f"{node.inputs[1].name}.free"), free))
        return Rewrote(f"{product} -> whatever is left")
    if not as_sides and not absorbs:
        return None
    if graph.opset < RESIZE_SINCE:
        return Left(f"operator set {graph.opset} is below {RESIZE_SINCE}; raise-opset first")
    make = NodeMaker(graph, f"{node.name}.size", node.metadata.get("fnac.part", "backbone"))
    rank = len(shapes[maps.name])
    if as_sides:
        front = np.array(target[:-2])
        if front[0] == source[0]:
            front[0] = 0  # the batch, which may be freed as well
        back = part_of_shape(make, maps, rank - 2, rank)
        set_input(node, 1, make("Concat", front, back, axis=0, dtype=np.int64))
    else:  # (1, C, h, w) -> (C / 2, 2, h * w): the first number takes up the batch
        high, wide = (part_of_shape(make, maps, at, at + 1) for at in (rank - 2, rank - 1))
        area = make("Mul", high, wide, dtype=np.int64)
        front = np.array([-1, *target[1 : places[0]]], np.int64)
        back_numbers = np.array(target[places[0] + 1 :], np.int64)
        parts: list[gs.Tensor | np.ndarray] = [front, area]
        if back_numbers.size:
            parts.append(back_numbers)
        set_input(node, 1, make("Concat", *parts, axis=0, dtype=np.int64))
    graph.insert(make.nodes, after=_before(graph, node))
    like = "what it reads" if maps is node.inputs[0] else maps.name
    return Rewrote(f"...x{sides[0]}x{sides[1]} -> the size of {like}")


def _maps_in_front(
    graph: Graph, tensor: gs.Tensor, target: np.ndarray, shapes: dict[str, Shape]
) -> gs.Tensor | None:
    """Return the maps that have the sizes ``wanted``: the input, or what its rows came from."""
    if len(shapes.get(tensor.name, ())) >= 4:
        return tensor
    while (maker := graph.producer(tensor)) is not None and maker.op in ("Reshape", "Transpose"):
        tensor = maker.inputs[0]
        shape = shapes.get(tensor.name, ())
        if len(shape) >= 4 and len(target) >= 4 and tuple(target[-2:]) == tuple(shape[-2:]):
            return tensor
    return None


def _follow(
    graph: Graph, node: gs.Node, shapes: dict[str, Shape], following: list[gs.Tensor]
) -> Rewrote | Left:
    if graph.opset < RESIZE_SINCE:
        return Left(f"operator set {graph.opset} is below {RESIZE_SINCE}; raise-opset first")
    if node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch" or "axes" in node.attrs:
        return Left("it keeps an aspect ratio or names axes")
    sides = known(shapes[node.outputs[0].name][2:])
    source = known(shapes.get(node.inputs[0].name, ())[2:])
    scales = stored(argument(node, 2))
    if sides is None or source is None:
        return Left("its size is not known")
    if scales is not None and scales.size and not _exact(scales, source, sides):
        return Left("its scales do not give whole sizes")
    same = [t for t in following if _sides(t, shapes) == sides]
    if not same:
        return Left(f"no tensor of {sides[0]}x{sides[1]} follows the image")
    like = same[0] if same[0] is following[0] else same[-1]
    make = NodeMaker(graph, f"{node.name}.size", node.metadata.get("fnac.part", "backbone"))
    inputs = resized_like(make, node.inputs[0], like, argument(node, 1))
    graph.insert(make.nodes, after=_before(graph, node))
    set_inputs(node, inputs)
    return Rewrote(f"{sides[0]}x{sides[1]} -> the size of {like.name}")


def _sides(tensor: gs.Tensor, shapes: dict[str, Shape]) -> tuple[int, ...] | None:
    return known(shapes.get(tensor.name, tensor.shape or ())[2:])


def _exact(scales: np.ndarray, source: tuple[int, ...], result: tuple[int, ...]) -> bool:
    return all(a * float(s) == b for a, s, b in zip(source, scales[2:], result))


def _before(graph: Graph, node: gs.Node) -> gs.Node | None:
    place = next(i for i, other in enumerate(graph.nodes) if other is node)
    return graph.nodes[place - 1] if place else None
