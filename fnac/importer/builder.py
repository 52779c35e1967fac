"""The importer's workbench: converters call it to emit torch.fx nodes and to own weights.

A call whose arguments are all known is carried out at once, which folds constants and shape
arithmetic; every other call becomes a node of the scope's graph. A scope is one GraphModule: the
network itself, or one path of a choice point.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import fx, nn

from fnac.passes.errors import UnsupportedGraphError

from . import registry, runtime
from .attributes import array_of, decode, dtype_of
from .facts import Facts
from .values import Constant, Host, Node, Value

# nodes whose float output is a fresh weight, not a computation that training goes through
_ROOTS = frozenset({"DequantizeLinear", "Identity"})
# nodes that hold a graph: what they capture may be dynamic, so they are never folded as such
_CAPTURING = frozenset({"If", "Loop", "Scan"})
_RESERVED = frozenset(dir(fx.GraphModule)) | {"training", "meta", "graph", "code"}


class Scope:
    """One fx graph under construction and the modules it calls."""

    def __init__(self, prefix: str = "", stem: str = "") -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.prefix = prefix
        self.stem = stem
        self.values: dict[str, Value] = {}
        self.inputs: list[fx.Node] = []
        self.modules: dict[tuple[Any, ...], str] = {}
        self.attributes: dict[int, fx.Node] = {}
        self.shapes: dict[tuple[fx.Node, int], fx.Node] = {}
        self.emitted: dict[str, Value] = {}
        self.leaves: set[str] = set()
        self.branches: set[str] = set()

    def placeholder(self, name: str) -> fx.Node:
        """Add an input of the graph."""
        clean = re.sub(r"\W", "_", name)
        if not clean.isidentifier() or keyword.iskeyword(clean):
            clean = f"input_{clean}"
        while any(clean == i.target for i in self.inputs):
            clean += "_"
        node = self.graph.placeholder(clean)
        self.inputs.append(node)
        return node

    def claim(self, wanted: str) -> str:
        """Return a free module path like ``wanted``: no leaf below or above another one."""
        parts = [_component(p) for p in re.split(r"[./]", wanted) if p] or ["module"]
        path, number = ".".join(parts), 1
        while not self._free(path):
            number += 1
            path = f"{'.'.join(parts)}_{number}"
        self.leaves.add(path)
        pieces = path.split(".")
        self.branches.update(".".join(pieces[:i]) for i in range(1, len(pieces)))
        return path

    def finish(self) -> None:
        """Drop what nothing reads (every imported node is pure) and check the graph."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)
        self.graph.lint()

    def _free(self, path: str) -> bool:
        pieces = path.split(".")
        above = (".".join(pieces[:i]) for i in range(1, len(pieces)))
        return (
            path not in self.leaves
            and path not in self.branches
            and not any(a in self.leaves for a in above)
        )

    def add(self, path: str, part: nn.Module) -> None:
        """Hang a module under a claimed path."""
        *folders, leaf = path.split(".")
        self._folder(folders).add_module(leaf, part)

    def hang(self, path: str, tensor: torch.Tensor) -> None:
        """Hang a Parameter, or a constant as a buffer that no checkpoint holds."""
        *folders, leaf = path.split(".")
        folder = self._folder(folders)
        if isinstance(tensor, nn.Parameter):
            folder.register_parameter(leaf, tensor)
        else:
            folder.register_buffer(leaf, tensor, persistent=False)

    def _folder(self, names: Iterable[str]) -> nn.Module:
        folder = self.root
        for name in names:
            if name not in folder._modules:
                folder.add_module(name, nn.Module())
            folder = folder.get_submodule(name)
        return folder


