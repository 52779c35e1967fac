"""How the target is chosen: every strategy, beside the seed's own architecture."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fnac.adaptation.strategies.halving import rounds
from fnac.adaptation.strategies.inputs import automatic_sizes
from fnac.cli import run
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.stages.shrinking.shrinkable import open_shrinkable

SHORT = [
    *("--set", "adapt.data=scenes:train=32,val=8,size=64", "--set", "adapt.calibrate=8"),
    *("--size", "64x64", "--device", "cpu", "--no-verify", "--set", "adapt.tries=2"),
    *("--set", "adapt.short_epochs=1", "--set", "tune.batch_size=8", "--set", "tune.epochs=1"),
]


QUICK = ["--set", "shrink.effort=0", "--set", "shrink.images=8"]


def adapted(folder: Path, strategy: str, *more: str) -> dict[str, object]:
    words = ["adapt", "--task", "seg", "-o", str(folder), "--strategy", strategy, *SHORT, *more]
    assert run(words) == 0
    return dict(json.loads((folder / "results.json").read_text()))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "search" / "candidates.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("strategy", "looked_at"),
    [("random", 2), pytest.param("sample", 1, marks=pytest.mark.slow), ("seed", 1)],
)
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
    if strategy == "seed":  # it is its own control: the same network, tuned alike
        metric = results["metric"]
        assert isinstance(metric, dict)
        assert baseline["value"] == metric["value"]
        page = (folder / "report.html").read_text()
        control = "the seed&#x27;s own architecture, tuned with the same schedule, "
        assert f"{control}{metric['value']:.2f} % (+0.00 points)" in page


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
    assert "one of measured, diff, random, sample, evolve, uniform, seed" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_measured_shrinks_the_tuned_seed_to_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--budget", "0.7x", "--set", "tune.epochs=2", "--set", "tune.held_out=0"]
    more += ["--set", "shrink.effort=1", "--set", "shrink.images=16", "--finalists", "1"]
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


def clock(graph: Graph) -> float:
    """Milliseconds of a made-up machine: a fixed one, and one for each million MAdds."""
    return 1.0 + profile(graph).madds / 1e6


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["measured", "uniform"])
def test_a_budget_of_latency_is_met_by_the_network_as_it_is_emitted(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Graph] = []

    def noted(graph: Graph) -> float:
        timed.append(graph)
        return clock(graph)

    monkeypatch.setattr("fnac.adaptation.strategies.limit.in_ms", noted)
    folder = tmp_path / "run"
    more = ["--set", "tune.epochs=2", "--set", "tune.held_out=0", *QUICK, "--finalists", "1"]
    adapted(folder, strategy, "--budget", "0.8x", "--budget-of", "latency", *more)
    limit = json.loads((folder / "search/limit.json").read_text())
    assert limit["limit_ns"] == int(0.8 * limit["seed_ns"])
    emitted = [np.dtype(graph.outputs[0].dtype) for graph in timed]
    assert set(emitted) == {np.dtype(np.int64)}  # labels, as in the emitted file
    took = clock(Graph.load(folder / "model.onnx"))
    assert 0.9 * limit["limit_ns"] < 1e6 * took <= limit["limit_ns"]
    (folder / "target.onnx").unlink()
    before = (folder / "model.onnx").read_bytes()
    asked = len(timed)
    (folder / "model.onnx").unlink()
    shutil.rmtree(folder / "tune")
    assert run(["adapt", "--resume", "-o", str(folder)]) == 0
    assert (folder / "model.onnx").read_bytes() == before
    assert len(timed) == asked  # the limit was kept


@pytest.mark.slow
def test_a_file_above_its_budget_of_latency_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is timed as ten thousand times quicker than its file."""
    monkeypatch.setattr("fnac.adaptation.strategies.limit.in_ms", lambda graph: 1e-4 * clock(graph))
    more = ["--set", "tune.epochs=2", "--set", "tune.held_out=0", *QUICK, "--finalists", "1"]
    words = ["--budget", "0.9x", "--budget-of", "latency"]
    results = adapted(tmp_path / "run", "measured", *words, *more)
    findings = results["findings"]
    assert isinstance(findings, list)
    assert "latency-above-budget" in [one["kind"] for one in findings]


