"""int8 by onnxruntime's static quantization: QDQ format, one scale per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from fnac.errors import PassFailedError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.layout import LAST, image_axes
from fnac.passes.graph.model_checks import one_line
from fnac.stages.opening.sessions import SESSION_ERRORS, open_session

logger = logging.getLogger(__name__)

MEANS = "GlobalAveragePool"
"""An operator that onnxruntime refuses in int8 where its output is far smaller than its input."""
RUN = 4
"""Images that the quantized network is run on."""
QUANTIZED_OPS = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "GlobalAveragePool"]


class _Pictures:
    """Feeds images to onnxruntime's calibration, one at a time, as the input takes them."""

    def __init__(self, taken: gs.Tensor, images: np.ndarray) -> None:
        shape, kind = list(taken.shape or ()), np.dtype(taken.dtype or np.float32)
        first = shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else 1

        def fed(image: np.ndarray) -> np.ndarray:
            values = image.transpose(1, 2, 0) if image_axes(taken) == LAST else image
            if kind.kind in "iu":
                values = np.rint(values).clip(0, 255)
            return np.repeat(values[None], first, axis=0).astype(kind)

        self.batches: Iterator[dict[str, np.ndarray]] = (
            {taken.name: fed(image)} for image in images
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next feed; None at the end."""
        return next(self.batches, None)


def quantize(graph: Graph, images: np.ndarray) -> Graph:
    """Return ``graph`` with int8 weights and activations calibrated on ``images``.

    images  (N, 3, H, W) float32, preprocessed; they are turned where the input has its channels
            last, rounded where it takes whole numbers, and repeated where it takes several at once

    Metadata and manifest are kept. Raises UnsupportedGraphError if the network has more than one
    input, PassFailedError with onnxruntime's words if it cannot quantize the network, or not run
    what it made of it.
    """
    quantized = _quantized(graph, images, QUANTIZED_OPS)
    if (why := _why_not_running(quantized, images)) is not None:
        logger.info("int8: %s stays in floats: %s", MEANS, why)
        quantized = _quantized(graph, images, [op for op in QUANTIZED_OPS if op != MEANS])
        if (why := _why_not_running(quantized, images)) is not None:
            raise PassFailedError(f"--int8: onnxruntime does not run the quantized network: {why}")
    return quantized


def _why_not_running(graph: Graph, images: np.ndarray) -> str | None:
    """Return onnxruntime's words if it does not run a network on some images; None if it does."""
    with tempfile.TemporaryDirectory() as folder:
        path = graph.save(Path(folder) / "int8.onnx")
        feeds = _Pictures(graph.inputs[0], images[:RUN])
        try:
            session = open_session(path, "cpu", 0)
            while (feed := feeds.get_next()) is not None:
                session.run(None, feed)
        except (UnsupportedGraphError, *SESSION_ERRORS) as error:
            return one_line(error)
    return None


def _quantized(graph: Graph, images: np.ndarray, ops: Sequence[str]) -> Graph:
    """Return the network in int8, as ``quantize`` does, with operators ``ops`` in int8."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if len(graph.inputs) != 1:
        raise UnsupportedGraphError(
            f"--int8: the network has {len(graph.inputs)} inputs; wanted one image"
        )
    _check_input(graph.inputs[0])
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
                _Pictures(graph.inputs[0], images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(ops),
                nodes_to_exclude=[n.name for n in graph.nodes if _is_postprocess(n.metadata)],
            )
        except (RuntimeError, ValueError, KeyError, TypeError, *SESSION_ERRORS) as error:
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


def _check_input(taken: gs.Tensor) -> None:
    """Raise UnsupportedGraphError unless an input takes colour images."""
    axes, shape = image_axes(taken), list(taken.shape or ())
    channels = None if axes is None else shape[3 if axes == LAST else 1]
    kind = np.dtype(taken.dtype or np.float32)
    if channels is None or (isinstance(channels, int) and channels != 3) or kind.kind not in "fiu":
        raise UnsupportedGraphError(
            f"--int8: input {taken.name} {shape} of {kind}; wanted colour images to calibrate on, "
            "(N, 3, H, W) or (N, H, W, 3)"
        )


def _is_postprocess(metadata: dict[str, str]) -> bool:
    """Say whether a node belongs to post-processing, which must not be quantized."""
    return metadata.get("fnac.part") == "postprocess"
