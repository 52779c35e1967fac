"""From an ONNX model to a torch module; trained weights go back by ``write_back``."""

from __future__ import annotations

import onnx
from torch import fx, nn

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph.free_sides import with_free_sides
from fnac.passes.graph.inlining import inlined
from fnac.passes.graph.stored_numbers import with_stored_numbers

from . import ops
from .building import registry
from .building.builder import Builder
from .building.facts import Facts, nodes_of
from .building.scope import Scope
from .building.values import Constant
from .building.weights import initializers
from .choice_module import ChoiceModule
from .choice_points import Point, find_points
from .module import ImportedModule

__all__ = ["import_onnx", "ops"]


def import_onnx(model: onnx.ModelProto) -> ImportedModule:
    """Turn an ONNX network into a trainable torch module (on the CPU, in eval mode).

    Every float initializer that computes becomes one Parameter, a shared one stays one;
    BatchNormalization keeps its statistics as buffers. Local functions are inlined.
    Raises UnsupportedGraphError naming node, operator, domain and version.
    """
    model = with_stored_numbers(with_free_sides(inlined(model)))
    _check(model)
    facts = Facts(model)
    builder = Builder(facts, registry.find)
    scope = builder.scope
    stored = initializers(model.graph)
    scope.values.update(stored)
    for value in model.graph.input:
        if value.name not in stored:
            if value.type.WhichOneof("value") not in ("tensor_type", None):
                raise UnsupportedGraphError(
                    f"input {value.name!r} is a {value.type.WhichOneof('value')}; "
                    "only tensors are supported"
                )
            scope.values[value.name] = scope.placeholder(value.name)
    points = find_points(model.graph)
    inside = {place for point in points for place in point.inside}
    by_sum = {point.output: point for point in points}
    for place, node in enumerate(model.graph.node):
        point = by_sum.get(node.output[0]) if node.output else None
        if point is not None:
            _insert(builder, point)
        elif place not in inside or node.op_type == "Constant":
            builder.convert(node)
    results = [
        builder.lower(builder.value(o.name, "the graph's outputs")) for o in model.graph.output
    ]
    scope.graph.output(results[0] if len(results) == 1 else tuple(results))
    scope.finish()
    head = frozenset(name for name, part in builder.weights.parts.items() if part == "head")
    module = ImportedModule(scope.root, scope.graph, builder.weights.places, head)
    kept = {
        n for n, _ in [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
    }
    module.meta["parameter_names"] = {k: p for k, p in builder.weights.places.items() if p in kept}
    return module.eval()


def _insert(builder: Builder, point: Point) -> None:
    """Import a choice point: each candidate becomes a GraphModule of its own."""
    outer = builder.scope
    entry = outer.values[point.entry]
    assert isinstance(entry, fx.Node)
    path = outer.claim(point.name)
    constants = {k: v for k, v in outer.values.items() if isinstance(v, Constant)}
    paths: list[nn.Module] = []
    for k, (region, output) in enumerate(zip(point.regions, point.outputs)):
        if not region:
            paths.append(nn.Identity())
            continue
        inner = builder.scope = Scope(f"{path}.paths.{k}.", point.name)
        inner.values.update(constants)
        inner.values[point.entry] = inner.placeholder("x")
        for node in region:
            builder.convert(node)
        inner.graph.output(builder.lower(inner.values[output]))
        inner.finish()
        paths.append(fx.GraphModule(inner.root, inner.graph))
    builder.scope = outer
    alpha = outer.values[point.alpha]
    assert isinstance(alpha, Constant)
    alpha.trainable = True
    parameter = builder.own(alpha, f"{path}.alpha")
    outer.add(path, ChoiceModule(point.name, parameter, paths))
    outer.values[point.output] = outer.graph.call_module(path, (entry,))


def _check(model: onnx.ModelProto) -> None:
    """Refuse all operators without a converter, in one error."""
    if not model.graph.node and not model.graph.output:
        raise UnsupportedGraphError("the model holds no graph; wanted a network")
    if not _readable(model.graph):
        raise UnsupportedGraphError(
            "a name in the model is not UTF-8 text; the file is damaged; export the network again"
        )
    versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    nodes = list(nodes_of(model.graph))
    used = [(n.op_type, n.domain, versions.get(_plain(n.domain), 1)) for n in nodes]
    missing = registry.unknown(used)
    if not missing:
        return
    first = next(n for n, u in zip(nodes, used) if registry.unknown([u]))
    version = versions.get(_plain(first.domain), 1)
    label = first.name or next(iter(first.output), first.op_type)
    try:
        registry.find(first.op_type, first.domain, version, label)
    except UnsupportedGraphError as error:
        if len(missing) == 1:
            raise
        raise UnsupportedGraphError(f"{error} (unsupported in all: {', '.join(missing)})") from None


def _readable(graph: onnx.GraphProto) -> bool:
    """Say whether all names are text; protobuf gives bytes or raises when they are not."""
    try:
        names: list[object] = [graph.name]
        for node in nodes_of(graph):
            names += [node.name, node.op_type, node.domain, *node.input, *node.output]
    except UnicodeDecodeError:
        return False
    return all(isinstance(name, str) for name in names)


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
