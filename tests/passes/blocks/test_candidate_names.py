from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnac.passes.blocks.candidate_names import channels_of, multiple_of, read_name, spell
from fnac.passes.errors import CandidateNameError
from fnac.passes.stored_layers import read_layers
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied, assert_same_outputs
from tests.support.mbconv_networks import mbconv_network


@pytest.mark.parametrize(
    ("multiple", "of", "channels"),
    [
        (3, 24, 72), (6, 6, 36),  # whole multiples are exact, on the grid or not
        (3.5, 24, 80), (3.5, 32, 112), (2.5, 40, 96), (0.5, 64, 32),  # halves go to the even step
        (1.5, 8, 12), (2.31, 12, 28),  # below 32 channels a step of 8 would be too large
    ],
)  # fmt: skip
def test_a_fraction_is_taken_to_the_grid(multiple: float, of: int, channels: int) -> None:
    assert channels_of(float(multiple), of) == channels


@given(st.integers(1, 4096), st.integers(1, 1024))
def test_every_number_of_channels_has_a_spelling_of_its_own(channels: int, of: int) -> None:
    name = spell(3, expansion=multiple_of(channels, of))
    read = read_name(name).expansion
    assert read is not None
    assert round(read * of) == channels
    assert name != spell(3, expansion=multiple_of(channels + 1, of))


@given(st.integers(4, 500), st.integers(8, 1024))
def test_what_is_on_the_grid_is_read_as_it_is_spelled(steps: int, of: int) -> None:
    assert channels_of(multiple_of(8 * steps, of), of) == 8 * steps


def test_names_are_as_short_as_they_can_be() -> None:
    assert [multiple_of(c, 24) for c in (72, 80, 84)] == [3, 3.33, 3.5]
    assert [multiple_of(c, 320) for c in (1064, 1066)] == [3.325, 3.33]
    assert spell(5, groups=2, width=1.5) == "k5g2w1.5"


@pytest.mark.parametrize("name", ["k4e3", "k3e", "k3e3.", "ke3", "k3g0", "k3e3g2", "skip"])
def test_what_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(CandidateNameError, match=rf"candidate '{name}': wanted k5e6 \(odd kernel"):
        read_name(name)


def test_a_space_may_ask_for_fractions() -> None:
    before = mbconv_network(((24, 2, 2),), expansion=3)
    mix = Mix(kernels=(3,), expansions=(3,), candidates=("k3e3.5", "k5e3.5", "k3e2.5"))
    mixed, _ = applied(mix, before)
    first, second = read_layers(mixed.manifest)
    assert first.names == ("k3e3", "k3e3.5", "k5e3.5", "k3e2.5")  # of 4 channels: 14 and 10
    assert second.names == ("k3e3", "k3e3.33", "k5e3.33", "k3e2.67", "skip")  # of 24: 80 and 64
    for _, reference, twin in mix.proofs(before, mixed):
        assert_same_outputs(reference, twin)
    target, _ = applied(Choose(("k3e3.5", "k5e3.33")), mixed)
    hidden = {int(n.inputs[1].shape[0]) for n in target.nodes if n.attrs.get("group", 1) > 4}
    assert hidden == {14, 80}