class Builder:
    """Imports nodes into the current scope.

    ``weights``  ONNX tensor -> Parameter or buffer tensor, one for each shared initializer
    ``places``   ONNX tensor -> path of that tensor in the finished module (the first one)
    ``parts``    ONNX tensor -> ``fnac.part`` of the first node that reads it
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.weights: dict[str, torch.Tensor] = {}
        self.places: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self.scope = Scope()
        self._eager = 0
        self._node: Node | None = None
        self._kept: list[Constant] = []

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
        function = registry.find(node.op, node.domain, node.version, node.name)
        before, self._node = self._node, node
        self._eager += eager
        try:
            with torch.no_grad():
                result = function(self, node)
        finally:
            self._eager -= eager
            self._node = before
        return result if isinstance(result, tuple) else (result,)

    def _decoded(self, proto: onnx.NodeProto) -> Node:
        name = proto.name or next((o for o in proto.output if o), proto.op_type)
        return Node(
            op=proto.op_type,
            domain=proto.domain,
            version=self.facts.opset(proto.domain),
            name=name,
            inputs=tuple(self._value(i, name) if i else None for i in proto.input),
            tensors=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes=decode(proto),
            part=next((p.value for p in proto.metadata_props if p.key == "fnac.part"), ""),
        )

    def _value(self, tensor: str, where: str) -> Value:
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
        return self.scope.graph.call_function(function, self._lower(args), self._lower(kwargs))

    def method(self, name: str, value: Value | torch.Tensor, *args: Any) -> Any:
        """Carry out, or emit, a method of a tensor."""
        if self._eager or not self._dynamic((value, args)):
            return getattr(_known(value), name)(*_known(args))
        return self.scope.graph.call_method(name, (self._lower(value), *self._lower(args)))

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
                _assign(part, attribute, constant.tensor)
            return part.eval()(*[_known(i) for i in inputs])
        key = (type(part), part.extra_repr(), *((a, c.name) for a, c in owns.items()))
        path = self.scope.modules.get(key) if owns else None
        if path is None:
            path = self.scope.claim(self._module_name(node, owns))
            for attribute, constant in owns.items():
                tensor = self._weight(constant, isinstance(_slot(part, attribute), nn.Parameter))
                _assign(part, attribute, tensor)
                self._place(constant.name, f"{path}.{attribute}")
            self.scope.add(path, part)
            self.scope.modules[key] = path
        return self.scope.graph.call_module(path, tuple(self._lower(i) for i in inputs))

    def insert(self, wanted: str, part: nn.Module, entry: fx.Node) -> tuple[str, fx.Node]:
        """Call a module of our own making; return its path and the emitted node."""
        path = self.scope.claim(wanted)
        self.scope.add(path, part)
        return path, self.scope.graph.call_module(path, (entry,))

    def _module_name(self, node: Node, owns: Mapping[str, Constant]) -> str:
        weight = owns.get("weight")
        name = node.name
        if weight is not None and weight.name.endswith(".weight"):
            name = weight.name.removesuffix(".weight")
        return self._stripped(_from_scopes(name))

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
        """Return a constant that a module owns as a buffer."""
        return value if isinstance(value, Constant) and not self._eager else None

    def own(self, constant: Constant, path: str) -> nn.Parameter:
        """Return a constant as the Parameter that will be at ``path``."""
        parameter = self._weight(constant, True)
        assert isinstance(parameter, nn.Parameter)
        self._place(constant.name, path)
        return parameter

    def _weight(self, constant: Constant, is_parameter: bool) -> torch.Tensor:
        if constant.name not in self.weights:
            tensor = constant.tensor.detach().clone()
            self.weights[constant.name] = nn.Parameter(tensor) if is_parameter else tensor
        if self._node is not None:
            self.parts.setdefault(constant.name, self._node.part)
        return self.weights[constant.name]

    def _place(self, name: str, path: str) -> None:
        self.places.setdefault(name, f"{self.scope.prefix}{path}")

    def _attribute(self, constant: Constant) -> fx.Node:
        """Return the get_attr node of a constant: a Parameter if trainable, else a buffer."""
        key = id(constant)
        if key not in self.scope.attributes:
            path = self.scope.claim(self._stripped(constant.name))
            if constant.trainable:
                self.scope.hang(path, self._weight(constant, True))
                self._place(constant.name, path)
            else:
                self.scope.hang(path, constant.tensor.detach().clone())
            self.scope.attributes[key] = self.scope.graph.get_attr(path)
        return self.scope.attributes[key]

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

    def _lower(self, argument: Any) -> Any:
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
            return {k: self._lower(v) for k, v in argument.items()}
        if isinstance(argument, list | tuple):
            return type(argument)(self._lower(a) for a in argument)
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
                self.scope.emitted[name] = self._lower(value)
        return self.scope.emitted[constant.name]

    # ------------------------------------------------------------------ reading values

    def static(self, value: Value | None) -> torch.Tensor | None:
        """Return the tensor of a constant, None for what is known only at run time."""
        return value.tensor if isinstance(value, Constant) else None

    def numbers(self, value: Value | None) -> list[Any] | fx.Node | None:
        """Return a vector as Python numbers (nodes among them), or as a node giving a list.

        None for an omitted input; a constant of more than one rank is flattened.
        """
        if value is None:
            return None
        if isinstance(value, Constant):
            return [_python(n) for n in array_of(value.tensor).reshape(-1)]
        if isinstance(value, Host):
            return list(value.items)
        return self.scope.graph.call_function(runtime.to_list, (value,))

    def known(self, node: Node, index: int, what: str) -> list[Any] | None:
        """Return a vector that must be known at import time, None if it is omitted.

        Raises UnsupportedGraphError naming the node and ``what``.
        """
        value = node.input(index)
        if value is None:
            return None
        if not isinstance(value, Constant):
            raise UnsupportedGraphError(
                f"{node.label}: {what} are computed when the network runs; constants are wanted; "
                "export the network with them fixed"
            )
        return [_python(n) for n in array_of(value.tensor).reshape(-1)]

    def tensor(self, value: Value | torch.Tensor) -> Any:
        """Return a value as something that stands for a tensor in a call."""
        if not isinstance(value, Host):
            return value
        items: Any = value.items[0] if value.scalar else list(value.items)
        return self.scope.graph.call_function(
            runtime.host_tensor, (items, value.dtype, self.reference())
        )

    def reference(self) -> fx.Node:
        """Return a tensor whose device new tensors go to: the scope's first input."""
        if not self.scope.inputs:
            raise UnsupportedGraphError("the network has no inputs; one image input is wanted")
        return self.scope.inputs[0]

    def size(self, value: Value, axis: int) -> Any:
        """Return a size of a tensor: an int, or a node that gives one."""
        if isinstance(value, Constant):
            return value.tensor.shape[axis]
        if isinstance(value, Host):
            return len(value.items)
        key = (value, axis)
        if key not in self.scope.shapes:
            self.scope.shapes[key] = self.scope.graph.call_method("size", (value, axis))
        return self.scope.shapes[key]

    def rank(self, node: Node, index: int = 0) -> int | None:
        """Return the rank of a node's input if it is known."""
        value = node.input(index)
        if isinstance(value, Constant):
            return value.tensor.ndim
        if isinstance(value, Host):
            return 0 if value.scalar else 1
        return self.facts.rank(node.tensors[index])

    def ranked(self, node: Node, index: int = 0) -> int:
        """Return the rank of a node's input; raise UnsupportedGraphError if it is unknown."""
        rank = self.rank(node, index)
        if rank is None:
            raise UnsupportedGraphError(
                f"{node.label}: the rank of its input {node.tensors[index]!r} could not be "
                "inferred; export the network with shapes"
            )
        return rank

    def dtype(self, node: Node, index: int = 0) -> torch.dtype | None:
        """Return the element type of a node's input if it is known."""
        value = node.input(index)
        if isinstance(value, Constant):
            return value.tensor.dtype
        if isinstance(value, Host):
            return value.dtype
        elem_type = self.facts.elem_type(node.tensors[index])
        return dtype_of(elem_type, node.name) if elem_type else None

    def only_reader(self, tensor: str) -> bool:
        """Say whether a tensor is read once."""
        return self.facts.reads[tensor] == 1



