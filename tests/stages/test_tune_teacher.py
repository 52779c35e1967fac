"""Tuning with a teacher, and with weights chosen on a part of the training set held back."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.stages.tune import TuneSettings, tune
from fnac.training.weight_steps import WeightSteps
from tests.stages.test_tune_stage import BASE, TASK, run, target
from tests.support.super_networks import SquaresSource


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "tune" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, np.ndarray]:
    return {c.name: c.values for c in Graph.load(path).constants()}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("teacher"), epochs=12).output


# ------------------------------------------------------------------ weights that are kept


def test_the_best_weights_on_the_part_held_back_are_written(tmp_path: Path) -> None:
    """A rate that jumps up after six epochs, so that the last weights are not the best ones."""
    changed = {
        "held_out": 0.25, "eval_every": 1, "epochs": 8,
        "schedule": "step", "milestones": (6.0,), "gamma": 60.0,
    }  # fmt: skip
    best = run(tmp_path / "best", **changed)
    last = run(tmp_path / "last", keep="last", **changed)
    held = {
        int(r["step"]): float(r["held_mIoU"]) for r in rows(tmp_path / "best") if r["held_mIoU"]
    }
    val = {int(r["step"]): float(r["val_mIoU"]) for r in rows(tmp_path / "best") if r["val_mIoU"]}
    entry = Graph.load(best.output).manifest["tune"]
    step = max(held, key=lambda step: (held[step], -step))
    assert step != 24, "the last step is the best: the test shows nothing"
    assert (best.weights, entry["weights"], entry["of_step"]) == ("best", "best", step)
    assert best.val == pytest.approx(val[step])
    assert last.val == pytest.approx(val[24])
    assert (last.weights, Graph.load(last.output).manifest["tune"]["of_step"]) == ("last", 24)
    assert not np.array_equal(
        weights(best.output)["stem_weight"], weights(last.output)["stem_weight"]
    )


def test_the_part_held_back_is_not_trained_on(tmp_path: Path) -> None:
    run(tmp_path, held_out=0.25, eval_every=1, epochs=2)
    assert len([row for row in rows(tmp_path) if row["loss"]]) == 2 * 3  # 12 of 16 images


def test_patience_ends_the_run(tmp_path: Path) -> None:
    result = run(
        tmp_path, held_out=0.25, eval_every=1, epochs=30, lr=1e-9, recalibrate_bn=3,
        freeze_bn=True, patience=2,
    )  # fmt: skip
    assert result.steps == 9
    assert Graph.load(result.output).manifest["tune"]["of_step"] == 3


def test_averaged_weights_are_measured_and_written(tmp_path: Path) -> None:
    plain, averaged = run(tmp_path / "a"), run(tmp_path / "b", ema=0.5)
    a, b = weights(plain.output), weights(averaged.output)
    assert not np.array_equal(a["stem_weight"], b["stem_weight"])
    assert Graph.load(averaged.output).manifest["tune"]["ema"] == 0.5
    losses = [[row["loss"] for row in rows(tmp_path / x)] for x in "ab"]
    assert losses[0] == losses[1], "the average must not change what is trained"


@pytest.mark.parametrize(
    "changed",
    [
        {"held_out": 0.25, "eval_every": 1, "lr": 0.3, "schedule": "constant"},
        {"ema": 0.8, "held_out": 0.25, "eval_every": 1, "patience": 1, "lr": 0.3},
    ],
)
def test_a_killed_run_ends_as_an_undisturbed_one(
    tmp_path: Path, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", **changed)
    original = WeightSteps.step
    for kill_at in (2, 5, 7):
        folder = tmp_path / f"killed{kill_at}"

        def dying(self: Any, step: int, *batch: torch.Tensor, at: int = kill_at) -> torch.Tensor:
            if step == at:
                raise KeyboardInterrupt
            return original(self, step, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(WeightSteps, "step", dying)
            with contextlib.suppress(KeyboardInterrupt):
                run(folder, **changed)
        run(folder, resume=True, **changed)
        for name in ("tuned.onnx", "tune/metrics.csv"):
            assert (tmp_path / "whole" / name).read_bytes() == (folder / name).read_bytes(), name


# ------------------------------------------------------------------ a teacher


def test_a_teacher_alone_leads_to_its_own_answers(tmp_path: Path, teacher: Path) -> None:
    """No label is looked at, and the student learns all the same."""
    taught = run(tmp_path, teacher=str(teacher), teacher_weight=1.0, epochs=10)
    assert taught.val is not None
    assert taught.val > 50
    entry = Graph.load(taught.output).manifest["tune"]
    assert entry["teacher"] == str(teacher)


def test_the_teachers_own_weights_have_nothing_to_learn(tmp_path: Path, teacher: Path) -> None:
    settings = TuneSettings(
        **{**BASE, "epochs": 1, "freeze_bn": True, "teacher": str(teacher), "teacher_weight": 1.0}
    )
    tune(teacher, SquaresSource(), TASK, tmp_path / "out.onnx", tmp_path / "tune", settings)
    assert [float(row["loss"]) for row in rows(tmp_path)[:1]] == pytest.approx([0], abs=1e-6)


def test_labels_and_teacher_have_their_shares(tmp_path: Path, teacher: Path) -> None:
    first = {}
    for share in (0.25, 1.0):
        run(tmp_path / str(share), teacher=str(teacher), teacher_weight=share, steps=1)
        first[share] = float(rows(tmp_path / str(share))[0]["loss"])
    run(tmp_path / "labels", steps=1)
    labels = float(rows(tmp_path / "labels")[0]["loss"])
    assert first[0.25] == pytest.approx(0.75 * labels + 0.25 * first[1.0], rel=1e-5)


def test_a_baseline_is_a_file_that_the_run_names(tmp_path: Path, teacher: Path) -> None:
    with pytest.raises(UsageError, match="--teacher baseline: this run has no tuned seed"):
        run(tmp_path / "none", teacher="baseline")
    settings = TuneSettings(**{**BASE, "steps": 1, "teacher": "baseline"})
    path = target(tmp_path / "target.onnx")
    found = tune(
        path, SquaresSource(), TASK, tmp_path / "out.onnx", tmp_path / "t", settings,
        baseline=teacher,
    )  # fmt: skip
    run(tmp_path / "file", steps=1, teacher=str(teacher))
    a, b = weights(found.output), weights(tmp_path / "file" / "tuned.onnx")
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_teacher_of_another_task_or_of_other_classes_is_refused(
    tmp_path: Path, teacher: Path
) -> None:
    other = Graph.load(teacher)
    other.manifest["num_classes"] = 7
    seven = other.save(tmp_path / "seven.onnx")
    with pytest.raises(UsageError, match="has 7 classes; the data set has 3"):
        run(tmp_path / "a", teacher=str(seven))
    other.manifest["task"] = "pose"
    pose = other.save(tmp_path / "pose.onnx")
    with pytest.raises(UsageError, match=r"pose.onnx: its task is pose; wanted one for seg"):
        run(tmp_path / "b", teacher=str(pose))


def test_a_teacher_of_another_preprocessing_sees_the_same_pictures(
    tmp_path: Path, teacher: Path
) -> None:
    """The same network behind another mean, std and order of colours gives the same answers."""
    other = Graph.load(teacher)
    stem = next(c for c in other.constants() if c.name == "stem_weight")
    assert other.manifest["preprocessing"]["mean"] == [0.5] * 3
    other.manifest["preprocessing"] = {
        **other.manifest["preprocessing"], "std": [0.5] * 3, "color": "BGR",
    }  # fmt: skip
    stem.values = np.ascontiguousarray(2 * stem.values[:, ::-1])
    twin = other.save(tmp_path / "twin.onnx")
    losses = []
    for name, path in (("a", teacher), ("b", twin)):
        run(tmp_path / name, teacher=str(path), teacher_weight=1.0, epochs=1)
        losses.append([float(row["loss"]) for row in rows(tmp_path / name) if row["loss"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher_weight": 0.0}, "teacher_weight 0: wanted a share above 0 to 1"),
        ({"temperature": 0.0}, "temperature 0: wanted a number above zero"),
    ],
)
def test_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TuneSettings(**{**BASE, **changed})
