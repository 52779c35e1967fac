"""Reading and rewiring single nodes: what rewrite rules need and GraphSurgeon lacks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from .graph import Graph
from .inference import Shape
from .node_maker import new_node
from .operators import GLOBAL_POOLS


def stored(tensor: gs.Tensor | None) -> np.ndarray | None:
    """Return the array of a stored tensor; None for a computed one."""
    return tensor.values if isinstance(tensor, gs.Constant) else None


def values_of(tensor: gs.Tensor) -> np.ndarray:
    """Return the array of a tensor that is known to be stored; raises TypeError if it is not."""
    if not isinstance(tensor, gs.Constant):
        raise TypeError(f"{tensor.name} is computed; wanted a stored tensor")
    return tensor.values


def argument(node: gs.Node, index: int) -> gs.Tensor | None:
    """Return input ``index`` of ``node``; None where it is left out."""
    if index < len(node.inputs) and not node.inputs[index].is_empty():
        return node.inputs[index]
    return None


def sole_reader(graph: Graph, tensor: gs.Tensor) -> gs.Node | None:
    """Return the only node that reads ``tensor``; None if there are others or it is an output."""
    readers = graph.consumers(tensor)
    return readers[0] if len(readers) == 1 and not graph.is_output(tensor) else None


def why_not_bypassed(graph: Graph, node: gs.Node) -> str | None:
    """Say why ``node`` cannot be replaced by its first input; None if it can."""
    source, result = node.inputs[0], node.outputs[0]
    if not graph.is_output(result):
        return None
    if graph.producer(source) is None:
        return "it joins an input or a constant to the network's output"
    if graph.is_output(source):
        return "its input and its output are both outputs of the network"
    return None


def bypass(graph: Graph, node: gs.Node) -> None:
    """Make the readers of ``node`` read its first input; see :func:`why_not_bypassed`."""
    source, result = node.inputs[0], node.outputs[0]
    detach(node)
    if graph.is_output(result):
        source.shape, source.dtype = result.shape, result.dtype
    graph.replace_uses(result, source)


def become_constant(graph: Graph, tensor: gs.Tensor, values: np.ndarray) -> gs.Constant:
    """Replace a computed tensor by a stored one of the same name; its node ends without output."""
    constant = gs.Constant(tensor.name, np.ascontiguousarray(values).reshape(values.shape))
    for node in list(tensor.inputs):
        node.outputs = [t for t in node.outputs if t is not tensor]
    graph.replace_uses(tensor, constant)
    return constant


def set_input(node: gs.Node, index: int, tensor: gs.Tensor) -> None:
    """Make ``node`` read ``tensor`` as input ``index``; the index after the last appends it."""
    if index == len(node.inputs):
        node.inputs.append(tensor)
    else:
        node.inputs[index] = tensor


def set_inputs(node: gs.Node, tensors: Iterable[gs.Tensor]) -> None:
    """Replace the inputs of ``node`` by ``tensors``."""
    node.inputs = list(tensors)


def set_output(node: gs.Node, tensor: gs.Tensor, index: int = 0) -> None:
    """Make ``node`` compute ``tensor`` as output ``index``; no node computes the earlier one."""
    node.outputs[index] = tensor


def set_outputs(node: gs.Node, tensors: Iterable[gs.Tensor]) -> None:
    """Replace the outputs of ``node`` by ``tensors``."""
    node.outputs = list(tensors)


def detach(node: gs.Node) -> None:
    """Remove all inputs and outputs of ``node``, so that a cleanup drops it."""
    node.outputs.clear()
    node.inputs.clear()


def become_input(tensor: gs.Tensor) -> None:
    """Detach ``tensor`` from its producer, so that it can be an input of a network."""
    tensor.inputs.clear()


def leave_instead(old: gs.Tensor, new: gs.Tensor) -> None:
    """Make the node that computes ``old`` compute ``new`` instead."""
    node = old.inputs[0]
    set_output(node, new, next(i for i, tensor in enumerate(node.outputs) if tensor is old))


def read_through(
    graph: Graph, index: int, image: gs.Variable, op: str, attrs: dict[str, Any]
) -> None:
    """Let input ``index`` be like ``image``; one node makes of it what ``graph`` reads now."""
    inner = graph.inputs[index]
    inner.name = graph.new_name(f"{image.name}.{op.lower()}")
    outer = gs.Variable(image.name, image.dtype, list(image.shape))
    node = new_node(op, graph.new_name(f"{image.name}.turn"), [outer], [inner], attrs)
    graph.put_inputs([*graph.inputs[:index], outer, *graph.inputs[index + 1 :]])
    graph.insert([node])


def window(node: gs.Node) -> list[int] | None:
    """Return the kernel of a convolution or pooling node, e.g. [3, 3]; None if it is not known."""
    kernel: Any = node.attrs.get("kernel_shape")
    if kernel is None and node.op in ("Conv", "ConvTranspose", "ConvInteger"):
        shape = node.inputs[1].shape
        kernel = None if shape is None else shape[2:]
    if kernel is None or any(not isinstance(k, int | np.integer) for k in kernel):
        return None
    return [int(k) for k in kernel]


def ints(node: gs.Node, name: str, default: int, count: int) -> list[int]:
    """Return an integer list attribute such as ``strides``, or ``count`` times its default."""
    return [int(v) for v in node.attrs.get(name) or [default] * count]


def pools_image(node: gs.Node) -> bool:
    """Say whether ``node`` outputs one number per channel of an image, for any image size."""
    return node.op in GLOBAL_POOLS or averages_image(node)


def averages_image(node: gs.Node) -> bool:
    """Say whether that number is the mean: a GlobalAveragePool, or a ReduceMean over height and
    width.
    """
    if node.op != "ReduceMean":
        return bool(node.op == "GlobalAveragePool")
    axes = node.attrs.get("axes")
    axes = stored(argument(node, 1)) if axes is None else axes
    return axes is not None and sorted(int(axis) % 4 for axis in np.ravel(axes)) == [2, 3]


def known(shape: Shape | None) -> tuple[int, ...] | None:
    """Return ``shape`` if every dimension is a number, else None."""
    if shape is None or any(not isinstance(d, int) for d in shape):
        return None
    return tuple(d for d in shape if isinstance(d, int))


def elements(shape: Shape | None) -> int | None:
    """Return the number of elements, or None if a dimension is not a number."""
    numbers = known(shape)
    return None if numbers is None else math.prod(numbers)


def same_shape(a: Shape | None, b: Shape | None) -> bool:
    """Say whether two shapes are provably equal: same number or symbol in every dimension."""
    return a is not None and b is not None and a == b and None not in a


def remove_nodes(graph: Graph, nodes: Iterable[gs.Node]) -> None:
    """Remove nodes from the graph in linear time; their outputs must be unread."""
    gone = {id(node): node for node in nodes}
    touched: dict[int, gs.Tensor] = {}
    for node in gone.values():
        for tensor in [*node.inputs, *node.outputs]:
            touched[id(tensor)] = tensor
        list.clear(node.inputs)
        list.clear(node.outputs)
    for tensor in touched.values():
        for readers in (tensor.inputs, tensor.outputs):
            kept = [node for node in readers if id(node) not in gone]
            list.__setitem__(readers, slice(None), kept)
    graph.put_nodes(node for node in graph.nodes if id(node) not in gone)
