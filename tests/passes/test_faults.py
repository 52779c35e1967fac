"""Mistakes injected into rewrites are caught by the manager; the right rewrites are not."""

from __future__ import annotations

import re

import pytest

from fnac.passes.base import Pass
from fnac.passes.errors import OutputsDifferError, PassFailedError
from fnac.passes.grow.grow_width import GrowWidth
from fnac.passes.grow.widen_kernel import WidenKernel
from fnac.passes.manager import PassManager
from fnac.passes.super_network.mix import Mix
from tests.support.faults import MISTAKES, Faulty, swapped_branch, swapped_entry
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network

RIGHT: dict[str, Pass] = {
    "widen-kernel": WidenKernel(kernel=5),
    "grow-width": GrowWidth(expansion=4),
    "mix": Mix(kernels=(3, 5), expansions=(2, 4), depths=(3, 2)),
}
FAULTS = {
    **{(name, what): (right, m) for name, right in RIGHT.items() for what, m in MISTAKES.items()},
    ("mix", "swapped branch"): (RIGHT["mix"], swapped_branch),
    ("grow-width", "swapped branch"): (RIGHT["grow-width"], swapped_entry),
}


@pytest.mark.parametrize("right", RIGHT.values(), ids=RIGHT)
def test_no_alarm_without_a_mistake(right: Pass) -> None:
    manager = PassManager()
    manager.run([right], mbconv_network())
    assert [entry.verdict for entry in manager.ledger] == ["equal"]


@pytest.mark.parametrize(("right", "mistake"), FAULTS.values(), ids=["-".join(k) for k in FAULTS])
def test_a_mistake_is_caught_and_named(right: Pass, mistake) -> None:  # type: ignore[no-untyped-def]
    faulty = Faulty(right, mistake)
    with pytest.raises((OutputsDifferError, PassFailedError), match=f"^{right.name}: ") as error:
        PassManager().run([faulty], mbconv_network())
    at = re.search(r"at node ([^:;\s]+)", str(error.value))
    assert at is not None
    assert at[1] == faulty.spoilt[0]


RESIDUAL = Mix(depths=(3, 2))


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("mistake", [*MISTAKES.values(), swapped_branch], ids=[*MISTAKES, "branch"])
def test_a_mistake_in_a_residual_block_is_caught_and_named(kind: str, mistake) -> None:  # type: ignore[no-untyped-def]
    stages = ((16, 2, 1), (32, 2, 2))
    manager = PassManager()
    manager.run([RESIDUAL], resnet_network(stages, kind=kind))
    assert [entry.verdict for entry in manager.ledger] == ["equal"]
    faulty = Faulty(RESIDUAL, mistake)
    with pytest.raises((OutputsDifferError, PassFailedError), match=r"^mix: ") as error:
        PassManager().run([faulty], resnet_network(stages, kind=kind))
    named = re.findall(r"node ([^:;,)\s]+)", str(error.value))
    assert faulty.spoilt[0] in named
