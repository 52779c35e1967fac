"""The only access from the compiler to ONNX files: load, inspect, change, save.

A :class:`Graph` is a GraphSurgeon graph that keeps what GraphSurgeon loses (metadata of the model
and of its nodes, documentation strings), refuses what GraphSurgeon lets pass (two tensors of one
name), names anonymous nodes, and is written atomically.
"""

from __future__ import annotations

import copy
import glob
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx_graphsurgeon.ir.tensor import SparseValues
from onnx_graphsurgeon.logger import G_LOGGER

from ..errors import FileNotThereError, PassFailedError, UnsupportedGraphError
from ..files import is_lfs_pointer, model_file, onnx_files, write_atomically, writing
from .contract import PLAIN_KEYS, plain_entries
from .copying import holds_graphs, twin_of
from .free_sides import with_free_sides
from .inference import (
    IR_VERSION,
    STORED,
    Inferred,
    infer,
    inferred_model,
    is_weight,
    read_inferred,
    skeleton,
    stored_tensors,
)
from .inlining import inlined
from .layout import image_axes, sides
from .manifest import MANIFEST_KEY, MANIFEST_VERSION, read_manifest
from .model_checks import check_model, one_line
from .stored_numbers import with_stored_numbers
from .tensor_checks import weights_amiss
from .writing import empty_weights, serialized

TWO_GIGABYTES = 2**31 - 1

G_LOGGER.severity = G_LOGGER.ERROR


