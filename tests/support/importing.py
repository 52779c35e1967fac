"""Compare imported networks with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import torch

from fnac.importer import ImportedModule, import_onnx

Array = np.ndarray


def model(
    body: str,
    *,
    opset: int = 18,
    values: Mapping[str, object] | None = None,
    ir: int = 10,
    seed: int = 0,
) -> onnx.ModelProto:
    """Parse ``inputs => outputs <initializers> { nodes }``; ``_W`` in names stands for ``.weight``.

    Initializers without values are filled with normal numbers; nodes are named after their first
    output.
    """
    made = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> g {body}')
    rng = np.random.default_rng(seed)
    computed = {name for node in made.graph.node for name in node.output}
    given = dict(values or {})
    for info in [v for v in made.graph.value_info if v.name not in computed]:
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        filled = given.pop(info.name, None)
        array = rng.normal(size=shape) if filled is None else np.asarray(filled).reshape(shape)
        made.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(dtype), info.name))
        made.graph.value_info.remove(info)
    if given:
        raise KeyError(f"no initializer is called {sorted(given)}")
    for node in made.graph.node:
        node.name = next(o for o in node.output if o)
    return renamed(made, {"_W": ".weight", "_B": ".bias", "_A": ".alpha"})


def renamed(made: onnx.ModelProto, endings: Mapping[str, str]) -> onnx.ModelProto:
    """Change the endings of tensor names in place (ONNX text has no dots in names)."""

    def fresh(name: str) -> str:
        return next((name[: -len(e)] + n for e, n in endings.items() if name.endswith(e)), name)

    for node in made.graph.node:
        node.input[:] = [fresh(n) for n in node.input]
        node.output[:] = [fresh(n) for n in node.output]
    for tensor in made.graph.initializer:
        tensor.name = fresh(tensor.name)
    return made


def run_ort(made: onnx.ModelProto, feeds: Sequence[Array]) -> list[Array]:
    """Run in onnxruntime on the CPU, one thread, its optimisations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [i.name for i in session.get_inputs()]
    outputs: list[Array] = session.run(None, dict(zip(names, feeds, strict=True)))
    return outputs


def run_torch(module: torch.nn.Module, feeds: Sequence[Array]) -> list[Array]:
    """Run an imported network without gradients; always a list."""
    with torch.no_grad():
        result = module(*[torch.from_numpy(f) for f in feeds])
    return [r.numpy() for r in (result if isinstance(result, tuple) else [result])]


def assert_close(ours: Sequence[Array], theirs: Sequence[Array], tolerance: float) -> None:
    """Hold outputs to the same number, dtype and shape, and numbers.

    ``tolerance`` is relative to the largest number of the output.
    """
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        largest = max(float(np.abs(b.astype(np.float64)).max()), 1e-2) if b.size else 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


def assert_imports(
    made: onnx.ModelProto, *shapes: Sequence[int], tolerance: float = 1e-5
) -> ImportedModule:
    """Import a model and hold it to onnxruntime on normal inputs of these shapes.

    The tolerance covers sums in another order: about 1e-7 times the root of their length.
    """
    rng = np.random.default_rng(1)
    feeds = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    module = import_onnx(made)
    assert_close(run_torch(module, feeds), run_ort(made, feeds), tolerance)
    return module
