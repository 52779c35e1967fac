"""Run graphs in onnxruntime, and none of them twice.

A session is made of a graph without its weights, which are fed like inputs: nothing is copied, and
graphs of one structure and other numbers (float noise, candidates made by zeroing) share one
session. What came out last is kept, so that a graph that is proven equal to the one before a pass
is not run again as the one before the next pass.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..errors import PassFailedError
from ..graph import Graph
from ..graph.model_checks import one_line
from ..graph.operators import RESIZES
from ..graph.tensor_checks import element_type
from .limits import holds_loop, limit_loops, loops_end
from .sessions import open_session, stored_bytes

if TYPE_CHECKING:
    import onnxruntime

Arrays = dict[str, np.ndarray]

SESSIONS = 2  # of the graph before a pass and the one after it
SMALL = 1 << 20  # bytes or elements that are compared one by one
FED = (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


class Runner:
    """Runs graphs on the CPU, unoptimised. Keep one instance for a series of runs."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, onnxruntime.InferenceSession] = OrderedDict()
        self._last: tuple[bytes, Arrays, Arrays] | None = None

    def run(
        self, graph: Graph, feed: Mapping[str, np.ndarray], tensors: Sequence[str] = ()
    ) -> Arrays:
        """Return the outputs of ``graph`` by name, and those of the inner tensors ``tensors``.

        The arrays are not to be written to. Raises PassFailedError with onnxruntime's words (they
        name the node) if it does not run.
        """
        model, weights = without_weights(graph)
        return self.run_parts(model, weights, feed, tensors)

    def run_parts(
        self,
        model: onnx.ModelProto,
        weights: Mapping[str, np.ndarray],
        feed: Mapping[str, np.ndarray],
        tensors: Sequence[str] = (),
        *,
        again: bool = True,
    ) -> Arrays:
        """Run what :func:`without_weights` returned; see :meth:`run`. Changes ``model``.

        again  it may be asked for again: keep what comes out
        """
        _prepare(model, feed, tensors)
        caught: tuple[type[Exception], ...] = (RuntimeError, ValueError, *ort_errors())
        try:
            key, session = self._session(model)
            fed = {**weights, **feed}
            if self._last is not None and self._last[0] == key and _equal(self._last[1], fed):
                return dict(self._last[2])
            names = [output.name for output in session.get_outputs()]
            with loops_end(model) as limit:
                results = dict(zip(names, session.run(names, fed, limit), strict=True))
        except caught as error:
            raise PassFailedError(f"onnxruntime cannot run the graph: {one_line(error)}") from error
        if again and key:
            self._last = key, fed, results
        return dict(results)

    def _session(self, model: onnx.ModelProto) -> tuple[bytes, onnxruntime.InferenceSession]:
        import onnxruntime as ort

        key = model.SerializeToString() if stored_bytes(model) < SMALL else b""
        if key and key in self._sessions:
            self._sessions.move_to_end(key)
            return key, self._sessions[key]
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = threads()
        if holds_loop(model.graph):
            limit_loops(model, options)
        else:
            options.enable_cpu_mem_arena = False  # it runs once or twice; its memory goes back
        session = open_session(model, options)
        if key:
            self._sessions[key] = session
            while len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
        return key, session


def threads() -> int:
    """Return the threads of a session: two, or one where ``OMP_NUM_THREADS`` is 1.

    onnxruntime does not read that variable, and its threads spin while they wait.
    """
    return 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 2


def without_weights(graph: Graph) -> tuple[onnx.ModelProto, Arrays]:
    """Return a model whose float tensors are inputs, and those tensors by name.

    What is one number stays stored, and what a runtime may have to know beforehand: the scales of
    a resize, those of a quantization. A model that is not plain is returned as a whole.

    Raises PassFailedError if two tensors have one name.
    """
    if not graph.is_plain():
        return graph.to_model(), {}
    graph.check_names()
    kept = {id(t) for node in graph.nodes if _reads_numbers(node) for t in node.inputs}
    fed = {
        constant.name: constant
        for constant in graph.constants()
        if element_type(constant.dtype) in FED
        and id(constant) not in kept
        and np.prod(constant.shape) > 1
    }
    model = graph.skeleton(as_input=lambda constant: constant.name in fed)
    return model, {name: constant.values for name, constant in fed.items()}


def ort_errors() -> tuple[type[Exception], ...]:
    """Return every exception class that onnxruntime raises; they share no useful base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(
        kind
        for kind in vars(state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )


def _reads_numbers(node: gs.Node) -> bool:
    # a BatchNormalization that trains writes its new statistics over the arrays that it is fed
    trains = bool(node.attrs.get("training_mode", 0))
    return trains or node.op in RESIZES or "Quant" in node.op or "QLinear" in node.op


def _prepare(
    model: onnx.ModelProto, feed: Mapping[str, np.ndarray], tensors: Sequence[str]
) -> None:
    """Make a model take the shapes of ``feed`` and also output ``tensors``."""
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


def _equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Say whether two feeds hold the same numbers: weights by identity, inputs one by one."""
    if one.keys() != other.keys():
        return False
    return all(
        array is other[name]
        or (
            array.size < SMALL
            and array.dtype == other[name].dtype
            and np.array_equal(array, other[name], equal_nan=array.dtype.kind == "f")
        )
        for name, array in one.items()
    )
