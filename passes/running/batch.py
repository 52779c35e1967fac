"""Check that a batch of two gives two independent results, which training requires."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from .run import probe_size, random_feed
from .runner import Arrays, Runner
from .verify import NOISE_FACTOR, noise

SAME = 1e-4  # of the largest number of a tensor: two batches differ by less in float noise


def check_batch(graph: Graph, runner: Runner | None = None, why_fixed: str | None = None) -> None:
    """Raise UnsupportedGraphError, naming the node, unless ``graph`` takes images in batches.

    Its batch must be a symbol, and two images must give what each of them gives alone.

    why_fixed  why a fixed batch could not be freed, in the words of ``make-batch-symbolic``
    """
    for tensor in graph.inputs:
        if tensor.shape and isinstance(tensor.shape[0], int):
            why = f" and cannot be freed: {why_fixed}" if why_fixed else ""
            raise UnsupportedGraphError(
                f"input {tensor.name}: its batch is fixed to {tensor.shape[0]}{why}; networks are "
                "trained on several images at a time; cut off what folds the batch away (--task "
                "attaches a head of fnac's), or export with a free batch"
            )
    why_not = why_not_two(graph, graph, runner)
    if why_not is not None:
        raise UnsupportedGraphError(
            f"{why_not}; networks are trained on several images at a time; cut off what folds the "
            "batch away (--task attaches a head of fnac's), or export without it"
        )


def why_not_two(reference: Graph, graph: Graph, runner: Runner | None = None) -> str | None:
    """Say why two images in ``graph`` are not two runs of ``reference``; None if they are."""
    runner = runner or Runner()
    size = probe_size(reference, runner)
    one, two = (_single(random_feed(reference, size, random_seed=n)) for n in (0, 1))
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    try:
        together = runner.run(graph, both)
    except (PassFailedError, UnsupportedGraphError) as error:
        return f"with two images, {error}"
    apart = [runner.run(reference, one), runner.run(reference, two)]
    level: dict[str, float] = {}
    for name, pair in together.items():
        if not apart[0][name].ndim:
            return f"output {name} is one number for the whole batch"
        shapes = [list(each[name].shape) for each in apart]
        if shapes[0][1:] != shapes[1][1:]:
            at = _folding(graph, (one, two, both), name, runner)
            return f"{at}output {name} {as_found(*shapes)}"
        joined = np.concatenate([apart[0][name], apart[1][name]])
        if pair.shape != joined.shape:
            at = _folding(graph, (one, two, both), name, runner)
            return f"{at}with two images, output {name} has the shape {list(pair.shape)}"
        if np.array_equal(pair, joined, equal_nan=True):
            continue
        level = level or _noise_of(reference, (one, two), apart, runner)
        gap = float(np.abs(pair.astype(np.float64) - joined.astype(np.float64)).max())
        if not gap <= NOISE_FACTOR * level[name]:
            at = _folding(graph, (one, two, both), name, runner)
            return f"{at}two images in one batch mix: output {name} differs by {gap:.3g}"
    return None


def as_found(one: Sequence[int], other: Sequence[int]) -> str:
    """Return what is said of an output as large as what is found in an image (boxes)."""
    return (
        f"is as large as what is found: {list(one)} for one image, {list(other)} for another, "
        "which do not fit in one batch"
    )


def _noise_of(
    graph: Graph, feeds: Sequence[Arrays], answers: Sequence[Arrays], runner: Runner
) -> dict[str, float]:
    """Return the float noise of each output: the larger one of the images'."""
    levels = [
        noise(graph, feed, runner=runner, base=base)
        for feed, base in zip(feeds, answers, strict=True)
    ]
    return {name: max(level[name] for level in levels) for name in levels[0]}


def _single(feed: Arrays) -> Arrays:
    return {name: array[:1] for name, array in feed.items()}


def _folding(graph: Graph, feeds: Sequence[Arrays], output: str, runner: Runner) -> str:
    """Return the name of the node behind which ``output`` is no longer one image after another.

    feeds  one image, another one, both
    """
    names = [t.name for node in graph.nodes for t in node.outputs if t.name]
    try:
        one, two, both = (runner.run(graph, feed, names) for feed in feeds)
    except (PassFailedError, UnsupportedGraphError):
        return ""  # of a fixed batch: the words that follow say what is wrong
    mixed = {name for name in names if _is_mixed(one[name], two[name], both[name])}
    makers = {t.name: node for node in graph.nodes for t in node.outputs}
    node = makers.get(output)
    while node is not None:
        before = [tensor.name for tensor in node.inputs if tensor.name in mixed]
        if not before:
            return f"{node.name} ({node.op}): "
        node = makers[before[0]]
    return ""


def _is_mixed(one: np.ndarray, two: np.ndarray, both: np.ndarray) -> bool:
    if one.dtype.kind != "f" or not one.ndim:
        return False  # sizes, and what is chosen by them
    if one.shape[1:] != two.shape[1:]:
        return True
    apart = np.concatenate([one, two])
    scale = float(np.abs(apart).max(initial=0))
    return apart.shape != both.shape or not np.allclose(
        apart, both, rtol=0, atol=SAME * scale, equal_nan=True
    )
