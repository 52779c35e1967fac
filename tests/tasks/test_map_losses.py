"""Losses of class maps, against their definitions by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fnac.data import open_data
from fnac.errors import UsageError
from fnac.tasks import make_task
from fnac.tasks.segmentation.losses import LossName, MapLoss, balanced_weights
from fnac.tasks.settings import SegmentationSettings

TRUTH = torch.tensor([[[0, 1], [1, 255]]])


def logits() -> torch.Tensor:
    """Probabilities 3/4, 1/4 of class 0 wherever anybody looks, as logits."""
    maps = torch.zeros(1, 2, 2, 2)
    maps[:, 0] = math.log(3)
    return maps.requires_grad_()


def test_cross_entropy_is_the_mean_over_what_counts() -> None:
    right, wrong = -math.log(3 / 4), -math.log(1 / 4)
    assert float(MapLoss()(logits(), TRUTH)) == pytest.approx((right + 2 * wrong) / 3)
    weighted = MapLoss(weights=(3.0, 1.0))(logits(), TRUTH)
    assert float(weighted) == pytest.approx((3 * right + 2 * wrong) / 5)


def test_focal_counts_what_is_right_less() -> None:
    right, wrong = -math.log(3 / 4) * (1 / 4) ** 2, -math.log(1 / 4) * (3 / 4) ** 2
    assert float(MapLoss("focal")(logits(), TRUTH)) == pytest.approx((right + 2 * wrong) / 3)
    plain = MapLoss("focal", gamma=0.0)(logits(), TRUTH)
    assert float(plain) == pytest.approx(float(MapLoss()(logits(), TRUTH)))


def test_dice_counts_classes_alike() -> None:
    first = 1 - 2 * (3 / 4) / (1 + 3 * 3 / 4)
    second = 1 - 2 * (2 / 4) / (2 + 3 * 1 / 4)
    assert float(MapLoss("dice")(logits(), TRUTH)) == pytest.approx((first + second) / 2)
    both = MapLoss("cross-entropy+dice")(logits(), TRUTH)
    parts = [float(MapLoss(name)(logits(), TRUTH)) for name in ("cross-entropy", "dice")]
    assert float(both) == pytest.approx(sum(parts) / 2)


@pytest.mark.parametrize("name", ["cross-entropy", "focal", "dice", "cross-entropy+dice"])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_are_finite_where_nothing_counts_or_all_is_right(
    name: LossName, gamma: float
) -> None:
    for truth in (torch.full((1, 2, 2), 255), torch.zeros(1, 2, 2, dtype=torch.int64)):
        maps = torch.zeros(1, 2, 2, 2)
        maps[:, 0] = 200.0  # probability 1 in float32
        maps.requires_grad_()
        loss = MapLoss(name, gamma, (1.0, 2.0))(maps, truth)
        loss.backward()
        assert float(loss) == pytest.approx(0, abs=1e-6)
        assert maps.grad is not None
        assert bool(maps.grad.isfinite().all())


@pytest.mark.parametrize("name", ["focal", "dice", "cross-entropy+dice"])
def test_a_step_downhill_makes_it_better(name: LossName) -> None:
    maps, loss = logits(), MapLoss(name)
    before = loss(maps, TRUTH)
    before.backward()
    assert maps.grad is not None
    assert float(loss(maps - 0.1 * maps.grad, TRUTH)) < float(before)
    assert bool((maps.grad[0, :, 1, 1] == 0).all())  # the ignored pixel


def test_weights_balance_pixels() -> None:
    assert balanced_weights([100, 10, 1000, 0]) == (1.0, 10.0, 0.1, 1.0)
    assert balanced_weights([0, 0]) == (1.0, 1.0)


def test_settings_choose_the_loss() -> None:
    source = open_data("scenes:train=4,val=1,size=32")
    count = len(source.classes)
    plain = make_task("seg", source)
    assert plain.criterion == MapLoss()  # type: ignore[attr-defined]
    balanced = SegmentationSettings(loss="focal", class_weights="balanced")
    task = make_task("seg", source, settings=balanced)
    weights = task.criterion.weights  # type: ignore[attr-defined]
    assert len(weights) == count
    assert weights[0] == min(weights)  # the background has most pixels
    with pytest.raises(UsageError, match=r"class_weights: 2 numbers for 8 classes"):
        make_task("seg", source, settings=SegmentationSettings(class_weights=(1.0, 2.0)))
    with pytest.raises(UsageError, match="one above zero"):
        SegmentationSettings(class_weights=(0.0, 0.0))
