"""Sides that are free, however an exporter says so."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def with_free_sides(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with sides of -1 as unknown ones, or ``model`` itself if it has none.

    Paddle2ONNX writes -1 for a batch, height or width that is free.
    """
    if not any(_negative(model.graph)):
        return model
    free = onnx.ModelProto()
    free.CopyFrom(model)
    for side in _negative(free.graph):
        side.ClearField("dim_value")
    return free


def _negative(graph: onnx.GraphProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for side in value.type.tensor_type.shape.dim:
            if side.HasField("dim_value") and side.dim_value < 0:
                yield side
