"""Commands that work on any ONNX file, at any time, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnac.commands.common import Answer, Told, configured, printed
from fnac.commands.options import (
    dump_option,
    in_section,
    ledger_option,
    model_argument,
    no_verify_option,
    size_option,
)
from fnac.commands.types import ModelPath, UserPath

if TYPE_CHECKING:
    from fnac.config import Config


@click.command()
@model_argument
@size_option
@click.option(
    "--convention",
    type=click.Choice(["exact", "paper"]),
    help="How to count; `paper` is the counting of the FNA++ tables.  [default: exact]",
)
@click.option("--by", type=click.Choice(["node", "op", "block"]), default="node", show_default=True)
@click.option("--top", type=int, help="Show the N most expensive rows only.")
@printed
@configured(size="profile.size", convention="profile.convention")
def profile(config: Config, model: Path, by: str, top: int | None) -> Answer:
    """Count the MAdds (= MACs = FLOPs/2) and parameters of MODEL, per node.

    MAdds under `exact` are the same before and after BN folding.
    """
    from fnac.config import read
    from fnac.inspection.profile import ProfileSettings, grouped, profile_file, profile_json
    from fnac.text import profile_text

    counted, graph = profile_file(model, read(ProfileSettings, config))
    shown = profile_json(counted, graph, by, top)
    rows = None if by == "node" else grouped(counted, graph, by)
    lines = [profile_text(counted.as_json(), rows=rows, top=top), *shown.get("notes", [])]
    return Answer(shown, "\n".join(lines))


@click.command()
@model_argument
@click.option("--space", help="auto, a name, or a YAML file.  [default: auto]")
@printed
@configured(space="inspect.space")
def inspect(config: Config, model: Path) -> Told:
    """Show stages, blocks and the candidates MODEL would get, and why the rest is not searched.

    Of a super network: its layers, candidates and their costs.
    """
    from fnac.config import read
    from fnac.inspection.inspect import InspectSettings, inspect_file

    return inspect_file(model, read(InspectSettings, config))


@click.command()
@click.argument("first", metavar="A.onnx", type=ModelPath())
@click.argument("second", metavar="B.onnx", type=ModelPath())
@size_option
@printed
@configured(size="verify.size")
def verify(config: Config, first: Path, second: Path) -> Answer:
    """Say whether A.onnx and B.onnx compute the same function; if not, where they first differ.

    The tolerance is A's own float noise. Exit code 5 when they differ.
    """
    from fnac.config import read
    from fnac.inspection.inspect import VerifySettings
    from fnac.passes.errors import OutputsDifferError
    from fnac.passes.graph import Graph
    from fnac.passes.running.verify import compare

    graphs = [Graph.load(path) for path in (first, second)]
    for graph in graphs:
        graph.check_finite()
    comparison = compare(*graphs, size=read(VerifySettings, config).size)
    if not comparison.equal:
        where = comparison.first_difference or "the interface"
        differ = f"{second}: differs from {first}, first at node {where}: {comparison.detail}"
        return Answer(comparison.as_json(), differ, OutputsDifferError(differ))
    close = (
        f"equal: largest difference {comparison.max_abs_diff:.3g}, "
        f"float noise allows {comparison.tolerance:.3g}"
    )
    return Answer(comparison.as_json(), close if comparison.max_abs_diff else "equal to the bit")


@click.command()
@click.argument("models", nargs=-1, required=True, type=ModelPath())
@size_option
@click.option("--batch", type=int, help="Images at once.  [default: 1]")
@click.option("--runs", type=int, help="Timed runs of each file.  [default: 30]")
@click.option("--threads", type=int, help="Threads of onnxruntime.  [default: all cores]")
@click.option(
    "--latency-table",
    type=UserPath(),
    help="Time every candidate of a super network and write the table here.",
)
@printed
@configured(**in_section("bench", {key: key for key in ("size", "batch", "runs", "threads")}))
def bench(config: Config, models: tuple[Path, ...], latency_table: Path | None) -> Answer:
    """Measure onnxruntime latency of one or several files, run alternately (paired)."""
    from fnac.config import read
    from fnac.inspection.bench import BenchSettings
    from fnac.inspection.bench import bench as measure
    from fnac.text import table

    settings = read(BenchSettings, config)
    if latency_table is not None:
        from fnac.architectures.latency import LatencySettings, measure_latency
        from fnac.config import write_json
        from fnac.passes.graph import Graph

        how = LatencySettings(settings.runs, settings.threads)
        measured = measure_latency(Graph.load(models[0]), how)
        write_json(latency_table, measured)
        return Answer(measured, f"{latency_table}: {len(measured['layers'])} layers measured")
    timings = measure(models, settings)
    text = table(["file", "min ms", "median ms", "max ms", "ratio"], timings.rows())
    text += f"\n\n{timings.conditions()}"
    if (why := timings.unlike()) is not None:
        text += f"\nnote    {why}"
    return Answer(timings.as_json(), text)


@click.command("run-pass")
@click.argument("pipeline")
@model_argument
@click.option("-o", "--out", required=True, type=UserPath(), help="Result file.")
@no_verify_option
@dump_option
@ledger_option
@printed
@configured()
def run_pass(
    config: Config,
    pipeline: str,
    model: Path,
    out: Path,
    no_verify: bool | None,
    dump_passes: Path | None,
    ledger: Path | None,
) -> Answer:
    """Apply PIPELINE, e.g. `widen-kernel{kernel=7},clean`, to MODEL and prove each pass."""
    from fnac.config import write_json
    from fnac.passes.graph import Graph
    from fnac.passes.manager import PassManager
    from fnac.passes.registry import parse_pipeline
    from fnac.passes.running.run import check_runs
    from fnac.text import printable, table

    passes = parse_pipeline(pipeline)
    graph = Graph.load(model)
    graph.check_finite()
    if not no_verify:
        check_runs(graph)
    manager = PassManager(verify=not no_verify, dump=dump_passes)
    manager.run(passes, graph)
    graph.save(out)
    entries = [entry.as_json() for entry in manager.ledger]
    if ledger is not None:
        write_json(ledger, entries)
    rows = [
        [e["pass"], len(e["rewrote"]), len(e["left"]), _verdict(e), _gap(e["max_abs_diff"])]
        for e in entries
    ]
    lines = [table(["pass", "rewrote", "left", "verdict", "max diff"], rows)]
    for entry in entries:
        left = list(entry["left"].items())[:10]
        lines += [printable(f"left {node}: {why}", lines=False) for node, why in left]
    return Answer({"out": str(out), "ledger": entries}, "\n".join(lines))


def _verdict(entry: Mapping[str, Any]) -> str:
    """Return whether a pass was proven; one that changed nothing needs no proof."""
    verdict = str(entry["verdict"])
    return "no change" if verdict == "not run" and not entry["rewrote"] else verdict


def _gap(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


COMMANDS = [inspect, profile, verify, bench, run_pass]
