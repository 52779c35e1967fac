"""Every row of docs/ablations.md is a command that can be given."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fnac.adaptation import dry_run
from fnac.adaptation.plan import Plan
from fnac.cli import run
from fnac.passes.graph import Graph

PAGE = (Path(__file__).parents[2] / "docs" / "ablations.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| `fnac (adapt [^`]+)` \|$", PAGE, flags=re.MULTILINE)


class Answer:
    """What a dry run returns, of nothing."""

    def as_json(self) -> dict[str, object]:
        return {}

    def as_text(self) -> str:
        return ""


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    seen: list[Plan] = []

    def record(plan: Plan) -> Answer:
        seen.append(plan)
        return Answer()

    monkeypatch.setattr(dry_run, "dry_run", record)
    return seen


def words(command: str) -> list[str]:
    data = "cityscapes:/data" if "cityscapes-" in command else "coco:/data"
    return [*shlex.split(command.replace("SPEC", data)), "--dry-run"]


def test_the_tables_are_complete() -> None:
    counts = [len(re.findall(r"`fnac adapt", part)) for part in PAGE.split("\n## ")[1:]]
    assert counts == [6, 2, 5, 5, 6, 6]  # of 6, 2, 8, 6, 6 and 7 rows; the page says why
    assert len(ROWS) == sum(counts)


@pytest.mark.slow
def test_every_row_is_a_command(plans: list[Plan]) -> None:
    for number, (row, command) in enumerate(ROWS, start=1):
        assert run(words(command)) == 0, row
        assert len(plans) == number
    weights = {
        row: (plan.expand.remap, plan.derive.weights)
        for (row, _), plan in zip(ROWS, plans, strict=True)
    }
    assert weights["(3) RandInit, ArchAdapt, Remap, ParamAdapt"] == ("random", "seed")
    assert weights["(4) Remap, ArchAdapt, RandInit, ParamAdapt"] == ("fna", "random")
    assert weights["Width-BN"] == ("bn-gamma", "seed")
    longer = {plan.tune.epochs for (row, _), plan in zip(ROWS, plans, strict=True) if "2x" in row}
    assert longer == {24}


SMALL = [
    *("adapt", "--task", "seg", "--set", "adapt.data=scenes:train=32,val=8,size=64"),
    *("--size", "64x64", "--device", "cpu", "--no-verify", "--no-baseline", "--budget", "0.9x"),
    *("--set", "tune.batch_size=8", "--set", "tune.epochs=1"),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row, _ in ROWS])
def test_every_row_can_be_tried_on_built_in_scenes(row: str, tmp_path: Path) -> None:
    command = dict(ROWS)[row]
    given = re.findall(r"--(?:strategy|remap-super|remap-target) \S+", command)
    options = [word for pair in given for word in pair.split()]
    assert run([*SMALL, *options, "--dry-run"]) == 0


@pytest.mark.slow
def test_a_target_starts_where_its_row_says(tmp_path: Path) -> None:
    """Random tries of a random super network; the target is remapped from the seed, or random."""
    weights, seed = {}, tmp_path / "from-seed" / "seed.onnx"
    for how in ("from-seed", "from-super", "random"):
        folder = tmp_path / how
        more = ["--strategy", "sample", "--remap-super", "random", "--remap-target", how]
        assert run([*SMALL, *more, "--set", "tune.lr=1e-12", "-o", str(folder)]) == 0
        target = Graph.load(folder / "target.onnx")
        stem = next(node for node in target.nodes if node.op == "Conv")
        weights[how] = np.asarray(stem.inputs[1].values)
        results = json.loads((folder / "results.json").read_text())
        assert "before_tuning" in results["target"]
    stem = next(node for node in Graph.load(seed).nodes if node.op == "Conv")
    own = np.asarray(stem.inputs[1].values)
    assert np.abs(weights["from-seed"] - own).max() < 1e-5
    assert np.abs(weights["from-super"] - own).max() > 0.01
    assert np.abs(weights["random"] - own).max() > 0.01
