"""What a run prints at its end, word by word: scripts and people rely on its order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fnac.adaptation.result import AdaptResult
from fnac.findings import Finding

RESULT = AdaptResult(
    folder=Path("runs/my run"),
    metric="mIoU",
    value=57.494,
    seed={"madds": 29_638_528, "params": 730_072},
    baseline={"value": 55.1, "madds": 29_638_528, "params": 730_072, "before_tuning": 1.0},
    target={"madds": 29_500_000, "params": 700_000, "images": 128, "before_tuning": 20.25},
    findings=(Finding("x", "look at this"),),
    seconds={"prepare": 4.6, "tune": 120.0},
    per_class={"road": 90.04, "sky": 80.0, "boat": None},
)


def test_the_last_lines_of_a_run() -> None:
    assert RESULT.as_text().splitlines() == [
        "mIoU  57.49  (model.onnx in onnxruntime, 128 images)",
        "baseline 55.10  (the seed's own architecture, tuned with the same schedule, "
        "29.6M MAdds): the target is +2.39",
        "before  target 20.25, baseline 1.00  (before the tuning)",
        "classes  road 90.0, sky 80.0; absent: boat",
        "seed    29.6M MAdds, 730K params",
        "target  29.5M MAdds (99.5% of the seed), 700K params   "
        "[MAdds = multiply-adds = MACs = FLOPs/2]",
        "note    look at this",
        "time    prepare 5 s, tune 120 s",
        "run     runs/my run   (open report.html)",
        "model   runs/my run/model.onnx, with example.py, model.json and README.md",
        "next    fnac predict 'runs/my run/model.onnx' IMAGE|FOLDER -o seen/",
        "        fnac emit 'runs/my run/target.onnx' --int8 --data SPEC -o int8.onnx",
    ]


def test_of_many_classes_the_lowest_are_named() -> None:
    many = dataclasses.replace(RESULT, per_class={f"c{i}": float(i) for i in range(40, 0, -1)})
    (line,) = (one for one in many.as_text().splitlines() if "of 40 classes" in one)
    assert line.startswith("lowest of 40 classes  c1 1.0, c2 2.0, ")
    assert line.endswith("c12 12.0")
    assert many.as_json()["per_class"]["c40"] == 40.0
