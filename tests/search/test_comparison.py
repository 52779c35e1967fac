"""A choice beside random architectures of its cost."""

from __future__ import annotations

from fnac.search.comparison import compare

ERRORS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
RANDOM = [False] * 4 + [True] * 4


def test_a_prediction_that_orders_and_a_choice_that_is_better_have_no_findings() -> None:
    sound = compare([error**2 for error in ERRORS], ERRORS, RANDOM, 1.0)
    assert (sound.correlation, sound.worse) == (1.0, 1.0)
    assert (sound.architectures, sound.random) == (8, 4)
    assert sound.findings() == ()


def test_a_prediction_by_chance_and_a_choice_worse_than_chance_are_told_of() -> None:
    backwards = compare(ERRORS[::-1], ERRORS, RANDOM, 7.5)
    assert backwards.correlation == -1.0
    assert backwards.worse == 0.25
    unfounded, chance = backwards.findings()
    assert unfounded.kind == "unfounded-prediction"
    assert "over 8 architectures their order agrees with what was measured by -1.00" in str(
        unfounded
    )
    assert chance.kind == "no-better-than-random"
    assert "of 4 random architectures of its cost 25% are worse" in str(chance)


def test_equal_errors_count_by_half() -> None:
    assert compare(ERRORS, ERRORS, RANDOM, 6.0).worse == (0.5 + 2) / 4


def test_of_a_few_architectures_nothing_is_said() -> None:
    few = compare(ERRORS[:4], ERRORS[:4], [False, True, True, True], 9.0)
    assert (few.correlation, few.worse) == (None, None)
    assert few.findings() == ()
