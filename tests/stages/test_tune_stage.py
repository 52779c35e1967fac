"""The tune stage: it learns, it resumes to the byte, it trains as a plain torch loop does."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fnac.data.loader import EpochLoader
from fnac.data.transforms.pictures import TrainTransform
from fnac.errors import UsageError
from fnac.findings import read_findings
from fnac.importer import import_onnx, write_back
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
from fnac.stages.heal_settings import HealSettings
from fnac.stages.tune import TuneResult, recalibrate_bn, tune
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.segmentation import Segmentation
from fnac.training.optimizers import make_optimizer
from fnac.training.settings import OptimizerSettings, for_batch
from tests.support.super_networks import CLASSES, SIZE, SquaresSource, tiny_super

BASE: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 4,
    "lr": 0.05,
    "scale": (1.0, 1.0),
    "workers": 0,
    "device": "cpu",
    "checkpoint_every": 3,
    "log_every": 2,
    "eval_every": 2,
}
TASK = Segmentation(CLASSES)


def target(path: Path) -> Path:
    graph = tiny_super()
    choose(graph, ["k3e1", "k5e1", "skip"])
    return graph.save(path)


def run(folder: Path, *, resume: bool = False, **changed: Any) -> TuneResult:
    folder.mkdir(exist_ok=True)
    model = target(folder / "target.onnx")
    settings = TuneSettings(**{**BASE, **changed})
    return tune(
        model,
        SquaresSource(),
        TASK,
        folder / "tuned.onnx",
        folder / "tune",
        settings,
        resume=resume,
    )


def test_it_learns_and_keeps_the_graph(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=10)
    assert result.val is not None
    assert result.val > 60
    before, after = Graph.load(tmp_path / "target.onnx"), Graph.load(result.output)
    assert [node.name for node in before.nodes] == [node.name for node in after.nodes]
    assert [c.name for c in before.constants()] == [c.name for c in after.constants()]
    done = after.manifest.pop("tune")
    assert (done["steps"], done["val"]) == (40, result.val)
    TASK.describe(before.manifest)
    assert before.manifest == after.manifest
    with (tmp_path / "tune" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "epoch", "loss", "lr", "head_lr", "val_mIoU"]
    evaluated = [row for row in rows if row["val_mIoU"]]
    assert [int(row["step"]) for row in evaluated] == [8, 16, 24, 32, 40]
    assert float(evaluated[-1]["val_mIoU"]) == pytest.approx(result.val)
    steps = [row for row in rows if row["loss"]]
    assert [int(row["step"]) for row in steps] == list(range(1, 41))
    assert float(steps[0]["head_lr"]) == pytest.approx(5 * float(steps[0]["lr"]))
    assert float(steps[-1]["loss"]) == pytest.approx(result.loss)


def test_it_trains_as_plain_torch_does(tmp_path: Path) -> None:
    """Bit for bit the weights of the loop that anyone would write."""
    run(tmp_path, decay_bn=True, head_lr=0.1)
    graph = Graph.load(tmp_path / "target.onnx")
    net = import_onnx(graph.to_model()).train()
    groups = [
        {"params": net.backbone_parameters(), "lr": 0.05},
        {"params": net.head_parameters(), "lr": 0.1},
    ]
    sgd = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=5e-4)
    poly = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: (1 - step / 16) ** 0.9)
    transform = TrainTransform((SIZE, SIZE), (0.5,) * 3, (0.25,) * 3, scale=(1.0, 1.0))
    loader = EpochLoader(SquaresSource().split("train"), transform, 4)
    for images, masks in loader.iterate(0, 16):
        sgd.zero_grad()
        TASK.loss(net(images), masks).backward()
        sgd.step()
        poly.step()
    mine = {c.name: c.values for c in Graph.load(tmp_path / "tuned.onnx").constants()}
    theirs = Graph.from_model(write_back(net, graph.to_model()))
    for constant in theirs.constants():
        np.testing.assert_array_equal(mine[constant.name], constant.values, err_msg=constant.name)


def test_a_killed_run_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fnac.training.weight_steps import WeightSteps

    run(tmp_path / "whole")
    original = WeightSteps.step
    for kill_at in (1, 8, 14):
        folder = tmp_path / f"killed{kill_at}"

        def dying(self: Any, step: int, *batch: torch.Tensor, at: int = kill_at) -> torch.Tensor:
            if step == at:
                raise KeyboardInterrupt
            return original(self, step, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(WeightSteps, "step", dying)
            with pytest.raises(KeyboardInterrupt):
                run(folder)
        assert not (folder / "tuned.onnx").exists()
        run(folder, resume=True)
        for name in ("tuned.onnx", "tune/metrics.csv"):
            whole, resumed = tmp_path / "whole" / name, folder / name
            assert whole.read_bytes() == resumed.read_bytes(), (kill_at, name)


def test_a_finished_run_resumed_is_written_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    content = first.output.read_bytes()
    first.output.unlink()
    again = run(tmp_path, resume=True)
    assert again == first
    assert again.output.read_bytes() == content


def test_a_super_network_is_refused(tmp_path: Path) -> None:
    path = tiny_super().save(tmp_path / "super.onnx")
    with pytest.raises(UsageError, match="it is a super network \\(3 choice points\\); derive"):
        tune(path, SquaresSource(), TASK, path, tmp_path, TuneSettings(**BASE))


def test_bn_statistics_are_averaged_over_the_batches() -> None:
    bn = torch.nn.BatchNorm2d(3)
    batches = [torch.randn(4, 3, 5, 5) + shift for shift in (1.0, 3.0)]
    recalibrate_bn(bn, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(bn.running_mean, means)
    assert bn.momentum == 0.1


def test_recalibration_is_part_of_the_run(tmp_path: Path) -> None:
    run(tmp_path / "a", steps=1, lr=1e-12)
    run(tmp_path / "b", steps=1, lr=1e-12, recalibrate_bn=3)
    a, b = (
        {c.name: c.values for c in Graph.load(tmp_path / x / "tuned.onnx").constants()}
        for x in "ab"
    )
    assert np.abs(a["stem_mean"]).max() < 0.5 * np.abs(b["stem_mean"]).max()
    np.testing.assert_allclose(a["stem_weight"], b["stem_weight"], atol=1e-6)


def test_frozen_bn_stays_as_it_is(tmp_path: Path) -> None:
    start = {c.name: c.values for c in Graph.load(target(tmp_path / "start.onnx")).constants()}
    run(tmp_path / "a", epochs=2, eval_every=1, freeze_bn=True)
    run(tmp_path / "b", epochs=2, eval_every=1)
    frozen, free = (
        {c.name: c.values for c in Graph.load(tmp_path / x / "tuned.onnx").constants()}
        for x in "ab"
    )
    norms = {
        t.name
        for node in Graph.load(tmp_path / "start.onnx").nodes
        if node.op == "BatchNormalization"
        for t in node.inputs[1:]
    }
    assert norms
    for name in norms:
        np.testing.assert_array_equal(frozen[name], start[name], err_msg=name)
        assert not np.array_equal(free[name], start[name]), name
    assert not np.array_equal(frozen["stem_weight"], start["stem_weight"])


def test_another_batch_scales_rates_and_steps() -> None:
    recipe = TuneSettings(lr=0.02, head_lr=0.1, lr_batch=16, steps=1000, lr_warmup_steps=500)
    small = for_batch(recipe, 4)
    assert (small.lr, small.head_lr) == pytest.approx((0.005, 0.025))
    assert (small.steps, small.lr_warmup_steps, small.epochs) == (4000, 2000, recipe.epochs)
    adam = for_batch(TuneSettings(optimizer="adam", lr=1e-3, lr_batch=32), 8)
    assert adam.lr == pytest.approx(5e-4)
    decoupled = for_batch(TuneSettings(optimizer="adamw", lr=1e-3, lr_batch=32), 8)
    assert decoupled.lr == adam.lr
    assert for_batch(recipe, 16) is recipe
    assert for_batch(TuneSettings(lr=0.02), 4).lr == 0.02


def test_mixed_precision_trains(tmp_path: Path) -> None:
    result = run(tmp_path, precision="bf16-mixed", epochs=8)
    assert result.val is not None
    assert result.val > 50


@pytest.mark.parametrize(
    ("changed", "factors"),
    [
        ({"schedule": "poly"}, [1.0, 0.95**0.9, 0.5**0.9]),
        ({"schedule": "cosine"}, [1.0, 0.993844, 0.5]),
        ({"schedule": "step", "milestones": (1.0, 2.0)}, [1.0, 1.0, 0.01]),
        ({"schedule": "constant", "lr_warmup_steps": 5}, [1 / 3, 1 / 3 + 2 / 15, 1.0]),
        ({"schedule": "constant", "lr_warmup_epochs": 1.0}, [1 / 3, 1 / 3 + 2 / 15, 1.0]),
    ],
)
def test_learning_rates_follow_the_schedule(changed: dict[str, Any], factors: list[float]) -> None:
    settings = OptimizerSettings(**changed)
    found = [settings.factor(step, 20, 5) for step in (0, 1, 10)]
    assert found == pytest.approx(factors, abs=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_needs_cuda_is_refused_without(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device cuda: torch sees no CUDA device"):
        run(tmp_path, device="cuda")
    with pytest.raises(UsageError, match="precision 16-mixed: only CUDA devices have it"):
        run(tmp_path, precision="16-mixed")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_it_learns_on_cuda_in_every_precision(tmp_path: Path, precision: str) -> None:
    result = run(tmp_path, device="cuda", precision=precision, epochs=8)
    assert result.val is not None
    assert result.val > 50


class Blind(Segmentation):
    """A task whose loss is nothing, as where every pixel is ignored."""

    def loss(self, outputs: Any, targets: Any, size: Any = None) -> torch.Tensor:
        return 0 * super().loss(outputs, targets, size)


def test_a_loss_that_ends_at_nothing_is_told_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, out = target(tmp_path / "target.onnx"), tmp_path / "tuned.onnx"
    settings = TuneSettings(**{**BASE, "epochs": 1})
    tune(model, SquaresSource(), Blind(TASK.classes), out, tmp_path / "tune", settings)
    (finding,) = read_findings(Graph.load(out).manifest)
    assert finding.kind == "no-loss"
    assert finding.text.startswith("tune: the loss ends at exactly 0: nothing that counts is")
    assert finding.text in caplog.text
    tune(model, SquaresSource(), TASK, out, tmp_path / "again", settings)
    assert read_findings(Graph.load(out).manifest) == ()


def test_adamw_decays_weights_beside_the_gradient() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    settings = TuneSettings(optimizer="adamw", lr=0.1, weight_decay=0.5)
    optimizer = make_optimizer(settings, [weight], [])
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert torch.allclose(weight, torch.full((2, 2), 1 - 0.1 * 0.5))


def test_a_warm_up_in_epochs_says_how_to_end_the_one_in_steps() -> None:
    with pytest.raises(UsageError, match=r"lr_warmup_steps 20 and .*epochs 1: .*one of them to 0"):
        HealSettings(lr_warmup_epochs=1.0)
    assert HealSettings(lr_warmup_epochs=1.0, lr_warmup_steps=0).factor(0, 9, 3) == 0.1
