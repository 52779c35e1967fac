"""Changes of an image alone: the truth stays, the same random numbers give the same image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from fnac.data import open_data
from fnac.data.transforms.photometric import CHANGES, Photometric, with_changes
from fnac.data.transforms.pictures import TrainTransform
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import make_task
from fnac.training.runtime import training_loader

IMAGE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 40), np.uint8))
MASK = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (40, 40), np.uint8))
PLAIN = TrainTransform((40, 40), scale=(1.0, 1.0), flip=False)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_gives_an_image(name: str) -> None:
    changed = CHANGES[name](IMAGE, 0.5)
    assert changed.dtype == torch.uint8
    assert changed.shape == IMAGE.shape
    assert (name == "sharpness") is bool((changed == IMAGE).all())  # 0.5 leaves it as it is


def test_the_truth_stays_and_the_image_repeats() -> None:
    changing = with_changes(PLAIN, 1.0)
    first, mask = changing(IMAGE, MASK, np.random.default_rng(3))
    again, _ = changing(IMAGE, MASK, np.random.default_rng(3))
    plain, _ = PLAIN(IMAGE, MASK, np.random.default_rng(3))
    assert torch.equal(first, again)
    assert torch.equal(mask, MASK.long())
    assert not torch.equal(first, plain)


@pytest.mark.parametrize(("settings", "wrapped"), [({}, False), ({"photometric": 0.2}, True)])
def test_the_setting_reaches_the_loader_of_a_training(
    settings: dict[str, Any], wrapped: bool
) -> None:
    source, fabric = open_data("scenes:train=8,val=1,size=32"), Fabric(accelerator="cpu", devices=1)
    loader = training_loader(
        source.split("train"), make_task("seg", source), {},
        TuneSettings(size=(32, 32), cache=False, **settings), fabric, 0,
    )  # fmt: skip
    assert isinstance(loader.transform, Photometric) is wrapped


def test_none_wanted_is_the_transform_itself() -> None:
    assert with_changes(PLAIN, 0.0) is PLAIN
