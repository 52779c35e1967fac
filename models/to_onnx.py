"""Write a torch module of ordinary layers as *trainable* ONNX, one node per layer.

torch's own exporters fold BN, merge equal weights or add computed zero biases. This one traces the
module with torch.fx and writes each layer as it stands: BN stays a node, every parameter and
buffer stays an initializer of its own, named as in the ``state_dict``, nodes are named after the
module (``features.3.conv.1.0``), and the batch is symbolic. Layers and functions outside the
tables below are an error that names them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

from .errors import ExportError
from .onnx_version import IR_VERSION, OPSET

Dims = Sequence[int | str]


class BroadcastLike(nn.Module):
    """Spread (N, C, 1, 1) over ``other`` (N, C, H, W)."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return a (N, C, H, W) view."""
        return x.expand_as(other)


class ResizeLike(nn.Module):
    """Resize (N, C, h, w) to the height and width of ``other`` (N, *, H, W).

    ``mode`` is ``bilinear`` (half pixel centres) or ``nearest`` (the pixel above and left).
    """

    def __init__(self, mode: str = "bilinear") -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        corners = False if self.mode == "bilinear" else None
        return F.interpolate(x, other.shape[2:], mode=self.mode, align_corners=corners)


class RowPerAnchor(nn.Module):
    """Turn (N, A * width, H, W) into (N, H * W * A, width): rows by y, x, anchor of the cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, H * W * A, width)."""
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.width)


@dataclass
class Writer:
    """The graph as it grows; tensors are named after the node that computes them."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def node(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        **attributes: Any,
    ) -> str:
        """Add a node and return the name of its output; a layer's second call gets a number."""
        name = _free(name, self.taken)
        self.taken.add(name)
        output = f"{name}.out"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | Tensor) -> str:
        """Store a weight under ``name``; the same name is stored once (a shared weight)."""
        if name not in self.initializers:
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
            self.initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name


LayerWriter = Callable[[Writer, str, Any, list[str]], str]


def _conv(w: Writer, name: str, m: nn.Conv2d, x: list[str]) -> str:
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise ExportError(f"{name} (Conv2d): padding {m.padding!r}; wanted zeros in numbers")
    inputs = [*x, w.constant(f"{name}.weight", m.weight)]
    if m.bias is not None:
        inputs.append(w.constant(f"{name}.bias", m.bias))
    return w.node(
        "Conv",
        name,
        inputs,
        kernel_shape=m.kernel_size,
        strides=m.stride,
        pads=[*m.padding, *m.padding],
        dilations=m.dilation,
        group=m.groups,
    )


def _conv_transpose(w: Writer, name: str, m: nn.ConvTranspose2d, x: list[str]) -> str:
    inputs = [*x, w.constant(f"{name}.weight", m.weight)]
    if m.bias is not None:
        inputs.append(w.constant(f"{name}.bias", m.bias))
    padding = [int(p) for p in m.padding]
    return w.node(
        "ConvTranspose",
        name,
        inputs,
        kernel_shape=m.kernel_size,
        strides=m.stride,
        pads=[*padding, *padding],
        output_padding=m.output_padding,
        dilations=m.dilation,
        group=m.groups,
    )


def _max_pool(w: Writer, name: str, m: nn.MaxPool2d, x: list[str]) -> str:
    window, stride, padding, dilation = (
        [value] * 2 if isinstance(value, int) else list(value)
        for value in (m.kernel_size, m.stride, m.padding, m.dilation)
    )
    return w.node(
        "MaxPool",
        name,
        x,
        kernel_shape=window,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        ceil_mode=int(m.ceil_mode),
    )


def _batch_norm(w: Writer, name: str, m: nn.BatchNorm2d, x: list[str]) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    inputs = [*x, *(w.constant(f"{name}.{key}", getattr(m, key)) for key in names)]
    momentum = 1.0 - (0.1 if m.momentum is None else m.momentum)
    return w.node("BatchNormalization", name, inputs, epsilon=m.eps, momentum=momentum)


def _relu6(w: Writer, name: str, m: nn.Module, x: list[str]) -> str:
    low = w.constant(f"{name}.min", np.array(0, np.float32))
    high = w.constant(f"{name}.max", np.array(6, np.float32))
    return w.node("Clip", name, [*x, low, high])


def _pool(w: Writer, name: str, m: nn.AdaptiveAvgPool2d, x: list[str]) -> str:
    if m.output_size not in (1, (1, 1)):
        raise ExportError(f"{name} (AdaptiveAvgPool2d): size {m.output_size}; only 1 is written")
    return w.node("GlobalAveragePool", name, x)


def _linear(w: Writer, name: str, m: nn.Linear, x: list[str]) -> str:
    inputs = [*x, w.constant(f"{name}.weight", m.weight)]
    if m.bias is not None:
        inputs.append(w.constant(f"{name}.bias", m.bias))
    return w.node("Gemm", name, inputs, transB=1)


