"""`emit --fp16`, `--int8` beside float32; `bench` says how it timed, and of what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fnac.cli import run as fnac
from fnac.inspection.bench import BenchResult
from tests.support.data_sets import classes
from tests.support.graphs import graph

CLASSIFIER = """(float[batch,3,32,32] x) => (float[batch,2] logits)
  <float[8,3,3,3] w, float[8] b, float[2,8] v, float[2] c> {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)  r = Relu(a)
    p = GlobalAveragePool(r)  f = Flatten(p)  logits = Gemm<transB=1>(f, v, c) }"""


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    network = graph(CLASSIFIER)
    network.manifest |= {"task": "cls", "num_classes": 2, "classes": ["cat", "dog"]}
    network.manifest |= {"size": [32, 32], "head": "linear"}
    return network.save(tmp_path / "m.onnx")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_smaller_precision_is_held_against_float32(
    precision: str, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.onnx"
    words = ["emit", str(classifier), f"--{precision}", "-o", str(out)]
    words += ["--data", classes(tmp_path / "data")]
    assert fnac([*words, "--json"]) == 0
    sides = json.loads(capsys.readouterr().out)["precisions"]
    assert list(sides) == ["float32", {"fp16": "float16"}.get(precision, precision)]
    small = sides[list(sides)[1]]
    assert small["size_bytes"] == out.stat().st_size
    assert {side["metric"] for side in sides.values()} == {"top-1"}
    assert sides["float32"]["images"] == small["images"] > 0
    assert all(side["latency_ms"] > 0 for side in sides.values())
    assert fnac(words) == 0
    lines = capsys.readouterr().out.splitlines()
    (head,) = (line for line in lines if line.startswith("precision"))
    assert head.split() == ["precision", "size", "latency", "here", "top-1", "(16", "images)"]


def test_without_labels_the_metric_is_asked_for(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["emit", str(classifier), "--fp16", "-o", str(tmp_path / "small.onnx")]
    assert fnac(words) == 0
    assert "give labelled images (--data SPEC)" in capsys.readouterr().out


def test_images_of_other_classes_calibrate_and_measure_nothing(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = classes(tmp_path / "data")
    for split in ("train", "val"):
        (tmp_path / "data" / split / "cat").rename(tmp_path / "data" / split / "horse")
    words = ["emit", str(classifier), "--int8", "-o", str(tmp_path / "small.onnx"), "--data", spec]
    assert fnac([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert not any("metric" in side for side in json.loads(said.out)["precisions"].values())
    assert "the metric is not compared: the classes of " in said.err


def timed(*sides: tuple[str | None, tuple[int, int]]) -> BenchResult:
    times = tuple((0.001, 0.002) for _ in sides)
    sizes, tasks = tuple(size for _, size in sides), tuple(task for task, _ in sides)
    return BenchResult(tuple("ab"[: len(sides)]), times, "CPU", sizes, tasks)


def test_bench_says_what_it_timed() -> None:
    alike = timed(("seg", (32, 48)), ("seg", (32, 48)))
    assert alike.conditions() == "1 image of 32x48, 2 runs of each file in turn, CPU"
    assert alike.unlike() is None
    assert timed(("seg", (32, 48)), (None, (32, 48))).unlike() is None


def test_bench_names_unlike_files() -> None:
    other_task = timed(("seg", (32, 48)), ("det", (32, 48))).unlike()
    assert other_task is not None
    assert "different tasks (seg, det)" in other_task
    other_size = timed(("seg", (32, 48)), ("seg", (64, 96))).unlike()
    assert other_size is not None
    assert "--size HxW" in other_size
