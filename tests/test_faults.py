"""Mistakes injected into rewrites are caught by the manager; the right rewrites are not."""

from __future__ import annotations

import pytest

from fnac.passes.base import Pass
from fnac.passes.errors import OutputsDifferError
from fnac.passes.grow_width import GrowWidth
from fnac.passes.manager import PassManager
from fnac.passes.mix import Mix
from fnac.passes.widen_kernel import WidenKernel

from .faults import MISTAKES, Faulty, swapped_branch, swapped_entry
from .mbconv_networks import mbconv_network

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
    with pytest.raises(OutputsDifferError, match=f"^{right.name}: .* parts from it at node ") as e:
        PassManager().run([faulty], mbconv_network())
    if right.name == "widen-kernel":
        assert f"at node {faulty.spoilt[0]}:" in str(e.value)
