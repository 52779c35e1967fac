"""Find the output with one map per class or joint, to which post-processing is attached."""

from __future__ import annotations

from ..graph import Graph, Shape
from ..graph.tensor_checks import is_float


def find_maps(
    graph: Graph, shapes: dict[str, Shape], what: str, since: int, *, least: int = 1
) -> int | str:
    """Return the place of the first float output of shape (N, C, H, W), or why there is none.

    shapes: of the graph, inferred. what: for the reason, ``logits (N, C, H, W)``. since: the least
    operator set that will do; least: the least C.
    """
    if not any(t.shape is not None and len(t.shape) == 4 for t in graph.inputs):
        return "no input is an image (N, C, H, W)"
    if graph.opset < since:
        return f"operator set {graph.opset} is below {since}; raise-opset first"
    shapes_seen = []
    for place, output in enumerate(graph.outputs):
        shape = shapes.get(output.name, ())
        shapes_seen.append(f"{output.name} {list(shape)}")
        floats = output.dtype is None or is_float(output.dtype)
        few = len(shape) == 4 and isinstance(shape[1], int) and shape[1] < least
        if len(shape) == 4 and floats and not few:
            return place
    return f"no output holds {what}; found {', '.join(shapes_seen)}"
