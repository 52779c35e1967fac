"""``search``: train weights and alphas alternately (FNA++ Sec. 3.2), towards a budget.

Reads ``super.onnx``, leaves it with trained weights and alphas. One step is a weight step on one
sampled path; after the warm-up an alpha step follows it. A run that was killed continues from its
last checkpoint, bit-identical to an unbroken one.
"""

from __future__ import annotations

from pathlib import Path

from fnac.architectures.budget import UNLIMITED, CostLimit, check_lambda
from fnac.data.source import DataSource
from fnac.passes.graph import Graph
from fnac.search.outcome import SearchResult
from fnac.search.run import SearchRun
from fnac.search.settings import SearchSettings
from fnac.tasks.base import Task
from fnac.tasks.network_check import check_logits, check_pictures
from fnac.training.settings import for_batch


def search(
    model: Path | Graph,
    source: DataSource,
    task: Task,
    output: Path,
    folder: Path,
    settings: SearchSettings,
    *,
    limit: CostLimit = UNLIMITED,
    baseline: Path | None = None,
    resume: bool = False,
) -> SearchResult:
    """Search the super network of ``model`` and write it, trained, to ``output``.

    model     the file, or what it holds, which is trained then
    folder    gets ``last.ckpt``, ``metrics.csv`` and ``alphas.csv``
    limit     without a budget lambda is fixed in ``settings``
    baseline  the file that ``teacher: baseline`` means; weights learn from it, alphas from labels
    raises    UsageError for an impossible budget, before anything is trained; TrainingError
    """
    graph = model if isinstance(model, Graph) else Graph.load(model)
    graph.check_finite()
    space = limit.costs(graph.manifest)
    check_lambda(limit.budget, settings.lambda_)
    budget = limit.within(space)
    task.check_network(graph.manifest)
    check_pictures(graph)
    check_logits(graph, task.name)
    settings = for_batch(settings, settings.batch_size)
    run = SearchRun(graph, space, budget, source, task, folder, settings, baseline)
    run.open(resume=resume)
    run.train()
    return run.finish(output)
