"""Prove that two graphs compute the same function, or name the first node that differs.

onnxruntime runs both on the same random input with its own optimisations off. The tolerance is
the network's own float noise: how far its outputs move when every weight and input is changed by
one unit in the last place, which is what regrouping the same arithmetic does.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from ..graph.layout import FIRST, TO_FIRST, image_axes, sides
from ..graph.operators import READS_SIZE, RESIZES
from .run import probe_size, random_feed, run
from .runner import Arrays, Runner, without_weights

NOISE_TRIALS = 2
NOISE_FACTOR = 16.0  # a rewrite may regroup a few operations per layer


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much two graphs differ.

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
        fields = dataclasses.asdict(self)
        if not np.isfinite(self.max_abs_diff):
            fields["max_abs_diff"] = None  # JSON knows no infinity
        if not np.isfinite(self.tolerance):
            fields["tolerance"] = None
        return fields


def noise(
    graph: Graph,
    feed: Arrays,
    tensors: Sequence[str] = (),
    *,
    runner: Runner | None = None,
    base: Arrays | None = None,
) -> dict[str, float]:
    """Measure the float noise of each output; see the module's docstring.

    It is one unit in the last place of the output's largest number at least: what a sigmoid near
    1 leaves may not move at all, and is rounded all the same.

    base     what ``graph`` gives for ``feed``, if it was run already
    returns  tensor name -> largest absolute change; integer outputs included
    """
    rng = np.random.default_rng(1)
    runner = runner or Runner()
    base = runner.run(graph, feed, tensors) if base is None else base
    level = {name: _unit(array) for name, array in base.items()}
    for _ in range(NOISE_TRIALS):
        moved = _shaken_run(graph, feed, tensors, runner, rng)
        for name in level:
            level[name] = max(level[name], _distance(base[name], moved[name]))
    return level


def _unit(array: np.ndarray) -> float:
    """Return one unit in the last place of the largest number; 0 of integers."""
    if array.dtype.kind != "f" or not array.size:
        return 0.0
    largest = np.abs(array[np.isfinite(array)]).max(initial=0)
    return float(np.spacing(largest)) if largest else 0.0


def _shaken_run(
    graph: Graph,
    feed: Arrays,
    tensors: Sequence[str],
    runner: Runner,
    rng: np.random.Generator,
) -> Arrays:
    """Run ``graph`` with every weight and input changed by one unit in its last place.

    The changed weights are as large as the network: they live for this one run.
    """
    model, weights = without_weights(graph)
    sizes = _sizes(model)
    model = _shaken_model(model, sizes, rng)
    numbers = {
        name: array if name in sizes or array.dtype != np.float32 else _shake(array, rng)
        for name, array in weights.items()
    }
    images = {name: _shake(array, rng) for name, array in feed.items()}
    return runner.run_parts(model, numbers, images, tensors, again=False)


def _shaken_model(
    model: onnx.ModelProto, sizes: set[str], rng: np.random.Generator
) -> onnx.ModelProto:
    """Return a copy of ``model`` with its stored values shaken."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for stored in copy.graph.initializer:
        if stored.name in sizes:
            continue
        if stored.data_type == onnx.TensorProto.FLOAT and np.prod(stored.dims) > 1:
            array = onnx.numpy_helper.to_array(stored)
            stored.CopyFrom(onnx.numpy_helper.from_array(_shake(array, rng), stored.name))
    return copy


def _sizes(model: onnx.ModelProto) -> set[str]:
    """Return the tensors from which scales of a Resize are computed; they must not be shaken."""
    sizes: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type in RESIZES:
            sizes.update(node.input[1:])
        elif node.op_type not in READS_SIZE and sizes.intersection(node.output):
            sizes.update(node.input)
    return sizes


