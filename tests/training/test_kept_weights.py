"""Which weights survive: the best, the last, the averaged ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fnac.errors import UsageError
from fnac.training.kept_weights import KeptWeights
from fnac.training.settings import KeptSettings


def module(value: float = 0.0) -> nn.Module:
    made = nn.BatchNorm1d(1)
    put(made, value)
    return made


def put(made: nn.Module, value: float) -> None:
    with torch.no_grad():
        made.weight.fill_(value)  # type: ignore[union-attr,operator]
        made.running_mean.fill_(value)  # type: ignore[union-attr,operator]


def values(made: nn.Module) -> tuple[float, float]:
    state = made.state_dict()
    return float(state["weight"]), float(state["running_mean"])


def test_the_best_weights_are_put_back() -> None:
    net = module()
    kept = KeptWeights(net, KeptSettings(held_out=0.1), higher=True, chooses=True)
    kept.begin()
    for step, (value, figure) in enumerate([(1.0, 50.0), (2.0, 70.0), (3.0, 60.0)], 1):
        put(net, value)
        assert kept.offer(figure, step) == (figure != 60.0)
    assert kept.choose(3) == {"weights": "best", "of_step": 2}
    assert values(net) == (2.0, 2.0)


def test_of_two_equal_figures_the_first_is_kept() -> None:
    kept = KeptWeights(module(), KeptSettings(held_out=0.1), higher=False, chooses=True)
    assert [kept.offer(0.5, 1), kept.offer(0.5, 2)] == [True, False]
    assert kept.step == 1


def test_without_a_figure_the_last_weights_stay() -> None:
    net = module(4.0)
    kept = KeptWeights(net, KeptSettings(), higher=True, chooses=False)
    kept.begin()
    put(net, 5.0)
    assert kept.choose(9) == {"weights": "last", "of_step": 9}
    assert values(net) == (5.0, 5.0)


def test_an_average_is_the_mean_at_first_and_a_decaying_one_later() -> None:
    net = module(0.0)
    kept = KeptWeights(net, KeptSettings(ema=0.9), higher=True, chooses=False)
    kept.begin()
    by_hand = 0.0
    for update in range(1, 121):
        put(net, float(update))
        kept.update()
        decay = min(0.9, update / (update + 9))
        by_hand = decay * by_hand + (1 - decay) * update
    with kept.averaged():
        assert values(net) == pytest.approx((by_hand, by_hand), rel=1e-5)
    assert values(net) == (120.0, 120.0)
    assert kept.choose(120) == {"weights": "last", "of_step": 120, "ema": 0.9}
    assert values(net)[0] == pytest.approx(by_hand, rel=1e-5)


def test_patience_counts_measurements_without_a_better_one() -> None:
    settings = KeptSettings(held_out=0.1, patience=2)
    kept = KeptWeights(module(), settings, higher=True, chooses=True)
    ends = []
    for step, figure in enumerate([10.0, 9.0, 11.0, 10.0, 10.5]):
        kept.offer(figure, step)
        ends.append(kept.is_enough())
    assert ends == [False, False, False, False, True]


def test_what_a_checkpoint_keeps_comes_back() -> None:
    net = module(1.0)
    settings = KeptSettings(held_out=0.1, ema=0.5, patience=3)
    kept = KeptWeights(net, settings, higher=True, chooses=True)
    kept.begin()
    put(net, 2.0)
    kept.update()
    kept.offer(1.0, 7)
    other = KeptWeights(module(1.0), settings, higher=True, chooses=True)
    other.restore(kept.state())
    for key, value in kept.state().items():
        if isinstance(value, dict):
            for name, tensor in value.items():
                assert torch.equal(tensor, other.state()[key][name])
        else:
            assert other.state()[key] == value


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": "best"}, "keep best: there is nothing to choose weights by"),
        ({"patience": 3}, "patience 3: there is nothing to choose weights by"),
        ({"held_out": 1.0}, "held_out 1: wanted a share from 0 to below 1"),
        ({"held_out": 0.1, "patience": 0}, "patience 0: wanted at least 1"),
        ({"ema": 0.0}, "ema 0: wanted a decay between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        KeptSettings(**changed)  # type: ignore[arg-type]
