"""The stages as commands, and `adapt`, which runs them all (order: fnac/flow.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fnac.commands.common import (
    F,
    Size,
    configured,
    dump_option,
    json_option,
    model_argument,
    no_verify_option,
    print_json,
    size_option,
)

TASKS = ["seg", "det", "pose", "cls"]

logger = logging.getLogger(__name__)


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


out_file = click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write.")
out_run = click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder.")
skip_bad_option = click.option(
    "--skip-bad",
    is_flag=True,
    default=None,
    help="Leave out samples with wrong annotations, say how many.  [default: refuse them]",
)
data_option = _options(
    click.option(
        "--data", metavar="SPEC", help="NAME:PATH or a YAML file.  [default: built-in scenes]"
    ),
    skip_bad_option,
)
budget_options = _options(
    click.option("--budget", help="24.2G, 0.9x, 90%, or 2.4M with --budget-of params."),
    click.option("--budget-of", type=click.Choice(["madds", "params", "latency"])),
    click.option(
        "--latency-table",
        type=click.Path(path_type=Path),
        help="Measured before with `fnac bench --latency-table`.  [default: measure]",
    ),
)
output_stride_option = click.option(
    "--output-stride",
    type=int,
    help="Of the backbone under a dense head: 8, 16 (the default, where it can be) or 32.",
)
expand_options = _options(
    click.option("--head", help="Head to attach; own: the seed's.  [default: the task's]"),
    click.option("--classes", type=int, help="Classes, without background."),
    click.option("--space", help="Search space: auto, a name, or a YAML file."),
    click.option("--remap", help="Remapping strategy: fna, fna-live, net2net, random, ..."),
    output_stride_option,
)
train_options = _options(
    click.option("--epochs", type=int),
    click.option("--batch", type=int, help="Images a step, over all devices."),
    click.option("--lr", type=float, help="Learning rate of the backbone."),
    click.option("--head-lr", type=float, help="Learning rate of the head."),
)
device_options = _options(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"])),
    click.option("--precision", type=click.Choice(["32", "bf16-mixed", "16-mixed"])),
    click.option(
        "--random-seed", "--seed", "random_seed", type=int, help="Random seed of the run."
    ),
    click.option("--workers", type=int, help="Threads that prepare batches."),
)
search_options = _options(
    click.option("--alpha-grad", type=click.Choice(["all", "two-path", "gumbel"])),
    click.option("--lambda", "lambda_", type=float, help="Fix lambda instead of steering it."),
)
resume_option = click.option("--resume", is_flag=True, help="Continue a run that was stopped.")


@click.command()
@click.argument("seed", metavar="SEED")
@out_file
@click.option("--weights", help="imagenet, none, or a .pth/.safetensors FILE.")
@size_option
@click.option("--width", type=float, help="Width multiplier.")
@click.option("--task", type=click.Choice(TASKS), help="Attach a fresh head for this task.")
@click.option("--head", help="Head to attach; own: the seed's.  [default: the task's]")
@click.option("--classes", type=int, help="Classes, without background.")
@output_stride_option
@click.option("--random-seed", type=int, help="Random seed of whatever starts random.")
@json_option
@configured
def export(
    seed: str,
    out: Path | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Write the known network SEED as a trainable ONNX file.

    SEED is mobilenetv2, resnet18, resnet50, fbnetc, proxyless (any width: mobilenetv2_w0.35),
    `bundled`, or any classifier of a library: timm:NAME, torchvision:NAME. BN is kept, tensors are
    named after their layers, the batch is symbolic, preprocessing is in the manifest.
    """
    from fnac.config import build, gather
    from fnac.stages.export import export_seed
    from fnac.stages.exporting.settings import ExportSettings

    config = gather(
        file=config_file, assignments=assignments, options={"export": {"seed": seed, **options}}
    )
    graph = export_seed(build(ExportSettings, config["export"], "export"))
    path = graph.save(out or Path(f"{seed.replace(':', '_')}.onnx"))
    _tell(path, graph, as_json)


