"""Check that a batch of two gives two independent results, which training requires."""

from __future__ import annotations

import numpy as np

from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from .run import probe_size, random_feed
from .runner import Arrays, Runner
from .verify import NOISE_FACTOR, noise


def check_batch(graph: Graph, runner: Runner | None = None) -> None:
    """Raise UnsupportedGraphError, naming the node, unless ``graph`` takes images in batches.

    Its batch must be a symbol, and two images must give what each of them gives alone.
    """
    for tensor in graph.inputs:
        if tensor.shape and isinstance(tensor.shape[0], int):
            raise UnsupportedGraphError(
                f"input {tensor.name}: its batch is fixed to {tensor.shape[0]}; networks are "
                "trained on several images at a time; export the network with a free batch"
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
        joined = np.concatenate([apart[0][name], apart[1][name]])
        if pair.shape != joined.shape:
            at = _first_folded(graph, one, both, runner)
            return f"{at}with two images, output {name} has the shape {list(pair.shape)}"
        if np.array_equal(pair, joined, equal_nan=True):
            continue
        level = level or noise(reference, one, runner=runner, base=apart[0])
        gap = float(np.abs(pair.astype(np.float64) - joined.astype(np.float64)).max())
        if not gap <= NOISE_FACTOR * level[name]:
            at = _first_folded(graph, one, both, runner)
            return f"{at}two images in one batch mix: output {name} differs by {gap:.3g}"
    return None


def _single(feed: Arrays) -> Arrays:
    return {name: array[:1] for name, array in feed.items()}


def _first_folded(graph: Graph, one: Arrays, both: Arrays, runner: Runner) -> str:
    """Return the name of the first node whose result is not twice as many for two images."""
    names = [t.name for node in graph.nodes for t in node.outputs if t.name]
    try:
        alone, pair = runner.run(graph, one, names), runner.run(graph, both, names)
    except (PassFailedError, UnsupportedGraphError):
        return ""  # of a fixed batch: the words that follow say what is wrong
    for node in graph.nodes:
        for tensor in node.outputs:
            a, b = alone.get(tensor.name), pair.get(tensor.name)
            if a is None or b is None or a.dtype.kind != "f" or a.ndim < 2:
                continue
            if b.shape != (2 * a.shape[0], *a.shape[1:]):
                return f"{node.name} ({node.op}): "
    return ""
