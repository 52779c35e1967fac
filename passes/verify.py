"""Prove that two graphs compute the same function, or name the first node where they part.

onnxruntime runs both on the same random input with its own optimisations off. The tolerance is
the network's own float noise: how far its outputs move when every weight and input is changed by
one unit in the last place, which is what regrouping the same arithmetic does.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .errors import PassFailedError, UnsupportedGraphError
from .graph import Graph
from .limits import check_feed, check_memory, loops_end
from .sessions import open_session
from .tensor_checks import element_type

NOISE_TRIALS = 2
NOISE_FACTOR = 16.0  # a rewrite may regroup a few operations per layer
PROBE_SIDE = 96  # images larger than this are probed at this side, if the graph allows it

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far two graphs are apart.

    ``first_difference`` names the first node (of the second graph) whose output leaves the
    tolerance, None if there is none.
    """

    equal: bool
    max_abs_diff: float
    tolerance: float
    first_difference: str | None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac verify --json`` prints; no number: null."""
        found = dataclasses.asdict(self)
        if not np.isfinite(self.max_abs_diff):
            found["max_abs_diff"] = None  # JSON knows no infinity
        if not np.isfinite(self.tolerance):
            found["tolerance"] = None
        return found


def random_feed(graph: Graph, size: Sequence[int] | None = None, seed: int = 0) -> Arrays:
    """Return random inputs for ``graph``: images of ``size``, floats in about -2..2.

    Where the batch is symbolic it is two: one normal sample, and one in 0..1, since a network of
    ReLUs can be deaf to one of them.

    Raises UnsupportedGraphError for an input whose shape is not known in numbers.
    """
    rng = np.random.default_rng(seed)
    feed: Arrays = {}
    shapes: list[list[int]] = []
    at = size or graph.image_size() or (PROBE_SIDE, PROBE_SIDE)
    for tensor in graph.inputs:
        shape = list(tensor.shape or [])
        if shape and not isinstance(shape[0], int):
            shape[0] = 2
        if len(shape) == 4 and (size is not None or not all(isinstance(d, int) for d in shape[2:])):
            shape[2:] = list(at)
        if any(not isinstance(d, int) or d < 0 for d in shape):
            raise UnsupportedGraphError(
                f"input {tensor.name}: its shape {shape} is not known in numbers; "
                "give the size with --size HxW"
            )
        check_feed(tensor.name, shape)
        shapes.append(shape)
    batches = [shape[0] for shape in shapes if shape]
    check_memory(graph, _image_size(shapes), max([1, *batches]))
    for tensor, shape in zip(graph.inputs, shapes, strict=True):
        if element_type(tensor.dtype) == onnx.TensorProto.BFLOAT16:
            raise UnsupportedGraphError(
                f"input {tensor.name}: onnxruntime takes no bfloat16 on a CPU; "
                "make the network float32 with fnac run-pass convert-float32"
            )
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            feed[tensor.name] = rng.standard_normal(shape).astype(dtype)
            if shape and shape[0] == 2:
                feed[tensor.name][1] = rng.random(shape[1:])
        elif dtype.kind == "b":
            feed[tensor.name] = rng.integers(0, 2, shape).astype(bool)
        else:
            feed[tensor.name] = rng.integers(0, 4, shape).astype(dtype)
    return feed


def run(graph: Graph, feed: Mapping[str, np.ndarray], tensors: Sequence[str] = ()) -> Arrays:
    """Run ``graph`` in onnxruntime on the CPU, unoptimised, and return its outputs by name.

    tensors  names of inner tensors to return as well

    Raises PassFailedError with onnxruntime's words (they name the node) if it does not run.
    """
    return run_model(graph.to_model(), feed, tensors)


def run_model(
    model: onnx.ModelProto, feed: Mapping[str, np.ndarray], tensors: Sequence[str] = ()
) -> Arrays:
    """Run an ONNX model; see :func:`run`. Adds ``tensors`` to the outputs of ``model``."""
    import onnxruntime as ort

    have = {output.name for output in model.graph.output}
    for name in tensors:
        if name not in have:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    # sizes in the file are the author's; probing may use others
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        given = feed[value.name].shape if value.name in feed else ()
        for dim, n in zip(shape.dim, given, strict=False):
            dim.dim_value = n
    for output in model.graph.output:
        if output.HasField("type"):
            output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    caught: tuple[type[Exception], ...] = (RuntimeError, ValueError, *ort_errors())
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    try:
        session = open_session(model, options)
        names = [output.name for output in session.get_outputs()]
        with loops_end(model) as limit:
            return dict(zip(names, session.run(names, dict(feed), limit), strict=True))
    except caught as error:
        raise PassFailedError(f"onnxruntime cannot run the graph: {_words(error)}") from error


def ort_errors() -> tuple[type[Exception], ...]:
    """Return every exception class that onnxruntime raises; they share no useful base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(
        kind
        for kind in vars(state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )


def probe_size(graph: Graph) -> tuple[int, int] | None:
    """Return the (H, W) to probe ``graph`` at: smaller than its own where the graph allows it."""
    own = graph.image_size()
    if own is None or max(own) <= PROBE_SIDE:
        return own
    padded = any(str(n.attrs.get("auto_pad")).startswith("SAME") for n in graph.nodes)
    if padded and any(side % 32 for side in own):
        return own  # resolve-auto-pad writes down what holds for this size and its like
    ratio = min(own) / max(own)
    short = max(32, round(PROBE_SIDE * ratio / 32) * 32)
    small = (short, PROBE_SIDE) if own[0] <= own[1] else (PROBE_SIDE, short)
    try:
        run(graph, random_feed(graph, small))
    except (PassFailedError, UnsupportedGraphError):
        return own
    return small


def noise(graph: Graph, feed: Arrays, tensors: Sequence[str] = ()) -> dict[str, float]:
    """Measure the float noise of each output: see the module's words.

    returns  tensor name -> largest absolute change; integer outputs included
    """
    rng = np.random.default_rng(1)
    base = run(graph, feed, tensors)
    level = dict.fromkeys(base, 0.0)
    for _ in range(NOISE_TRIALS):
        shaken = {name: _shake(array, rng) for name, array in feed.items()}
        model = graph.to_model()
        # scales of a Resize are a size, not arithmetic
        sizes = {
            name
            for node in model.graph.node
            if node.op_type in ("Resize", "Upsample")
            for name in node.input[1:]
        }
        for stored in model.graph.initializer:
            if stored.name in sizes:
                continue
            if stored.data_type == onnx.TensorProto.FLOAT and np.prod(stored.dims) > 1:
                array = onnx.numpy_helper.to_array(stored)
                stored.CopyFrom(onnx.numpy_helper.from_array(_shake(array, rng), stored.name))
        moved = run_model(model, shaken, tensors)
        for name in level:
            level[name] = max(level[name], _distance(base[name], moved[name]))
    return level


def compare(
    before: Graph,
    after: Graph,
    *,
    feed: Arrays | None = None,
    size: Sequence[int] | None = None,
) -> Difference:
    """Compare the outputs of two graphs on one random input.

    Outputs are paired by order. The graphs must have inputs of the same names, or the same number
    of inputs, which are then paired by order.
    """
    if feed is None:
        feed = random_feed(before, size or probe_size(before))
    theirs = _feed_for(after, before, feed)
    if len(before.outputs) != len(after.outputs):
        return Difference(
            False,
            float("inf"),
            0.0,
            None,
            f"{len(before.outputs)} outputs against {len(after.outputs)}",
        )
    a = run(before, feed)
    try:
        b = run(after, theirs)
    except PassFailedError as error:
        return Difference(False, float("inf"), 0.0, _named_node(error, after), str(error))
    pairs = list(
        zip([t.name for t in before.outputs], [t.name for t in after.outputs], strict=True)
    )
    if all(_same(a[x], b[y]) for x, y in pairs):
        return Difference(True, 0.0, 0.0, None)
    level = noise(before, feed)
    worst, allowed, equal, detail = 0.0, 0.0, True, ""
    for x, y in pairs:
        limit = NOISE_FACTOR * level[x]
        distance = _distance(a[x], b[y])
        if distance >= worst:
            worst, allowed = distance, limit
        if not distance <= limit:
            equal = False
            detail = detail or _apart(y, a[x], b[y], distance, limit)
    if equal:
        return Difference(True, worst, allowed, None)
    first = first_difference(before, after, feed, theirs)
    return Difference(False, worst, allowed, first, detail)


def first_difference(before: Graph, after: Graph, feed: Arrays, theirs: Arrays) -> str | None:
    """Return the first node of ``after`` whose output leaves the noise of ``before``.

    Tensors are paired by name, or, in files that share no names, by their order among the tensors
    of one operator and shape.
    """
    pairs = _tensor_pairs(before, after, feed, theirs)
    mine = [x for x, _ in pairs]
    a = run(before, feed, mine)
    b = run(after, theirs, [y for _, y in pairs])
    level = noise(before, feed, mine)
    partner = {y: x for x, y in pairs}
    for node in after.nodes:
        for tensor in node.outputs:
            x = partner.get(tensor.name)
            if x is None:
                continue
            one, other = _common_channels(a[x], b[tensor.name])
            if not _distance(one, other) <= NOISE_FACTOR * level[x]:
                return str(node.name)
    return str(after.outputs[0].inputs[0].name) if after.outputs[0].inputs else None


def _apart(name: str, a: np.ndarray, b: np.ndarray, distance: float, limit: float) -> str:
    """Say in words how the output ``name`` of two graphs differs."""
    if a.shape != b.shape:
        return f"output {name} has shape {_sides(b)} against {_sides(a)}"
    if not np.isfinite(distance):
        return f"output {name} has values that are not finite in one graph only"
    return f"output {name} differs by {distance:.3g}, float noise allows {limit:.3g}"


def _sides(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape)) or "()"


