"""What is known of every tensor before the network runs: its shape and its values.

One evaluator for all who ask: counting, emitting, following sizes, freeing the batch, the output
stride, the importer. It works by the file's own operator set, 7 to the newest, on numbers, symbols
and float scales.

Why not one that is kept by others (looked at in 2026): ONNX's data propagation knows integers
alone, and before operator set 13 hardly any operator (a view by ``x.size(0)`` is lost there);
onnxruntime's symbolic inference wants sympy, takes most arithmetic on floats (the scales of an
Upsample) for unknown and patches the model; onnx-ir leaves it to ONNX. What ONNX can do is left to
ONNX: the whole graph is inferred by it once, and only nodes that it did not get through are gone
through again, one by one, with its own rules where the rules of :mod:`.arithmetic` end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference

from ..errors import UnsupportedGraphError
from ..graph.inference import ONNX_ERRORS
from ..graph.operators import READS_SIZE
from .arithmetic import FOLLOWED, Call, Shape, evaluate
from .values import LONGEST, Value, value_of

SIZED = ("Reshape", "Expand", "ConstantOfShape", "Resize", "Upsample")
"""Operators whose result has sizes that another tensor holds."""


@dataclasses.dataclass
class Known:
    """What is known: tensor name -> shape (numbers, symbols, None), what it holds, ONNX's type."""

    shapes: dict[str, Shape]
    values: dict[str, Value]
    types: dict[str, int]

    def numbers(self, name: str) -> np.ndarray | None:
        """Return what a tensor holds if every number of it is known."""
        value = self.values.get(name)
        return None if value is None else value.numbers()


def follow(inferred: onnx.ModelProto, stored: Mapping[str, np.ndarray] | None = None) -> Known:
    """Follow a sorted model after ONNX's inference, and find out what that could not.

    stored  arrays that the model holds elsewhere (weights that were left out of it), by name

    Raises UnsupportedGraphError, naming the node, where shapes do not fit each other.
    """
    return _Walk(inferred, stored or {}).run()


