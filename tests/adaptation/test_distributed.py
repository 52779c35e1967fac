"""Two processes under torchrun (gloo, CPU): one search, one set of weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.super_networks import tiny_super


def torchrun(*words: str) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", *words,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_adapt_in_one_run_folder(tmp_path: Path) -> None:
    torchrun(
        "fnac.cli", "adapt", "--task", "seg", "--device", "cpu", "--size", "64x64",
        "--set", "adapt.data=scenes:train=32,val=8,size=64", "--batch", "8",
        "--set", "search.epochs=2", "--set", "search.warmup_epochs=1", "--set", "tune.epochs=2",
        "-o", str(tmp_path / "run"),
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["target"]["images"] == 8
    assert found["target"]["madds"] <= found["seed"]["madds"]
    assert (tmp_path / "run" / "report.html").exists()


def test_two_processes_sample_the_same_paths_and_end_with_equal_weights(tmp_path: Path) -> None:
    tiny_super().save(tmp_path / "super.onnx")
    torchrun("tests.support.two_processes", str(tmp_path))
    one, two = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert len(one["paths"]) == 10 * 3
    assert one["paths"] == two["paths"]
    assert one["searched"] == two["searched"]
    assert one["tuned"] == two["tuned"]
    # a global batch of 4 is dealt to both, and no image to the two of them
    assert [count for count, _ in one["batches"]] == [2] * len(one["batches"])
    assert all(a != b for a, b in zip(one["batches"], two["batches"], strict=True))
    assert (tmp_path / "tuned.onnx").exists()
    lines = (tmp_path / "search" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 10 + 6  # one log, the first rank's