@click.command()
@model_argument
@out_file
@click.option("--task", type=click.Choice(TASKS), help="Cut the classifier, attach a head.")
@expand_options
@size_option
@click.option(
    "--data",
    metavar="SPEC",
    help="Pictures that restored BN is calibrated on; pictures:FOLDER needs no labels.",
)
@skip_bad_option
@no_verify_option
@dump_option
@click.option("--ledger", type=click.Path(path_type=Path), help="Write the ledger (JSON) here.")
@json_option
@configured
def expand(
    model: Path,
    out: Path | None,
    data: str | None,
    skip_bad: bool | None,
    no_verify: bool,
    dump_passes: Path | None,
    ledger: Path | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Rewrite the seed MODEL into its super network: grow, remap, mix.

    Without --task the seed keeps its own head. The seed is inside its super network; that is
    proven in onnxruntime.
    """
    from fnac.adaptation.settings import adapt_settings
    from fnac.adaptation.single_stages import run_expand
    from fnac.config import build, gather, write_json
    from fnac.stages.expand import ExpandSettings

    config = gather(
        file=config_file,
        assignments=assignments,
        options={"expand": options, "adapt": {"data": data, "skip_bad": skip_bad}},
    )
    settings = build(ExpandSettings, config["expand"], "expand")
    pictures = adapt_settings(config, settings.task or "seg")
    graph, entries = run_expand(
        model,
        settings,
        data=pictures if pictures.data else None,
        verify=not no_verify,
        dump=dump_passes,
        count=pictures.calibrate,
    )
    restored = any(e["pass"] == "restore-batchnorm" and e["rewrote"] for e in entries)
    if pictures.data and not restored:
        logger.info("--data was not looked at: no batch normalisation is to be calibrated")
    path = graph.save(out or Path("super.onnx"))
    if ledger is not None:
        write_json(ledger, entries)
    _tell(path, graph, as_json)


@click.command()
@model_argument
@data_option
@out_run
@budget_options
@train_options
@search_options
@device_options
@resume_option
@json_option
@configured
def search(
    model: Path,
    data: str | None,
    skip_bad: bool | None,
    out: Path | None,
    budget: str | None,
    budget_of: str | None,
    latency_table: Path | None,
    resume: bool,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Train weights and alphas of the super network MODEL in turn, towards a budget."""
    from fnac.adaptation.single_stages import run_search
    from fnac.config import gather

    config = gather(
        file=config_file,
        assignments=assignments,
        options={
            "adapt": {
                "data": data,
                "skip_bad": skip_bad,
                "budget": budget,
                "budget_of": budget_of,
                "latency_table": latency_table,
            },
            "search": _training(options),
        },
    )
    found = run_search(model, config, out=out, resume=resume)
    if as_json:
        print_json(found)
    else:
        _print_pairs(found)


@click.command()
@model_argument
@out_file
@budget_options
@click.option("--arch", help="arch.json, or `seed`: choose this instead of the alphas' choice.")
@click.option(
    "--from",
    "weights_from",
    metavar="seed|SUPER.onnx",
    help="Weights remapped from the seed (the ICLR variant), or of this untrained super network.",
)
@json_option
@configured
def derive(
    model: Path,
    out: Path | None,
    budget: str | None,
    budget_of: str | None,
    latency_table: Path | None,
    arch: str | None,
    weights_from: str | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Choose one candidate per layer of the super network MODEL, within a budget.

    Writes the target and arch.json beside it. The choice is solved exactly; the target never
    exceeds the budget.
    """
    from fnac.adaptation.single_stages import run_derive
    from fnac.config import gather

    config = gather(
        file=config_file,
        assignments=assignments,
        options={
            "adapt": {"budget": budget, "budget_of": budget_of, "latency_table": latency_table}
        },
    )
    found = run_derive(
        model, config, out=out or Path("target.onnx"), arch=arch, weights_from=weights_from
    )
    if as_json:
        print_json(found)
    else:
        _print_pairs(found)


@click.command()
@model_argument
@data_option
@out_run
@click.option("--task", type=click.Choice(TASKS), help="If the file does not say.")
@train_options
@device_options
@size_option
@resume_option
@json_option
@configured
def tune(
    model: Path,
    data: str | None,
    skip_bad: bool | None,
    out: Path | None,
    task: str | None,
    resume: bool,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Fine-tune any ONNX network on a data set; the tuned file is RUN/target.onnx."""
    from fnac.adaptation.single_stages import run_tune
    from fnac.config import gather

    config = gather(
        file=config_file,
        assignments=assignments,
        options={
            "adapt": {"data": data, "task": task, "skip_bad": skip_bad},
            "tune": _training(options),
        },
    )
    found = run_tune(model, config, out=out, resume=resume)
    if as_json:
        print_json(found)
    else:
        _print_pairs(found)


@click.command()
@model_argument
@out_file
@click.option("--no-postprocess", is_flag=True, help="Leave the raw output (no arg-max).")
@click.option("--fp16", is_flag=True, help="Store and compute in float16.")
@click.option("--int8", is_flag=True, help="Quantize, calibrated on pictures of --data.")
@click.option(
    "--data", metavar="SPEC", help="Pictures for --int8; pictures:FOLDER needs no labels."
)
@skip_bad_option
@no_verify_option
@json_option
@configured
def emit(
    model: Path,
    out: Path | None,
    data: str | None,
    skip_bad: bool | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **flags: bool,
) -> None:
    """Make MODEL ready for onnxruntime: fold BN, clean, arg-max inside, MAdds on every node.

    Writes the file, and its profile (JSON, CSV) beside it.
    """
    from fnac.adaptation.single_stages import run_emit
    from fnac.config import gather

    given = {key: True for key, value in flags.items() if value}
    config = gather(
        file=config_file,
        assignments=assignments,
        options={"emit": given, "adapt": {"data": data, "skip_bad": skip_bad}},
    )
    found = run_emit(model, config, out=out or Path("model.onnx"))
    if as_json:
        print_json(found)
    else:
        _print_pairs(found)


@click.command("eval")
@model_argument
@click.option("--task", type=click.Choice(TASKS), help="The task.  [default: seg]")
@data_option
@click.option("--split", help="Split to measure on.  [default: val]")
@size_option
@click.option("--limit", type=int, help="Use the first N pictures only.")
@json_option
@configured
def evaluate(
    model: Path,
    task: str | None,
    data: str | None,
    skip_bad: bool | None,
    split: str | None,
    size: Size | None,
    limit: int | None,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Measure MODEL's metric in onnxruntime."""
    from fnac.adaptation.single_stages import run_eval
    from fnac.config import gather

    config = gather(
        file=config_file,
        assignments=assignments,
        options={
            "adapt": {"data": data, "task": task, "skip_bad": skip_bad},
            "eval": {"split": split, "size": size, "limit": limit},
        },
    )
    found = run_eval(model, config)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"{found.metric}  {found.value:.2f} on {found.images} images of {found.split}")
    for name, value in found.per_class.items():
        click.echo(f"  {name}: {'absent' if value is None else f'{value:.2f}'}")


@click.command()
@click.argument("seed", metavar="[SEED.onnx|NAME]", required=False)
@click.option("--task", type=click.Choice(TASKS), help="Required, unless a recipe names it.")
@data_option
@out_run
@budget_options
@click.option("--recipe", help="Settings by name (fnac/models/recipes) or a YAML file.")
@expand_options
@size_option
@click.option("--batch", type=int, help="Images a step of search and tuning, over all devices.")
@search_options
@device_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check data, plan and costs, take one step of each kind; keep nothing.",
)
@resume_option
@no_verify_option
@json_option
@configured
def adapt(
    seed: str | None,
    task: str | None,
    data: str | None,
    skip_bad: bool | None,
    out: Path | None,
    budget: str | None,
    budget_of: str | None,
    latency_table: Path | None,
    recipe: str | None,
    dry_run: bool,
    resume: bool,
    no_verify: bool,
    as_json: bool,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Adapt a seed to a task and a budget: expand, search, derive, tune, emit, eval, report.

    Without arguments: the bundled seed, on built-in scenes. The run folder is never overwritten;
    --resume continues one that was stopped, at whatever stage and step.
    """
    from fnac.adaptation.settings import one_task, recipe_for, task_named, task_of_run
    from fnac.config import gather
    from fnac.flow import adapt as run

    expand_keys = ("head", "classes", "space", "remap", "output_stride", "size")
    both = {
        "device": options["device"],
        "precision": options["precision"],
        "random_seed": options["random_seed"],
        "workers": options["workers"],
        "size": options["size"],
        "batch_size": options["batch"],
    }
    search_keys = ("alpha_grad", "lambda_")
    fresh = {"random_seed": options["random_seed"]}
    said = {
        "adapt": {
            "seed": seed,
            "task": task,
            "data": data,
            "skip_bad": skip_bad,
            "budget": budget,
            "budget_of": budget_of,
            "latency_table": latency_table,
        },
        "export": fresh,
        "expand": {**{key: options[key] for key in expand_keys}, **fresh},
        "search": {**both, **{key: options[key] for key in search_keys}},
        "tune": both,
    }
    given = gather(file=config_file, assignments=assignments, options=said)
    known = task or task_named(given) or task_of_run(out if resume else None)
    settings = recipe_for(recipe, seed=seed, task=known, data=data)
    config = gather(recipe=settings, file=config_file, assignments=assignments, options=said)
    config["adapt"]["task"] = one_task(known, config, settings, recipe)
    if dry_run:
        from fnac.adaptation.dry_run import dry_run as try_out

        tried = try_out(config, verify=not no_verify)
        if as_json:
            print_json(tried.as_json())
        else:
            click.echo(tried.as_text())
        return
    result = run(config, given=given, out=out, resume=resume, verify=not no_verify)
    if result is None:  # another process of a distributed run speaks
        return
    if as_json:
        print_json(result.as_json())
    else:
        click.echo(result.as_text())


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@configured
def report(run: Path, config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Write RUN/report.html (self-contained) and its pictures."""
    from fnac.config import gather
    from fnac.report import write_report

    gather(file=config_file, assignments=assignments)
    click.echo(str(write_report(run)))


def _training(options: dict[str, Any]) -> dict[str, Any]:
    """Rename options to the keys of the settings."""
    names = {"batch": "batch_size"}
    return {names.get(key, key): value for key, value in options.items()}


def _tell(path: Path, graph: Any, as_json: bool) -> None:
    from fnac.passes.cost import profile
    from fnac.text import human

    size = graph.image_size()
    role = graph.manifest.get("role", "")
    counted = profile(graph, size) if size else None
    if as_json:
        figures = {"params": counted.params, "madds": counted.madds} if counted else {}
        print_json({"out": str(path), "role": role, "nodes": len(graph.nodes), **figures})
        return
    costs = f", {human(counted.params)} params, {human(counted.madds)} MAdds" if counted else ""
    click.echo(f"{path}: {role}, {len(graph.nodes)} nodes{costs}")


def _print_pairs(found: dict[str, Any]) -> None:
    for key, value in found.items():
        if isinstance(value, list):
            for item in value:
                click.echo(f"{key}: {item}")
        elif value is not None:
            click.echo(f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}")


COMMANDS = [export, expand, search, derive, tune, emit, evaluate, adapt, report]
