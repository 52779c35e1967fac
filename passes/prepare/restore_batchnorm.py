"""Restore the BatchNormalization of a network in which it was folded.

Behind a convolution y = z + b (z without bias), the inserted

    BN(z) = gamma * (z - mean) / sqrt(var + eps) + beta

with gamma = sqrt(var + eps), mean = E[y] - b, beta = E[y] is the identity plus b for whatever
statistics; with those of data, training mode computes nearly the same as inference, so that the
network can be trained. With mean 0 and var 1 training mode destroys the features (cosine 0.03
against 0.94-0.98, measured on ImageNet images): images are needed.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.node_maker import new_node
from ..graph.surgery import set_inputs, set_outputs, values_of
from ..running.calibrate import Statistics, output_statistics, read_images, train_mode_cosines
from .lost_batchnorm import layers_to_restore

log = logging.getLogger(__name__)

WHERE = ("auto", "all")
VARIANCE_FLOOR = 1e-8  # of dead channels, whose outputs never change


@dataclasses.dataclass(frozen=True)
class RestoreBatchNorm(Pass):
    """Insert BatchNormalization after layers that lost it; eval mode computes the same.

    Matches  Conv or Gemm with a stored weight and bias that feeds an activation, a residual Add or
             another layer. ``where=auto`` decides from the whole network whether BN was folded: it
             has no other normalisation and no BN after a Conv or its activation, and it has a
             depthwise Conv with a bias, or a residual Add of a Conv with a bias, or a BN elsewhere
             (before a layer, after a concatenation) that folding kept. A plain chain
             (SqueezeNet, VGG) never had BN, and one that had (a folded VGG-BN) looks the same:
             force it with ``where=all``.
    Left     squeeze-excitation and pooling branches (their input is one pixel: no statistics), the
             last layer, convolutions without bias.
    Changes  the bias goes into a new BatchNormalization; statistics are those of ``images``, or
             without images the identity's (mean 0, var 1), which the report says.
    Keeps    interface and outputs (float noise).

    images   (N, C, H, W) float32, preprocessed; not an argument of the command line
    data     path of the same as .npy, or .npz with the array ``images``
    epsilon  of the new layers
    """

    name: ClassVar[str] = "restore-batchnorm"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    where: str = "auto"
    data: str | None = None
    epsilon: float = 1e-5
    images: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.where not in WHERE:
            raise ValueError(f"where={self.where}; known: {', '.join(WHERE)}")
        if self.data is not None and self.images is not None:
            raise ValueError("data and images were both given; wanted one source of images")

    def run(self, graph: Graph) -> Report:
        """See the class. Raises UnsupportedGraphError if the images do not fit the network."""
        report = Report()
        chosen: list[gs.Node] = []
        for node, left in layers_to_restore(graph, self.where):
            if left is None:
                chosen.append(node)
            else:
                report.note(node.name, left)
        if not chosen:
            return report
        images = read_images(self.data) if self.data is not None else self.images
        outputs = [node.outputs[0].name for node in chosen]
        statistics = None if images is None else output_statistics(graph, outputs, images)
        for node in chosen:
            measured = None if statistics is None else statistics[node.outputs[0].name]
            _insert(node, graph, measured, self.epsilon, report)
        cosines = {} if images is None else train_mode_cosines(graph, outputs, images)
        for node, output in zip(chosen, outputs, strict=True):
            said = "identity statistics; train mode differs"
            if output in cosines:
                said = f"calibrated; train mode cosine {cosines[output]:.3f}"
            report.note(node.name, Rewrote(said))
        if cosines:
            worst = min(range(len(chosen)), key=lambda i: cosines[outputs[i]])
            log.info(
                "batch normalisation restored after %d layers; cosine of train and eval mode: "
                "mean %.3f, least %.3f at %s",
                len(chosen),
                float(np.mean(list(cosines.values()))),
                cosines[outputs[worst]],
                chosen[worst].name,
            )
        return report


def _insert(
    node: gs.Node, graph: Graph, statistics: Statistics | None, epsilon: float, report: Report
) -> None:
    """Insert a BatchNormalization after ``node`` and move its bias there."""
    bias = values_of(node.inputs[2]).astype(np.float64)
    mean_y = bias if statistics is None else statistics.mean
    variance = (
        np.ones_like(bias)
        if statistics is None
        else np.maximum(statistics.variance, VARIANCE_FLOOR)
    )
    stored_variance = variance.astype(np.float32)
    gamma = np.sqrt(stored_variance.astype(np.float64) + np.float64(np.float32(epsilon)))
    values = {
        "weight": gamma,
        "bias": mean_y,
        "running_mean": mean_y - bias,
        "running_var": stored_variance,
    }
    dtype = node.inputs[1].dtype
    result = node.outputs[0]
    inner = gs.Variable(graph.new_name(f"{result.name}.conv"), result.dtype, result.shape)
    parameters = [
        gs.Constant(graph.new_name(f"{node.name}.bn.{word}"), array.astype(dtype))
        for word, array in values.items()
    ]
    for parameter in parameters:
        source = "identity" if statistics is None else "pictures"
        report.initializers[parameter.name] = f"fresh, from the bias and {source}"
    set_inputs(node, list(node.inputs)[:2])
    set_outputs(node, [inner])
    normal = new_node(
        "BatchNormalization",
        graph.new_name(f"{node.name}.bn"),
        [inner, *parameters],
        [result],
        {"epsilon": float(epsilon), "momentum": 0.9},
    )
    normal.metadata = {k: v for k, v in node.metadata.items() if k == "fnac.part"}
    graph.insert([normal], after=node)
