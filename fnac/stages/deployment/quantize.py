"""int8 by onnxruntime's static quantization: QDQ format, one scale per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fnac.errors import PassFailedError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.model_checks import one_line

QUANTIZED_OPS = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "GlobalAveragePool"]


class _Pictures:
    """Feeds images to onnxruntime's calibration, one at a time."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self.batches: Iterator[dict[str, np.ndarray]] = (
            {name: images[i : i + 1].astype(np.float32)} for i in range(len(images))
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next feed; None at the end."""
        return next(self.batches, None)


def quantize(graph: Graph, images: np.ndarray) -> Graph:
    """Return ``graph`` with int8 weights and activations calibrated on ``images``.

    images  (N, C, H, W) float32, preprocessed

    Metadata and manifest are kept. Raises UnsupportedGraphError if the network has more than one
    input, PassFailedError with onnxruntime's words if it cannot quantize the network.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if len(graph.inputs) != 1:
        raise UnsupportedGraphError(
            f"--int8: the network has {len(graph.inputs)} inputs; wanted one image"
        )
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        graph.save(source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # quantize_static writes advice to the root logger
        try:
            quantize_static(
                str(source),
                str(result),
                _Pictures(graph.inputs[0].name, images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=QUANTIZED_OPS,
                nodes_to_exclude=[n.name for n in graph.nodes if _is_postprocess(n.metadata)],
            )
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise PassFailedError(
                f"--int8: onnxruntime cannot quantize: {one_line(error)}"
            ) from error
        finally:
            root.setLevel(level)
        quantized = Graph.load(result)
    kept = {node.name: node.metadata for node in graph.nodes}
    for node in quantized.nodes:
        node.metadata = dict(kept.get(node.name, {}))
    quantized.metadata = dict(graph.metadata)
    quantized.manifest = {**graph.manifest, "precision": "int8"}
    quantized.producer_name = graph.producer_name
    return quantized


def _is_postprocess(metadata: dict[str, str]) -> bool:
    """Say whether a node belongs to post-processing, which must not be quantized."""
    return metadata.get("fnac.part") == "postprocess"
