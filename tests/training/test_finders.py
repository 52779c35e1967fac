"""Range tests: rates up to divergence, batches by speed; nothing of them is kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
from fnac.stages.tune import TuneRun, TuneSettings, open_tuning
from fnac.tasks.segmentation import Segmentation
from fnac.training import finders
from fnac.training.finders import find_batch, find_rate, rising
from tests.support.super_networks import CLASSES, SquaresSource, tiny_super


@pytest.fixture
def run(tmp_path: Path) -> TuneRun:
    graph: Graph = tiny_super()
    choose(graph, ["k3e1", "k5e1", "skip"])
    path = graph.save(tmp_path / "start.onnx")
    settings = TuneSettings(
        batch_size=4, lr=0.02, head_lr=0.1, scale=(1.0, 1.0), workers=0, device="cpu"
    )
    opened = open_tuning(path, SquaresSource(), Segmentation(CLASSES), tmp_path / "t", settings)
    opened.open(resume=False)
    return opened


def test_the_rate_is_a_tenth_of_where_the_loss_rises() -> None:
    assert rising([(1e-3, 2.0), (1e-2, 1.0), (1e-1, 1.04), (1.0, 3.0)]) == 1e-1


def test_rates_rise_and_head_and_backbone_keep_their_ratio(run: TuneRun) -> None:
    found = find_rate(run)
    rates = [rate for rate, _ in found.points]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(finders.LOWEST)
    assert all(math.isfinite(loss) for _, loss in found.points)
    assert found.rate == pytest.approx(rising(found.points) / 10)
    assert found.head_rate == pytest.approx(5 * found.rate)


def test_the_smallest_batch_that_is_nearly_as_fast_is_taken(
    run: TuneRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [parameter.clone() for parameter in run.module.parameters()]
    seconds = {2: 0.4, 4: 0.5, 8: 0.81, 16: 1.6}

    def timed(_: TuneRun, images: torch.Tensor, truths: torch.Tensor) -> float:
        assert len(images) == len(truths)
        if len(images) > 16:
            raise torch.OutOfMemoryError
        return seconds[len(images)]

    monkeypatch.setattr(finders, "_seconds", timed)
    found = find_batch(run)
    assert found.points == ((2, 5.0), (4, 8.0), (8, 8 / 0.81), (16, 10.0))
    assert (found.batch, found.limit) == (8, "32 images do not fit in memory")
    for old, new in zip(before, run.module.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_timed_step_changes_no_weight(run: TuneRun) -> None:
    before = [parameter.clone() for parameter in run.module.parameters()]
    images, truths = next(run.loader.iterate(0, 1))
    assert finders._seconds(run, images, truths) > 0
    for old, new in zip(before, run.module.parameters(), strict=True):
        assert torch.equal(old, new)
