from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.errors import FitDataError
from fnac.passes.remap.fit import error_of, mean_of, output_moments, refit
from fnac.passes.remap.gram import Gram, Window
from tests.support.fits import features, least_error, least_squares, measured_error, moments_of

Array = np.ndarray
NOISE = 1e-9  # of sums of 400 products of order 1 to 100 in float64, twice solved


def weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("kept", [[0, 1, 2], [1, 4, 5], [5, 0, 3], [2]])
def test_refit_is_the_least_squares_solution(kept: list[int]) -> None:
    h, w = features(0, 400, 6), weights(1, 4, 6)
    fit = refit(moments_of(h).second, w, np.array(kept))
    weight, constant = least_squares(h[:, kept], h @ w.T)
    np.testing.assert_allclose(fit.weight, weight, rtol=0, atol=NOISE)
    np.testing.assert_allclose(fit.bias, constant, rtol=0, atol=NOISE)


def test_its_error_is_what_is_measured_on_the_numbers() -> None:
    h, w, kept = features(0, 400, 6), weights(1, 4, 6), np.array([0, 2, 5])
    scale = np.array([1.0, -3.0, 0.5, 2.0])
    fit = refit(moments_of(h).second, w, kept, row_weights=scale)
    given = h[:, kept] @ fit.weight.T + fit.bias
    assert fit.error == pytest.approx(measured_error(h @ w.T, given, scale), abs=NOISE)
    for row in range(4):
        alone = measured_error(h @ w[row], given[:, row])
        assert fit.row_errors[row] == pytest.approx(alone, abs=NOISE)
    plain = refit(moments_of(h).second, w, kept)
    np.testing.assert_array_equal(plain.weight, fit.weight)
    assert abs(plain.error - fit.error) > 1e-3


def test_all_channels_bring_the_weights_back_to_the_bit() -> None:
    w = weights(1, 4, 6, 1, 1).astype("f4")
    for pixels in (400, 3):  # enough, and far too few
        fit = refit(moments_of(features(0, pixels, 6)).second, w, np.arange(6))
        np.testing.assert_array_equal(fit.weight.astype("f4"), w)
        assert fit.weight.shape == w.shape
        assert not np.shares_memory(fit.weight, w)
        np.testing.assert_array_equal(fit.bias, np.zeros(4))
        assert fit.error == 0


def test_channels_that_nothing_reads_are_not_missed_to_the_bit() -> None:
    h, w, kept = features(0, 400, 6), weights(1, 4, 6).astype("f4"), np.array([4, 0, 2])
    w[:, [1, 3, 5]] = 0
    fit = refit(moments_of(h).second, w, kept)
    np.testing.assert_array_equal(fit.weight, w[:, kept])
    np.testing.assert_array_equal(fit.bias, 0)
    assert fit.error == 0


def test_a_channel_that_others_make_up_is_not_missed() -> None:
    rng = np.random.default_rng(0)
    h = rng.integers(-3, 4, (200, 5)).astype("f8")
    h[:, 3] = 2 * h[:, 0] - h[:, 1] + 3
    w = rng.integers(-5, 6, (4, 5)).astype("f4")
    kept = np.array([0, 1, 2, 4])
    fit = refit(moments_of(h).second, w, kept)
    exact = w[:, kept] + w[:, 3:4] * np.array([2, -1, 0, 0], "f4")
    np.testing.assert_array_equal(fit.weight.astype("f4"), exact)  # whole numbers: no tolerance
    np.testing.assert_array_equal(fit.bias.astype("f4"), 3 * w[:, 3])
    assert fit.error < 1e-20
    np.testing.assert_array_equal(
        h[:, kept] @ fit.weight.astype("f4").T + fit.bias.astype("f4"), h @ w.T
    )