def _dropout(w: Writer, name: str, m: nn.Dropout, x: list[str]) -> str:
    """Keep the Dropout: inference ignores it, training needs it."""
    ratio = w.constant(f"{name}.ratio", np.array(m.p, np.float32))
    return w.node("Dropout", name, [*x, ratio])


def _broadcast_like(w: Writer, name: str, m: nn.Module, x: list[str]) -> str:
    return w.node("Expand", name, [x[0], w.node("Shape", f"{name}.size", [x[1]])])


RESIZING: dict[str, dict[str, str]] = {
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
}


def _resize_like(w: Writer, name: str, m: ResizeLike, x: list[str]) -> str:
    sizes = w.node("Shape", f"{name}.size", [x[1]], start=2, end=4)
    return w.node("Resize", name, [x[0], "", "", sizes], axes=[2, 3], **RESIZING[m.mode])


def _row_per_anchor(w: Writer, name: str, m: RowPerAnchor, x: list[str]) -> str:
    turned = w.node("Transpose", f"{name}.last", x, perm=[0, 2, 3, 1])
    rows = w.constant(f"{name}.rows", np.array([0, -1, m.width], np.int64))
    return w.node("Reshape", name, [turned, rows])


LAYERS: dict[type[nn.Module], LayerWriter] = {
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _conv_transpose,
    nn.MaxPool2d: _max_pool,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU6: _relu6,
    nn.ReLU: lambda w, name, m, x: w.node("Relu", name, x),
    nn.Dropout: _dropout,
    nn.Identity: lambda w, name, m, x: x[0],
    nn.AdaptiveAvgPool2d: _pool,
    nn.Linear: _linear,
    BroadcastLike: _broadcast_like,
    ResizeLike: _resize_like,
    RowPerAnchor: _row_per_anchor,
}
"""What each leaf module becomes; the list holds the names of its input tensors."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYERS


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    prefix: str = "",
) -> onnx.ModelProto:
    """Write ``module`` as an ONNX model (opset 18, IR 10) with trainable, named weights.

    inputs, outputs   name -> dimensions, a symbolic one as text; in the module's own order
    prefix            put before the name of every node and weight (``head.``)

    Raises ExportError naming the layer or function that cannot be written.
    """
    traced = _Tracer().trace(module)
    writer = Writer()
    values: dict[fx.Node, str] = {}
    given = iter(inputs)
    for node in traced.nodes:
        if node.op == "placeholder":
            values[node] = next(given)
        elif node.op == "call_module":
            part = module.get_submodule(str(node.target))
            arguments = [values[a] for a in node.args if isinstance(a, fx.Node)]
            values[node] = LAYERS[type(part)](writer, f"{prefix}{node.target}", part, arguments)
        elif node.op == "call_function":
            values[node] = _function(writer, f"{prefix}{_module_path(node)}", node, values)
        elif node.op == "output":
            _name_outputs(writer, node.args[0], values, list(outputs))
        else:
            raise ExportError(f"{node.target}: {node.op} is not written; use a layer or function")
    graph = helper.make_graph(
        writer.nodes,
        type(module).__name__,
        [_value_info(name, dims) for name, dims in inputs.items()],
        [_value_info(name, dims) for name, dims in outputs.items()],
        initializer=list(writer.initializers.values()),
    )
    return helper.make_model(
        graph,
        producer_name="fnac",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def _function(writer: Writer, path: str, node: fx.Node, values: dict[fx.Node, str]) -> str:
    if node.target in (operator.add, operator.iadd, torch.add):
        arguments = [values[a] for a in node.args if isinstance(a, fx.Node)]
        if len(arguments) == 2:
            return writer.node("Add", f"{path}add", arguments)
    elif node.target is torch.cat:
        parts = [values[a] for a in node.args[0]]  # type: ignore[union-attr, index]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        return writer.node("Concat", f"{path}concat", parts, axis=axis)
    elif node.target is torch.flatten and node.args[1:] == (1,):
        source = values[node.all_input_nodes[0]]
        return writer.node("Flatten", f"{path}flatten", [source], axis=1)
    raise ExportError(f"{node.name}: function {node.target} is not written to ONNX")


def _module_path(node: fx.Node) -> str:
    """Return the path of the module that called this function, with a trailing dot if any."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    return f"{path}." if path else ""


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while (name if number == 1 else f"{name}.{number}") in taken:
        number += 1
    return name if number == 1 else f"{name}.{number}"


def _name_outputs(
    writer: Writer, result: Any, values: dict[fx.Node, str], names: list[str]
) -> None:
    returned = [values[n] for n in (result if isinstance(result, tuple | list) else (result,))]
    if len(returned) != len(names):
        raise ExportError(f"the module returns {len(returned)} tensors; {len(names)} were named")
    rename = dict(zip(returned, names))
    for node in writer.nodes:
        for i, name in enumerate(node.input):
            node.input[i] = rename.get(name, name)
        for i, name in enumerate(node.output):
            node.output[i] = rename.get(name, name)


def _value_info(name: str, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
