"""CamVid from a found seed: adapted target, seed architecture and random weights side by side.

    python benchmarks/study_camvid.py SEED.onnx CAMVID_FOLDER OUT [--mean M M M --std S S S]

The same tuning schedule for all three (recipe camvid-deeplabv3-mobilenetv2); every mIoU is measured
on the emitted file in onnxruntime and, for the target, by torch on the tuned network as well.
About an hour of one core. What is there already is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from studies import fnac, measured, resumed, show, tuned

RECIPE = "camvid-deeplabv3-mobilenetv2"


def tuning(out: Path) -> Path:
    """Write the recipe's tuning settings to a file of their own; return it."""
    from fnac.models.recipes import recipe_path

    settings = out / "tune.yaml"
    recipe = recipe_path(RECIPE).read_text()
    settings.write_text(recipe[recipe.index("tune:") :])
    return settings


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
        fnac("adapt", given.seed, "--task", "seg", *words, *resumed(run))

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

    common = ("--data", data, "--config", tuning(out), "--seed", given.random_seed)
    rows = {"target, adapted": measured(run, "seg", data)}
    for name, what in (
        ("seed", "seed architecture, seed weights"),
        ("random", "target architecture, random weights"),
    ):
        tuned(out / f"{name}.onnx", out / f"tune-{name}", *common)
        rows[what] = measured(out / f"tune-{name}", "seg", data)
    show(rows, "mIoU", out)


if __name__ == "__main__":
    main()