class _Walk:
    def __init__(self, model: onnx.ModelProto, stored: Mapping[str, np.ndarray]) -> None:
        graph = model.graph
        self.nodes = graph.node
        self.opset = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 1)
        self.imports = list(model.opset_import)
        self.types: dict[str, int] = {}
        self.known = Known({}, {}, self.types)
        self.better: set[str] = set()  # tensors of which more is known than ONNX knew
        for info in [*graph.input, *graph.value_info, *graph.output]:
            tensor = info.type.tensor_type
            if tensor.elem_type:
                self.types[info.name] = tensor.elem_type
            if tensor.HasField("shape"):
                self.known.shapes[info.name] = _dims(tensor)
        for name, array in stored.items():
            self._store(name, array)
        for proto in graph.initializer:
            self.types[proto.name] = proto.data_type
            self.known.shapes[proto.name] = tuple(proto.dims)
            if math.prod(proto.dims) <= LONGEST and not proto.external_data:
                with contextlib.suppress(ValueError, TypeError):  # damaged: its reader says so
                    self._store(proto.name, onnx.numpy_helper.to_array(proto))

    def _store(self, name: str, array: np.ndarray) -> None:
        self.known.shapes[name] = tuple(array.shape)
        value = value_of(array) if array.size <= LONGEST else None
        if value is not None:
            self.known.values[name] = value

    def run(self) -> Known:
        for node in self.nodes:
            if node.domain in ("", "ai.onnx"):
                self._values(node)
                self._shapes(node)
        return self.known

    def _values(self, node: onnx.NodeProto) -> None:
        """Note what the outputs of a node hold."""
        values, shapes = self.known.values, self.known.shapes
        if node.op_type not in FOLLOWED:
            return
        if node.op_type in READS_SIZE:
            if node.input[0] not in shapes:
                return
        elif any(name and name not in values for name in node.input):
            return
        call = Call(
            node.op_type,
            self.opset,
            attributes_of(node),
            [values.get(name) for name in node.input],
            [shapes.get(name) for name in node.input],
            len(node.output),
        )
        for name, value in zip(node.output, evaluate(call)):
            if value is not None and name:
                values[name] = value
                self.types[name] = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
                if shapes.get(name) != value.shape:
                    shapes[name] = value.shape
                    self.better.add(name)

    def _shapes(self, node: onnx.NodeProto) -> None:
        """Note the shapes of a node's outputs that ONNX did not find, or found too early."""
        hidden = [n for n in node.output if n and not _is_numeric(self.known.shapes.get(n))]
        if not hidden:
            return
        given = [name for name in node.input if name]
        reads = any(name in self.better for name in given)
        computed = any(name in self.known.values for name in given[1:])
        if not reads and not computed and node.op_type not in SIZED:
            return
        by_rule = self._by_rule(node) if node.op_type in SIZED else None
        by_output = {node.output[0]: by_rule} if by_rule is not None else self._by_onnx(node)
        for name in hidden:
            shape = by_output.get(name)
            if shape is None:
                continue
            merged = _merged(self.known.shapes.get(name), shape)
            if merged != self.known.shapes.get(name):
                self.known.shapes[name] = merged
                self.better.add(name)

    def _by_rule(self, node: onnx.NodeProto) -> Shape | None:
        """Return the shape that other tensors hold, even if only part of it is known."""
        source = self.known.shapes.get(node.input[0])
        match node.op_type:
            case "Reshape":
                target = self._integers(node, 1, "shape")
                keeps_zero = bool(attributes_of(node).get("allowzero", 0))
                return None if target is None else reshaped(source, target, keeps_zero)
            case "Expand":
                target = self._integers(node, 1, "")
                return None if target is None or source is None else _broadcast(source, target)
            case "ConstantOfShape":
                target = self._integers(node, 0, "")
                return None if target is None else tuple(target)
        return self._resized(node, source)

    def _resized(self, node: onnx.NodeProto, source: Shape | None) -> Shape | None:
        attrs = attributes_of(node)
        if attrs.get("keep_aspect_ratio_policy", b"stretch") not in (b"stretch", "stretch"):
            return None
        axes = [int(a) for a in attrs["axes"]] if "axes" in attrs else None
        if node.op_type == "Resize" and self.opset >= 11:
            sizes = self._integers(node, 3, "") if len(node.input) > 3 and node.input[3] else None
            if sizes is not None:
                return _at_axes(source, sizes, axes)
            place = 2
        else:
            place = 1
        scales = self._scales(node, place, attrs)
        if scales is None or source is None or len(scales) != len(axes or source):
            return None
        chosen = [source[a] for a in axes] if axes is not None else list(source)
        sides: list[int | str | None] = [
            math.floor(side * scale) if isinstance(side, int) else (side if scale == 1 else None)
            for side, scale in zip(chosen, scales, strict=True)
        ]
        return _at_axes(source, sides, axes)

    def _scales(
        self, node: onnx.NodeProto, place: int, attrs: Mapping[str, Any]
    ) -> list[float] | None:
        if "scales" in attrs:  # Upsample before operator set 9
            return [float(s) for s in attrs["scales"]]
        if place >= len(node.input) or not node.input[place]:
            return None
        numbers = self.known.numbers(node.input[place])
        # float32, as the network holds them
        return None if numbers is None or not numbers.size else [float(s) for s in numbers]

    def _integers(
        self, node: onnx.NodeProto, place: int, attribute: str
    ) -> list[int | str | None] | None:
        attrs = attributes_of(node) if attribute else {}
        if attribute in attrs:
            return [int(v) for v in attrs[attribute]]
        value = self.known.values.get(node.input[place]) if place < len(node.input) else None
        if value is not None:
            return value.integers()
        length = self.known.shapes.get(node.input[place]) if place < len(node.input) else None
        if length is not None and len(length) == 1 and isinstance(length[0], int):
            return [None] * length[0] if length[0] <= LONGEST else None  # the rank, at least
        return None

    def _by_onnx(self, node: onnx.NodeProto) -> dict[str, Shape]:
        """Infer one node with ONNX's own rule."""
        types: dict[str, onnx.TypeProto] = {}
        data: dict[str, onnx.TensorProto] = {}
        for name in node.input:
            if name and self.types.get(name):
                types[name] = _type(self.types[name], self.known.shapes.get(name))
            numbers = self.known.numbers(name)
            if numbers is not None:
                data[name] = onnx.numpy_helper.from_array(numbers, name)
        if any(name and name not in types for name in node.input):
            return {}
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset, "")
            typed = onnx.shape_inference.infer_node_outputs(
                schema, _as_defined(node, schema), types, data, opset_imports=self.imports
            )
        except onnx.defs.SchemaError:
            return {}
        except ONNX_ERRORS as error:
            words = " ".join(str(error).split())[:300]
            raise UnsupportedGraphError(
                f"{node.name or node.output[0]} ({node.op_type}): shapes cannot be "
                f"inferred: {words}"
            ) from error
        for name, type_ in typed.items():
            if type_.tensor_type.elem_type:
                self.types.setdefault(name, type_.tensor_type.elem_type)
        return {
            name: _dims(type_.tensor_type)
            for name, type_ in typed.items()
            if type_.tensor_type.HasField("shape")
        }