def _component(text: str) -> str:
    clean = re.sub(r"\W", "_", text)
    return f"{clean}_" if clean in _RESERVED else clean


def _from_scopes(name: str) -> str:
    """Return the path in a name by torch's older exporter.

    ``/features/features.1/conv/conv.0/conv.0.2/Clip`` -> ``features.1.conv.0.2``: each scope
    repeats the one before it.
    """
    scopes = [s for s in name.split("/") if s]
    if not name.startswith("/") or len(scopes) < 2:
        return name
    kept = [a for a, b in zip(scopes, scopes[1:]) if not b.startswith(a + ".")]
    return ".".join(kept)


def _slot(part: nn.Module, attribute: str) -> Any:
    return part._parameters.get(attribute, part._buffers.get(attribute))


def _assign(part: nn.Module, attribute: str, tensor: torch.Tensor) -> None:
    if attribute in part._parameters:
        wrapped = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)
        part._parameters[attribute] = wrapped
    else:
        part._buffers[attribute] = tensor


def _known(argument: Any) -> Any:
    if isinstance(argument, Constant):
        return argument.tensor
    if isinstance(argument, Mapping):
        return {k: _known(v) for k, v in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_known(a) for a in argument)
    return argument


def _python(number: Any) -> Any:
    return number.item() if hasattr(number, "item") else number
