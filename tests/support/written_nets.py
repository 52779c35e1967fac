"""Small networks as exporters of every age write them: node by node, for any operator set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NEWEST = 24
"""The newest operator set that the tests sweep; onnxruntime runs it."""


class Written:
    """An ONNX network under construction; each call of ``op`` adds a node.

    nodes_for_numbers  stored numbers become Constant nodes instead of initializers
    """

    def __init__(
        self,
        shape: Sequence[int | str] = (1, 3, 16, 16),
        opset: int = 17,
        nodes_for_numbers: bool = False,
    ) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.constants = nodes_for_numbers
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        self.random = np.random.default_rng(0)
        self.count = 0

    def name(self, base: str) -> str:
        """Return a new name."""
        self.count += 1
        return f"{base}{self.count}"

    def keep(self, values: Any, kind: Any = None) -> str:
        """Store numbers; return the tensor's name."""
        name = self.name("w")
        proto = numpy_helper.from_array(np.asarray(values, kind), name)
        if self.constants:
            self.nodes.append(
                helper.make_node("Constant", [], [name], name=f"c_{name}", value=proto)
            )
        else:
            self.stored.append(proto)
        return name

    def weight(self, *shape: int) -> str:
        """Store random weights."""
        return self.keep(self.random.standard_normal(shape) / 4, np.float32)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or of all if there are several."""
        label = self.name(kind.lower())
        names = [f"{label}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=label, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, i: int, o: int, k: int = 3, s: int = 1, g: int = 1) -> str:
        """Add a convolution that keeps the size."""
        return str(
            self.op("Conv", x, self.weight(o, i // g, k, k), kernel_shape=[k, k], strides=[s, s],
                    group=g, pads=[k // 2] * 4)
        )  # fmt: skip

    def unsqueeze(self, x: str, axis: int = 0) -> str:
        """Give a number an axis, as the operator set spells it."""
        if self.opset < 13:
            return str(self.op("Unsqueeze", x, axes=[axis]))
        return str(self.op("Unsqueeze", x, self.keep([axis])))

    def slice(self, x: str, start: int, end: int) -> str:
        """Cut a vector, as the operator set spells it."""
        if self.opset < 10:
            return str(self.op("Slice", x, axes=[0], starts=[start], ends=[end]))
        return str(self.op("Slice", x, self.keep([start]), self.keep([end]), self.keep([0])))

    def size(self, x: str, axis: int) -> str:
        """Return ``x.size(axis)`` as torch writes it."""
        return str(self.op("Gather", self.op("Shape", x), self.keep(axis, np.int64), axis=0))

    def model(self, *outputs: str, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        """Return the finished model, outputs of undeclared shape."""
        ends = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        body = helper.make_graph(self.nodes, "g", [self.input], ends, self.stored)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(
            body, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports)
        )


def answers(model: onnx.ModelProto, feed: np.ndarray) -> list[np.ndarray]:
    """Return what onnxruntime computes of one image or several."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(one) for one in session.run(None, {"x": feed})]
