"""Do images resemble the training images, by the statistics of a network's BatchNorms?

A BatchNormalization keeps the variance of what it read in training. Images of another scale (no
mean and std, 0 to 255 instead of 0 to 1) change the variance that the first ones read by a factor;
images of another scene, another camera or another colour order hardly do. Measured on MobileNetV2:
1.3 for its own preprocessing, 4 to 7 without mean and std, 3.7 for [-1, 1], above 100 for 0 to 255.
"""

from __future__ import annotations

import numpy as np

from ..graph import Graph
from ..graph.surgery import stored, values_of
from .calibrate import output_statistics

FIRST = 6  # BatchNormalizations that are asked; behind them the network has evened much out
IMAGES = 16
LEAST = 1e-30  # variance of a channel that does not vary at all
UNLIKE = 3.0  # factor of variance from which images are of another preprocessing


def variance_apart(graph: Graph, images: np.ndarray) -> float | None:
    """Return by what factor the variance of features differs from that of training, at least 1.

    images  (N, C, H, W) float32, prepared for the network; at most IMAGES of them are run

    The median over channels, then over the first BatchNormalizations. None for a network that has
    none, or none that reads features of an image.
    """
    norms = [
        node
        for node in graph.nodes
        if node.op == "BatchNormalization" and all(stored(t) is not None for t in node.inputs[1:])
    ][:FIRST]
    if not norms:
        return None
    places = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)
    reads = [node.inputs[0].name for node in norms]
    measured = output_statistics(graph, list(dict.fromkeys(reads)), images[places])
    factors = []
    for node, name in zip(norms, reads, strict=True):
        trained = values_of(node.inputs[4]).astype(np.float64)
        epsilon = float(node.attrs.get("epsilon", 1e-5))
        varies = trained > epsilon  # a channel that never varied says nothing
        if varies.any():
            now = np.maximum(measured[name].variance[varies] + epsilon, LEAST)
            factors.append(float(np.median(np.abs(np.log(now / (trained[varies] + epsilon))))))
    return float(np.exp(np.median(factors))) if factors else None
