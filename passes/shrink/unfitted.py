"""A network with fewer hidden channels and unfitted weights: good for its cost only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..blocks.hidden_channels import keep_channels, trace_hidden
from ..graph import Graph
from .linear import leave_columns, linear_of


def first_channels(graph: Graph, widths: Mapping[str, int]) -> Graph:
    """Return a copy that keeps the first channels of the convolutions that are named.

    widths  convolution that makes hidden channels -> how many of them stay
    """
    return some_channels(graph, {name: np.arange(width) for name, width in widths.items()})


def largest_channels(graph: Graph, widths: Mapping[str, int]) -> Graph:
    """Return a copy that keeps the channels of largest weight, as magnitude pruning does.

    widths  convolution that makes hidden channels -> how many of them stay

    A channel is as large as the sum of the absolute weights that read it (BatchNorm's scale in it).
    """
    by_name = {node.name: node for node in graph.nodes}
    kept = {}
    for name, width in widths.items():
        channels = trace_hidden(graph, by_name[name])
        size = np.zeros(channels.count)
        for reading in channels.readings:
            linear = linear_of(graph, reading.node)
            weight = np.abs(linear.weight * linear.scale[:, None, None, None]).sum(axis=(0, 2, 3))
            size += weight[reading.offset : reading.offset + channels.count]
        kept[name] = np.sort(np.argsort(-size, kind="stable")[:width])
    return some_channels(graph, kept)


def some_channels(graph: Graph, kept: Mapping[str, np.ndarray]) -> Graph:
    """Return a copy that keeps some channels of the convolutions that are named.

    kept  convolution that makes hidden channels -> those that stay, ascending

    It runs and takes the time of a network that is fitted; its answers are worth little.
    """
    narrowed = graph.copy()
    by_name = {node.name: node for node in narrowed.nodes}
    for name, channels_left in kept.items():
        channels = trace_hidden(narrowed, by_name[name])
        if len(channels_left) >= channels.count:
            continue
        keep_channels(narrowed, channels, channels_left, {})
        for reading in channels.readings:
            linear = linear_of(narrowed, reading.node)
            leave_columns(narrowed, linear, reading.offset, channels.count, channels_left, {})
    narrowed.cleanup()
    narrowed.refresh_shapes()
    return narrowed
