"""The working copy of a network in canonical form, and the way back to its interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fnac.errors import DataError, UnsupportedGraphError
from fnac.passes.blocks.find import find_blocks
from fnac.passes.blocks.hidden_channels import HiddenChannels, find_hidden
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.shapes.sized_shapes import shapes_at
from fnac.passes.shrink.linear import why_not_fitted
from fnac.passes.shrink.width_costs import WidthCosts, width_costs
from fnac.stages.opening.canonical import check_control_flow, normalize, take_pictures

BETWEEN = "it makes channels between blocks (shrink.between=true lets them go)"


@dataclasses.dataclass(frozen=True)
class Shrinkable:
    """A network in canonical form and its sets of hidden channels.

    left  convolution -> why its channels stay
    """

    graph: Graph
    sets: tuple[HiddenChannels, ...]
    left: dict[str, str]
    madds: int
    params: int

    def costs(self, names: Sequence[str], of: str) -> WidthCosts:
        """Return the cost of the whole network by the widths of some sets, in this order."""
        by_name = {channels.name: channels for channels in self.sets}
        total = self.madds if of == "madds" else self.params
        shapes = shapes_at(self.graph, self.graph.image_size())
        return width_costs(self.graph, [by_name[n] for n in names], shapes, total, of=of)


def open_shrinkable(
    graph: Graph, *, heads: bool, between: bool = False, manager: PassManager
) -> Shrinkable:
    """Return a copy of the network in canonical form with its sets of hidden channels.

    Raises UnsupportedGraphError if nothing may, or if the file's interface cannot be given back.
    """
    prepared = graph.copy()
    prepared.check_finite()
    check_control_flow(prepared)
    take_pictures(prepared, manager)
    normalize(prepared, manager)
    prepared.refresh_shapes()
    hidden, left = find_hidden(prepared, heads=heads)
    sets = []
    for channels in hidden:
        why = next(
            (w for r in channels.readings if (w := why_not_fitted(r.node)) is not None), None
        )
        if why is None:
            sets.append(channels)
        else:
            left[channels.name] = why
    if not between:
        inside = _inside_blocks(prepared, sets)
        if inside:
            kept = {id(one) for one in inside}
            left.update((one.name, BETWEEN) for one in sets if id(one) not in kept)
            sets = inside
    if not sets:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left.items())[:3])
        raise UnsupportedGraphError(
            f"no convolution can do with fewer channels ({reasons or 'there is none'})"
        )
    with_interface_of(
        prepared.copy(), graph
    )  # what cannot be given back is refused before any work
    cost = profile(prepared)
    return Shrinkable(prepared, tuple(sets), left, cost.madds, cost.params)


def _inside_blocks(graph: Graph, sets: Sequence[HiddenChannels]) -> list[HiddenChannels]:
    """Return the sets that a single block produces and reads."""
    blocks = [
        {id(unit.conv) for unit in block.units.values()} for block in find_blocks(graph).blocks
    ]
    own = [
        {id(node) for node in (*one.makers, *one.grouped, *(r.node for r in one.readings))}
        for one in sets
    ]
    head = {id(node) for node in graph.nodes if node.metadata.get("fnac.part") == "head"}
    return [
        one
        for one, nodes in zip(sets, own, strict=True)
        if nodes <= head or any(nodes <= block for block in blocks)
    ]


def with_interface_of(graph: Graph, file: Graph) -> Graph:
    """Give ``graph`` the declared inputs and outputs of ``file``; their number must agree.

    Raises UnsupportedGraphError where canonical form has changed more than how they are declared.
    """
    for ours, theirs in zip(
        [*graph.inputs, *graph.outputs], [*file.inputs, *file.outputs], strict=True
    ):
        ranks = [len(t.shape) for t in (ours, theirs) if t.shape is not None]
        same = len(set(ranks)) < 2 and np.dtype(ours.dtype) == np.dtype(theirs.dtype)
        if ours.name != theirs.name or not same:
            raise UnsupportedGraphError(
                f"{theirs.name}: the network is worked on with {ours.name} ({ours.dtype}) in its "
                f"place, and its interface ({theirs.dtype}) would change; export it with float "
                "images, channels first"
            )
        if theirs.shape is not None:
            ours.shape = list(theirs.shape)
    return graph


def check_images(images: np.ndarray) -> None:
    """Raise DataError for images that cannot be used for fitting."""
    if not np.isfinite(images).all():
        raise DataError("--data: an image holds NaN or infinity after preprocessing")
    flat = images.reshape(len(images), -1)
    constant = int((flat.std(axis=1) == 0).sum())
    if constant == len(images):
        raise DataError("--data: every image is of one colour; wanted images of the task")
    if len(images) > 1 and (flat == flat[0]).all():
        raise DataError("--data: all images are the same; wanted different images of the task")
