"""A network of fewer hidden channels, its weights as they are: what it costs, not what it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..blocks.hidden_channels import keep_channels, trace_hidden
from ..graph import Graph
from .linear import leave_columns, linear_of


def first_channels(graph: Graph, widths: Mapping[str, int]) -> Graph:
    """Return a copy that keeps the first channels of the convolutions that are named.

    widths  convolution that makes hidden channels -> how many of them stay

    It runs and takes the time of a network that is fitted; its answers are worth nothing.
    """
    made = graph.copy()
    by_name = {node.name: node for node in made.nodes}
    for name, width in widths.items():
        channels = trace_hidden(made, by_name[name])
        if width >= channels.count:
            continue
        kept = np.arange(width)
        keep_channels(made, channels, kept, {})
        for reading in channels.readings:
            linear = linear_of(made, reading.node)
            leave_columns(made, linear, reading.offset, channels.count, kept, {})
    made.cleanup()
    made.refresh_shapes()
    return made
