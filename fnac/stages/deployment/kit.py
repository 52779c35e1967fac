"""The deployment files beside an emitted model: contract, example, model card.

``model.json`` is the contract, ``example.py`` runs the file on an image with numpy, onnxruntime and
Pillow alone, ``README.md`` is the model card. Beside ``NAME.onnx`` they are ``NAME.json``,
``NAME.example.py`` and ``NAME.README.md``. A file that fnac did not write is never overwritten.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from fnac.names import TASK_MEANINGS
from fnac.passes.files import write_atomically
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract
from fnac.passes.running.runner import ort_errors
from fnac.text import human

logger = logging.getLogger(__name__)

MADE_BY = "made by fnac"
"""Stands in every file of a kit; one without it is somebody else's."""
EXAMPLE = Path(__file__).with_name("example.py")
TIMED_SECONDS = 1.0
MOST_RUNS = 50
LIMITS = {
    "seg": "Each pixel gets one of the classes above, also where none of them is seen.",
    "det": "Objects of other classes are not found. Small objects shrink with the input's size.",
    "pose": "It expects one person in the middle of the window; persons have to be found first.",
    "cls": "Every image gets one of the classes above, also where none of them is seen.",
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A metric of the emitted file: name, value, images and split of the data set ``data``."""

    metric: str
    value: float
    images: int
    split: str
    data: str


@dataclasses.dataclass(frozen=True)
class Costs:
    """The cost of the emitted file: multiply-adds per image, parameters."""

    madds: int
    params: int


def beside(model: Path, name: str) -> Path:
    """Return the path of the file ``name`` that describes ``model``.

    ``model.onnx``, which a run ends with, has it under its plain name; others add their own, so
    that none is overwritten by another's.
    """
    return model.with_name(name if model.name == "model.onnx" else f"{model.stem}.{name}")


def write_kit(
    model: Path,
    costs: Costs,
    *,
    named: str | None = None,
    measured: Measured | None = None,
    latency: float | None = None,
) -> dict[str, Any]:
    """Write contract, example and model card beside the emitted file ``model``.

    Returns what they say: the contract, and ``latency_ms`` on ``latency_on`` if it was measured.

    named     the name that the file will have in the end
    measured  its metric; None: what its manifest says of tuning
    latency   ``latency_ms`` where it was measured already
    """
    graph = Graph.load(model)
    final = model.with_name(named or model.name)
    contract = _free(final.with_suffix(".json"), final)
    example = _free(beside(final, "example.py"), final)
    card = _free(beside(final, "README.md"), final)
    described = contract_of(graph, model, final.name)
    took = latency_ms(model, described) if latency is None else latency
    timed = {} if took is None else {"latency_ms": round(took, 3), "latency_on": this_machine()}
    write_atomically(contract, (json.dumps(described, indent=1) + "\n").encode())
    script = EXAMPLE.read_text(encoding="utf-8")
    script = script.replace('CONTRACT = "model.json"', f"CONTRACT = {contract.name!r}", 1)
    script = script.replace("example.py image", f"{example.name} image")
    write_atomically(example, script.encode())
    told = {**described, **timed}
    write_atomically(card, model_card(graph, told, costs, measured, example.name).encode())
    return told


def has_contract(graph: Graph) -> bool:
    """Say whether a network has a task and takes one batch of images, so that a kit fits it."""
    shapes = [tensor.shape for tensor in graph.inputs]
    image = len(shapes) == 1 and shapes[0] is not None and len(shapes[0]) == 4
    return image and graph.manifest.get("task") is not None


def contract_of(graph: Graph, model: Path, name: str) -> dict[str, Any]:
    """Return the content of ``model.json``: the file's input, its outputs, its digest."""
    contract = Contract.read(graph.manifest).as_json()
    image = graph.inputs[0]
    fed = {"name": image.name, "dtype": str(np.dtype(image.dtype)), "shape": list(image.shape)}
    known = {entry["name"]: entry for entry in contract["outputs"]}
    outputs = [
        {
            **known.get(tensor.name, {"name": tensor.name}),
            "dtype": str(np.dtype(tensor.dtype)),
            "shape": None if tensor.shape is None else list(tensor.shape),
        }
        for tensor in graph.outputs
    ]
    size = graph.image_size()
    return {
        "model": name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "made_by": f"{MADE_BY} {metadata.version('fnac')}",
        **contract,
        "input": {**contract["input"], **fed, "size": None if size is None else list(size)},
        "outputs": outputs,
    }


def model_card(
    graph: Graph,
    described: Mapping[str, Any],
    costs: Costs,
    measured: Measured | None,
    example: str,
) -> str:
    """Return the model card in Markdown."""
    manifest, task = graph.manifest, str(described["task"])
    names = described.get("classes") or described.get("joints") or []
    kind = "Joints" if task == "pose" else "Classes"
    title = described["model"].removesuffix(".onnx")
    parts = [
        f"<!-- {MADE_BY} -->",
        f"# {title}",
        f"{TASK_MEANINGS.get(task, 'a network without a task')}. An ONNX file for onnxruntime.",
        "## How to run it",
        f"```sh\npip install numpy onnxruntime pillow\npython {example} image.jpg seen.png\n```",
        f"## What it takes\n\n{_taken(described['input'])}",
        "## What it answers\n\n" + "\n".join(_answered(one) for one in described["outputs"]),
        f"{kind} ({len(names)}): {', '.join(names)}." if names else "",
        f"## How good it is\n\n{_metric(manifest, measured)}",
        f"## What it costs\n\n{_costs(costs, described)}",
        f"## Limits\n\n{_limits(task, described)}",
        f"## Where it comes from\n\n{_origin(manifest, described)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def latency_ms(model: Path, described: Mapping[str, Any]) -> float | None:
    """Return the median time of one image in onnxruntime on this machine's CPU in milliseconds.

    None where the input's size is not known, or onnxruntime cannot run the file here.
    """
    return latencies_ms([(model, described)])[0]


def latencies_ms(models: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[float | None]:
    """Return ``latency_ms`` of several models, run in turn: what else runs slows all alike."""
    opened = [_opened(model, described["input"]) for model, described in models]
    times: list[list[float]] = [[] for _ in models]
    for _ in range(MOST_RUNS):
        for one, own in zip(opened, times, strict=True):
            if one is None or sum(own) >= TIMED_SECONDS:
                continue
            start = time.perf_counter()
            one.session.run(None, one.feed)
            own.append((time.perf_counter() - start) / one.images)
    return [1000 * float(np.median(own)) if own else None for own in times]


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A session with what it is fed: so many ``images``."""

    session: onnxruntime.InferenceSession
    feed: Mapping[str, np.ndarray]
    images: int


def _opened(model: Path, image: Mapping[str, Any]) -> _Opened | None:
    """Open a model that takes ``image``, and run it once; None if that cannot be."""
    if image["size"] is None:
        return None
    height, width = image["size"]
    images = image["shape"][0] if isinstance(image["shape"][0], int) else 1
    inner = (height, width, 3) if image["layout"] == "NHWC" else (3, height, width)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    pixels = np.random.default_rng(0).integers(0, 255, (images, *inner)) / 255
    feed = {image["name"]: pixels.astype(image["dtype"])}
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        session.run(None, feed)
    except ort_errors() as error:
        words = " ".join(str(error).split())[:200]
        logger.warning("%s: not timed, for onnxruntime cannot run it here (%s)", model.name, words)
        return None
    return _Opened(session, feed, images)


def _free(path: Path, model: Path) -> Path:
    """Return ``path``, or another name if a file that fnac did not write is there."""
    if not path.exists() or MADE_BY in path.read_text(encoding="utf-8", errors="replace"):
        return path
    other = "contract.json" if path.suffix == ".json" else path.name
    return model.with_name(f"{model.stem}.fnac.{other}")


def _taken(image: Mapping[str, Any]) -> str:
    size = "any size" if image["size"] is None else "{}x{} pixels (HxW)".format(*image["size"])
    lines = [
        f"- `{image['name']}`: {image['dtype']}, {image['layout']}, {image['color']}, {size}",
        f"- resize: {image.get('resize', 'not stated')}",
    ]
    if image["dtype"] == "uint8":
        lines.append("- pixels as they are decoded, 0 to 255; the file normalises them itself")
    else:
        low, high = image["range"]
        mean, std = ([round(value, 6) for value in image[key]] for key in ("mean", "std"))
        lines.append(f"- pixels scaled to {low:g}..{high:g}, then (pixel - {mean}) / {std}")
    if image["assumed"]:
        lines.append("- **nobody stated mean and std: ImageNet's were assumed**")
    return "\n".join(lines)


def _answered(output: Mapping[str, Any]) -> str:
    shape = "x".join(str(side) for side in output["shape"] or ["?"])
    words = [f"- `{output['name']}`: {output['dtype']} {shape}"]
    words += [str(output[key]) for key in ("meaning", "unit", "box_format") if key in output]
    if "score_floor" in output:
        words.append(f"none below {output['score_floor']:g}")
    return ", ".join(words)


def _metric(manifest: Mapping[str, Any], measured: Measured | None) -> str:
    if measured is not None:
        return (
            f"{measured.metric} {measured.value:.2f} on {measured.images} images of the split "
            f"`{measured.split}` of `{measured.data}`, measured on this file in onnxruntime."
        )
    tuned = manifest.get("tune") or {}
    if tuned.get("val") is None:
        return "Not measured; `fnac eval` measures it."
    return (
        f"{tuned['metric']} {tuned['val']:.2f} on the validation images at the end of tuning "
        f"({tuned['steps']} steps), in torch. `fnac eval` measures this file."
    )


def _costs(costs: Costs, described: Mapping[str, Any]) -> str:
    size = described["input"]["size"]
    at = "" if size is None else " at {}x{}".format(*size)
    madds, params = human(costs.madds), human(costs.params)
    lines = [f"- {madds} multiply-adds (MACs) an image{at}, {params} parameters"]
    if "latency_ms" in described:
        lines.append(
            f"- {described['latency_ms']:.2f} ms an image in onnxruntime "
            f"{onnxruntime.__version__} on {described['latency_on']}"
        )
    return "\n".join(lines)


def _limits(task: str, described: Mapping[str, Any]) -> str:
    lines = [LIMITS.get(task, "What its outputs mean is not known to fnac.")]
    lines.append("It was measured on images like those it was trained on; on others it is worse.")
    if described["input"]["assumed"]:
        lines.append("Its preprocessing was assumed; with the wrong one accuracy is lost.")
    return "\n".join(f"- {line}" for line in lines)


def _origin(manifest: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    seed = manifest.get("seed") or {}
    lines = [f"- seed: {manifest.get('name', 'a file without a name')}"]
    lines += [f"- its {key}: {seed[key]}" for key in ("source", "licence", "sha256") if key in seed]
    lines.append(f"- head: {manifest.get('head') or 'its own'}")
    if manifest.get("precision"):
        lines.append(f"- precision: {manifest['precision']}")
    lines.append(f"- sha256 of {described['model']}: {described['sha256']}")
    lines.append(f"- {described['made_by']}")
    return "\n".join(lines)


def this_machine() -> str:
    """Return the processor's name and its number of available cores."""
    name = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        lines = facts.read_text(errors="replace").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = named[0] if named else name
    return f"{name}, {os.cpu_count()} cores"
