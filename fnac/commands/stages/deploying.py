"""The stages at the end, as commands: emit, eval."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnac.commands.common import Answer, F, configured, examples, keep_original, printed
from fnac.commands.options import (
    DATA,
    MEAN,
    data_option,
    in_section,
    mean_options,
    model_argument,
    no_verify_option,
    out_file,
    size_option,
    skip_bad_option,
)
from fnac.commands.types import TaskType
from fnac.text import file_size, human, printable, table

if TYPE_CHECKING:
    from fnac.config import Config

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
    size = file_size(told["size_bytes"])
    lines = [
        f"output: {told['output']}",
        f"size    {size} ({Path(model).name}: {file_size(before)})",
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
        cells = [file_size(side["size_bytes"]), "" if took is None else f"{took:.2f} ms"]
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
    names = [printable(name, lines=False) for name in result.per_class]
    width = max(map(len, names), default=0) + 1
    for name, value in zip(names, result.per_class.values(), strict=True):
        shown = "absent" if value is None else f"{value:.2f}"
        lines.append(f"  {f'{name}:':{width}} {shown:>6}")
    lines += [f"note    {finding}" for finding in result.findings]
    return Answer(result.to_json(), "\n".join(lines))