@pytest.mark.slow
def test_uniform_leaves_every_block_the_same_share(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--budget", "0.7x", "--set", "tune.epochs=2", "--set", "tune.held_out=0"]
    results = adapted(folder, "uniform", *more)
    seed, target = results["seed"], results["target"]
    assert isinstance(seed, dict)
    assert isinstance(target, dict)
    assert 0.6 * seed["madds"] < target["madds"] <= 0.7 * seed["madds"]
    subject = open_shrinkable(
        Graph.load(folder / "tuned_seed.onnx"), heads=False, manager=PassManager(verify=False)
    )
    widths = Graph.load(folder / "target.onnx").manifest["shrink"]["widths"]
    assert list(widths) == [one.name for one in subject.sets]
    shares = [widths[one.name] / one.count for one in subject.sets if one.count >= 64]
    assert max(shares) - min(shares) <= 8 / 64  # but for the grid
    larger = {one.name: min(one.count, widths[one.name] + 8) for one in subject.sets}
    costs = subject.costs(list(widths), "madds")
    assert costs.of(list(widths.values())) == target["madds"] < costs.of(list(larger.values()))
    assert len(rows(folder)) == 1


@pytest.mark.slow
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


@pytest.mark.slow
def test_sizes_compete_at_one_budget_and_the_target_keeps_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--set", "tune.epochs=2", "--sizes", "48x48,72x72", *QUICK]
    results = adapted(folder, "measured", *more, "--finalists", "1")
    seed, baseline, target = (results[key] for key in ("seed", "baseline", "target"))
    assert isinstance(seed, dict)
    assert isinstance(baseline, dict)
    assert isinstance(target, dict)
    assert baseline["madds"] == seed["madds"]
    found = rows(folder)
    # at the seed's size, which the budget admits, and of small images its own is cheap enough
    assert [(row["input"], row["arch"] == "seed") for row in found] == [
        *(("48x48-os16", True), ("64x64-os16", True), ("72x72-os16", False))
    ]
    assert all(int(row["madds"]) <= seed["madds"] for row in found)
    assert all(row["score"] and row["epochs"] == "1" for row in found)
    chosen = next(row for row in found if row["chosen"] == "1")
    assert float(chosen["score"]) == max(float(row["score"]) for row in found)
    model, side = Graph.load(folder / "model.onnx"), target["size"][0]
    assert chosen["input"] == f"{side}x{side}-os16"
    assert model.image_size() == (side, side)
    assert int(chosen["madds"]) == target["madds"]


@pytest.mark.slow
def test_random_goes_through_the_sizes_at_one_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--budget", "0.9x", "--sizes", "48x48,64x64", "--no-baseline"]
    results = adapted(folder, "random", *more)
    seed, target = results["seed"], results["target"]
    assert isinstance(seed, dict)
    assert isinstance(target, dict)
    found = rows(folder)
    assert [row["input"] for row in found] == ["48x48-os16", "64x64-os16"]
    assert all(int(row["madds"]) <= 0.9 * seed["madds"] for row in found)
    assert int(found[0]["madds"]) > 0.7 * seed["madds"]  # small images, a wider network
    chosen = next(row for row in found if row["chosen"] == "1")
    assert Graph.load(folder / "model.onnx").image_size() == tuple(target["size"])
    assert chosen["input"].startswith(f"{target['size'][0]}x")


@pytest.mark.slow
def test_sizes_and_output_strides_are_tuned_by_halves_and_resume_exactly(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--set", "tune.epochs=2", "--sizes", "48x48,72x72", *QUICK]
    adapted(folder, "measured", *more, "--output-strides", "16,32", "--finalists", "8")
    found = rows(folder)
    finalists = [row for row in found if row["score"]]
    assert {row["input"] for row in finalists} == {
        "64x64-os16",
        *(f"{side}x{side}-os{stride}" for side in (48, 72) for stride in (16, 32)),
    }
    epochs = sorted(int(row["epochs"]) for row in finalists)
    assert epochs[-2:] == [3, 3]  # a round of 1 and one of 2 epochs
    assert set(epochs[:-2]) == {1}
    before = (folder / "model.onnx").read_bytes()
    chosen = next(row["input"] for row in found if row["chosen"] == "1")
    for path in [folder / n for n in ("model.onnx", "target.onnx", "arch.json")]:
        path.unlink()
    for path in (folder / "search" / "finalists").glob(f"{chosen}*/round1*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("tune", "baseline"):
        shutil.rmtree(folder / name)
    assert run(["adapt", "--resume", "-o", str(folder)]) == 0
    assert (folder / "model.onnx").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strategy", "diff", "--sizes", "auto"], "--strategy diff chooses at one size"),
        (["--strategy", "measured", "--sizes", "16x16"], "--sizes 16x16: wanted at least 32x32"),
        (["--strategy", "measured", "--output-strides", "4"], "wanted some of 8, 16, 32"),
        (
            ["--strategy", "measured", "--sizes", "auto", "--budget-of", "params"],
            "--sizes: larger images cost nothing in params",
        ),
        (
            [
                "--strategy",
                "random",
                "--sizes",
                "auto",
                "--budget-of",
                "latency",
                "--budget",
                "9ms",
            ],
            "--strategy random knows latencies at one size only",
        ),
        (
            ["--strategy", "measured", "--sizes", "auto", "--set", "eval.size=64x64"],
            "--sizes, eval.size: networks are measured at their own sizes",
        ),
    ],
)
def test_sizes_that_cannot_be_chosen_from_are_refused_at_once(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapt", "--task", "seg", "-o", str(tmp_path / "r"), *words]) == 2
    assert said in capsys.readouterr().err


def test_sizes_found_by_themselves_lie_around_the_seeds_and_within_the_images() -> None:
    assert automatic_sizes((180, 240), (360, 480)) == [
        *((144, 192), (180, 240), (224, 288), (272, 352))
    ]
    assert automatic_sizes((96, 96), (96, 96)) == [(80, 80), (96, 96)]
    assert automatic_sizes((64, 64), (32, 32)) == [(48, 48), (64, 64)]


def test_half_of_the_finalists_go_on() -> None:
    assert [rounds(count) for count in (1, 2, 3, 4, 8)] == [[], [2], [3], [4, 2], [8, 4, 2]]


@pytest.mark.slow
def test_evolution_keeps_the_budget_and_resumes_exactly(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ["--set", "search.epochs=1", "--set", "search.batch_size=8", "--no-baseline"]
    more += ["--set", "adapt.population=3", "--set", "adapt.generations=2", "--finalists", "2"]
    results = adapted(folder, "evolve", "--budget", "0.8x", *more)
    seed = results["seed"]
    assert isinstance(seed, dict)
    found = rows(folder)
    assert 3 <= len(found) <= 6
    assert len({row["arch"] for row in found}) == len(found)
    assert all(int(row["madds"]) <= 0.8 * seed["madds"] for row in found)
    assert [row["epochs"] for row in found].count("1") == 2  # the finalists
    target = profile(Graph.load(folder / "target.onnx"))
    assert [int(r["madds"]) for r in found if r["chosen"] == "1"] == [target.madds]
    judged = json.loads((folder / "search" / "evolution.json").read_text())
    assert len(judged) == len(found)
    model = (folder / "model.onnx").read_bytes()
    (folder / "search" / "evolution.json").write_text(json.dumps(judged[:2], indent=1) + "\n")
    digests = json.loads((folder / "digests.json").read_text())
    del digests["search/evolution.json"]
    (folder / "digests.json").write_text(json.dumps(digests))
    for name in ("model.onnx", "target.onnx", "arch.json"):
        (folder / name).unlink()
    for name in ("tune", "search/finalists"):
        shutil.rmtree(folder / name)
    assert run(["adapt", "--resume", "-o", str(folder)]) == 0
    assert json.loads((folder / "search" / "evolution.json").read_text()) == judged
    assert (folder / "model.onnx").read_bytes() == model
