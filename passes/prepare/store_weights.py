"""Store weights that the network computes from parameters, so that they can be rewritten."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.operators import DRAWS, LAYERS
from ..graph.surgery import become_constant, elements
from ..running.sessions import open_session

LARGEST = 1 << 28  # elements; a weight beyond this is damage


@dataclasses.dataclass(frozen=True)
class StoreWeights(Pass):
    """Replace every weight that is computed from stored tensors by its value.

    Matches  a weight or bias of Conv, ConvTranspose, Gemm or MatMul that depends on stored tensors
             alone: standardised weights (NFNet, BiT), scaled ones, re-parametrised ones.
    Changes  the weight becomes an initializer of its own name; the nodes that computed it are
             removed. Training then changes the weight itself, which is no longer standardised;
             fnac therefore never runs this pass unless you ask for it.
    Keeps    interface; outputs as exactly as onnxruntime computes the weight.
    """

    name: ClassVar[str] = "store-weights"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        fixed, random = _known_beforehand(graph)
        shapes = graph.refresh_shapes().shapes if fixed or random else {}
        weights: dict[str, tuple[gs.Node, gs.Tensor]] = {}
        for node in graph.nodes:
            for tensor in node.inputs[1:3] if node.op in LAYERS else ():
                if tensor.name in random:
                    report.note(node.name, Left(f"{tensor.name} is drawn at random"))
                elif tensor.name in fixed and not graph.is_output(tensor):
                    if (elements(shapes.get(tensor.name)) or LARGEST + 1) > LARGEST:
                        shape = shapes.get(tensor.name)
                        report.note(node.name, Left(f"{tensor.name} would have the shape {shape}"))
                    else:
                        weights.setdefault(tensor.name, (node, tensor))
        for name, values in _computed(graph, list(weights)).items():
            reader, tensor = weights[name]
            become_constant(graph, tensor, values)
            report.initializers[name] = f"computed from {', '.join(sorted(fixed[name]))}"
            report.note(reader.name, Rewrote(f"{name} stored"))
        if weights:
            graph.cleanup()
        return report


def _known_beforehand(graph: Graph) -> tuple[dict[str, frozenset[str]], set[str]]:
    """Return computed tensor -> the stored float tensors it depends on; and the random tensors."""
    fixed: dict[str, frozenset[str]] = {}
    random: set[str] = set()
    for node in graph.nodes:
        reads = [t for t in node.inputs if not t.is_empty()]
        if node.op in DRAWS or any(t.name in random for t in reads):
            random.update(t.name for t in node.outputs)
        elif reads and all(isinstance(t, gs.Constant) or t.name in fixed for t in reads):
            parts: set[str] = set()
            for tensor in reads:
                if not isinstance(tensor, gs.Constant):
                    parts |= fixed[tensor.name]
                elif np.issubdtype(tensor.dtype, np.floating):
                    parts.add(tensor.name)
            fixed |= {t.name: frozenset(parts) for t in node.outputs}
    return fixed, random


def _computed(graph: Graph, names: list[str]) -> dict[str, np.ndarray]:
    """Compute the tensors, and nothing else, in onnxruntime."""
    import onnxruntime as ort

    if not names:
        return {}
    part = graph.copy()
    tensors = {t.name: t for node in part.nodes for t in node.outputs}
    part.put_inputs([])
    part.put_outputs(tensors[name] for name in names)
    part.cleanup()
    arrays = open_session(part.to_model(), ort.SessionOptions()).run(None, {})
    return {name: np.asarray(values) for name, values in zip(names, arrays, strict=True)}
