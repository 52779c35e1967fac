"""Check that a network computes two images of one batch independently, as training requires."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, fx

from fnac.errors import UnsupportedGraphError
from fnac.importer import ImportedModule
from fnac.importer.building.builder import MADE_BY
from fnac.passes.graph import Graph
from fnac.passes.graph.model_checks import one_line
from fnac.passes.running.batch import SAME, as_found
from fnac.passes.running.run import probe_size, random_feed
from fnac.passes.running.runner import Runner
from fnac.passes.running.verify import NOISE_FACTOR, noise

Results: TypeAlias = "dict[fx.Node, Tensor]"

ERRORS = (RuntimeError, ValueError, IndexError)  # of calls whose shapes do not fit together
ROUNDING = 1e-4
"""Share of the largest output by which torch may differ between one image and two.

It takes other kernels for two, which sum in another order; images that mix differ by more.
"""
WAY_OUT = (
    "networks are trained on several images at a time; cut off what folds the batch away (fnac "
    "expand --task attaches a head of fnac's), or export without it"
)


def check_pair(module: ImportedModule, graph: Graph) -> None:
    """Raise UnsupportedGraphError, naming the node, unless two images give what each gives alone.

    module  what ``graph`` was imported as; it is run in evaluation mode, and left in it
    """
    runner = Runner()
    size = probe_size(graph, runner)
    feeds = [random_feed(graph, size, random_seed=n) for n in (0, 1)]
    one, two = (_single(feed) for feed in feeds)
    both = [torch.cat(pair) for pair in zip(one, two, strict=True)]
    module.eval()
    apart = [_answers(module, one), _answers(module, two)]
    try:
        together = _answers(module, both)
    except ERRORS as error:
        at = _failing(module, both)
        raise UnsupportedGraphError(f"{at}with two images, {one_line(error)}; {WAY_OUT}") from error
    level: dict[str, float] = {}
    rows = zip(graph.outputs, *apart, together, strict=True)
    for index, (output, first, second, pair) in enumerate(rows):
        if not first.ndim:
            why = f"output {output.name} is one number for the whole batch"
            raise UnsupportedGraphError(f"{why}; {WAY_OUT}")
        if first.shape[1:] != second.shape[1:]:
            why = f"output {output.name} {as_found(first.shape, second.shape)}"
            at = _folding(module, (one, two, both), index)
            raise UnsupportedGraphError(f"{at}{why}; {WAY_OUT}")
        joined = torch.cat([first, second])
        if pair.shape != joined.shape:
            why = f"with two images, output {output.name} has the shape {list(pair.shape)}"
        elif torch.equal(pair, joined):
            continue
        else:
            if not level:
                levels = [noise(graph, feed, runner=runner) for feed in feeds]
                level = {name: max(each[name] for each in levels) for name in levels[0]}
            gap = float((pair.double() - joined.double()).abs().nan_to_num().max())
            largest = float(joined.double().abs().nan_to_num().max())
            if gap <= max(NOISE_FACTOR * level[output.name], ROUNDING * largest):
                continue
            why = f"two images in one batch mix: output {output.name} differs by {gap:.3g}"
        raise UnsupportedGraphError(f"{_folding(module, (one, two, both), index)}{why}; {WAY_OUT}")


def _single(feed: dict[str, np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(array[:1]) for array in feed.values()]


def _answers(module: ImportedModule, images: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        answers = module(*images)
    return list(answers) if isinstance(answers, tuple) else [answers]


class _Recorder(fx.Interpreter):
    """Runs a module call by call, and keeps every result by call."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Tensor] = {}
        self.at: fx.Node | None = None

    def run_node(self, n: fx.Node) -> object:
        """Run one call; see the class."""
        self.at = n
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_floating_point() and result.ndim:
            self.results[n] = result
        return result


def _failing(module: ImportedModule, images: list[Tensor]) -> str:
    """Return the name of the node that ``images`` fail at."""
    recorder = _Recorder(module)
    with torch.no_grad(), contextlib.suppress(*ERRORS):
        recorder.run(*images)
    return "" if recorder.at is None else _named(recorder.at)


def _named(call: fx.Node) -> str:
    return f"{call.meta.get(MADE_BY, call.name)}: "


def _folding(module: ImportedModule, feeds: Sequence[list[Tensor]], output: int) -> str:
    """Return the name of the node after which ``output`` no longer has one image per row.

    feeds  one image, another one, both
    """
    runs = []
    for images in feeds:
        recorder = _Recorder(module)
        with torch.no_grad():
            recorder.run(*images)
        runs.append(recorder.results)
    end = next(node for node in module.graph.nodes if node.op == "output").args[0]
    call = end[output] if isinstance(end, tuple) else end
    while isinstance(call, fx.Node):
        mixed = [node for node in call.all_input_nodes if _is_mixed(node, *runs)]
        if not mixed:
            return _named(call)
        call = mixed[0]
    return ""


def _is_mixed(call: fx.Node, one: Results, two: Results, both: Results) -> bool:
    if call.op == "get_attr" or call not in both:
        return False  # a weight, or no tensor of floats
    if one[call].shape[1:] != two[call].shape[1:]:
        return True
    apart = torch.cat([one[call], two[call]])
    scale = float(apart.abs().max()) if apart.numel() else 0.0
    return apart.shape != both[call].shape or not torch.allclose(
        apart, both[call], rtol=0, atol=SAME * scale
    )
