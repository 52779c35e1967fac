"""Bring a seed into canonical form, for ``expand`` and ``inspect``."""

from __future__ import annotations

import logging

from fnac.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.surgery import stored
from fnac.passes.manager import PassManager
from fnac.passes.normalize.raise_opset import RaiseOpset
from fnac.passes.prepare.convert_float32 import ConvertFloat32, not_float32
from fnac.passes.prepare.make_channels_first import MakeChannelsFirst, channels_last
from fnac.passes.prepare.open_activations import OpenActivations
from fnac.passes.prepare.take_floats import TakeFloats, integer_pictures
from fnac.passes.prepare.use_stored_statistics import UseStoredStatistics, trains

logger = logging.getLogger(__name__)


def check_control_flow(graph: Graph) -> None:
    """Raise UnsupportedGraphError for a node whose branch depends on run-time values."""
    for node in graph.nodes:
        if node.op in ("Loop", "Scan") or (node.op == "If" and stored(node.inputs[0]) is None):
            raise UnsupportedGraphError(
                f"{node.name} ({node.op}): what it runs depends on the network's input; "
                "export the network without control flow"
            )


def leave_training_mode(graph: Graph, manager: PassManager) -> None:
    """Let BatchNormalizations of a file that was exported in training mode use what they store.

    Such a file normalises each image by its batch. A warning says so.
    """
    training = [node.name for node in graph.nodes if trains(node)]
    if training:
        logger.warning(
            "the file was exported in training mode: %d BatchNormalizations use their stored "
            "statistics from here on (%s, ...)",
            len(training),
            training[0],
        )
        manager.run([UseStoredStatistics()], graph)


def take_pictures(graph: Graph, manager: PassManager) -> None:
    """Let ``graph`` compute in float32 and take images as floats, channels first, in place.

    One of integers is given the pixels as they are, 0 to 255. Raises UnsupportedGraphError for one
    that computes with the integers themselves.
    """
    leave_training_mode(graph, manager)
    if channels_last(graph):
        manager.run([MakeChannelsFirst()], graph)
    if integer_pictures(graph):
        _take_floats(graph, manager)
        if channels_last(graph):  # its Casts stood in front of the Transpose
            manager.run([MakeChannelsFirst()], graph)
    graph.manifest.get("preprocessing", {}).pop("layout", None)  # it is the usual one now
    if not_float32(graph):
        manager.run([ConvertFloat32()], graph)


def normalize(graph: Graph, manager: PassManager) -> None:
    """Bring ``graph`` into canonical form, in place; dequantize its activations."""
    from fnac.passes.registry import parse_pipeline

    if any(node.op == "QuantizeLinear" for node in graph.nodes):
        manager.run([RaiseOpset(), OpenActivations()], graph)
    manager.run(parse_pipeline("normalize"), graph)


def _take_floats(graph: Graph, manager: PassManager) -> None:
    manager.run([TakeFloats()], graph)
    stuck = integer_pictures(graph)
    if stuck:
        raise UnsupportedGraphError(
            f"input {stuck[0].name}: {stuck[0].dtype} images, which are not cast to "
            "float alone; export the network with an input of floats"
        )
    graph.manifest.setdefault(
        "preprocessing", {"mean": [0.0] * 3, "std": [1 / 255] * 3, "color": "RGB"}
    )