def test_in_sequence_it_aims_at_the_target() -> None:
    h = features(0, 400, 6)  # of the changed network
    before = 0.7 * h + 0.3 * features(3, 400, 6)  # of the original
    w, kept = weights(1, 4, 6), np.array([1, 2, 5])
    t = before @ w.T + 5
    moments = moments_of(h, t)
    fit = refit(moments.second, w, kept, moments.target)
    weight, constant = least_squares(h[:, kept], t)
    np.testing.assert_allclose(fit.weight, weight, rtol=0, atol=NOISE)
    np.testing.assert_allclose(fit.bias, constant, rtol=0, atol=NOISE)
    given = h[:, kept] @ fit.weight.T + fit.bias
    assert fit.error == pytest.approx(measured_error(t, given), abs=NOISE)
    alone = refit(moments.second, w, kept)  # knows only its own weights
    assert fit.error < measured_error(t, h[:, kept] @ alone.weight.T + alone.bias + 5)


def test_in_sequence_where_nothing_has_changed_it_is_the_same_fit() -> None:
    h, w, kept = features(0, 400, 6), weights(1, 4, 6), np.array([0, 2, 5])
    moments = moments_of(h, h @ w.T)
    assert moments.target is not None
    one, other = refit(moments.second, w, kept), refit(moments.second, w, kept, moments.target)
    np.testing.assert_allclose(one.weight, other.weight, rtol=0, atol=NOISE)
    np.testing.assert_allclose(one.bias, other.bias, rtol=0, atol=NOISE)


def test_too_few_pixels_leave_the_weights_near_what_they_were() -> None:
    h, w = features(0, 3, 6), weights(1, 4, 6)
    moments = moments_of(h, h @ w.T)
    fit = refit(moments.second, w, np.arange(6), moments.target)
    np.testing.assert_allclose(fit.weight, w, rtol=0, atol=1e-6)
    assert fit.error < 1e-12
    part = refit(moments.second, w, np.arange(4))
    assert np.isfinite(part.weight).all()
    assert np.abs(part.weight).max() < 10 * np.abs(w).max()


def test_taps_stay_with_their_channel() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3, 8, 8))
    x[:, 1] += x[:, 0]
    window = Window(3)
    gram = Gram(3, window=window)
    gram.add(x)
    w, kept = weights(1, 2, 3, 3, 3), np.array([2, 0])
    fit = refit(gram.moments().second, w, kept)
    assert fit.weight.shape == (2, 2, 3, 3)
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    wanted = np.einsum("ncijab,mcab->nijm", patches, w).reshape(-1, 2)
    given = np.einsum("ncijab,mcab->nijm", patches[:, kept], fit.weight).reshape(-1, 2)
    assert fit.error == pytest.approx(measured_error(wanted, given + fit.bias), abs=NOISE)


PLANTED = {
    "rows in another order": lambda w, b: (w[::-1], b),
    "channels in another order": lambda w, b: (w[:, [1, 0, 2]], b),
    "a channel off by one": lambda w, b: (np.roll(w, 1, axis=1), b),
    "a forgotten bias": lambda w, b: (w, 0 * b),
    "a bias of the other sign": lambda w, b: (w, -b),
    "one changed weight": lambda w, b: (w + 0.01 * (np.arange(w.size).reshape(w.shape) == 4), b),
}


@pytest.mark.parametrize("with_target", [False, True])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_a_fit_shows_in_its_error(fault: str, with_target: bool) -> None:
    h, w, kept = features(0, 400, 6), weights(1, 4, 6), np.array([0, 2, 5])
    t = h @ w.T
    moments = moments_of(h, t)
    target = moments.target if with_target else None
    fit = refit(moments.second, w, kept, target)
    honest = error_of(moments.second, w, kept, fit.weight, fit.bias, target)
    assert honest == pytest.approx(fit.error, abs=NOISE)
    weight, bias = PLANTED[fault](fit.weight, fit.bias)
    wrong = error_of(moments.second, w, kept, weight, bias, target)
    assert wrong == pytest.approx(measured_error(t, h[:, kept] @ weight.T + bias), abs=NOISE)
    assert wrong > honest + 1e-7


