"""Leeds Sports Pose from a seed: adapted target and seed architecture side by side.

    python benchmarks/study_pose.py LSP_FOLDER OUT [--seed SEED.onnx] [--size 64] [--epochs 3]

Both are tuned on the same schedule; every PCK@0.2 is measured on the emitted file in onnxruntime
and, on the network before it was emitted, by torch. About a quarter of an hour of one core at 64x64
(the head of 256 channels is nearly all of it). What is there already is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from studies import fnac, measured, seed_and_target, show

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
    network += ("--space", "mbconv-pose", "--remap", "fna-live")
    start = Path(given.seed)
    if not start.is_file():
        start = out / "exported.onnx"
        fnac("export", given.seed, "-o", start)
    seed, run = seed_and_target(start, out, 14, network, common)
    rows = {
        "seed architecture": measured(seed, "pose", data),
        "target, adapted": measured(run, "pose", data),
    }
    show(rows, "PCK@0.2", out)


if __name__ == "__main__":
    main()
