"""Commands that work on any ONNX file, at any time, without torch."""

from __future__ import annotations

from pathlib import Path

import click

from fnac.commands.common import (
    Size,
    configured,
    dump_option,
    json_option,
    model_argument,
    no_verify_option,
    print_json,
    size_option,
)


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
@json_option
@configured
def profile(
    model: Path,
    size: Size | None,
    convention: str | None,
    by: str,
    top: int | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Count the MAdds (= MACs = FLOPs/2) and parameters of MODEL, per node.

    MAdds under `exact` are the same before and after BN folding.
    """
    from fnac.config import build, gather
    from fnac.inspection.profile import ProfileSettings, grouped, profile_file, profile_json

    config = gather(
        file=config_file,
        assignments=assignments,
        options={"profile": {"size": size, "convention": convention}},
    )
    settings = build(ProfileSettings, config.get("profile", {}), "profile")
    counted, graph = profile_file(model, settings)
    shown = profile_json(counted, graph, by, top)
    if as_json:
        print_json(shown)
        return
    from fnac.text import profile_text

    rows = None if by == "node" else grouped(counted, graph, by)
    click.echo(profile_text(counted.as_json(), rows=rows, top=top))


@click.command()
@model_argument
@click.option("--space", help="auto, a name, or a YAML file.  [default: auto]")
@json_option
@configured
def inspect(
    model: Path,
    space: str | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Show stages, blocks and the candidates MODEL would get, and why the rest is left alone.

    Of a super network: its layers, candidates and their costs.
    """
    from fnac.config import build, gather
    from fnac.inspection.inspect import InspectSettings, inspect_file

    config = gather(
        file=config_file,
        assignments=assignments,
        options={"inspect": {"space": space}},
    )
    found = inspect_file(model, build(InspectSettings, config.get("inspect", {}), "inspect"))
    if as_json:
        print_json(found.as_json())
    else:
        click.echo(found.as_text())


@click.command()
@click.argument("first", metavar="A.onnx", type=click.Path(path_type=Path))
@click.argument("second", metavar="B.onnx", type=click.Path(path_type=Path))
@size_option
@json_option
@configured
def verify(
    first: Path,
    second: Path,
    size: Size | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Say whether A.onnx and B.onnx compute the same function; if not, where they part.

    The tolerance is A's own float noise. Exit code 5 when they differ.
    """
    from fnac.config import build, gather
    from fnac.inspection.inspect import VerifySettings
    from fnac.passes.errors import OutputsDifferError
    from fnac.passes.graph import Graph
    from fnac.passes.running.verify import compare

    config = gather(file=config_file, assignments=assignments, options={"verify": {"size": size}})
    settings = build(VerifySettings, config.get("verify", {}), "verify")
    graphs = [Graph.load(path) for path in (first, second)]
    for graph in graphs:
        graph.check_finite()
    found = compare(*graphs, size=settings.size)
    if as_json:
        print_json(found.as_json())
        if not found.equal:
            raise click.exceptions.Exit(OutputsDifferError.exit_code)
        return
    if not found.equal:
        where = found.first_difference or "the interface"
        raise OutputsDifferError(
            f"{second}: differs from {first}, first at node {where}: {found.detail}"
        )
    click.echo(
        f"equal: largest difference {found.max_abs_diff:.3g}, "
        f"float noise allows {found.tolerance:.3g}"
        if found.max_abs_diff
        else "equal to the bit"
    )


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@size_option
@click.option("--batch", type=int, help="Images at once.  [default: 1]")
@click.option("--runs", type=int, help="Timed runs of each file.  [default: 30]")
@click.option("--threads", type=int, help="Threads of onnxruntime.  [default: all cores]")
@click.option(
    "--latency-table",
    type=click.Path(path_type=Path),
    help="Time every candidate of a super network and write the table here.",
)
@json_option
@configured
def bench(
    models: tuple[Path, ...],
    latency_table: Path | None,
    size: Size | None,
    batch: int | None,
    runs: int | None,
    threads: int | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Measure onnxruntime latency of one or several files, run in turn (paired)."""
    from fnac.config import build, gather
    from fnac.inspection.bench import BenchSettings
    from fnac.inspection.bench import bench as measure
    from fnac.text import table

    options = {"size": size, "batch": batch, "runs": runs, "threads": threads}
    config = gather(file=config_file, assignments=assignments, options={"bench": options})
    settings = build(BenchSettings, config.get("bench", {}), "bench")
    if latency_table is not None:
        from fnac.architectures.latency import LatencySettings, measure_latency
        from fnac.config import write_json
        from fnac.passes.graph import Graph

        how = LatencySettings(settings.runs, settings.threads)
        table_found = measure_latency(Graph.load(models[0]), how)
        write_json(latency_table, table_found)
        if as_json:
            print_json(table_found)
        else:
            click.echo(f"{latency_table}: {len(table_found['layers'])} layers measured")
        return
    found = measure(models, settings)
    if as_json:
        print_json(found.as_json())
        return
    click.echo(table(["file", "min ms", "median ms", "max ms", "ratio"], found.rows()))


@click.command("run-pass")
@click.argument("pipeline")
@model_argument
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Result file.")
@no_verify_option
@dump_option
@click.option("--ledger", type=click.Path(path_type=Path), help="Write the ledger (JSON) here.")
@json_option
@configured
def run_pass(
    pipeline: str,
    model: Path,
    out: Path,
    no_verify: bool,
    dump_passes: Path | None,
    ledger: Path | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Apply PIPELINE, e.g. `widen-kernel{kernel=7},clean`, to MODEL and prove each pass."""
    import json

    from fnac.config import gather
    from fnac.passes.files import write_atomically
    from fnac.passes.graph import Graph
    from fnac.passes.manager import PassManager
    from fnac.passes.registry import parse_pipeline
    from fnac.passes.running.run import check_runs
    from fnac.text import table

    gather(file=config_file, assignments=assignments)
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
        write_atomically(ledger, json.dumps(entries, indent=1).encode())
    if as_json:
        print_json({"out": str(out), "ledger": entries})
        return
    rows = [
        [e["pass"], len(e["rewrote"]), len(e["left"]), e["verdict"], _gap(e["max_abs_diff"])]
        for e in entries
    ]
    click.echo(table(["pass", "rewrote", "left", "verdict", "max diff"], rows))
    for entry in entries:
        for node, why in list(entry["left"].items())[:10]:
            click.echo(f"left {node}: {why}")
        for node, offers in list(entry["declined"].items())[:10]:
            said = "; ".join(f"not {offer}: {why}" for offer, why in offers.items())
            click.echo(f"{node}: {said}")


def _gap(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


COMMANDS = [inspect, profile, verify, bench, run_pass]
