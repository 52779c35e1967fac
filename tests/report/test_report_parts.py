"""The report answers in the order in which its reader asks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fnac.report import write_report
from fnac.report.parts.changes import in_words
from fnac.report.parts.facts import without_folders
from fnac.text import duration
from tests.support.graphs import graph

RESULTS = {
    "metric": {"name": "mIoU", "value": 47.25},
    "seed": {"madds": 301_000_000, "params": 2_567_507},
    "baseline": {"value": 45.0, "madds": 301_000_000, "params": 2_567_507},
    "target": {"madds": 240_800_000, "params": 2_000_000, "images": 24},
    "per_class": [
        {"name": "road", "value": 90.5},
        {"name": "<sky>", "value": 4.0},
        {"name": "boat", "value": None},
    ],
    "confusion": [[90, 10, 0], [80, 20, 0], [0, 0, 0]],
}
CANDIDATES = """arch,input,madds,params,score,epochs,chosen,predicted,error,random
k3,,100,10,41.0,2,1,,,0
k5,,120,12,40.0,2,0,,,0
k7,,140,14,,0,0,,,0
"""
SPEED = {
    "latency_ms": 1.234,
    "latency_on": "a CPU",
    "size_bytes": 2_500_000,
    "baseline_latency_ms": 1.5,
    "baseline_size_bytes": 3_000_000,
}
PREDICTIONS = {
    "metric": "mIoU",
    "panels": ["image", "truth", "prediction"],
    "legend": [{"name": "road", "colour": [10, 20, 30]}],
    "images": [
        {"file": "prediction_00-a.png", "id": "a", "rank": "best", "value": 88.04},
        {"file": "prediction_01-b.png", "id": "b", "rank": "worst", "value": 3.0},
    ],
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    (folder / "pictures").mkdir(parents=True)
    (folder / "search").mkdir()
    for name, content in (
        ("results.json", RESULTS),
        ("times.json", {"tune": 100.0, "eval": 5.0}),
        ("speed.json", SPEED),
        ("env.json", {"date": "2026-01-02T03:04:05+00:00", "device": "cpu", "cpu_count": 2}),
        ("pictures/predictions.json", PREDICTIONS),
    ):
        (folder / name).write_text(json.dumps(content))
    (folder / "search" / "candidates.csv").write_text(CANDIDATES)
    for name in ("prediction_00-a.png", "prediction_01-b.png"):
        (folder / "pictures" / name).write_bytes(b"\x89PNG fake")
    (folder / "config.yaml").write_text(
        "version: 2\nadapt: {task: seg, data: 'camvid:/home/me/data/camvid', strategy: measured}\n"
    )
    (folder / "model.onnx").write_bytes(bytes(200_000))
    return write_report(folder).read_text(encoding="utf-8")


def test_the_parts_come_in_the_order_of_questions(page: str) -> None:
    assert re.findall(r"<section id=\"([\w-]+)\"", page) == [
        *("files", "predictions", "classes", "architecture", "cost", "trade-off", "training"),
        "details",
    ]


def test_the_verdict_says_how_good_how_dear_how_fast(page: str) -> None:
    assert (
        "The target reaches 47.25 % mIoU on 24 samples that it was not trained on; the seed&#x27;s "
        "own architecture, tuned with the same schedule, 45.00 % (+2.25 points). It costs 80.0% of "
        "the seed&#x27;s multiply-adds and takes 1.23 ms an image on a CPU "
        "(the seed&#x27;s own: 1.50 ms)."
    ) in page
    assert "<b>1.50 → 1.23 ms</b>" in page
    assert "<b>3.00 → 2.50 MB</b>" in page
    assert "begun 2026-01-02 03:04 UTC · took 1 min 45 s · on CPU, 2 cores" in page
    assert "<h1>Semantic segmentation of camvid</h1>" in page


def test_no_folder_of_the_machine_is_passed_on(page: str) -> None:
    assert "/home/me" not in page


def test_files_are_linked_and_commands_can_be_copied(page: str) -> None:
    assert '<a href="model.onnx">' in page
    assert "0.20 MB" in page
    assert "fnac predict mine/model.onnx images/ -o seen/" in page


def test_predictions_say_which_they_are(page: str) -> None:
    assert "best: mIoU 88.0 %, image a" in page
    assert "worst: mIoU 3.0 %, image b" in page
    assert '<i style="background:rgb(10,20,30)"></i> <span>road</span>' in page
    assert page.count('<div class="panels">') == 2


def test_classes_are_sorted_and_their_confusions_named(page: str) -> None:
    assert page.index("<td>&lt;sky&gt;</td>") < page.index("<td>road</td><td><div")
    assert "they do not occur: boat" in page
    row = '<tr><td>&lt;sky&gt;</td><td>road</td><td class="number">80.0 %</td></tr>'
    assert row in page
    assert 'alt="Confusion"' in page


def test_architectures_that_were_judged_are_drawn(page: str) -> None:
    assert 'alt="Architectures that were tried"' in page


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("k3e6", "k7e3", "kernel 3 → 7, expansion 6 → 3"),
        ("k3e6", "skip", "left out"),
        ("skip", "k5e3", "added: k5e3"),
        ("k3g1", "k3g2", "groups 1 → 2"),
        ("stem", "other", "stem → other"),
    ],
)
def test_a_change_in_words(before: str, after: str, words: str) -> None:
    assert in_words(before, after) == words


def test_folders_are_left_out_and_names_stay() -> None:
    assert without_folders("coco:/a/b c/coco") == "coco:…/coco"
    assert without_folders("camvid:data/camvid, 1/2") == "camvid:data/camvid, 1/2"
    assert without_folders("http://host/page") == "http://host/page"
    assert without_folders("~/nets/seed.onnx --size 3x4") == "…/seed.onnx --size 3x4"


def test_durations() -> None:
    assert [duration(s) for s in (42, 200, 7500)] == ["42 s", "3 min 20 s", "2 h 5 min"]


def test_a_run_of_one_stage_shows_that_stage_alone(tmp_path: Path) -> None:
    (tmp_path / "tune").mkdir()
    (tmp_path / "config.yaml").write_text("version: 2\nadapt: {task: cls}\ntune: {epochs: 2}\n")
    rows = ["step,epoch,loss,lr,head_lr,val_top-1", "1,0,2.0,0.1,0.5,", "2,0,1.0,0.1,0.5,40.0"]
    (tmp_path / "tune" / "metrics.csv").write_text("\n".join(rows) + "\n")
    network = graph("(float[n,3,8,8] x) => (float[n,3,8,8] y) { y = Relu(x) }")
    network.manifest["tune"] = {"val": 40.0, "metric": "top-1", "steps": 2}
    network.save(tmp_path / "target.onnx")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"<section id=\"([\w-]+)\"", page) == ["files", "training", "details"]
    assert "Tuned to 40.00 % top-1 on the validation split, in 2 steps." in page
    assert 'alt="Validation during tuning"' in page
    assert "Search" not in page