class Graph:
    """A complete network: nodes, tensors, metadata and manifest.

    ``gs``        the GraphSurgeon graph; passes edit its nodes and tensors in place
    ``metadata``  the model's ``metadata_props`` without the manifest, text to text
    ``manifest``  what fnac knows about the network (docs/design.md), stored as JSON

    ``ir_version``  what a file of it states

    Every node has an attribute ``metadata`` (text to text), which is its ``metadata_props``.
    Weight arrays are shared between copies: replace ``Constant.values``, never edit it in place.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self.gs = graph
        self.metadata: dict[str, str] = {}
        self.manifest: dict[str, Any] = {}
        self.doc_string = ""
        self.producer_name = "fnac"
        self.ir_version = IR_VERSION
        for node in graph.nodes:
            if not hasattr(node, "metadata"):
                node.metadata = {}
        self._name_everything()

    # ------------------------------------------------------------------ in and out

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Graph:
        """Read an ONNX file, with its external data if it has any; a folder is its ``model.onnx``.

        Raises FileNotThereError, or UnsupportedGraphError naming what is wrong with the file.
        """
        where = model_file(Path(path))
        if not where.is_file():
            raise _not_there(where)
        if is_lfs_pointer(where):
            raise _pointer(where)
        try:
            model = onnx.load(where)
        except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
            for beside in sorted(where.parent.glob(f"{glob.escape(where.name)}*")):
                if is_lfs_pointer(beside):  # the weights beside the file
                    raise _pointer(beside) from error
            amiss = None
            if not isinstance(error, DecodeError | OSError):
                structure = onnx.load(where, load_external_data=False).graph
                amiss = weights_amiss(structure, where.parent)
            if amiss is not None:
                raise UnsupportedGraphError(f"{where}: {amiss}; copy both files again") from error
            why = "" if isinstance(error, DecodeError) else f" ({one_line(error)})"
            raise UnsupportedGraphError(
                f"{where}: not a readable ONNX file{why}; it may be truncated or of another format"
            ) from error
        try:
            return cls.from_model(model)
        except UnsupportedGraphError as error:
            raise UnsupportedGraphError(f"{where}: {error}") from error

    @classmethod
    def from_model(cls, model: onnx.ModelProto) -> Graph:
        """Take over an ONNX model; local functions are inlined, stored numbers are initializers.

        Raises UnsupportedGraphError when the model is not a network fnac can hold: no nodes, an
        operator set or operator that ONNX does not know, a cycle, a dangling or doubled name.
        """
        check_model(model)
        if model.functions:
            model = inlined(model)
            check_model(model)
        model = with_stored_numbers(_without_initializer_inputs(with_free_sides(model)))
        surgeon = gs.import_onnx(model)
        for node, proto in zip(surgeon.nodes, model.graph.node, strict=True):
            node.metadata = {entry.key: entry.value for entry in proto.metadata_props}
            for name in [k for k, v in node.attrs.items() if isinstance(v, list) and not v]:
                del node.attrs[name]  # an empty list is the default, and has no type to write
        graph = cls(surgeon)
        for constant in graph.constants():
            if isinstance(constant.dtype, np.dtype) and np.prod(constant.shape) <= STORED:
                constant.values  # noqa: B018  # read now: one unread tensor holds the whole file
        graph.doc_string = model.doc_string
        graph.producer_name = model.producer_name
        graph.metadata = {entry.key: entry.value for entry in model.metadata_props}
        stored = graph.metadata.pop(MANIFEST_KEY, None)
        if stored is not None:
            graph.manifest = read_manifest(stored)
            for key in PLAIN_KEYS:  # derived from the manifest, which may change
                graph.metadata.pop(key, None)
        graph.toposort()
        return graph

    def to_model(self) -> onnx.ModelProto:
        """Return the network as an ONNX model (weights included).

        Raises PassFailedError if two tensors have one name.
        """
        self.check_names()
        model = gs.export_onnx(self.gs, do_type_check=False)
        for proto, node in zip(model.graph.node, self.gs.nodes, strict=True):
            _write_properties(proto.metadata_props, node.metadata)
        properties = dict(self.metadata)
        if self.manifest:
            properties |= plain_entries(self.manifest)
            manifest = {"version": MANIFEST_VERSION, **self.manifest}
            properties[MANIFEST_KEY] = json.dumps(manifest, separators=(",", ":"))
        del model.metadata_props[:]
        _write_properties(model.metadata_props, properties)
        model.doc_string = self.doc_string
        model.producer_name = self.producer_name
        model.ir_version = self.ir_version
        return model

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the network to ``path``; the old file stays until the new one is complete.

        Networks over 2 GB get their weights in ``NAME.data`` beside the file. Raises
        FileNotWritableError.
        """
        target = Path(path)
        if self.weight_bytes() < TWO_GIGABYTES * 0.95:
            write_atomically(target, self._pieces())
            return target
        data = target.name + ".data"
        with writing(target):
            self._save_in_two(self.to_model(), target, data)
        return target

    def _pieces(self) -> Iterable[bytes | memoryview]:
        """Return the bytes of the file in pieces, without copying weights."""
        if not self.is_plain():
            return [self.to_model().SerializeToString()]
        self.check_names()
        hollow = self.copy()
        weights = empty_weights(hollow.gs)
        return serialized(hollow.to_model(), weights)

    @staticmethod
    def _save_in_two(model: onnx.ModelProto, target: Path, data: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            onnx.save_model(
                model, Path(folder) / target.name, save_as_external_data=True, location=data
            )
            os.replace(Path(folder) / data, target.parent / data)
            os.replace(Path(folder) / target.name, target)

    def copy(self) -> Graph:
        """Return an independent graph; weight arrays are shared (see the class)."""
        if holds_graphs(self.gs):
            twin = Graph.from_model(self.to_model())  # If, Loop, Scan: by way of the file form
            twin.ir_version = self.ir_version
            return twin
        result = Graph(twin_of(self.gs))
        result.metadata = dict(self.metadata)
        result.manifest = copy.deepcopy(self.manifest)
        result.doc_string = self.doc_string
        result.producer_name = self.producer_name
        result.ir_version = self.ir_version
        return result

    # ------------------------------------------------------------------ looking

    @property
    def nodes(self) -> list[gs.Node]:
        """Every node in execution order."""
        return self.gs.nodes

    @property
    def inputs(self) -> list[gs.Variable]:
        """The inputs a caller has to feed."""
        return self.gs.inputs

    @property
    def outputs(self) -> list[gs.Tensor]:
        """The outputs, in the order of the file."""
        return self.gs.outputs

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return int(self.gs.opset)

    def producer(self, tensor: gs.Tensor) -> gs.Node | None:
        """Return the node that computes ``tensor``; None for inputs and constants."""
        return tensor.inputs[0] if tensor.inputs else None

    def consumers(self, tensor: gs.Tensor) -> list[gs.Node]:
        """Return the nodes that read ``tensor``, one entry per node."""
        return list({id(node): node for node in tensor.outputs}.values())

    def is_output(self, tensor: gs.Tensor) -> bool:
        """Say whether ``tensor`` is one of the network's outputs."""
        return any(tensor is output for output in self.gs.outputs)

    def constants(self) -> Iterator[gs.Constant]:
        """Yield every stored tensor once, in order of first use."""
        return stored_tensors(self.gs)

    def weight_bytes(self) -> int:
        """Size of all stored tensors in bytes."""
        return sum(int(np.prod(c.shape)) * _itemsize(c) for c in self.constants())

    def new_name(self, base: str) -> str:
        """Return ``base``, or ``base.2``, ``base.3``, ... if nodes or tensors use it already."""
        if self._names is None:
            self._names = set(self._tensor_names()) | {node.name for node in self.gs.nodes}
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}.{number}"
        self._names.add(name)
        return name

    # ------------------------------------------------------------------ changing

    def replace_uses(self, old: gs.Tensor, new: gs.Tensor) -> None:
        """Make every reader of ``old``, the network's outputs included, read ``new`` instead.

        A network output keeps its name: ``new`` takes it over.
        """
        self.reread(old, new)
        for index, output in enumerate(self.gs.outputs):
            if output is old:
                old_name = old.name
                old.name = self.new_name(f"{old_name}.old")
                new.name = old_name
                if isinstance(new, gs.Variable):
                    new.dtype = old.dtype if new.dtype is None else new.dtype
                self.gs.outputs[index] = new

    def reread(self, old: gs.Tensor, new: gs.Tensor) -> None:
        """Make every node that reads ``old`` read ``new``; an output of the network stays."""
        for node in self.consumers(old):
            for index, tensor in enumerate(node.inputs):
                if tensor is old:
                    node.inputs[index] = new

    def drop_documentation(self) -> bool:
        """Drop the exporter's documentation strings; say whether there were any."""
        had = bool(self.doc_string or self.gs.doc_string)
        self.doc_string = self.gs.doc_string = ""
        return had

    def state_versions(self, opset: int, ir_version: int) -> None:
        """State another operator set and IR; every operator must be defined in it as it is now."""
        others = [e for e in self.gs.import_domains or [] if e.domain not in ("", "ai.onnx")]
        self.gs.import_domains = [onnx.helper.make_opsetid("", opset), *others]
        self.gs.opset = opset
        self.ir_version = ir_version

    def become(self, other: Graph) -> None:
        """Take over nodes, tensors and operator set of ``other``; do not use ``other`` afterwards.

        Metadata and manifest stay.
        """
        self.gs = other.gs
        self._names = None

    def put_nodes(self, nodes: Iterable[gs.Node]) -> None:
        """Hold exactly ``nodes``, in this order; new ones are named by :meth:`new_name`."""
        self.gs.nodes[:] = list(nodes)

    def put_inputs(self, tensors: Iterable[gs.Variable]) -> None:
        """Let the network's inputs be ``tensors``, in this order."""
        self.gs.inputs[:] = list(tensors)

    def put_outputs(self, tensors: Iterable[gs.Tensor]) -> None:
        """Let the network's outputs be ``tensors``, in this order."""
        self.gs.outputs[:] = list(tensors)

    def insert(self, nodes: Iterable[gs.Node], *, after: gs.Node | None = None) -> None:
        """Add ``nodes`` after the node ``after`` (None: at the front)."""
        place = 0
        if after is not None:
            place = next(i for i, node in enumerate(self.gs.nodes) if node is after) + 1
        added = list(nodes)
        for node in added:
            if not hasattr(node, "metadata"):
                node.metadata = {}
        self.gs.nodes[place:place] = added
        self._names = None

    def cleanup(self) -> Graph:
        """Drop nodes and tensors that no output needs, then sort; graph inputs stay."""
        needed: set[int] = set()
        stack = [node for output in self.gs.outputs for node in output.inputs]
        while stack:
            node = stack.pop()
            if id(node) in needed:
                continue
            needed.add(id(node))
            for tensor in _reads(node):
                stack.extend(tensor.inputs)
        for node in self.gs.nodes:
            if id(node) not in needed:
                node.inputs.clear()
                node.outputs.clear()
        self.gs.nodes[:] = [node for node in self.gs.nodes if id(node) in needed]
        self._names = None
        return self.toposort()

    def toposort(self) -> Graph:
        """Sort the nodes into execution order, changing the present order as little as needed.

        Raises UnsupportedGraphError naming a node of the cycle, if there is one.
        """
        done: set[int] = set()
        in_order = True
        for node in self.gs.nodes:
            if any(id(p) not in done for t in _reads(node) for p in t.inputs):
                in_order = False
                break
            done.add(id(node))
        if in_order:
            return self
        import networkx as nx

        place = {id(node): i for i, node in enumerate(self.gs.nodes)}
        order = nx.DiGraph()
        order.add_nodes_from(range(len(self.gs.nodes)))
        for i, node in enumerate(self.gs.nodes):
            order.add_edges_from(
                (place[id(p)], i) for t in _reads(node) for p in t.inputs if id(p) in place
            )
        try:
            self.gs.nodes[:] = [
                self.gs.nodes[i] for i in nx.lexicographical_topological_sort(order)
            ]
        except nx.NetworkXUnfeasible as error:
            cycle = nx.find_cycle(order)
            names = " -> ".join(self.gs.nodes[i].name for i, _ in cycle[:4])
            raise UnsupportedGraphError(
                f"the graph has a cycle ({names}); it cannot run"
            ) from error
        return self

    # ------------------------------------------------------------------ shapes

    def infer(self, size: Sequence[int | str] | None = None, batch: int | None = None) -> Inferred:
        """Infer the shape and type of every tensor from the inputs, weights left out for speed.

        size   (H, W) to give to the image inputs instead of what the file says; may be symbols
        batch  number to give to the first dimension of every input instead of what it says

        Raises UnsupportedGraphError if ONNX cannot infer the graph.
        """
        return infer(self.gs, size, batch)

    def check(self) -> Inferred:
        """Raise UnsupportedGraphError unless ONNX's checker and shape inference accept the graph.

        The graph must be sorted; weights are left out, so the cost does not grow with them. Return
        what was inferred.
        """
        model = inferred_model(self.skeleton())
        inferred = read_inferred(self.gs, model)
        try:
            onnx.checker.check_model(_with_shapes(model))
        except onnx.checker.ValidationError as error:
            raise UnsupportedGraphError(
                f"the graph is not valid ONNX: {one_line(error)}"
            ) from error
        return inferred

    def skeleton(
        self,
        size: Sequence[int | str] | None = None,
        batch: int | None = None,
        as_input: Callable[[gs.Constant], bool] = is_weight,
    ) -> onnx.ModelProto:
        """Return the model without its float weights, which become inputs; no stale shapes."""
        return skeleton(self.gs, size, batch, as_input)

    def is_plain(self) -> bool:
        """Say whether there are no graphs inside of nodes, sparse tensors or stored outputs."""
        stored = any(isinstance(output, gs.Constant) for output in self.gs.outputs)
        sparse = any(isinstance(constant._values, SparseValues) for constant in self.constants())
        return not (stored or sparse or holds_graphs(self.gs))

    def check_names(self) -> None:
        """Raise PassFailedError if two tensors have one name."""
        owner: dict[str, gs.Tensor] = {}
        for tensor in self._all_tensors():
            if owner.setdefault(tensor.name, tensor) is not tensor:
                raise PassFailedError(
                    f"{tensor.name}: two tensors have this name; a pass must name its new tensors "
                    "with Graph.new_name"
                )

    def refresh_shapes(self, known: Inferred | None = None) -> Inferred:
        """Infer all shapes and store them on the tensors, so that the file shows them.

        known  what was inferred just now
        """
        inferred = known or self.infer()
        shapes, types = inferred.shapes, inferred.types
        # what the outputs are declared as is the interface; inference may know less, or make up
        # symbols of its own
        declared = {id(t): list(t.shape) for t in self.gs.outputs if t.shape is not None}
        for node in self.gs.nodes:
            for tensor in node.outputs:
                if isinstance(tensor, gs.Variable) and tensor.name in shapes:
                    dimensions = list(shapes[tensor.name])
                    said = declared.get(id(tensor))
                    if said is not None and len(said) == len(dimensions):
                        dimensions = [
                            d if isinstance(d, int) or s is None else s
                            for d, s in zip(dimensions, said, strict=True)
                        ]
                    tensor.shape = dimensions
                    if any(d is None for d in tensor.shape):
                        tensor.shape = [
                            f"{tensor.name}.dim{i}" if d is None else d
                            for i, d in enumerate(tensor.shape)
                        ]
                    elem = types.get(tensor.name, 0)
                    if elem:
                        tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(elem)
                elif isinstance(tensor, gs.Variable) and not self.is_output(tensor):
                    tensor.shape = None
                    tensor.dtype = None
        return inferred

    def name_batch(self) -> None:
        """Give outputs the batch symbol of the input, which inference may have lost."""
        shape = self.gs.inputs[0].shape
        if not shape or isinstance(shape[0], int):
            return
        for output in self.gs.outputs:
            first = output.shape[0] if output.shape else None
            if isinstance(first, str) and first.startswith("unk__"):
                output.shape = [shape[0], *output.shape[1:]]

    def image_size(self) -> tuple[int, int] | None:
        """Return (H, W) of the first image input: from the file, else from the manifest."""
        for tensor in self.gs.inputs:
            axes = image_axes(tensor)
            if axes is not None:
                h, w = sides(tensor.shape, axes)
                if isinstance(h, int) and isinstance(w, int) and h > 0 and w > 0:
                    return h, w
        stored = self.manifest.get("size")
        return (int(stored[0]), int(stored[1])) if stored else None

    def check_finite(self) -> None:
        """Raise UnsupportedGraphError naming the first weight that holds NaN or infinity."""
        for constant in self.constants():
            if constant.dtype in (np.float16, np.float32, np.float64):
                values = constant.values
                # -inf and +inf are legal bounds of a Clip; in weights they are damage
                if values.size > 1 and not np.isfinite(values).all():
                    bad = int((~np.isfinite(values)).sum())
                    raise UnsupportedGraphError(
                        f"{constant.name}: {bad} of {values.size} values are NaN or infinite; "
                        "finite weights are needed; export the network again"
                    )

    # ------------------------------------------------------------------ inside

    _names: set[str] | None = None

    def _tensor_names(self) -> Iterator[str]:
        for tensor in [*self.gs.inputs, *self.gs.outputs]:
            yield tensor.name
        for node in self.gs.nodes:
            for tensor in [*node.inputs, *node.outputs]:
                yield tensor.name

    def _name_everything(self) -> None:
        taken = Counter(node.name for node in self.gs.nodes)
        used = {name for name in taken if name}
        for node in self.gs.nodes:
            if node.name and taken[node.name] == 1:
                continue
            base = node.name or f"{node.op}_{node.outputs[0].name if node.outputs else 'out'}"
            name, number = base, 1
            while name in used and not (node.name == base and taken[base] == 0):
                number += 1
                name = f"{base}.{number}"
            used.add(name)
            node.name = name

    def _all_tensors(self) -> Iterator[gs.Tensor]:
        yield from self.gs.inputs
        yield from self.gs.outputs
        for node in self.gs.nodes:
            for tensor in [*node.inputs, *node.outputs]:
                if tensor.name:
                    yield tensor


