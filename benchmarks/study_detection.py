"""A detector from the bundled seed: adapted target and seed architecture side by side.

    python benchmarks/study_detection.py SPEC OUT [--head ssdlite] [--seed S.onnx] [--size 160x160]

SPEC as for ``--data`` (``coco:FOLDER``, ``voc:FOLDER``, a YAML file that names a few classes). Both
networks are tuned on the same schedule; every mAP is measured on the emitted file in onnxruntime
and, on the network before it was emitted, by torch. With SSDLite at 160x160 on 200 images some
quarter of an hour of one core; RetinaNet's head alone costs forty times that backbone. What is
there already is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from studies import fnac, measured, seed_and_target, show

ADAM = {
    "optimizer": "adam",
    "head_lr_multiplier": 1,
    "weight_decay": 0,
    "clip": 35,
    "schedule": "cosine",
    "lr_warmup_steps": 20,
    "scale": [1.0, 1.0],
    "flip": True,
}
LEARNING_RATES = {"ssdlite": 3.0e-3, "retinanet": 5.0e-4}
"""Of a small seed; one with ImageNet weights forgets them at 3e-3 (--lr)."""


def settings(lr: float, batch: int, epochs: int, search_epochs: int) -> dict[str, Any]:
    """Return the sections of a configuration; a 50 : 50 split for the search, as in the paper."""
    samples = {**ADAM, "lr": lr, "batch_size": batch}
    search = {"epochs": search_epochs, "warmup_epochs": search_epochs // 2, "split": 0.5}
    return {
        "search": {**samples, **search},
        "tune": {**samples, "epochs": epochs, "eval_every": epochs},
    }


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--head", choices=sorted(LEARNING_RATES), default="ssdlite")
    parser.add_argument("--seed", default="bundled", help="a name of fnac export, or a file")
    parser.add_argument("--size", default="160x160")
    parser.add_argument("--lr", type=float, help="default: the head's")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--search-epochs", type=int, default=8)
    parser.add_argument("--random-seed", type=int, default=0)
    given = parser.parse_args()
    from fnac.data.spec import open_data

    out, data = given.out, given.data
    classes = len(open_data(data, "det").classes)
    out.mkdir(parents=True, exist_ok=True)
    config = out / "settings.yaml"
    lr = LEARNING_RATES[given.head] if given.lr is None else given.lr
    sections = settings(lr, given.batch, given.epochs, given.search_epochs)
    config.write_text(yaml.safe_dump(sections))
    common = ("--data", data, "--config", config, "--seed", given.random_seed)
    network = ("--task", "det", "--head", given.head, "--size", given.size)
    network += ("--space", "mbconv-det", "--remap", "fna-live")

    start = Path(given.seed)
    if not start.is_file():
        start = out / "exported.onnx"
        fnac("export", given.seed, "-o", start)
    seed, run = seed_and_target(start, out, classes, network, common)
    rows = {
        "seed architecture": measured(seed, "det", data),
        "target, adapted": measured(run, "det", data),
    }
    show(rows, "mAP", out)


if __name__ == "__main__":
    main()
