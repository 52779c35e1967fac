"""How the target is chosen: every strategy, beside the seed's own architecture."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from fnac.cli import run
from fnac.passes.cost import profile
from fnac.passes.graph import Graph

SHORT = [
    *("--set", "adapt.data=scenes:train=32,val=8,size=64", "--set", "adapt.calibrate=8"),
    *("--size", "64x64", "--device", "cpu", "--no-verify", "--set", "adapt.tries=2"),
    *("--set", "adapt.short_epochs=1", "--set", "tune.batch_size=8", "--set", "tune.epochs=1"),
]


def adapted(folder: Path, strategy: str, *more: str) -> dict[str, object]:
    words = ["adapt", "--task", "seg", "-o", str(folder), "--strategy", strategy, *SHORT, *more]
    assert run(words) == 0
    return dict(json.loads((folder / "results.json").read_text()))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "search" / "candidates.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("strategy", "looked_at"), [("random", 2), ("sample", 1), ("seed", 1)])
def test_a_strategy_leaves_a_target_its_candidates_and_the_control(
    strategy: str, looked_at: int, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    results = adapted(folder, strategy, "--budget", "0.9x" if strategy != "seed" else "1x")
    seed, baseline = results["seed"], results["baseline"]
    assert isinstance(seed, dict)
    assert isinstance(baseline, dict)
    assert baseline["madds"] == seed["madds"]
    assert 0 <= baseline["value"] <= 100
    target = profile(Graph.load(folder / "target.onnx"))
    assert target.madds <= (1.0 if strategy == "seed" else 0.9) * seed["madds"]
    found = rows(folder)
    assert len(found) == looked_at
    chosen = [row for row in found if row["chosen"] == "1"]
    assert [int(row["madds"]) for row in chosen] == [target.madds]
    assert list(json.loads((folder / "times.json").read_text())) == [
        *("prepare", "choose", "baseline", "tune", "emit", "eval")
    ]


def test_the_seeds_own_strategy_is_its_own_control(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    results = adapted(folder, "seed")
    baseline, metric = results["baseline"], results["metric"]
    assert isinstance(baseline, dict)
    assert isinstance(metric, dict)
    assert baseline["value"] == metric["value"]  # the same network, tuned alike
    page = (folder / "report.html").read_text()
    assert f"the seed&#x27;s own architecture {metric['value']:.2f} (+0.00)" in page


@pytest.mark.slow
def test_random_takes_the_best_of_its_tries_and_resumes_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    adapted(folder, "random", "--no-baseline")
    scores = [float(row["score"]) for row in rows(folder)]
    best = max(range(2), key=scores.__getitem__)
    chosen = [row["chosen"] for row in rows(folder)]
    assert chosen[best] == "1"
    assert not (folder / "baseline.onnx").exists()
    model = (folder / "model.onnx").read_bytes()
    for name in ("target.onnx", "model.onnx", "search/try1/score.json"):  # as if it was killed
        (folder / name).unlink()
    shutil.rmtree(folder / "tune")
    assert run(["adapt", "--resume", "-o", str(folder)]) == 0
    assert (folder / "model.onnx").read_bytes() == model


def test_a_strategy_that_is_none_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapt", "--task", "seg", "--strategy", "magic", "-o", str(tmp_path / "r")]) == 2
    assert "one of measured, diff, random, sample, seed" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_measured_shrinks_the_tuned_seed_to_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--budget", "0.7x", "--set", "tune.epochs=2", "--set", "tune.held_out=0"]
    results = adapted(folder, "measured", *more)
    seed, baseline, target = (results[key] for key in ("seed", "baseline", "target"))
    assert isinstance(seed, dict)
    assert isinstance(baseline, dict)
    assert isinstance(target, dict)
    assert baseline["madds"] == seed["madds"]
    assert 0.5 * seed["madds"] < target["madds"] <= 0.7 * seed["madds"]
    manifests = [Graph.load(folder / name).manifest for name in ("target.onnx", "baseline.onnx")]
    assert [manifest["tune"]["steps"] for manifest in manifests] == [4, 4]  # an epoch each
    assert Graph.load(folder / "tuned_seed.onnx").manifest["tune"]["steps"] == 4
    model = (folder / "model.onnx").read_bytes()
    for name in ("model.onnx", "target.onnx", "arch.json"):
        (folder / name).unlink()
    for name in ("tune", "baseline"):
        shutil.rmtree(folder / name)
    assert run(["adapt", "--resume", "-o", str(folder)]) == 0
    assert (folder / "model.onnx").read_bytes() == model


def test_measured_leaves_a_seed_that_is_cheap_enough_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    results = adapted(folder, "measured", "--set", "tune.epochs=2")
    baseline, metric = results["baseline"], results["metric"]
    assert isinstance(baseline, dict)
    assert isinstance(metric, dict)
    assert baseline["value"] == metric["value"]


def test_measured_refuses_a_budget_that_no_widths_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["adapt", "--task", "seg", "--strategy", "measured", "-o", str(tmp_path / "r"), *SHORT]
    assert run([*words, "--budget", "0.01x"]) == 2
    assert "the least that --strategy measured can reach is" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