def manifest_of(path: Path) -> dict[str, Any]:
    """Read the manifest of an ONNX file without building its graph; {} if it has none.

    For files that fnac wrote: the network itself is not checked. Raises OSError, or
    UnsupportedGraphError for a file that is not ONNX.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise UnsupportedGraphError(f"{path}: not a readable ONNX file") from error
    stored = next((one.value for one in model.metadata_props if one.key == MANIFEST_KEY), None)
    return {} if stored is None else read_manifest(stored)


def _not_there(path: Path) -> FileNotThereError:
    if not path.is_dir():
        return FileNotThereError(f"{path}: there is no such file; give the path of an ONNX file")
    names = [file.name for file in onnx_files(path)]
    held = f"holds {', '.join(names)}; name one of them" if names else "holds no ONNX file"
    return FileNotThereError(f"{path}: it is a folder, and {held}")


def _pointer(path: Path) -> UnsupportedGraphError:
    return UnsupportedGraphError(
        f"{path}: a Git LFS pointer; wanted the file that it points to; run git lfs pull"
    )


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give outputs of unknown rank the empty shape that ONNX's checker asks for, in place."""
    for output in model.graph.output:
        if not output.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.SetInParent()
    return model


def _write_properties(properties: Any, entries: Mapping[str, str]) -> None:
    for key, value in sorted(entries.items()):
        properties.add(key=key, value=value)


def _without_initializer_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    stored = {t.name for t in model.graph.initializer}
    if not any(v.name in stored for v in model.graph.input):
        return model
    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    kept = [v for v in slim.graph.input if v.name not in stored]
    del slim.graph.input[:]
    slim.graph.input.extend(kept)
    return slim


def _reads(node: gs.Node) -> Iterator[gs.Tensor]:
    yield from node.inputs
    for attribute in node.attrs.values():
        if isinstance(attribute, gs.Graph):
            yield from attribute._foreign_tensors().values()


def _itemsize(constant: gs.Constant) -> int:
    try:
        return int(np.dtype(constant.dtype).itemsize)
    except TypeError:
        return 2


def lies_in_one_file(path: Path) -> bool:
    """Say whether an ONNX file holds all its weights itself, none in external files."""
    graph = onnx.load(path, load_external_data=False).graph
    attributes = [attribute.t for node in graph.node for attribute in node.attribute]
    tensors = [*graph.initializer, *attributes]
    return all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in tensors)
