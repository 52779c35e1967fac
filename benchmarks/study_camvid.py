"""CamVid from a found seed: adapted target, seed architecture and random weights side by side.

    python benchmarks/study_camvid.py SEED.onnx CAMVID_FOLDER OUT [--mean M M M --std S S S]

The same tuning schedule for all three (recipe camvid-deeplabv3-mobilenetv2); every mIoU is measured
on the emitted file in onnxruntime and, for the target, by torch on the tuned network as well.
About an hour of one core. What is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPE = "camvid-deeplabv3-mobilenetv2"


def fnac(*arguments: str | Path) -> dict[str, Any]:
    """Run one command and return its JSON."""
    words = [str(a) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "fnac.cli", *words, "--json"], stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(done.stdout))


def torch_miou(network: Path, data: str) -> float:
    """Return the mIoU of the re-imported network in torch."""
    from fnac.data.spec import open_data
    from fnac.importer import import_onnx
    from fnac.passes.graph import Graph
    from fnac.stages.evaluate import evaluate_module
    from fnac.tasks import make_task

    graph = Graph.load(network)
    module = import_onnx(graph.to_model())
    size = graph.image_size()
    source = open_data(data)
    task = make_task("seg", source)
    return evaluate_module(module, source, task, size=size, manifest=graph.manifest).value


def tuned(name: str, network: Path, data: str, out: Path, seed: int) -> tuple[float, int, float]:
    """Tune, emit and evaluate one network; returns (mIoU, MAdds, torch's mIoU)."""
    from fnac.models.recipes import recipe_path

    run = out / f"tune-{name}"
    if not (run / "model.onnx").exists():
        settings = out / "tune.yaml"
        recipe = recipe_path(RECIPE).read_text()
        settings.write_text(recipe[recipe.index("tune:") :])
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        common = ("--data", data, "--config", settings, "--seed", seed, "-o", run)
        fnac("tune", network, *common, *resume)
        fnac("emit", run / "target.onnx", "-o", run / "model.onnx")
    found = fnac("eval", run / "model.onnx", "--data", data)
    cost = fnac("profile", run / "model.onnx")["madds"]
    return found["value"], cost, torch_miou(run / "target.onnx", data)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=Path)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mean", type=float, nargs=3)
    parser.add_argument("--std", type=float, nargs=3)
    parser.add_argument("--random-seed", type=int, default=0)
    given = parser.parse_args()
    out, data = given.out, f"camvid:{given.camvid}"
    out.mkdir(parents=True, exist_ok=True)
    pixels = []
    if given.mean:
        pixels = ["--set", f"expand.mean={given.mean}", "--set", f"expand.std={given.std}"]
    run = out / "adapt"
    words = ["--recipe", RECIPE, "--data", data, "--seed", given.random_seed, "-o", run, *pixels]
    if not (run / "results.json").exists():
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        fnac("adapt", given.seed, "--task", "seg", *words, *resume)
    results = json.loads((run / "results.json").read_text())

    fresh = ("--task", "seg", "--classes", "11", "--size", "180x240", *pixels)
    for name, remap in (("seed", "fna"), ("random", "random")):
        if not (out / f"super-{name}.onnx").exists():
            fnac(
                *("expand", given.seed, *fresh, "--space", "mbconv-seg", "--remap", remap),
                *("--data", data, "-o", out / f"super-{name}.onnx"),
            )
    fnac("derive", out / "super-seed.onnx", "--arch", "seed", "-o", out / "seed.onnx")
    arch = run / "arch.json"
    fnac("derive", out / "super-random.onnx", "--arch", arch, "-o", out / "random.onnx")

    target = results["target"]
    rows = {
        "target, adapted": (target["miou"], target["madds"], torch_miou(run / "target.onnx", data)),
        "seed architecture, seed weights": tuned(
            "seed", out / "seed.onnx", data, out, given.random_seed
        ),
        "target architecture, random weights": tuned(
            "random", out / "random.onnx", data, out, given.random_seed
        ),
    }
    print("| network | mIoU (onnxruntime) | mIoU (torch) | MAdds |\n|---|---|---|---|")
    for name, (value, madds, torch_value) in rows.items():
        print(f"| {name} | {value:.2f} | {torch_value:.2f} | {madds:,} |")


if __name__ == "__main__":
    main()
