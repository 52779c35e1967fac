"""What the studies share: running fnac, measuring a network twice, two tunings side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = tuple[float, float, int]
"""Metric in onnxruntime, metric in torch, MAdds."""


def fnac(*arguments: str | Path | int | float) -> dict[str, Any]:
    """Run one command and return its JSON."""
    words = [str(a) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "fnac.cli", *words, "--json"], stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(done.stdout))


def resumed(run: Path) -> list[str]:
    """Return ``--resume`` where the run folder was begun."""
    return ["--resume"] if (run / "config.yaml").exists() else []


def torch_metric(network: Path, task_name: str, data: str) -> float:
    """Return the metric of the re-imported network in torch."""
    from fnac.data.spec import open_data
    from fnac.importer import import_onnx
    from fnac.passes.graph import Graph
    from fnac.stages.evaluate import evaluate_module
    from fnac.tasks import make_task

    graph = Graph.load(network)
    source = open_data(data, task_name)
    task = make_task(task_name, source, graph.manifest)
    module = import_onnx(graph.to_model())
    size = graph.image_size()
    return evaluate_module(module, source, task, size=size, manifest=graph.manifest).value


def measured(run: Path, task: str, data: str) -> Row:
    """Return what the emitted file of a run reaches, its network in torch, and its MAdds."""
    found = fnac("eval", run / "model.onnx", "--task", task, "--data", data)
    cost = fnac("profile", run / "target.onnx")["madds"]
    return found["value"], torch_metric(run / "target.onnx", task, data), cost


def tuned(network: Path, run: Path, *options: str | Path | int | float) -> None:
    """Tune ``network`` into the run folder and emit it, unless that was done before."""
    if not (run / "model.onnx").exists():
        fnac("tune", network, *options, "-o", run, *resumed(run))
        fnac("emit", run / "target.onnx", "-o", run / "model.onnx")


def seed_and_target(
    start: Path,
    out: Path,
    classes: int,
    network: Sequence[str | Path | int],
    common: Sequence[str | Path | int],
) -> tuple[Path, Path]:
    """Tune the seed's architecture and adapt the seed on one schedule; return the run folders.

    network  options of ``expand`` and ``adapt``: task, head, size, space
    common   options of ``tune`` and ``adapt``: data, configuration, random seed
    """
    seed, run = out / "tune-seed", out / "adapt"
    task = network[network.index("--task") + 1]
    if not (seed / "model.onnx").exists():
        fnac("expand", start, *network, "--classes", classes, "-o", out / "super.onnx")
        fnac("derive", out / "super.onnx", "--arch", "seed", "-o", out / "seed.onnx")
        tuned(out / "seed.onnx", seed, "--task", task, *common)
    if not (run / "results.json").exists():
        fnac("adapt", start, *network, *common, "-o", run, *resumed(run))
    return seed, run


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]], output: Path | None) -> None:
    """Print a table row by row as the rows come, and write it to ``output`` if one is named."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    print("\n".join(lines), flush=True)
    for row in rows:
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    if output is not None:
        output.write_text("\n".join(lines) + "\n")


def show(rows: dict[str, Row], metric: str, out: Path) -> None:
    """Print the table of a study and keep its numbers in ``out``/results.json."""
    print(f"| network | {metric} (onnxruntime) | {metric} (torch) | MAdds |\n|---|---|---|---|")
    for name, (value, torch_value, madds) in rows.items():
        print(f"| {name} | {value:.2f} | {torch_value:.2f} | {madds:,} |")
    (out / "results.json").write_text(json.dumps(rows, indent=1))
