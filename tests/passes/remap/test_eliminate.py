from __future__ import annotations

import time

import numpy as np
import pytest

from fnac.passes.remap.eliminate import (
    LAZY_ROWS,
    Elimination,
    Reader,
    eliminate,
    eliminate_together,
    width_on_grid,
)
from fnac.passes.remap.fit import refit
from fnac.passes.remap.gram import Gram, Moments, Target, Window
from tests.support.fits import features, least_error, least_squares, measured_error, moments_of

Array = np.ndarray
SHARP = 1e-12  # a ridge below what the comparison can see
NOISE = 1e-8


def weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def brute_force(h: Array, t: Array, channels: int, row_weights: Array | float = 1.0) -> Elimination:
    """Try every single removal at each step, each with a least-squares fit to the numbers."""
    taps = h.shape[1] // channels
    grouped = h.reshape(len(h), channels, taps)
    left = list(range(channels))
    removed, errors = [], [least_error(h, t, row_weights)]
    while left:
        trials = [
            least_error(
                grouped[:, [c for c in left if c != one]].reshape(len(h), -1), t, row_weights
            )
            for one in left
        ]
        removed.append(left.pop(int(np.argmin(trials))))
        errors.append(min(trials))
    return Elimination(np.array(removed), np.array(errors[::-1]))


def assert_same_elimination(one: Elimination, other: Elimination) -> None:
    np.testing.assert_array_equal(one.removed, other.removed)
    np.testing.assert_allclose(one.error, other.error, rtol=0, atol=NOISE)


@pytest.mark.parametrize("seed", range(6))
def test_order_and_curve_are_those_of_brute_force(seed: int) -> None:
    h, w = features(seed, 300, 7), weights(seed + 100, 4, 7)
    found = eliminate(moments_of(h).second, w, ridge=SHARP)
    assert_same_elimination(found, brute_force(h, h @ w.T, 7))
    assert found.error[0] == pytest.approx(1, abs=NOISE)
    assert found.error[7] == 0
    other = Elimination(found.removed[[1, 0, *range(2, 7)]], found.error)
    with pytest.raises(AssertionError):
        assert_same_elimination(found, other)
    with pytest.raises(AssertionError):
        assert_same_elimination(found, Elimination(found.removed, found.error + 1e-6))


@pytest.mark.parametrize("seed", range(3))
def test_an_output_counts_by_its_scale(seed: int) -> None:
    h, w, scale = features(seed, 300, 6), weights(seed + 100, 3, 6), np.array([5.0, -1.0, 0.1])
    found = eliminate(moments_of(h).second, w, row_weights=scale, ridge=SHARP)
    assert_same_elimination(found, brute_force(h, h @ w.T, 6, scale))
    plain = eliminate(moments_of(h).second, w, ridge=SHARP)
    assert np.abs(plain.error - found.error).max() > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_in_sequence_it_is_brute_force_on_the_target(seed: int) -> None:
    h, w = features(seed, 300, 6), weights(seed + 100, 4, 6)
    t = (0.8 * h + 0.2 * features(seed + 50, 300, 6)) @ w.T + 3
    moments = moments_of(h, t)
    found = eliminate(moments.second, w, moments.target, ridge=SHARP)
    assert_same_elimination(found, brute_force(h, t, 6))
    assert found.error[6] > 1e-3  # what even all channels cannot make good


@pytest.mark.parametrize("seed", range(3))
def test_a_channel_of_a_window_goes_with_all_its_taps(seed: int) -> None:
    moments, patches = patched(seed, channels=5)
    w = weights(seed + 100, 3, 5, 3, 3)
    found = eliminate(moments.second, w, ridge=SHARP)
    assert_same_elimination(found, brute_force(patches, patches @ w.reshape(3, -1).T, 5))


def patched(seed: int, channels: int) -> tuple[Moments, Array]:
    x = features(seed, 6 * 100, channels).reshape(6, 10, 10, channels).transpose(0, 3, 1, 2)
    gram = Gram(channels, window=Window(3))
    gram.add(x)
    views = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    return gram.moments(), views.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * 9)


