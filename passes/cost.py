"""Costs of a network per node: multiply-adds (MAdds = MACs = FLOPs/2), parameters, memory.

Two conventions, by name:

``exact``  multiply-adds of Conv, ConvTranspose (at its input positions), Gemm and MatMul; nothing
           for biases, normalisation, activations or resampling. The same before and after BN
           folding.
``paper``  the counting of the FNA++ tables: Conv as above plus one per output value where the Conv
           has a bias initializer; ConvTranspose charged at output positions; Gemm and MatMul as
           above plus their bias. Count before BN is folded: folding adds biases.

Parameters are weights, biases, BN gamma and beta (not the statistics); a tensor shared by several
nodes counts once as parameters (for its first node) and once per node as MAdds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import onnx_graphsurgeon as gs

from .errors import UnsupportedGraphError
from .graph import Graph, Shape
from .graph.convolution import Conv
from .graph.layout import image_axes
from .graph.stored_numbers import FLOATS, is_padding
from .graph.tensor_checks import is_float
from .shapes.sized_shapes import shapes_at

CONVENTIONS = ("exact", "paper")
INTEGER_WEIGHTS = {
    "DequantizeLinear": 0, "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3,
    "QLinearMatMul": 3,
}  # fmt: skip
NOT_COUNTED = (
    "Einsum", "LSTM", "GRU", "RNN", "Attention", "DeformConv", "If", "Loop", "Scan", "DFT", "STFT",
)  # fmt: skip
"""Operators that hold products which are counted nowhere; who counts says so."""
HOLDS_BODIES = ("If", "Loop", "Scan")
HANDS_ON = ("Identity", "Cast")  # operators that leave the numbers of what they read as they are
READS_NUMBERS = (  # sizes, limits, thresholds: never trained
    *("Resize", "Upsample", "Clip", "Pad", "Dropout", "Range", "Tile", "TopK"),
    "NonMaxSuppression",
)
BN_STATISTICS = (3, 4)  # inputs of BatchNormalization that are not parameters


@dataclasses.dataclass(frozen=True)
class NodeCost:
    """Cost of one node: multiply-adds, parameters (elements), output shape and its bytes."""

    name: str
    op: str
    madds: int
    params: int
    output_shape: tuple[int, ...]
    activation_bytes: int
    part: str


NAMED_NODES = 5
"""Nodes without a count that a note names."""
SHOWN_OPS = 6
"""Operators that a printed profile names."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """The cost of a network at one input size under one convention.

    batch  1, or the file's own, where it computes with no other
    """

    convention: str
    size: tuple[int, int] | None
    nodes: tuple[NodeCost, ...]
    batch: int = 1

    @property
    def madds(self) -> int:
        """Multiply-adds of the whole network."""
        return sum(node.madds for node in self.nodes)

    @property
    def params(self) -> int:
        """Parameters of the whole network; shared tensors once."""
        return sum(node.params for node in self.nodes)

    @property
    def notes(self) -> list[str]:
        """Sentences on what the numbers leave out, or are of; [] where nothing is to be said."""
        several = f"the file computes with batches of {self.batch} alone: counted are all images"
        return [*([several] if self.batch > 1 else []), *uncounted(self.nodes)]

    def by(self, key: str) -> dict[str, tuple[int, int]]:
        """Sum (madds, params) by ``op`` or ``part``, largest first."""
        sums: dict[str, tuple[int, int]] = {}
        for node in self.nodes:
            group = str(getattr(node, key))
            madds, params = sums.get(group, (0, 0))
            sums[group] = (madds + node.madds, params + node.params)
        return dict(sorted(sums.items(), key=lambda item: -item[1][0]))

    def __repr__(self) -> str:
        at = "" if self.size is None else " at {}x{}".format(*self.size)
        lines = [
            f"Profile of {len(self.nodes)} nodes{at} ({self.convention})",
            f"  MAdds   {self.madds:,}",
            f"  params  {self.params:,}",
        ]
        for op, (madds, params) in list(self.by("op").items())[:SHOWN_OPS]:
            lines.append(f"  {op:<22} {madds:>15,} MAdds {params:>13,} params")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac profile --json`` prints."""
        return {
            "convention": self.convention,
            "size": list(self.size) if self.size else None,
            "params": self.params,
            "madds": self.madds,
            "nodes": [dataclasses.asdict(node) for node in self.nodes],
            **({"notes": self.notes} if self.notes else {}),
        }


