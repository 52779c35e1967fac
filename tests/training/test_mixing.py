"""Mixup and CutMix: shares that sum to one, off by default, the same again after a resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.stages.tune import TuneSettings, tune
from fnac.tasks.classification import Classification
from fnac.tasks.segmentation import Segmentation
from fnac.training.mixing import open_mixing
from tests.docs.stand_ins import small_seed

TASK = Classification(tuple("abcde"))
SETTINGS = TuneSettings(
    steps=4, batch_size=4, lr=0.01, scale=(1.0, 1.0), workers=0, device="cpu", checkpoint_every=2
)


class Noise:
    """Eight images of five classes."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = np.random.default_rng(index).integers(0, 255, (3, 32, 32)).astype(np.uint8)
        return torch.from_numpy(pixels), torch.tensor(index % 5)

    def id(self, index: int) -> str:
        return str(index)


class Source:
    name = "noise"
    classes = tuple("abcde")
    splits = ("train",)

    def split(self, name: str) -> Noise:
        return Noise()


def network(folder: Path) -> Path:
    return small_seed().save(folder / "start.onnx")


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: tensor.values for tensor in Graph.load(path).constants()}


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_shares_of_classes_sum_to_one(mixup: float, cutmix: float) -> None:
    mixing = open_mixing(TASK, mixup=mixup, cutmix=cutmix)
    assert mixing is not None
    images, truths = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 2])
    torch.manual_seed(0)
    mixed, shares = mixing(images, truths)
    assert mixed.shape == images.shape
    assert shares.shape == (6, 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(6))
    assert not torch.equal(mixed, images)
    assert torch.isfinite(TASK.loss(torch.rand(6, 5), shares, (8, 8)))


def test_off_by_default_and_for_classes_only() -> None:
    assert (SETTINGS.mixup, SETTINGS.cutmix) == (0.0, 0.0)
    assert open_mixing(Segmentation(("a", "b")), mixup=0.0, cutmix=0.0) is None
    with pytest.raises(UsageError, match="for --task cls; the task is seg"):
        open_mixing(Segmentation(("a", "b")), mixup=0.2, cutmix=0.0)
    with pytest.raises(UsageError, match="mixup, cutmix: wanted 0"):
        TuneSettings(mixup=-1.0)


def test_a_resumed_run_sees_the_same_mixtures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = network(tmp_path)
    settings = dataclasses.replace(SETTINGS, mixup=0.4, cutmix=1.0)

    def run(folder: str, *, resume: bool = False) -> dict[str, np.ndarray]:
        output = tmp_path / f"{folder}.onnx"
        tune(start, Source(), TASK, output, tmp_path / folder, settings, resume=resume)  # type: ignore[arg-type]
        return weights(output)

    whole = run("whole")
    from fnac.stages.tune import TuneRun

    step = TuneRun.step

    def killed(self: TuneRun, at: int, *batch: torch.Tensor) -> None:
        if at == 2:
            raise KeyboardInterrupt
        step(self, at, *batch)

    monkeypatch.setattr(TuneRun, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run("stopped")
    monkeypatch.setattr(TuneRun, "step", step)
    resumed = run("stopped", resume=True)
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values, name)