def compare(
    before: Graph,
    after: Graph,
    *,
    feed: Arrays | None = None,
    size: Sequence[int] | None = None,
    runner: Runner | None = None,
) -> Difference:
    """Compare the outputs of two graphs on one random input.

    Outputs are paired by order. The graphs must have inputs of the same names, or the same number
    of inputs, which are then paired by order. ``runner`` may have run one of them already.
    """
    runner = runner or Runner()
    if feed is None:
        feed = random_feed(before, size or probe_size(before, runner))
    theirs = _feed_for(after, before, feed)
    if len(before.outputs) != len(after.outputs):
        return Difference(
            False,
            float("inf"),
            0.0,
            None,
            f"{len(before.outputs)} outputs against {len(after.outputs)}",
        )
    a = runner.run(before, feed)
    try:
        b = runner.run(after, theirs)
    except PassFailedError as error:
        return Difference(False, float("inf"), 0.0, _named_node(error, after), str(error))
    pairs = list(
        zip([t.name for t in before.outputs], [t.name for t in after.outputs], strict=True)
    )
    if all(_same(a[x], b[y]) for x, y in pairs):
        return Difference(True, 0.0, 0.0, None)
    level = noise(before, feed, runner=runner, base=a)
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
    """Return the first node of ``after`` whose output differs from ``before`` by more than noise.

    Tensors are paired by name, or, in files that share no names, by their order among the tensors
    of one operator and shape.
    """
    pairs = _tensor_pairs(before, after, feed, theirs)
    mine = [x for x, _ in pairs]
    a = run(before, feed, mine)
    b = run(after, theirs, [y for _, y in pairs])
    level = noise(before, feed, mine, base=a)
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
    shapes_a = before.infer(_size_of(before, feed)).shapes
    shapes_b = after.infer(_size_of(after, theirs)).shapes
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


def _size_of(graph: Graph, feed: Arrays) -> tuple[int, int] | None:
    for tensor in graph.inputs:
        axes = image_axes(tensor)
        if axes is not None:
            height, width = sides(feed[tensor.name].shape, axes)
            return int(height or 0), int(width or 0)
    return None


def _feed_for(after: Graph, before: Graph, feed: Arrays) -> Arrays:
    """Return the inputs for ``after``: the same images, in its own layout and under its names."""
    names = [t.name for t in after.inputs]
    if len(names) != len(feed):
        raise UnsupportedGraphError(
            f"{len(feed)} inputs against {len(names)}; graphs with the same inputs can be compared"
        )
    same = set(names) == set(feed)
    by_name = {tensor.name: tensor for tensor in before.inputs}
    theirs: Arrays = {}
    for new, old in zip(after.inputs, before.inputs, strict=True):
        partner = by_name[new.name] if same else old
        theirs[new.name] = _turned(feed[partner.name], image_axes(partner), image_axes(new))
    return theirs


def _turned(
    pictures: np.ndarray, before: tuple[int, int] | None, after: tuple[int, int] | None
) -> np.ndarray:
    """Return images in another layout: expand moves channels that are last to the front."""
    if before is None or after is None or before == after:
        return pictures
    order = TO_FIRST if after == FIRST else [0, 2, 3, 1]
    return np.ascontiguousarray(np.transpose(pictures, order))


def _named_node(error: BaseException, graph: Graph) -> str | None:
    """Return the node of ``graph`` that onnxruntime's message names; the longest name that fits."""
    quoted = set(re.findall(r"[\w./:@-]+", str(error)))
    named = [n.name for n in graph.nodes if n.name in quoted or n.name.rstrip("/") in quoted]
    return max(named, key=len) if named else None


def _shake(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move every float by one unit in its last place, up or down; integers stay.

    Zeros stay as well: next to them are numbers of 1e-45, which no sum feels but a processor does.
    """
    if array.dtype.kind != "f":
        return array
    up = np.unpackbits(np.frombuffer(rng.bytes(-(-array.size // 8)), np.uint8), count=array.size)
    # 1 -> 1, and 0 -> 255, which is -1
    step = (up * np.uint8(2) - np.uint8(1)).view(np.int8).reshape(array.shape)
    step *= array != 0
    if array.dtype == np.float32:
        return _stepped(array, step)
    return np.asarray(array + step * np.spacing(np.abs(array)), array.dtype)


def _stepped(array: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Step from each float32 to its neighbour: as integers, their magnitudes are in order."""
    moved = np.array(array, order="C")
    moved.view(np.int32)[...] += step
    finite = np.isfinite(array)
    if not finite.all():
        moved[~finite] = array[~finite]
    return moved


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