def uncounted(nodes: Iterable[NodeCost | gs.Node]) -> list[str]:
    """Return sentences on the nodes that hold products which are not counted; [] without any."""
    left = [node for node in nodes if node.op in NOT_COUNTED]
    if not left:
        return []
    named = ", ".join(f"{node.name} ({node.op})" for node in left[:NAMED_NODES])
    more = f" and {len(left) - NAMED_NODES} more" if len(left) > NAMED_NODES else ""
    bodies = ", and weights in their bodies" if any(n.op in HOLDS_BODIES for n in left) else ""
    return [f"products of these nodes{bodies} are not counted: {named}{more}"]


def profile(graph: Graph, size: Sequence[int] | None = None, convention: str = "exact") -> Profile:
    """Count every node of ``graph`` for a batch of one.

    size        (H, W) of the image inputs; default: the file's, else its manifest's
    convention  ``exact`` or ``paper``

    Raises UnsupportedGraphError naming the first node whose shape is not known in numbers.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r}; known: {', '.join(CONVENTIONS)}")
    at = tuple(size) if size else graph.image_size()
    shapes = _shapes_at(graph, at)
    params = owned_parameters(graph.nodes)
    nodes = []
    for node in graph.nodes:
        out = node.outputs[0] if node.outputs else None
        out_shape = shapes.get(out.name, ()) if out is not None else ()
        madds = node_madds(node, shapes, convention)
        known = tuple(d for d in out_shape if isinstance(d, int))
        nodes.append(
            NodeCost(
                name=node.name,
                op=node.op,
                madds=madds,
                params=params[id(node)],
                output_shape=known,
                activation_bytes=4 * math.prod(known) if known else 0,
                part=node.metadata.get("fnac.part", "backbone"),
            )
        )
    size_of = (int(at[0]), int(at[1])) if at else None
    return Profile(convention, size_of, tuple(nodes), _batch(graph, shapes))


def _batch(graph: Graph, shapes: dict[str, Shape]) -> int:
    """Return the first side of the images, as it was counted."""
    for tensor in graph.inputs:
        shape = shapes.get(tensor.name, ())
        if image_axes(tensor) is not None and isinstance(shape[0], int):
            return shape[0]
    return 1


def _shapes_at(graph: Graph, at: Sequence[int] | None) -> dict[str, Shape]:
    """Return all shapes at a size; where the network takes its own alone, that is said."""
    own = graph.image_size()
    try:
        return shapes_at(graph, at)
    except UnsupportedGraphError as error:
        if at is None or own is None or own == tuple(at):
            raise
        raise UnsupportedGraphError(
            f"--size {at[0]}x{at[1]}: the network does not take it, its own is "
            f"{own[0]}x{own[1]}; {error}"
        ) from error


def owned_parameters(nodes: Iterable[gs.Node]) -> dict[int, int]:
    """Return id of node -> parameters in the tensors that it is the first to read.

    Identity and Cast hand a tensor on: who reads what they leave has it. Behind an Identity it is
    a tensor of its own: torch's exporter stores equal ones once.
    """
    seen: set[int] = set()
    result: dict[int, int] = {}
    for node in nodes:
        result[id(node)] = 0
        if node.op in HANDS_ON or node.metadata.get("fnac.part") == "postprocess":
            continue  # anchors and thresholds are no parameters
        for index, tensor in enumerate(node.inputs):
            constant, owner = _stored_behind(tensor)
            if constant is None or id(owner) in seen:
                continue
            seen.add(id(owner))
            if is_parameter(node, index, constant):
                result[id(node)] += math.prod(constant.shape)
    return result


def _stored_behind(tensor: gs.Tensor) -> tuple[gs.Constant | None, gs.Tensor]:
    """Return the stored tensor that ``tensor`` is or passes on, and the tensor that owns it."""
    owner: gs.Tensor | None = None
    while not isinstance(tensor, gs.Constant):
        maker = tensor.inputs[0] if tensor.inputs else None
        if maker is None or maker.op not in HANDS_ON or not maker.inputs:
            return None, tensor
        if maker.op == "Cast" and maker.attrs.get("to") not in FLOATS:
            return None, tensor
        if maker.op == "Identity" and owner is None:
            owner = tensor
        tensor = maker.inputs[0]
    return tensor, tensor if owner is None else owner


def is_parameter(node: gs.Node, index: int, tensor: gs.Constant) -> bool:
    """Say whether input ``index`` of ``node`` holds trainable numbers."""
    if node.op in READS_NUMBERS:
        return False
    if node.op == "BatchNormalization" and index in BN_STATISTICS:
        return False
    if node.op in INTEGER_WEIGHTS:
        return index == INTEGER_WEIGHTS[node.op]
    if not is_float(tensor.dtype) or not (tensor.shape and math.prod(tensor.shape)):
        return False  # one float of rank 0 is a number of the program, never learned
    return node.op != "Concat" or not is_padding(node.op, tensor.values)


def node_madds(node: gs.Node, shapes: dict[str, Shape], convention: str = "exact") -> int:
    """Multiply-adds of one node, from the shapes of its tensors.

    Raises UnsupportedGraphError if a shape that counts is not known in numbers.
    """
    match node.op:
        case "Conv":
            weight = _numbers(node, node.inputs[1], shapes)
            out = _numbers(node, node.outputs[0], shapes)
            madds = math.prod(weight[1:]) * math.prod(out)
            return madds + (math.prod(out) if convention == "paper" and _bias(node, 2) else 0)
        case "ConvTranspose":
            weight = _numbers(node, node.inputs[1], shapes)
            out = _numbers(node, node.outputs[0], shapes)
            if convention == "exact":
                image = _numbers(node, node.inputs[0], shapes)
                return math.prod(weight[1:]) * math.prod(image)
            group = Conv(node).groups
            madds = math.prod(weight[2:]) * weight[0] // group * math.prod(out)
            return madds + (math.prod(out) if _bias(node, 2) else 0)
        case "Gemm":
            a = _numbers(node, node.inputs[0], shapes)
            out = _numbers(node, node.outputs[0], shapes)
            inner = a[0] if node.attrs.get("transA", 0) else a[1]
            madds = inner * math.prod(out)
            return madds + (math.prod(out) if convention == "paper" and _bias(node, 2) else 0)
        case "ConvInteger" | "QLinearConv":
            weight = _numbers(node, node.inputs[INTEGER_WEIGHTS[node.op]], shapes)
            return math.prod(weight[1:]) * math.prod(_numbers(node, node.outputs[0], shapes))
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            a = _numbers(node, node.inputs[0], shapes)
            out = _numbers(node, node.outputs[0], shapes)
            return a[-1] * math.prod(out)
    return 0


def _bias(node: gs.Node, index: int) -> bool:
    return len(node.inputs) > index and isinstance(node.inputs[index], gs.Constant)


def _numbers(node: gs.Node, tensor: gs.Tensor, shapes: dict[str, Shape]) -> tuple[int, ...]:
    shape = shapes.get(tensor.name)
    if shape is None or any(not isinstance(d, int) for d in shape):
        dimensions = "unknown" if shape is None else "x".join(str(d) for d in shape)
        raise UnsupportedGraphError(
            f"{node.name} ({node.op}): the shape of {tensor.name} is {dimensions}; "
            "numbers are needed to count; give the input size with --size HxW"
        )
    return tuple(int(d) for d in shape if d is not None)
