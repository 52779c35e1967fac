"""The stages as commands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fnac.commands.common import Answer, F, configured, examples, keep_original, printed
from fnac.commands.options import (
    BUDGET,
    DATA,
    MEAN,
    TEACHER,
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
    teacher_options,
    train_options,
)
from fnac.commands.types import SeedType, TaskType
from fnac.text import human, printable, table

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


@click.command(
    epilog=examples(
        "fnac tune bundled --task cls --data folder:flowers",
        "fnac tune seed.onnx --task seg --data camvid:camvid --size 180x240 --epochs 20",
        "fnac tune small.onnx --teacher original.onnx --data pictures:photos",
    )
)
@click.argument("model", metavar="MODEL|SEED", type=SeedType())
@data_option
@out_run
@click.option("--task", type=TaskType(), help="Needed if the file does not state it.")
@click.option("--recipe", help="Settings by name (fnac/models/recipes), or a YAML file.")
@head_option
@output_stride_option
@train_options
@teacher_options
@device_options
@size_option
@mean_options
@click.option("--find-lr", "find", flag_value="lr", help="Print a learning rate to use, and stop.")
@click.option("--find-batch", "find", flag_value="batch", help="Print a batch size, and stop.")
@resume_option
@printed
@configured(
    *("task", "heal"),
    task="adapt.task",
    head="expand.head",
    output_stride="expand.output_stride",
    **DATA,
    **in_section("tune", {**TRAINING, **TEACHER, **MEAN, "size": "size"}),
)
def tune(
    config: Config,
    model: Path | str,
    recipe: str | None,
    out: Path | None,
    find: Literal["lr", "batch"] | None,
    resume: bool,
) -> Answer:
    """Fine-tune any ONNX network on a data set; the tuned file is RUN/target.onnx.

    If a seed has no output for the data set's classes, give --task: it gets a head first. --recipe
    sets how it is tuned. Without --teacher the network learns from labels; with it, from another
    network as well. With --data pictures:FOLDER, which has no labels, it learns from the teacher's
    outputs only, for example to heal a shrunk network from its original.
    """
    from fnac.adaptation.settings import with_recipe
    from fnac.adaptation.single_stages import run_tune
    from fnac.errors import UsageError

    if recipe is not None:
        seed = {**config.get("adapt", {}), "seed": str(model)}
        config = with_recipe({**config, "adapt": seed}, recipe)
    if find is not None:
        if resume or out:
            raise UsageError(f"--find-{find} keeps nothing: drop --resume and --out")
        return _suggested(model, config, find)
    told = run_tune(model, config, out=out, resume=resume)
    if "curve" in told:  # without labels
        curve = " ".join(f"{error:.4f}" for error in told["curve"])
        line = f"error   {told['error']:.4f} of the answers' variance; was {told['start']:.4f}"
        text = f"{line}\nepochs  {curve}\noutput: {told['output']}"
        return Answer(told, text)
    val, kept = told["val"], told["weights"]
    measured = "not measured: no split val" if val is None else f"{val:.2f} on the split val"
    lines = [
        f"{told['metric']}  {measured}, with the {kept} weights of {told['steps']:,} steps",
        f"loss:   {told['loss']:.4g}",
        f"output: {told['output']}",
    ]
    return Answer(told, "\n".join(lines))


def _suggested(model: Path | str, config: Config, what: Literal["lr", "batch"]) -> Answer:
    """Run a range test and say what it suggests."""
    from fnac.adaptation.finding import SHOWN, run_find

    told = run_find(model, config, what)
    if what == "lr":
        few = told["points"][:: max(1, len(told["points"]) // SHOWN)]
        rows = [[f"{rate:.1e}", f"{loss:.4g}"] for rate, loss in few]
        shown = table(["learning rate", "loss"], rows)
        return Answer(
            told, f"{shown}\n\ntry  --lr {told['lr']:.1e} --head-lr {told['head_lr']:.1e}"
        )
    rows = [[size, f"{speed:.3g}"] for size, speed in told["points"]]
    shown = table(["batch", "images/s"], rows)
    return Answer(told, f"{shown}\n\ntry  --batch {told['batch']}  ({told['limit']})")


EMIT = ("no_postprocess", "fp16", "int8", "preprocess", "opset", "size", "no_verify")


def _flag(name: str, what: str) -> Callable[[F], F]:
    return click.option(name, is_flag=True, default=None, help=what)


@click.command(
    epilog=examples(
        "fnac emit runs/tune/target.onnx",
        "fnac emit target.onnx --int8 --data pictures:photos -o model_int8.onnx",
    )
)
@model_argument
@out_file
@_flag("--no-postprocess", "Keep the raw outputs (no arg-max).")
@_flag("--fp16", "Store and compute in float16.")
@_flag("--int8", "Quantize, calibrated on images of --data.")
@click.option(
    "--preprocess",
    type=click.Choice(["outside", "inside"]),
    help="inside: the file takes uint8 (N, H, W, 3), RGB, and normalises itself.",
)
@click.option("--opset", type=int, help="ONNX operator set.  [default: the lowest it needs]")
@click.option(
    "--data", metavar="SPEC", help="Images to calibrate --int8 on; pictures:FOLDER needs no labels."
)
@skip_bad_option
@size_option
@no_verify_option
@printed
@configured(
    "task",
    **DATA,
    **in_section("emit", {key: key for key in EMIT}),
)
def emit(config: Config, model: Path, out: Path | None) -> Answer:
    """Make MODEL ready for onnxruntime: fold BN, clean, arg-max inside, MAdds on every node.

    Writes the file, and its profile (JSON, CSV) next to it.
    """
    from fnac.adaptation.single_stages import run_emit

    out = out or Path("model.onnx")
    keep_original(out, model)
    before = model.stat().st_size if model.is_file() else 0
    told = run_emit(model, config, out=out)
    size = f"{told['size_bytes'] / 1e6:.2f} MB"
    lines = [
        f"output: {told['output']}",
        f"size    {size} ({Path(model).name}: {before / 1e6:.2f} MB)",
        f"costs   {human(told['madds'])} MAdds, {human(told['params'])} params, "
        f"{told['nodes']:,} nodes",
    ]
    if "precisions" in told:
        lines += ["", _precisions(told["precisions"])]
    return Answer(told, "\n".join(lines))


def _precisions(sides: dict[str, dict[str, Any]]) -> str:
    """Compare a file with the same network in float32: size, latency, metric."""
    first, last = sides.values()
    metric = "" if "metric" not in first else f"{first['metric']} ({first['images']} images)"
    rows = []
    for name, side in sides.items():
        took = side.get("latency_ms")
        cells = [f"{side['size_bytes'] / 1e6:.2f} MB", "" if took is None else f"{took:.2f} ms"]
        rows.append([name, *cells, f"{side['value']:.2f}" if metric else ""])
    text = table(["precision", "size", "latency here", metric], rows)
    before, after = first.get("latency_ms"), last.get("latency_ms")
    if before and after and after >= before:
        text += (
            "\nnote    it is not faster on this processor: float16 pays on GPUs, int8 on "
            "processors with instructions for it (VNNI, Arm's dot products)"
        )
    if not metric:
        text += "\nnote    give labelled images (--data SPEC) to compare the metric as well"
    return text


@click.command(
    "eval",
    epilog=examples(
        "fnac eval runs/seg --data folder:mine",
        "fnac eval model.onnx --data coco:boxes --split test --json",
    ),
)
@model_argument
@click.option("--task", type=TaskType(), help="The task.  [default: the one in the file, else seg]")
@data_option
@click.option("--split", help="Split to measure on.  [default: val]")
@size_option
@click.option("--limit", type=int, help="Use the first N images only.")
@mean_options
@click.option(
    "--classes-map",
    metavar="FILE|by-name",
    help="For data of other classes: YAML, name in the data set: name in the file.",
)
@printed
@configured(
    "task",
    task="adapt.task",
    **DATA,
    **in_section("eval", {key: key for key in ("split", "size", "limit", "classes_map")}),
    **in_section("eval", MEAN),
)
def evaluate(config: Config, model: Path) -> Answer:
    """Measure MODEL's metric in onnxruntime."""
    from fnac.adaptation.single_stages import run_eval

    result = run_eval(model, config)
    lines = [f"{result.metric}  {result.value:.2f} on {result.images} images of {result.split}"]
    for name, value in result.per_class.items():
        shown = "absent" if value is None else f"{value:.2f}"
        lines.append(printable(f"  {name}: {shown}", lines=False))
    lines += [f"note    {finding}" for finding in result.findings]
    return Answer(result.to_json(), "\n".join(lines))


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


COMMANDS = [export, expand, search, derive, tune, emit, evaluate]
