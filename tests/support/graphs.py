"""Small graphs: written as ONNX text, filled with integers, compared as text and as numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort

from fnac.passes.base import Pass, Report
from fnac.passes.graph import Graph

Array = np.ndarray


def graph(
    body: str,
    *,
    opset: int = 17,
    values: Mapping[str, object] | None = None,
    check: bool = True,
) -> Graph:
    """Parse ``inputs => outputs <initializers> { nodes }``; name each node after its first output.

    Initializers without values are filled with integers in -3..3, so that sums stay below 2**24
    and float32 is exact: a rewrite that must not change the outputs is held to equality, with no
    tolerance to hide in. ``values`` sets some by name (BatchNormalization needs a variance > 0),
    and ``<int64[2] axes = {2, 3}>`` in the text does, too. An output without a type gets the one
    that ONNX infers. ``check=False`` lets a graph through that ONNX's checker refuses.
    """
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> g {body}')
    rng = np.random.default_rng(0)
    computed = {name for node in model.graph.node for name in node.output}
    given = dict(values or {})
    for info in [v for v in model.graph.value_info if v.name not in computed]:
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        filled = rng.integers(-3, 4, shape)
        array = np.broadcast_to(np.asarray(given.pop(info.name, filled)), shape).astype(dtype)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
        model.graph.value_info.remove(info)
    if given:
        raise KeyError(f"no initializer is called {sorted(given)}")
    for node in model.graph.node:
        node.name = node.output[0]
    if any(not output.type.HasField("tensor_type") for output in model.graph.output):
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for output, known in zip(model.graph.output, inferred.graph.output, strict=True):
            output.CopyFrom(known)
    if check:
        onnx.checker.check_model(model, full_check=True)
    return Graph.from_model(model)


def text(g: Graph) -> str:
    """One line a node, attributes sorted, constants shown by shape: what a golden test compares."""
    lines = []
    for node in g.nodes:
        args = [
            f"{t.name}{list(t.shape)}" if isinstance(t, gs.Constant) else t.name
            for t in node.inputs
        ]
        attrs = " ".join(f"{k}={_plain(v)}" for k, v in sorted(node.attrs.items()))
        made = ", ".join(t.name for t in node.outputs)
        lines.append(f"{made} = {node.op}({', '.join(args)}) {attrs}".rstrip())
    return "\n".join(lines)


def constants(g: Graph) -> dict[str, list[object]]:
    """Return the values of the stored tensors of up to eight numbers, by name."""
    return {c.name: c.values.tolist() for c in g.constants() if c.values.size <= 8}


def feeds(g: Graph, *, seed: int = 1, batch: int = 2, size: int = 8) -> dict[str, Array]:
    """Return integers in -3..3 for every input; symbolic dimensions: ``batch``, then ``size``."""
    rng = np.random.default_rng(seed)
    made = {}
    for tensor in g.inputs:
        shape = [
            d if isinstance(d, int) else (batch if axis == 0 else size)
            for axis, d in enumerate(tensor.shape)
        ]
        made[tensor.name] = rng.integers(-3, 4, shape).astype(tensor.dtype)
    return made


def outputs(g: Graph, feed: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """Run ``g`` (default: on :func:`feeds`) on the CPU with ONNX Runtime's optimisations off."""
    model = g.to_model()
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results = session.run(None, dict(feed if feed is not None else feeds(g)))
    return dict(zip([o.name for o in g.outputs], results, strict=True))


def assert_same_outputs(before: Graph, after: Graph, *, tolerance: float = 0.0) -> None:
    """Compare the outputs: same names, dtypes, shapes, and numbers.

    ``tolerance`` is relative to the largest number of each output and 0 unless real arithmetic is
    regrouped; the test that sets it derives it.
    """
    feed = feeds(before)
    a, b = outputs(before, feed), outputs(after, feed)
    assert list(a) == list(b)
    for name in a:
        if tolerance == 0:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)
        else:
            assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
            largest = float(np.abs(a[name]).max())
            np.testing.assert_allclose(
                b[name], a[name], rtol=0, atol=tolerance * largest, err_msg=name
            )


def applied(p: Pass, before: Graph) -> tuple[Graph, Report]:
    """Run ``p`` on a copy."""
    after = before.copy()
    return after, p.run(after)


def renamed(g: Graph, seed: int = 0) -> Graph:
    """Return a copy in which every node and tensor has a random name; no pass may care."""
    made = g.copy()
    rng = np.random.default_rng(seed)
    for node in made.nodes:
        node.name = f"n{rng.integers(1 << 40)}"
    tensors = [*made.inputs, *made.outputs]
    for node in made.nodes:
        tensors += [*node.inputs, *node.outputs]
    for tensor in {id(t): t for t in tensors if t.name}.values():
        tensor.name = f"t{rng.integers(1 << 40)}"
    return made.copy()


def _plain(value: object) -> object:
    if isinstance(value, gs.Constant):
        return value.values.tolist()
    return value.tolist() if isinstance(value, np.ndarray) else value
