"""The whole chain as a user runs it: `fnac adapt` in processes of their own, small and short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fnac.cli import run

SMALL = [
    *("--set", "adapt.data=scenes:train=32,val=8,size=64", "--set", "adapt.calibrate=8"),
    *("--size", "64x64", "--device", "cpu", "--no-baseline"),  # test_strategies has the baseline
    *("--set", "search.batch_size=8", "--set", "search.steps=8", "--set", "search.warmup_steps=3"),
    *("--set", "search.epochs=1", "--set", "search.warmup_epochs=0"),
    *("--set", "search.checkpoint_every=2", "--set", "tune.checkpoint_every=2"),
    *("--set", "tune.batch_size=8", "--set", "tune.steps=8"),
]
FILES = (
    "config.yaml data.json env.json seed.onnx super.onnx ledger.json search/last.ckpt "
    "search/alphas.csv search/metrics.csv arch.json target.onnx tune/last.ckpt "
    "tune/metrics.csv model.onnx profile.json profile.csv results.json report.html"
).split()


def command(folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "fnac.cli", "adapt", "--task", "seg", "-o", str(folder)),
        *(more or SMALL),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def finish(folder: Path, *more: str) -> dict[str, object]:
    done = subprocess.run(
        [*command(folder, *more), "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("adapt") / "whole"
    return folder, finish(folder)


def test_the_run_folder_is_complete(undisturbed: tuple[Path, dict[str, object]]) -> None:
    folder, result = undisturbed
    assert [name for name in FILES if not (folder / name).is_file()] == []
    assert len(list((folder / "pictures").glob("prediction_*.png"))) == 6
    assert result["metric"] == "mIoU"
    assert 0 <= float(str(result["value"])) <= 100


def test_the_report_tells_what_ran(undisturbed: tuple[Path, dict[str, object]]) -> None:
    folder, _ = undisturbed
    page = (folder / "report.html").read_text(encoding="utf-8")
    recorded = yaml.safe_load((folder / "config.yaml").read_text())
    facts = {
        "data": "scenes:train=32,val=8,size=64",
        "size": "64×64",
        "head": recorded["expand"]["head"],
        "seed": recorded["adapt"]["seed"],
    }
    title = "Semantic segmentation of built-in scenes, from the bundled seed"
    assert f"<h1>{title}</h1>" in page
    for name, value in facts.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page, name


def test_the_target_keeps_within_the_seeds_cost(
    undisturbed: tuple[Path, dict[str, object]],
) -> None:
    from fnac.passes.cost import profile
    from fnac.passes.graph import Graph

    folder, result = undisturbed
    target = profile(Graph.load(folder / "target.onnx"))
    emitted = Graph.load(folder / "model.onnx")
    seed = result["seed"]
    assert isinstance(seed, dict)
    assert 0.95 * seed["madds"] <= target.madds <= seed["madds"]
    assert profile(emitted).madds == target.madds
    written = {n.name: n.metadata["fnac.madds"] for n in emitted.nodes}
    assert sum(map(int, written.values())) == target.madds


def kill_when(folder: Path, log: str, lines: int) -> None:
    """Start the run and kill it as soon as its ``log`` has that many lines of steps."""
    running = subprocess.Popen(
        command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    path = folder / log
    while running.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) > lines:
            running.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    running.wait()
    assert running.returncode == -signal.SIGKILL, "the run ended before it could be killed"


@pytest.mark.parametrize("stage", ["search", pytest.param("tune", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_bytes(
    stage: str, undisturbed: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    kill_when(folder, f"{stage}/metrics.csv", lines=3)
    assert not (folder / "model.onnx").exists()
    finish(folder, "--resume")
    whole = undisturbed[0]
    for name in ("super.onnx", "target.onnx", "model.onnx", "search/alphas.csv", "arch.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--budget", "0.5x"), "adapt.budget is None in"),
        (("--set", "tune.steps=99"), "tune.steps is 8 in"),
    ],
)
def test_a_resumed_run_is_not_told_otherwise(
    option: tuple[str, ...],
    words: str,
    undisturbed: tuple[Path, dict[str, object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = undisturbed[0]
    assert run(["adapt", "--task", "seg", "-o", str(folder), "--resume", *option]) == 2
    assert words in capfd.readouterr().err


def test_a_run_is_continued_without_saying_its_task(
    undisturbed: tuple[Path, dict[str, object]], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = undisturbed[0]
    before = (folder / "model.onnx").read_bytes()
    assert run(["adapt", "-o", str(folder), "--resume"]) == 0
    assert (folder / "model.onnx").read_bytes() == before
    assert run(["adapt", "--task", "det", "-o", str(folder), "--resume"]) == 2
    assert "is seg, det was given; leave it out" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["tune/metrics.csv", "search/alphas.csv", "search/candidates.csv"])
def test_a_log_that_the_report_draws_is_as_the_run_left_it(
    name: str, undisturbed: tuple[Path, dict[str, object]], capfd: pytest.CaptureFixture[str]
) -> None:
    path = undisturbed[0] / name
    before = path.read_bytes()
    path.write_bytes(before[:-3])
    try:
        assert run(["adapt", "-o", str(undisturbed[0]), "--resume"]) == 6
    finally:
        path.write_bytes(before)
    assert f"{path}: it is not as this run left it" in capfd.readouterr().err


def test_weights_from_the_seed(undisturbed: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    """The ICLR variant: the arch of the search, the weights remapped from the seed."""
    from fnac.passes.graph import Graph

    folder, out = undisturbed[0], tmp_path / "t.onnx"
    arch = str(folder / "arch.json")
    words = ["derive", str(folder / "super.onnx"), "--from", "seed", "--arch", arch]
    assert run([*words, "-o", str(out)]) == 0
    seed = {c.name: c.values for c in Graph.load(folder / "seed.onnx").constants()}
    remapped = {c.name: c.values for c in Graph.load(out).constants()}
    stem = next(name for name in seed if name.endswith("features.0.0.weight"))
    assert (remapped[stem] == seed[stem]).all()
    trained = {c.name: c.values for c in Graph.load(folder / "target.onnx").constants()}
    assert not (trained[stem] == seed[stem]).all()


@pytest.mark.slow
def test_a_target_can_be_adapted_again(
    undisturbed: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    words = ["adapt", str(undisturbed[0] / "target.onnx"), "--task", "seg", *SMALL]
    assert run([*words, "--no-verify", "-o", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "tune" / "metrics.csv").is_file()
    assert (tmp_path / "again" / "search" / "metrics.csv").is_file()


def test_a_taken_folder_gets_a_number(tmp_path: Path) -> None:
    from fnac.adaptation.folder import claim

    (tmp_path / "seg").mkdir()
    assert claim(tmp_path / "seg", "seg") == tmp_path / "seg"
    (tmp_path / "seg" / "model.onnx").write_bytes(b"kept")
    assert claim(tmp_path / "seg", "seg") == tmp_path / "seg2"
    assert claim(tmp_path / "seg", "seg").name in ("seg2", "seg3")