def _common_channels(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the wider of two (N, C, H, W) to the other's first channels: widening keeps those."""
    if a.ndim != 4 or b.ndim != 4 or a.shape[1] == b.shape[1]:
        return a, b
    width = min(a.shape[1], b.shape[1])
    return a[:, :width], b[:, :width]


def _tensor_pairs(
    before: Graph, after: Graph, feed: Arrays, theirs: Arrays
) -> list[tuple[str, str]]:
    shapes_a = before.infer_shapes(_size_of(feed))
    shapes_b = after.infer_shapes(_size_of(theirs))
    left = [(t.name, n.op) for n in before.nodes for t in n.outputs if t.name in shapes_a]
    right = [(t.name, n.op) for n in after.nodes for t in n.outputs if t.name in shapes_b]
    pairs: list[tuple[str, str]] = []
    start_a = start_b = 0
    for a, b, size in _runs([name for name, _ in left], [name for name, _ in right]):
        gap_a, gap_b = left[start_a:a], right[start_b:b]
        keys_a = [(op, shapes_a[name]) for name, op in gap_a]
        keys_b = [(op, shapes_b[name]) for name, op in gap_b]
        for i, j, length in _runs(keys_a, keys_b):
            pairs += [(gap_a[i + k][0], gap_b[j + k][0]) for k in range(length)]
        pairs += [(left[a + k][0], right[b + k][0]) for k in range(size)]
        start_a, start_b = a + size, b + size
    return pairs


def _runs(a: Sequence[object], b: Sequence[object]) -> list[tuple[int, int, int]]:
    """Return (place in a, place in b, length) of runs that are equal; the last is empty."""
    import difflib

    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return [(m.a, m.b, m.size) for m in matcher.get_matching_blocks()]


def _size_of(feed: Arrays) -> tuple[int, int] | None:
    return _image_size([array.shape for array in feed.values()])


def _image_size(shapes: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    return next(((s[2], s[3]) for s in shapes if len(s) == 4), None)


def _feed_for(after: Graph, before: Graph, feed: Arrays) -> Arrays:
    names = [t.name for t in after.inputs]
    if set(names) == set(feed):
        return feed
    if len(names) != len(feed):
        raise UnsupportedGraphError(
            f"{len(feed)} inputs against {len(names)}; graphs with the same inputs can be compared"
        )
    return {new: feed[old.name] for new, old in zip(names, before.inputs, strict=True)}


def _named_node(error: BaseException, graph: Graph) -> str | None:
    """Return the node of ``graph`` that onnxruntime's words name, the longest name that fits."""
    quoted = set(re.findall(r"[\w./:@-]+", str(error)))
    named = [n.name for n in graph.nodes if n.name in quoted or n.name.rstrip("/") in quoted]
    return max(named, key=len) if named else None


def _shake(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    step = rng.choice(np.array([-1.0, 1.0], array.dtype), array.shape)
    return np.asarray(array + step * np.spacing(np.abs(array)), array.dtype)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.size == 0:
        return 0.0
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    both_nan = np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64))
    gap = np.where(both_nan, 0.0, gap)
    return float("inf") if np.isnan(gap).any() else float(gap.max())


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 400 else text[:397] + "..."
