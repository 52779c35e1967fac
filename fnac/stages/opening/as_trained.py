"""Record in a network how it is trained, so that the emitted file states it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from fnac.data.preprocessing import Stated, state_preprocessing
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract, state_input
from fnac.passes.graph.layout import image_axes, sides, with_size
from fnac.stages.opening.task_head import OWN_HEAD, OWN_OUTPUTS, OWN_RANK, state_answers
from fnac.tasks.base import Size, Task


def state_training(
    graph: Graph,
    task: Task,
    size: Size | None = None,
    mean: Stated | None = None,
    std: Stated | None = None,
) -> None:
    """Write size, preprocessing, resize mode and names into the manifest of ``graph``, in place.

    size  (H, W) that whole images are trained at; None: the network's own
    mean, std  as a user states them; None: as the file says, or assumed
    """
    state_preprocessing(graph.manifest, mean, std)
    state_task(graph, task)
    task.describe(graph.manifest)
    if size is None:
        return
    if Contract.read(graph.manifest).input.resize == "sides":  # images differ in size anyhow
        state_input(graph.manifest, sides=size)
        return
    state_input(graph.manifest, size=size)
    set_image_size(graph, size)


def state_task(graph: Graph, task: Task) -> None:
    """Write into a network of no stated task that it is trained for ``task``, in place.

    It has to end as the task's own heads do: in one output of maps (of rows for cls). A network
    that ends otherwise stays without a task; so does one of detection, whose anchors no file of
    another origin states.
    """
    if graph.manifest.get("task") is not None or task.name not in OWN_OUTPUTS:
        return
    shape = graph.outputs[0].shape
    if len(graph.outputs) > 1 or shape is None or len(shape) != OWN_RANK[task.name]:
        return
    channels = shape[1] if isinstance(shape[1], int) else len(task.names)
    graph.manifest |= {"task": task.name, "head": OWN_HEAD, "num_classes": channels}
    state_answers(graph)


def set_image_size(graph: Graph, size: Size) -> None:
    """Set the height and width of the image input to ``size`` (H, W) if they are numbers."""
    images = [(t, axes) for t in graph.inputs if (axes := image_axes(t)) is not None]
    fixed = [(t, a) for t, a in images if all(isinstance(d, int) for d in sides(t.shape, a))]
    if all(sides(tensor.shape, axes) == size for tensor, axes in fixed):
        return
    for tensor, axes in fixed:
        tensor.shape = with_size(tensor.shape, axes, size)
    for output in graph.outputs:
        if isinstance(output, gs.Constant) or output.shape is None:
            continue  # a stored tensor has its own
        if len(output.shape) > 2:  # maps, rows of anchors
            batch, *rest = output.shape
            known = rest[:1] if len(rest) == 3 else [None]
            output.shape = [batch, *known, *[None] * (len(rest) - len(known))]
    graph.refresh_shapes()
    graph.name_batch()