@pytest.mark.parametrize("seed", range(5))
def test_reading_a_channel_off_by_one_shows_in_the_error(seed: int) -> None:
    h, w, kept = features(seed, 400, 6), weights(1, 4, 6), np.array([0, 2, 5])
    gram = moments_of(h).second
    fit = refit(gram, w, kept)
    off = kept + np.array([0, 1, 0])
    wrong = error_of(gram, w, off, fit.weight, fit.bias)
    measured = measured_error(h @ w.T, h[:, off] @ fit.weight.T + fit.bias)
    assert wrong == pytest.approx(measured, abs=NOISE)
    assert abs(wrong - fit.error) > 1e-4


def test_position_does_no_better_than_the_fit() -> None:
    h, w, kept = features(0, 400, 6), weights(1, 4, 6), np.arange(3)
    gram = moments_of(h).second
    position = error_of(gram, w, kept, w[:, kept], np.zeros(4))
    assert position == pytest.approx(measured_error(h @ w.T, h[:, :3] @ w[:, :3].T), abs=NOISE)
    assert refit(gram, w, kept).error == pytest.approx(least_error(h[:, :3], h @ w.T), abs=NOISE)
    assert refit(gram, w, kept).error < position


def test_what_a_skipped_branch_leaves_behind() -> None:
    h, w, b = features(0, 400, 6), weights(1, 4, 6), weights(2, 4)
    gram = moments_of(h).second
    np.testing.assert_allclose(mean_of(gram, w, b), (h @ w.T + b).mean(axis=0), rtol=0, atol=NOISE)
    np.testing.assert_allclose(mean_of(gram, w), (h @ w.T).mean(axis=0), rtol=0, atol=NOISE)


def test_statistics_of_a_batchnorm_behind() -> None:
    h, w, kept = features(0, 400, 6), weights(1, 4, 6), np.array([5, 1, 2])
    gram = moments_of(h).second
    fit = refit(gram, w, kept)
    y = h[:, kept] @ fit.weight.T + fit.bias
    mean, variance = output_moments(gram, fit.weight, fit.bias, kept)
    np.testing.assert_allclose(mean, y.mean(axis=0), rtol=0, atol=NOISE)
    np.testing.assert_allclose(variance, y.var(axis=0), rtol=0, atol=100 * NOISE)
    np.testing.assert_allclose(mean, (h @ w.T).mean(axis=0), rtol=0, atol=NOISE)  # no shift is left
    mean, variance = output_moments(gram, w)
    np.testing.assert_allclose(variance, (h @ w.T).var(axis=0), rtol=0, atol=100 * NOISE)


def test_shapes_that_do_not_fit_are_refused() -> None:
    h, w = features(0, 40, 6), weights(1, 4, 6)
    moments = moments_of(h, h @ w.T)
    gram, target = moments.second, moments.target
    with pytest.raises(ValueError, match=r"a weight of 5 numbers an output, moments \(7, 7\)"):
        refit(gram, w[:, :5], np.arange(3))
    with pytest.raises(ValueError, match=r"a target \(4, 7\), not \(3, 7\)"):
        refit(gram, w[:3], np.arange(3), target)
    with pytest.raises(ValueError, match=r"weights of rows \(3,\), not \(4,\)"):
        refit(gram, w, np.arange(3), row_weights=np.ones(3))
    with pytest.raises(ValueError, match=r"channels \[1, 6\] of 6: each at most once, from 0"):
        refit(gram, w, np.array([1, 6]))
    with pytest.raises(ValueError, match=r"channels \[1, 1\] of 6: each at most once, from 0"):
        refit(gram, w, np.array([1, 1]))


def test_moments_that_are_singular_all_the_same_are_an_error() -> None:
    h = np.repeat(features(0, 400, 3), 2, axis=1)
    with pytest.raises(FitDataError, match="the moments of 5 features are singular with a ridge"):
        refit(moments_of(h).second, weights(1, 4, 6), np.arange(5), ridge=-1e-9)
