"""A study: its file, what its runs share, its table; two tiny runs on built-in scenes."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import pytest

from fnac.adaptation.folder import begun
from fnac.adaptation.plan import Plan
from fnac.cli import run
from fnac.errors import UsageError
from fnac.study import on_ray
from fnac.study.plots import pareto
from fnac.study.run_study import waves
from fnac.study.study_file import StudyRun, read_study
from fnac.study.table import Row, as_markdown

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
COMMON = """
recipe: none
common:
  adapt: {task: seg, data: "scenes:train=16,val=4,size=64", calibrate: 8, no_verify: true}
  expand: {size: 64x64}
  tune: {epochs: 1, batch_size: 8, device: cpu}
"""


def study_file(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(COMMON + text)
    return path


def test_runs_and_a_grid_times_random_seeds(tmp_path: Path) -> None:
    text = "runs: {seed: {adapt: {strategy: seed}}}\nrandom_seeds: [0, 3]\nreference: seed\n"
    text += "grid: {adapt.strategy: [random, sample], adapt.budget: [1x, 0.5x]}\n"
    study = read_study(study_file(tmp_path, text), {"tune": {"epochs": 4}})
    assert study.names == ("seed", "random 1x", "random 0.5x", "sample 1x", "sample 0.5x")
    assert [run.folder for run in study.runs][:4] == [
        *("seed-0", "seed-3", "random-1x-0", "random-1x-3")
    ]
    config = study.runs[5].config
    assert (config["adapt"]["strategy"], config["adapt"]["budget"]) == ("random", "0.5x")
    assert config["tune"] == {"epochs": 4, "batch_size": 8, "device": "cpu", "random_seed": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it names no run"),
        ("rums: {}", "rums: no such key; did you mean 'runs'?"),
        ("runs: {a: {}}\nrandom_seeds: [1, 1]", "wanted a list of different whole numbers"),
        ("runs: {a: {}}\nreference: b", "reference 'b' is not a run"),
        ("runs: {a: {adupt: {}}}", "adupt: no such section"),
        ("grid: {adapt.budget: 1x}", "wanted a setting and a list of its values"),
        ("runs: {a b: {}, a-b: {}}", "two runs would share a folder"),
    ],
)
def test_what_a_study_file_cannot_say(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_study(study_file(tmp_path, text))
    assert said in str(caught.value)


def test_one_run_of_each_shared_stage_goes_first() -> None:
    shared = [{"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2", "b": "3"}, {"b": "3"}]
    assert waves(shared) == [[0, 2, 3], [1, 4]]


def test_the_table_says_mean_and_deviation_and_the_front_what_none_cheaper_reaches() -> None:
    lines = [
        Row("seed", "mIoU", (50.0, 52.0), 2e6, 1e3, 51.0, 10.0),
        Row("half", "mIoU", (53.0,), 1e6, 1e3, None, 20.0),
    ]
    assert as_markdown(lines, "seed").splitlines()[2:] == [
        "| seed | 51.00 ± 1.41 | 2 | 2.00M | 1.00K | 51.00 | +0.00 | 10 |",
        "| half | 53.00 | 1 | 1.00M | 1.00K |  | +2.00 | 20 |",
    ]
    assert pareto([(3, 5.0), (1, 4.0), (2, 3.0), (1, 2.0), (4, 5.0)]) == [(1, 4.0), (3, 5.0)]


def test_two_runs_share_their_start_and_resume_run_by_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "runs: {sample: {adapt: {strategy: sample, budget: 0.8x}}, own: {adapt: {strategy: seed}}}"
    )
    file, folder = study_file(tmp_path, f"{text}\nreference: own\n"), tmp_path / "study"
    words = ["study", str(file), "-o", str(folder), "--json"]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["n"]) for one in told["runs"]] == [("sample", 1), ("own", 1)]
    runs = folder / "runs"
    given = runs / "own-0" / "given"
    assert sorted(path.name for path in given.iterdir()) == ["baseline.onnx", "super.onnx"]
    first, second = (runs / name / "baseline.onnx" for name in ("sample-0", "own-0"))
    assert first.read_bytes() == second.read_bytes()  # tuned once
    assert not (runs / "own-0" / "baseline").exists()
    with (folder / "table.csv").open() as table:
        lines = list(csv.DictReader(table))
    results = json.loads((runs / "own-0" / "results.json").read_text())
    assert float(lines[1]["mean"]) == pytest.approx(results["metric"]["value"], abs=1e-3)
    assert "against own" in (folder / "table.md").read_text()
    assert {p.name for p in folder.glob("*.png")} == {"cost.png", "convergence.png"}
    assert run(words) == 2
    assert "a study was begun there; continue it with --resume" in capsys.readouterr().err
    model = (runs / "own-0" / "model.onnx").read_bytes()
    for name in ("results.json", "model.onnx"):  # as if it was killed
        (runs / "own-0" / name).unlink()
    before = (runs / "sample-0" / "results.json").stat().st_mtime_ns
    assert run([*words, "--resume"]) == 0
    assert (runs / "own-0" / "model.onnx").read_bytes() == model
    assert (runs / "sample-0" / "results.json").stat().st_mtime_ns == before
    capsys.readouterr()
    study_file(tmp_path, f"{text.replace('0.8x', '0.7x')}\nreference: own\n")
    assert run([*words, "--resume"]) == 2  # the run is done, and was of another budget
    assert "adapt.budget is '0.8x' in" in capsys.readouterr().err
    assert "0.8x" in (folder / "study.yaml").read_text()


def test_a_run_in_another_process_writes_all_that_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_one(one: StudyRun, folder: Path) -> None:
        with begun(folder / "run", "seg", "cpu"):
            logging.getLogger("fnac.flow").info("half way")

    monkeypatch.setattr(on_ray, "run_one", run_one)
    (one,) = read_study(study_file(tmp_path, "runs: {seed: {adapt: {strategy: seed}}}\n"), {}).runs
    assert on_ray.run_in_worker(one, tmp_path) is None
    assert "half way" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.slow
def test_runs_go_at_once_on_a_local_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install -e '.[ray]')")
    text = "runs: {own: {adapt: {strategy: seed, baseline: false}}}\nrandom_seeds: [0, 1]\n"
    file, folder = study_file(tmp_path, f"{text}processes: 2\n"), tmp_path / "study"
    assert run(["study", str(file), "-o", str(folder)]) == 0
    with (folder / "runs.csv").open() as table:
        assert [line["random_seed"] for line in csv.DictReader(table)] == ["0", "1"]


@pytest.mark.parametrize("name", [path.name for path in STUDIES.glob("*.yaml")])
def test_the_studies_of_the_benchmarks_are_plans(name: str) -> None:
    study = read_study(STUDIES / name, {"expand": {"classes": 3}, "adapt": {"data": "scenes"}})
    for one in study.runs:
        assert Plan.of(one.config).expand.classes == 3
