"""The stages that change an architecture, as commands: export, expand, search, derive."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fnac.commands.common import Answer, configured, keep_original, printed
from fnac.commands.options import (
    BUDGET,
    DATA,
    MEAN,
    TRAINING,
    budget_options,
    classes_option,
    data_option,
    device_options,
    dump_option,
    expand_options,
    head_option,
    in_section,
    ledger_option,
    mean_options,
    model_argument,
    no_verify_option,
    out_file,
    out_run,
    output_stride_option,
    resume_option,
    search_options,
    size_option,
    skip_bad_option,
    train_options,
)
from fnac.commands.types import TaskType
from fnac.text import human

if TYPE_CHECKING:
    from fnac.config import Config
    from fnac.passes.graph import Graph

logger = logging.getLogger(__name__)

HEAD = {key: key for key in ("task", "head", "classes", "output_stride", "size")}
"""Options of the head that export and expand give a backbone."""


@click.command()
@click.argument("seed", metavar="SEED")
@out_file
@click.option("--weights", help="imagenet, none, or a .pth/.safetensors FILE.")
@size_option
@click.option("--width", type=float, help="Width multiplier.")
@click.option("--task", type=TaskType(), help="Attach a fresh head for this task.")
@head_option
@classes_option
@output_stride_option
@click.option("--random-seed", type=int, help="Random seed of random initial weights.")
@printed
@configured(
    **in_section(
        "export", {**HEAD, **{key: key for key in ("seed", "weights", "width", "random_seed")}}
    )
)
def export(config: Config, seed: str, out: Path | None) -> Answer:
    """Write the known network SEED as a trainable ONNX file.

    SEED is mobilenetv2, resnet18, resnet50, fbnetc, proxyless (any width: mobilenetv2_w0.35),
    `bundled`, or any classifier of a library: timm:NAME, torchvision:NAME. BN is kept, tensors are
    named after their layers, the batch is symbolic, preprocessing is in the manifest.
    """
    from fnac.adaptation.history import tell_next
    from fnac.config import read
    from fnac.stages.export import export_seed
    from fnac.stages.exporting.settings import ExportSettings

    settings = read(ExportSettings, config)
    graph, path = export_seed(settings), out or Path(f"{seed.replace(':', '_')}.onnx")
    task = settings.task or "TASK"
    tell_next("adapt", path, "--task", task, "--data", "SPEC")
    return _written(graph.save(path), graph)


@click.command()
@model_argument
@out_file
@click.option("--task", type=TaskType(), help="Cut the classifier, attach a head.")
@expand_options
@size_option
@mean_options
@click.option(
    "--data",
    metavar="SPEC",
    help="Images to calibrate restored BatchNorm on; pictures:FOLDER needs no labels.",
)
@skip_bad_option
@no_verify_option
@dump_option
@ledger_option
@printed
@configured(
    "task",
    **in_section("expand", {**HEAD, **MEAN, "space": "space", "remap": "remap"}),
    **DATA,
    no_verify="adapt.no_verify",
)
def expand(
    config: Config, model: Path, out: Path | None, dump_passes: Path | None, ledger: Path | None
) -> Answer:
    """Rewrite the seed MODEL into its super network: grow, remap, mix.

    Without --task the seed keeps its own head. onnxruntime proves that the super network contains
    the seed.
    """
    from fnac.adaptation.history import tell_next
    from fnac.adaptation.plan import Subject
    from fnac.adaptation.single_stages import expand_graph
    from fnac.config import read, write_json
    from fnac.data.preprocessing import tell_assumed
    from fnac.passes.graph import Graph
    from fnac.stages.expand import ExpandSettings

    out = out or Path("super.onnx")
    keep_original(out, model)
    settings = read(ExpandSettings, config)
    on = Subject.read(config, settings.task or "seg")
    graph, entries = expand_graph(
        Graph.load(model),
        settings,
        on=on if on.adapt.data else None,
        verify=not on.adapt.no_verify,
        dump=dump_passes,
    )
    tell_assumed(graph.manifest)
    restored = any(e["pass"] == "restore-batchnorm" and e["rewrote"] for e in entries)
    if on.adapt.data and not restored:
        logger.info("--data was not looked at: no batch normalisation is to be calibrated")
    path = graph.save(out)
    tell_next("search", path, "--data", "SPEC")
    if ledger is not None:
        write_json(ledger, entries)
    return _written(path, graph)


@click.command()
@model_argument
@data_option
@out_run
@budget_options
@train_options
@search_options
@device_options
@resume_option
@printed
@configured(
    "task",
    **DATA,
    **BUDGET,
    **in_section("search", {**TRAINING, "alpha_grad": "alpha_grad", "lambda_": "lambda_"}),
)
def search(config: Config, model: Path, out: Path | None, resume: bool) -> Answer:
    """Train weights and alphas of the super network MODEL alternately, towards a budget."""
    from fnac.adaptation.single_stages import run_search
    from fnac.architectures.budget import say

    told = run_search(model, config, out=out, resume=resume)
    unit = told["unit"]
    limit = "" if told["budget"] is None else f" of {say(told['budget'], unit)}"
    lines = [
        f"expected {say(told['expected'], unit)}{limit}, after {told['steps']:,} steps",
        f"alphas   entropy {told['entropy']:.0%} of an even choice's, lambda {told['lambda']:.3g}",
        *(f"note     {finding}" for finding in told["findings"]),
        f"output: {told['output']}",
    ]
    return Answer(told, "\n".join(lines))


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
@printed
@configured("derive", **BUDGET)
def derive(
    config: Config, model: Path, out: Path | None, arch: str | None, weights_from: str | None
) -> Answer:
    """Choose one candidate per layer of the super network MODEL, within a budget.

    Writes the target, and arch.json next to it. The choice is solved exactly; the target never
    exceeds the budget.
    """
    from fnac.adaptation.single_stages import run_derive

    out = out or Path("target.onnx")
    keep_original(out, model)
    told = run_derive(model, config, out=out, arch=arch, weights_from=weights_from)
    lines = [
        f"target  {human(told['madds'])} MAdds, {human(told['params'])} params",
        f"arch    {' '.join(told['choices'])}",
        *(f"note    {finding}" for finding in told["findings"]),
        f"output: {told['output']}",
    ]
    return Answer(told, "\n".join(lines))


def _written(path: Path, graph: Graph) -> Answer:
    """Summarise the file that was written."""
    from fnac.passes.cost import profile

    size = graph.image_size()
    counted = profile(graph, size) if size else None
    what = {"out": str(path), "role": graph.manifest.get("role", ""), "nodes": len(graph.nodes)}
    text = f"{path}: {what['role']}, {what['nodes']} nodes"
    if counted is None:
        return Answer(what, text)
    costs = f", {human(counted.params)} params, {human(counted.madds)} MAdds"
    return Answer({**what, "params": counted.params, "madds": counted.madds}, text + costs)
