"""The importer's builder: converters call it to emit torch.fx nodes and to own weights.

A call whose arguments are all known is carried out at once, which folds constants and shape
arithmetic; every other call becomes a node of the scope's graph. A scope is one GraphModule: the
network itself, or one path of a choice point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import onnx
import torch
from torch import fx, nn

from fnac.passes.errors import UnsupportedGraphError

from .attributes import decode
from .facts import Facts
from .reading import Reader
from .scope import from_scopes
from .values import Constant, Host, Node, Value
from .weights import Weights, assign, slot

# nodes that hold a graph: what they capture may be dynamic, so they are never folded as such
_CAPTURING = frozenset({"If", "Loop", "Scan"})

# what torch and Python raise when a node's attributes, shapes and types do not fit together
_CONTRADICTIONS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


MADE_BY = "onnx_node"
"""Key of ``fx.Node.meta``: name and operator of the ONNX node that a call came from."""

Find: TypeAlias = "Callable[[str, str, int, str], Callable[[Builder, Node], Any]]"
"""Returns the converter of (operator, domain, version); the last argument names the node."""


class Builder(Reader):
    """Imports nodes into the current scope, each by the converter that ``find`` names."""

    def __init__(self, facts: Facts, find: Find) -> None:
        super().__init__(facts)
        self._find = find
        self.weights = Weights()
        self._eager = 0
        self._node: Node | None = None
        self._kept: list[Constant] = []

    @property
    def folding(self) -> bool:
        """Whether a node is being computed at import time."""
        return self._eager > 0

    # ------------------------------------------------------------------ nodes

    def convert(self, proto: onnx.NodeProto) -> None:
        """Convert one node and remember its outputs in the scope.

        Raises UnsupportedGraphError for an operator without converter or one that needs more
        than is known.
        """
        node = self._decoded(proto)
        constants = [v for v in node.inputs if v is not None]
        folding = node.op not in _CAPTURING and all(isinstance(v, Constant) for v in constants)
        outputs = self._run(node, eager=folding)
        trainable = folding and any(isinstance(v, Constant) and v.trainable for v in constants)
        for name, value in zip(node.outputs, outputs):
            if not name:
                continue
            if isinstance(value, torch.Tensor):
                value = Constant(value, name)
            if folding and isinstance(value, Constant) and node.op != "Constant":
                value = self._folded(node, name, value, trainable)
            self.scope.values[name] = value

    def _folded(self, node: Node, name: str, value: Constant, trainable: bool) -> Constant:
        floating = value.tensor.is_floating_point()
        if node.op == "DequantizeLinear":
            return Constant(value.tensor, name, trainable=value.tensor.numel() > 1)
        if not (trainable and floating):
            return Constant(value.tensor, name)
        if node.op == "Identity":  # torch's exporter merges equal weights so: they are two
            return Constant(value.tensor, name, trainable=True)
        return Constant(value.tensor, name, trainable=True, recipe=node)

    def _run(self, node: Node, *, eager: bool) -> tuple[Any, ...]:
        function = self._find(node.op, node.domain, node.version, node.name)
        before, self._node = self._node, node
        self._eager += eager
        try:
            with torch.no_grad():
                result = function(self, node)
        except _CONTRADICTIONS as error:
            raise UnsupportedGraphError(
                f"{node.label}: cannot be imported ({type(error).__name__}: {_one_line(error)}); "
                "its inputs or attributes contradict the operator; export the network again"
            ) from error
        finally:
            self._eager -= eager
            self._node = before
        for call in reversed(self.scope.graph.nodes):
            if call.op == "placeholder" or MADE_BY in call.meta:
                break
            call.meta[MADE_BY] = node.label
        return result if isinstance(result, tuple) else (result,)

    def _decoded(self, proto: onnx.NodeProto) -> Node:
        name = proto.name or next((o for o in proto.output if o), proto.op_type)
        return Node(
            op=proto.op_type,
            domain=proto.domain,
            version=self.facts.opset(proto.domain),
            name=name,
            inputs=tuple(self.value(i, name) if i else None for i in proto.input),
            tensors=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes=decode(proto),
            part=next((p.value for p in proto.metadata_props if p.key == "fnac.part"), ""),
        )

    def value(self, tensor: str, where: str) -> Value:
        """Return an ONNX tensor's value; raise UnsupportedGraphError if nothing computed it."""
        if tensor not in self.scope.values:
            raise UnsupportedGraphError(
                f"{where}: its input {tensor!r} is computed nowhere before it; "
                "the nodes must be in topological order and without cycles"
            )
        return self.scope.values[tensor]

    # ------------------------------------------------------------------ emission

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Carry out a call on known arguments, or emit it."""
        if self._eager or not self._dynamic((args, kwargs)):
            return function(*_known(args), **_known(kwargs))
        return self.scope.graph.call_function(function, self.lower(args), self.lower(kwargs))

    def module(
        self,
        node: Node,
        part: nn.Module,
        inputs: Sequence[Value],
        owns: Mapping[str, Constant] | None = None,
    ) -> Any:
        """Call an ordinary torch.nn part; ``owns`` are its tensors by attribute.

        Two nodes with equal parts that own the same initializers call one module.
        """
        owns = owns or {}
        if self._eager:
            for attribute, constant in owns.items():
                assign(part, attribute, constant.tensor)
            return part.eval()(*[_known(i) for i in inputs])
        key = (type(part), part.extra_repr(), *((a, c.name) for a, c in owns.items()))
        path = self.scope.modules.get(key) if owns else None
        if path is None:
            path = self.scope.claim(self._module_name(node, owns))
            for attribute, constant in owns.items():
                tensor = self._weight(
                    constant, parameter=isinstance(slot(part, attribute), nn.Parameter)
                )
                assign(part, attribute, tensor)
                self.weights.place(constant.name, f"{self.scope.prefix}{path}.{attribute}")
            self.scope.add(path, part)
            self.scope.modules[key] = path
        return self.scope.graph.call_module(path, tuple(self.lower(i) for i in inputs))

    def _module_name(self, node: Node, owns: Mapping[str, Constant]) -> str:
        weight = owns.get("weight")
        name = node.name
        if weight is not None and weight.name.endswith(".weight"):
            name = weight.name.removesuffix(".weight")
        return self._stripped(from_scopes(name))

    # ------------------------------------------------------------------ weights

    def trainable(self, value: Value | None) -> Constant | None:
        """Return a root constant as a weight a module can own; None if it is computed.

        A Constant node or folded value in a weight's place is a weight as well.
        """
        if not isinstance(value, Constant) or value.recipe is not None or self._eager:
            return None
        value.trainable = value.tensor.is_floating_point()
        return value if value.trainable else None

    def statistics(self, value: Value | None) -> Constant | None:
        """Return a root constant that a module owns as a buffer; None if it is computed."""
        if not isinstance(value, Constant) or value.recipe is not None or self._eager:
            return None
        return value

    def own(self, constant: Constant, path: str) -> nn.Parameter:
        """Return a constant as the Parameter that will be at ``path``."""
        parameter = self._weight(constant, parameter=True)
        assert isinstance(parameter, nn.Parameter)
        self.weights.place(constant.name, f"{self.scope.prefix}{path}")
        return parameter

    def _weight(self, constant: Constant, *, parameter: bool) -> torch.Tensor:
        part = self._node.part if self._node is not None else ""
        return self.weights.tensor(constant, part, parameter=parameter)

    def _attribute(self, constant: Constant) -> fx.Node:
        """Return the get_attr node of a constant: a Parameter if trainable, else a buffer."""
        key = id(constant)
        if key not in self.scope.attributes:
            prefix, place = self.scope.prefix, self.weights.places.get(constant.name, "")
            if constant.trainable and place.startswith(prefix) and self._here(place):
                attribute = self.scope.graph.get_attr(place.removeprefix(prefix))
                self.scope.attributes[key] = attribute
                return attribute
            path = self.scope.claim(self._stripped(constant.name))
            if constant.trainable:
                self.scope.hang(path, self._weight(constant, parameter=True))
                self.weights.place(constant.name, f"{self.scope.prefix}{path}")
            else:
                self.scope.hang(path, constant.tensor.detach().clone())
            self.scope.attributes[key] = self.scope.graph.get_attr(path)
        return self.scope.attributes[key]

    def _here(self, place: str) -> bool:
        """Say whether a module of this scope owns the tensor at ``place``."""
        owner, _, leaf = place.removeprefix(self.scope.prefix).rpartition(".")
        return owner in self.scope.leaves and hasattr(self.scope.root.get_submodule(owner), leaf)

    def _stripped(self, name: str) -> str:
        """Return a name without the layer's name, which the path above says already."""
        stem = self.scope.stem
        if not stem:
            return name
        inside = re.sub(rf"\.{re.escape(stem)}\.[^.]+", "", name)  # a copy's tag: .LAYER.CANDIDATE
        return inside.removeprefix(stem + ".") or name

    def _dynamic(self, argument: Any) -> bool:
        if isinstance(argument, fx.Node | Host):
            return True
        if isinstance(argument, Constant):
            return argument.trainable
        if isinstance(argument, Mapping):
            return any(self._dynamic(a) for a in argument.values())
        if isinstance(argument, tuple | list):
            return any(self._dynamic(a) for a in argument)
        return isinstance(argument, slice) and self._dynamic(
            (argument.start, argument.stop, argument.step)
        )

    def lower(self, argument: Any) -> Any:
        """Turn values inside an argument into what fx stores."""
        if isinstance(argument, Constant):
            if argument.recipe is not None and argument.trainable:
                return self._computed(argument)
            return self._attribute(argument)
        if isinstance(argument, Host):
            return self.tensor(argument)
        if isinstance(argument, torch.Tensor):
            return self._attribute(self._keep(argument))
        if isinstance(argument, Mapping):
            return {k: self.lower(v) for k, v in argument.items()}
        if isinstance(argument, list | tuple):
            return type(argument)(self.lower(a) for a in argument)
        if isinstance(argument, slice):
            return slice(argument.start, argument.stop, argument.step)
        return argument

    def _keep(self, tensor: torch.Tensor) -> Constant:
        name = self._node.name if self._node is not None else "constant"
        constant = Constant(tensor, f"{name}.constant")
        self._kept.append(constant)  # attributes are keyed by identity: keep it alive
        return constant

    def _computed(self, constant: Constant) -> Any:
        assert constant.recipe is not None
        if constant.name not in self.scope.emitted:
            eager, self._eager = self._eager, 0
            outputs = self._run(constant.recipe, eager=False)
            self._eager = eager
            for name, value in zip(constant.recipe.outputs, outputs):
                self.scope.emitted[name] = self.lower(value)
        return self.scope.emitted[constant.name]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _known(argument: Any) -> Any:
    if isinstance(argument, Constant):
        return argument.tensor
    if isinstance(argument, Mapping):
        return {k: _known(v) for k, v in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_known(a) for a in argument)
    return argument