def test_maps_that_read_the_same_channels_decide_together() -> None:
    moments, patches = patched(0, channels=5)
    centre = patches[:, 4::9]
    wide, narrow = weights(1, 3, 5, 3, 3), weights(2, 2, 5, 1, 1)
    found = eliminate_together(
        [Reader(moments.second, wide), Reader(moments_of(centre).second, narrow)], ridge=SHARP
    )
    for width in range(6):
        kept = found.kept(width)
        columns = (kept[:, None] * 9 + np.arange(9)).reshape(-1)
        errors = [
            least_error(patches[:, columns], patches @ wide.reshape(3, -1).T),
            least_error(centre[:, kept], centre @ narrow[:, :, 0, 0].T),
        ]
        assert found.error[width] == pytest.approx(np.mean(errors), abs=NOISE)
    with pytest.raises(ValueError, match=r"maps that read \[4, 5\] channels do not read the same"):
        eliminate_together([Reader(moments.second, wide), Reader(np.eye(5), narrow[:, :4])])


@pytest.mark.parametrize("taps", [1, 9])
def test_the_curve_is_the_error_of_the_refit(taps: int) -> None:
    """Past several rounds of waiting updates."""
    channels = 2 * LAZY_ROWS + 9 if taps == 1 else 30
    h = features(0, 900, channels * taps)
    w = weights(1, 8, channels, taps)
    gram = moments_of(h).second
    found = eliminate(gram, w)
    assert sorted(found.removed) == list(range(channels))
    for width in (1, channels // 4, channels // 2, channels - 1, channels):
        kept = found.kept(width)
        fit = refit(gram, w, kept)
        columns = (kept[:, None] * taps + np.arange(taps)).reshape(-1)
        given = h[:, columns] @ fit.weight.reshape(8, -1).T + fit.bias
        measured = measured_error(h @ w.reshape(8, -1).T, given)
        assert fit.error == pytest.approx(measured, abs=NOISE)
        # the curve holds lambda |change of weights|^2 besides: 1e-6 of the features' mean variance
        change = w.reshape(8, -1).copy()
        change[:, columns] -= fit.weight.reshape(8, -1)
        ridge = 1e-6 * h.var(axis=0).mean() * (change**2).sum()
        energy = (h @ w.reshape(8, -1).T).var(axis=0).sum()
        assert -NOISE <= found.error[width] - measured <= 1.01 * ridge / energy + NOISE


def test_channels_that_are_made_up_by_others_go_first() -> None:
    rng = np.random.default_rng(0)
    h = rng.integers(-3, 4, (200, 6)).astype("f8")
    h[:, 3] = 2 * h[:, 0] - h[:, 1] + 3
    w = rng.integers(1, 6, (4, 6)).astype("f8")
    found = eliminate(moments_of(h).second, w)
    assert found.removed[0] in (0, 1, 3)
    assert found.error[5] < 1e-5  # the ridge's share
    kept = found.kept(5)
    assert refit(moments_of(h).second, w, kept).error < 1e-18
    assert found.error[4] > 1e-3


def test_dead_channels_go_first_and_cost_nothing() -> None:
    h, w = features(0, 300, 6), 100 * weights(1, 4, 6)
    h[:, 1], h[:, 4] = 0, 7.3
    found = eliminate(moments_of(h).second, w)
    assert found.removed[:2].tolist() == [4, 1]
    assert found.error[4:].tolist() == [0, 0, 0]
    fit = refit(moments_of(h).second, w, found.kept(4))
    np.testing.assert_allclose(fit.bias, 7.3 * w[:, 4], rtol=1e-9)
    assert fit.error < 1e-12  # a variance of 0 comes out of mean squares as 1e-16 of them


def test_features_that_are_all_dead() -> None:
    found = eliminate(moments_of(np.ones((9, 3))).second, weights(1, 4, 3))
    assert found.removed.tolist() == [2, 1, 0]
    assert found.error.tolist() == [0, 0, 0, 0]


def test_of_equals_the_last_goes_first() -> None:
    second = np.diag([1.0, 1.0, 1.0, 1.0])  # independent, mean 0 but for the constant
    found = eliminate(second, np.ones((2, 3)))
    assert found.removed.tolist() == [2, 1, 0]
    np.testing.assert_allclose(found.error, [1, 2 / 3, 1 / 3, 0], rtol=0, atol=2e-6)


def test_the_widest_block_takes_less_than_three_seconds() -> None:
    channels, outputs = 960, 320
    rng = np.random.default_rng(0)
    h = np.maximum(rng.standard_normal((1200, 200)) @ rng.standard_normal((200, channels)), 0)
    gram, w = moments_of(h).second, weights(1, outputs, channels)
    start = time.perf_counter()
    kept = eliminate(gram, w).kept(channels // 2)
    refit(gram, w, kept)
    assert time.perf_counter() - start < 3  # a quarter of a second on one core of 2024


def test_fewer_pixels_than_channels_are_survived() -> None:
    h, w = features(0, 20, 60), weights(1, 8, 60)
    gram = moments_of(h).second
    found = eliminate(gram, w)
    assert (np.diff(found.error) <= 0).all()
    for width in (5, 10, 15, 30):
        assert found.error[width] == pytest.approx(
            refit(gram, w, found.kept(width)).error, abs=2e-5
        )
    assert found.error[30] < 1e-4


def test_it_writes_into_nothing() -> None:
    h, w = features(0, 100, 6), weights(1, 4, 6)
    moments = moments_of(h, h @ w.T)
    target = moments.target
    assert target is not None
    copies = [a.copy() for a in (moments.second, w, target.cross, target.square)]
    for aim in (None, Target(target.cross, target.square)):
        eliminate(moments.second, w, aim)
        refit(moments.second, w, np.arange(3), aim)
    for array, copy in zip((moments.second, w, target.cross, target.square), copies):
        np.testing.assert_array_equal(array, copy)


def test_kept_channels_are_ascending_and_nested() -> None:
    found = Elimination(np.array([2, 0, 3, 1]), np.zeros(5))
    assert [found.kept(n).tolist() for n in range(5)] == [
        [],
        [1],
        [1, 3],
        [0, 1, 3],
        [0, 1, 2, 3],
    ]
    with pytest.raises(ValueError, match="5 of 4 channels cannot stay"):
        found.kept(5)


def test_a_greedy_choice_is_better_than_the_first_channels() -> None:
    h, w = features(0, 300, 12), weights(1, 4, 12)
    found = eliminate(moments_of(h).second, w)
    first, _ = least_squares(h[:, :6], h @ w.T)
    assert first.shape == (4, 6)
    assert found.error[6] < least_error(h[:, :6], h @ w.T)


@pytest.mark.parametrize(
    ("channels", "share", "multiple", "width"),
    [
        (960, 0.5, 8, 480),
        (960, 1, 8, 960),
        (100, 1, 8, 100),
        (100, 0.5, 8, 48),  # 50 lies between 48 and 56
        (24, 0.5, 8, 16),  # 12: halves go up
        (144, 0.01, 8, 8),
        (100, 0.99, 8, 96),
        (100, 0.999, 4, 100),
        (6, 0.5, 8, 6),
        (6, 0.5, 1, 3),
        (96, 3.5, 8, 336),
        (10, 1.1, 8, 10),  # 8 is nearer to 11, but growing never takes away
    ],
)
def test_width_on_grid(channels: int, share: float, multiple: int, width: int) -> None:
    assert width_on_grid(channels, share, multiple) == width


def test_width_on_grid_refuses_nothing_at_all() -> None:
    with pytest.raises(ValueError, match=r"a share of 0 on multiples of 8: both must be above 0"):
        width_on_grid(16, 0)


def test_readers_of_other_windows_forget_channels_in_their_own_time() -> None:
    """More channels than updates wait: a 3x3 reader catches up nine times as often."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 24 * 9))
    wide = moments_of(features).second
    narrow = moments_of(features.reshape(400, 24, 9)[:, :, 4]).second
    large, small = rng.standard_normal((5, 24, 3, 3)), rng.standard_normal((4, 24, 1, 1))
    found = eliminate_together([Reader(narrow, small), Reader(wide, large)])
    assert sorted(found.removed.tolist()) == list(range(24))
    assert (np.diff(found.error) <= 1e-12).all()
