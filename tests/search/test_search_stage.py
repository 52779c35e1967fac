"""The search stage on a tiny super network: budget, resume, estimators, errors."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fnac.architectures.budget import CostLimit, parse_budget
from fnac.architectures.costs import space_costs
from fnac.errors import TrainingError, UsageError
from fnac.passes.graph import Graph
from fnac.passes.super_network.choice_points import find_choice_points
from fnac.passes.super_network.choose import choose
from fnac.search.settings import SearchPlan, SearchSettings
from fnac.stages.search import SearchResult, search
from fnac.tasks.segmentation import Segmentation
from tests.conftest import ROOT
from tests.support.super_networks import CLASSES, SquaresSource, tiny_super

BASE: dict[str, Any] = {
    "epochs": 12,
    "warmup_epochs": 2,
    "batch_size": 4,
    "lr": 0.05,
    "scale": (1.0, 1.0),
    "workers": 0,
    "device": "cpu",
    "checkpoint_every": 3,
    "log_every": 2,
}


def settings(**changes: Any) -> SearchSettings:
    return SearchSettings(**{**BASE, **changes})


def run(folder: Path, changed: dict[str, Any] | None = None, **options: Any) -> SearchResult:
    folder.mkdir(exist_ok=True)
    model = folder / "super.onnx"
    if not model.exists():
        tiny_super().save(model)
    options["limit"] = CostLimit(options.pop("budget", parse_budget("1x")))
    return search(
        model,
        SquaresSource(),
        Segmentation(CLASSES),
        folder / "searched.onnx",
        folder / "search",
        settings(**(changed or {})),
        **options,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("share", ["0.7x", "1x", "1.5x"])
def test_the_expected_cost_ends_on_the_budget(tmp_path: Path, share: str) -> None:
    result = run(tmp_path, budget=parse_budget(share))
    assert result.expected == pytest.approx(result.budget, rel=0.03)
    space = space_costs(Graph.load(tmp_path / "super.onnx").manifest)
    assert result.budget == int(float(share[:-1]) * space.seed_total())
    manifest = Graph.load(result.output).manifest
    assert manifest["role"] == "super"
    assert manifest["search"]["expected_madds"] == round(result.expected)
    assert manifest["search"]["steps"] == 24
    assert manifest["layers"] == Graph.load(tmp_path / "super.onnx").manifest["layers"]


def test_the_weights_learn_and_everything_is_logged(tmp_path: Path) -> None:
    result = run(tmp_path)
    metrics = rows(tmp_path / "search" / "metrics.csv")
    assert list(metrics[0]) == (
        "step,epoch,phase,kind,loss,sampled_madds,expected_madds,budget_madds,lambda,entropy,lr"
    ).split(",")
    weights = [row for row in metrics if row["kind"] == "weights"]
    alphas = [row for row in metrics if row["kind"] == "alphas"]
    assert [int(row["step"]) for row in weights] == list(range(1, 25))
    assert [int(row["step"]) for row in alphas] == list(range(5, 25))
    assert {row["phase"] for row in weights[:4]} == {"warmup"}
    assert {row["phase"] for row in weights[4:]} == {"search"}
    losses = [float(row["loss"]) for row in weights]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert float(alphas[-1]["expected_madds"]) == pytest.approx(result.expected, abs=1)
    space = space_costs(Graph.load(tmp_path / "super.onnx").manifest)
    assert {row["budget_madds"] for row in metrics} == {str(space.seed_total())}
    totals = {space.total((a, b, c)) for a in range(3) for b in range(4) for c in range(4)}
    assert {int(row["sampled_madds"]) for row in weights} <= totals
    last = [row for row in rows(tmp_path / "search" / "alphas.csv") if row["step"] == "24"]
    points = find_choice_points(Graph.load(result.output))
    assert [float(row["alpha"]) for row in last] == pytest.approx(
        np.concatenate([point.alpha.values for point in points]), rel=1e-6
    )


@pytest.mark.parametrize("estimator", ["all", "two-path", "gumbel"])
def test_a_killed_run_ends_as_an_undisturbed_one(
    tmp_path: Path, estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"alpha_grad": estimator, "optimizer": "adam" if estimator == "gumbel" else "sgd"}
    run(tmp_path / "whole", changed)
    for kill_at in (2, 11, 17) if estimator == "all" else (11,):
        folder = tmp_path / f"killed{kill_at}"
        with monkeypatch.context() as patch:
            _die_at(patch, kill_at)
            with pytest.raises(KeyboardInterrupt):
                run(folder, changed)
        torch.manual_seed(kill_at)  # the global generators need not be as they were
        run(folder, {**changed, "workers": 1}, resume=True)
        for name in ("searched.onnx", "search/metrics.csv", "search/alphas.csv"):
            whole, resumed = tmp_path / "whole" / name, folder / name
            assert whole.read_bytes() == resumed.read_bytes(), (kill_at, name)


def _die_at(patch: pytest.MonkeyPatch, step: int) -> None:
    from fnac.training.weight_steps import WeightSteps

    original = WeightSteps.step

    def dying(self: WeightSteps, number: int, *batch: torch.Tensor) -> torch.Tensor:
        if number == step:
            raise KeyboardInterrupt
        return original(self, number, *batch)

    patch.setattr(WeightSteps, "step", dying)


def test_another_seed_is_another_search(tmp_path: Path) -> None:
    """The test above can fail: nothing else makes two runs equal."""
    run(tmp_path / "a")
    run(tmp_path / "b", {"random_seed": 1})
    a, b = ((tmp_path / x / "searched.onnx").read_bytes() for x in "ab")
    assert a != b


def test_an_alpha_step_leaves_the_weights_alone(tmp_path: Path) -> None:
    """One weight step and one alpha step against one weight step with alphas never updated."""
    run(tmp_path / "a", {"steps": 3, "warmup_steps": 2, "epochs": 1, "alpha_grad": "two-path"})
    run(tmp_path / "b", {"steps": 3, "warmup_steps": 2, "epochs": 1, "alpha_lr": 1.0})
    weights = [
        {
            c.name: c.values
            for c in Graph.load(tmp_path / x / "searched.onnx").constants()
            if c.name.endswith(("weight", "gamma", "beta"))
        }
        for x in "ab"
    ]
    for name, values in weights[0].items():
        np.testing.assert_array_equal(values, weights[1][name], err_msg=name)


def test_a_super_network_learns_from_a_teacher_as_well(tmp_path: Path) -> None:
    teacher = tiny_super(seed=3)
    choose(teacher, ["k3e1", "k5e1", "k3e1"])
    path = teacher.save(tmp_path / "teacher.onnx")
    short = {"steps": 4, "warmup_steps": 2}
    losses = []
    for name, more in (("labels", {}), ("taught", {"teacher": str(path), "teacher_weight": 0.75})):
        run(tmp_path / name, {**short, **more})
        found = rows(tmp_path / name / "search" / "metrics.csv")
        losses.append([float(row["loss"]) for row in found])
    first, taught = losses[0][0], losses[1][0]
    assert taught != first
    with pytest.raises(UsageError, match="--teacher baseline: this run has no tuned seed"):
        run(tmp_path / "none", {**short, "teacher": "baseline"})
    run(
        tmp_path / "baseline",
        {**short, "teacher": "baseline", "teacher_weight": 0.75},
        baseline=path,
    )
    named = rows(tmp_path / "baseline" / "search" / "metrics.csv")
    assert [float(row["loss"]) for row in named] == losses[1]


def test_a_fixed_lambda_is_the_papers(tmp_path: Path) -> None:
    """A large one drives the alphas to the cheapest candidates, and that is reported."""
    result = run(
        tmp_path, {"lambda_": 20.0, "alpha_lr": 0.5, "epochs": 14}, budget=parse_budget("1x")
    )
    space = space_costs(Graph.load(tmp_path / "super.onnx").manifest)
    assert result.expected < 1.2 * space.least()
    assert {row["lambda"] for row in rows(tmp_path / "search" / "metrics.csv")} == {"", "20"}
    words = " ".join(map(str, result.findings))
    assert "the search collapsed into skips: skip has a probability of 100%" in words
    assert "below the budget" in words
    assert "the choice was held to at least 95% of it" in words or "no network of this" in words


def test_lambda_zero_under_a_small_budget_is_told_of(tmp_path: Path) -> None:
    result = run(tmp_path, {"lambda_": 0.0}, budget=parse_budget("0.7x"))
    assert "off-budget" in {finding.kind for finding in result.findings}


def test_a_rate_far_too_high_is_told_of(tmp_path: Path) -> None:
    """The loss stays finite, for gradients are clipped; nothing is learnt."""
    result = run(tmp_path, {"lr": 300.0, "clip": 35.0, "epochs": 14})
    assert "no-learning" in {finding.kind for finding in result.findings}
    searched = Graph.load(tmp_path / "searched.onnx").manifest
    assert "the weights learnt nothing" in " ".join(one["text"] for one in searched["findings"])


def test_without_a_budget_nothing_is_said_of_one(tmp_path: Path) -> None:
    changed = {"lambda_": 20.0, "alpha_lr": 0.5, "epochs": 14}
    result = run(tmp_path, changed, budget=None)
    assert result.budget is None
    words = " ".join(map(str, result.findings))
    assert "the search collapsed into skips: skip has a probability of 100%" in words
    assert "budget" not in words
    assert {row["budget_madds"] for row in rows(tmp_path / "search" / "metrics.csv")} == {""}
    searched = Graph.load(tmp_path / "searched.onnx").manifest["search"]
    assert (searched["budget"], searched["led"]) == (None, None)


def test_without_a_budget_lambda_must_be_fixed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing that lambda could be steered to"):
        run(tmp_path, budget=None)
    assert not (tmp_path / "search").exists()


def test_an_impossible_budget_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the least this search space can reach is"):
        run(tmp_path, budget=parse_budget("0.1x"))
    assert not (tmp_path / "search").exists()


def test_a_budget_of_parameters(tmp_path: Path) -> None:
    result = run(tmp_path, budget=parse_budget("0.8x", "params"))
    assert result.unit == "params"
    assert result.expected == pytest.approx(result.budget, rel=0.03)
    assert {row["budget_madds"] for row in rows(tmp_path / "search" / "metrics.csv")} == {""}


def test_a_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step \d+: the loss is (nan|inf); wanted a finite"):
        run(tmp_path, {"lr": 1e30, "clip": None})
    assert not (tmp_path / "searched.onnx").exists()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match=r"lr was 0\.05 when this run began and is 0\.1 now"):
        run(tmp_path, {"lr": 0.1}, resume=True)
    path = tmp_path / "search" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"last\.ckpt: not a readable checkpoint"):
        run(tmp_path, resume=True)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    graph = tiny_super()
    graph.manifest["num_classes"] = 7
    graph.save(tmp_path / "super.onnx")
    with pytest.raises(UsageError, match="has 7 classes; the data set has 3"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"warmup_epochs": 12}, "warmup_epochs 12: the whole search is 12"),
        ({"steps": 10}, "steps and warmup_steps: give both"),
        ({"head_lr": 0.1, "head_lr_multiplier": 5.0}, "both say the head's learning rate"),
        ({"schedule": "step"}, "schedule step: it has no milestones"),
        ({"split": 1.0}, "split 1: weights and alphas both need images"),
        ({"alpha_every": 0}, "alpha_every 0: wanted at least 1"),
        ({"lr": -1.0}, "lr -1: wanted a number above zero"),
        ({"batch_size": 0}, "batch_size 0: wanted at least 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        settings(**changed)
    assert message in str(error.value)


def test_the_plan_counts_alpha_steps() -> None:
    plan = SearchPlan(total=11, warmup=4, alpha_every=3)
    taken = [step for step in range(11) if plan.has_alpha_step(step)]
    assert taken == [4, 7, 10]
    assert [plan.alpha_steps_before(step) for step in (0, 4, 5, 7, 8, 11)] == [0, 0, 1, 1, 2, 3]
    assert plan.alpha_steps == 3


def test_the_alphas_learning_rate_follows_their_steps() -> None:
    assert settings().resolved_alpha_lr(40) == 0.2
    assert settings().resolved_alpha_lr(10**6) == 3e-4
    assert settings(alpha_lr=3e-3).resolved_alpha_lr(40) == 3e-3


def test_a_new_run_forgets_the_checkpoint_of_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    with monkeypatch.context() as patch:
        _die_at(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, {"lr": 0.1})
    run(tmp_path, {"lr": 0.1}, resume=True)  # starts anew: nothing of this run was saved


def test_kill_9_leaves_something_to_resume(tmp_path: Path) -> None:
    """A process that is killed at a random step, in a run that writes checkpoints all the time."""
    run(tmp_path / "whole")
    at = int(np.random.default_rng().integers(4, 24))
    killed = tmp_path / "killed"
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from fnac.training.weight_steps import WeightSteps\n"
        "from tests.search.test_search_stage import run\n"
        "step = WeightSteps.step\n"
        "def dying(self, number, *batch):\n"
        f"    if number == {at}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, number, *batch)\n"
        "WeightSteps.step = dying\n"
        f"run(Path({str(killed)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (killed / "search" / "last.ckpt").exists()
    run(killed, resume=True)
    for name in ("searched.onnx", "search/metrics.csv", "search/alphas.csv"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert whole == (killed / name).read_bytes(), f"{name}, killed at step {at}"
