"""Leeds Sports Pose from a seed: adapted target and seed architecture side by side.

    python benchmarks/study_pose.py LSP_FOLDER OUT [--seed SEED.onnx] [--size 64] [--epochs 3]

Both are tuned on the same schedule; every PCK@0.2 is measured on the emitted file in onnxruntime
and, on the network before it was emitted, by torch. About a quarter of an hour of one core at 64x64
(the head of 256 channels is nearly all of it). What is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml
from study_camvid import fnac

SAMPLES = {"batch_size": 8, "scale": [0.85, 1.15], "rotation": 15, "flip": True}
ADAM = {
    "optimizer": "adam",
    "lr": 1.0e-3,
    "head_lr_multiplier": 2,
    "weight_decay": 0,
    "schedule": "cosine",
}


def settings(epochs: int, search_epochs: int, sigma: float) -> dict[str, Any]:
    """Return the sections of a configuration; an 80 : 20 split for the search, as in the paper."""
    search = {"epochs": search_epochs, "warmup_epochs": search_epochs // 2, "split": 0.8}
    return {
        "task": {"sigma": sigma},
        "search": {**SAMPLES, **ADAM, **search},
        "tune": {**SAMPLES, **ADAM, "epochs": epochs, "eval_every": epochs},
    }


def torch_metric(network: Path, task_name: str, data: str) -> float:
    """Return the metric of the re-imported network in torch."""
    from fnac.data.spec import open_data
    from fnac.importer import import_onnx
    from fnac.passes.graph import Graph
    from fnac.stages.evaluate import evaluate_module
    from fnac.tasks import make_task

    graph = Graph.load(network)
    module = import_onnx(graph.to_model())
    source = open_data(data, task_name)
    task = make_task(task_name, source, graph.manifest)
    return evaluate_module(
        module, source, task, size=graph.image_size(), manifest=graph.manifest
    ).value


def measured(run: Path, task: str, data: str) -> tuple[float, float, int]:
    """Return the metric in onnxruntime, in torch, and the MAdds of a run's network."""
    found = fnac("eval", run / "model.onnx", "--task", task, "--data", data)
    cost = fnac("profile", run / "target.onnx")["madds"]
    return found["value"], torch_metric(run / "target.onnx", task, data), cost


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lsp", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", default="bundled", help="a name of fnac export, or a file")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--search-epochs", type=int, default=2)
    parser.add_argument("--sigma", type=float, default=6.0)
    parser.add_argument("--random-seed", type=int, default=0)
    given = parser.parse_args()
    out, data = given.out, f"lsp:{given.lsp}"
    out.mkdir(parents=True, exist_ok=True)
    config = out / "settings.yaml"
    config.write_text(yaml.safe_dump(settings(given.epochs, given.search_epochs, given.sigma)))
    size = f"{given.size}x{given.size}"
    common = ("--data", data, "--config", config, "--seed", given.random_seed)
    network = ("--task", "pose", "--head", "simplebaseline", "--size", size)

    if not Path(given.seed).is_file():
        fnac("export", given.seed, "-o", out / "exported.onnx")
        given.seed = out / "exported.onnx"
    seed = out / "tune-seed"
    if not (seed / "model.onnx").exists():
        fnac(
            "expand", given.seed, *network, "--classes", 14, "--space", "mbconv-pose",
            "--remap", "fna-live", "-o", out / "super.onnx",
        )  # fmt: skip
        fnac("derive", out / "super.onnx", "--arch", "seed", "-o", out / "seed.onnx")
        resume = ["--resume"] if (seed / "config.yaml").exists() else []
        fnac("tune", out / "seed.onnx", *common, "-o", seed, *resume)
        fnac("emit", seed / "target.onnx", "-o", seed / "model.onnx")
    run = out / "adapt"
    if not (run / "results.json").exists():
        words = [given.seed, *network, "--space", "mbconv-pose", "--remap", "fna-live", *common]
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        fnac("adapt", *words, "-o", run, *resume)

    rows = {
        "seed architecture": measured(seed, "pose", data),
        "target, adapted": measured(run, "pose", data),
    }
    print("| network | PCK@0.2 (onnxruntime) | PCK@0.2 (torch) | MAdds |\n|---|---|---|---|")
    for name, (value, torch_value, madds) in rows.items():
        print(f"| {name} | {value:.2f} | {torch_value:.2f} | {madds:,} |")
    (out / "results.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