def _as_defined(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> onnx.NodeProto:
    """Return the node without attributes that its operator does not have; ONNX refuses those."""
    known = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
    if len(known) == len(node.attribute):
        return node
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    del plain.attribute[:]
    plain.attribute.extend(known)
    return plain


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values; tensors as arrays."""
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = onnx.numpy_helper.to_array(value)
        attributes[attribute.name] = value
    return attributes


def reshaped(
    source: Shape | None, target: Sequence[int | str | None], keeps_zero: bool = False
) -> Shape:
    """Return the result of a Reshape of ``source`` to ``target``, as far as it is known.

    keeps_zero  a 0 of the target is a size (``allowzero``), not a copy
    """
    sides: list[int | str | None] = []
    for place, side in enumerate(target):
        if side == 0 and not keeps_zero:
            copied = source is not None and place < len(source)
            sides.append(source[place] if source is not None and copied else None)
        else:
            sides.append(side)
    if sides.count(-1) == 1:
        at = sides.index(-1)
        sides[at] = _rest(source, sides[:at] + sides[at + 1 :])
    return tuple(None if side == -1 else side for side in sides)


def _rest(source: Shape | None, others: Sequence[int | str | None]) -> int | str | None:
    """Return what is left of ``source`` for the -1 of a target with the sizes ``others``."""
    if source is None or None in source or None in others:
        return None
    above = [d for d in source if isinstance(d, str)]
    for side in others:
        if isinstance(side, str):
            if side not in above:
                return None
            above.remove(side)
    whole = math.prod(d for d in source if isinstance(d, int))
    part = math.prod(d for d in others if isinstance(d, int))
    if not part or whole % part:
        return None
    if not above:
        return whole // part
    return above[0] if len(above) == 1 and whole == part else None


def _broadcast(source: Shape, target: Sequence[int | str | None]) -> Shape:
    rank = max(len(source), len(target))
    a = [1] * (rank - len(source)) + list(source)
    b = [1] * (rank - len(target)) + list(target)
    return tuple(_wider(x, y) for x, y in zip(a, b, strict=True))


def _wider(a: int | str | None, b: int | str | None) -> int | str | None:
    """Return the side that two sides are broadcast to."""
    if a == 1 or b == 1:
        return b if a == 1 else a
    if isinstance(a, int):
        return a
    return b if isinstance(b, int) or a == b else None


def _at_axes(
    source: Shape | None, sides: Sequence[int | str | None], axes: Sequence[int] | None
) -> Shape | None:
    if axes is None:
        return tuple(sides)
    if source is None:
        return None
    sized = list(source)
    for axis, side in zip(axes, sides, strict=True):
        sized[axis] = side
    return tuple(sized)


def _merged(old: Shape | None, new: Shape) -> Shape:
    """Return the better known of two shapes, side by side."""
    if old is None or len(old) != len(new):
        return new
    return tuple(
        b if isinstance(b, int) or (not isinstance(a, int) and b is not None) else a
        for a, b in zip(old, new, strict=True)
    )


def _is_numeric(shape: Shape | None) -> bool:
    return shape is not None and all(isinstance(d, int) for d in shape)


def _dims(tensor: Any) -> Shape:
    return tuple(
        d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim
    )


def _type(element: int, shape: Shape | None) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(element, None if shape is None else list(shape))
