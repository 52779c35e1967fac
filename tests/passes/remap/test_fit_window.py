from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.remap.fit_window import centre_taps, fit_dense_window, fit_depthwise
from fnac.passes.remap.gram import Gram, Moments, Window
from tests.support.fits import features, least_error, least_squares, measured_error

Array = np.ndarray
NOISE = 1e-8


def pictures(seed: int, channels: int) -> Array:
    """Smooth ones: neighbouring pixels say something about each other."""
    flat = features(seed, 5 * 144, channels).reshape(5, 12, 12, channels).transpose(0, 3, 1, 2)
    return flat + np.roll(flat, 1, axis=2) + np.roll(flat, 1, axis=3)


def patches(x: Array, kernel: int) -> Array:
    """(c, pixels, taps) of a window without padding."""
    views = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))
    return views.transpose(1, 0, 2, 3, 4, 5).reshape(x.shape[1], -1, kernel**2)


def gathered(x: Array, kernel: int, t: Array | None = None, *, depthwise: bool) -> Moments:
    outputs = 0 if t is None else t.shape[1]
    gram = Gram(x.shape[1], window=Window(kernel), outputs=outputs, depthwise=depthwise)
    gram.add(x, t)
    return gram.moments()


def weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def test_centre_taps() -> None:
    assert centre_taps(5, 3).tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert centre_taps(3, 3).tolist() == list(range(9))
    assert centre_taps(7, 1).tolist() == [24]


@pytest.mark.parametrize(("old", "kernel"), [(5, 3), (3, 1), (5, 1), (7, 5)])
def test_depthwise_is_least_squares_channel_by_channel(old: int, kernel: int) -> None:
    x, w, scale = pictures(0, 4), weights(1, 4, 1, old, old), np.array([1.0, -2.0, 0.5, 3.0])
    fit = fit_depthwise(gathered(x, old, depthwise=True).second, w, kernel, row_weights=scale)
    assert fit.weight.shape == (4, 1, kernel, kernel)
    read = patches(x, old)
    inner = read[:, :, centre_taps(old, kernel)]
    wanted = np.einsum("cpt,ct->pc", read, w.reshape(4, -1))
    for channel in range(4):
        weight, constant = least_squares(inner[channel], wanted[:, channel : channel + 1])
        np.testing.assert_allclose(fit.weight[channel].reshape(-1), weight[0], rtol=0, atol=NOISE)
        assert fit.bias[channel] == pytest.approx(constant[0], abs=NOISE)
        least = least_error(inner[channel], wanted[:, channel : channel + 1])
        assert fit.row_errors[channel] == pytest.approx(least, abs=NOISE)
    given = np.einsum("cpt,ct->pc", inner, fit.weight.reshape(4, -1)) + fit.bias
    assert fit.error == pytest.approx(measured_error(wanted, given, scale), abs=NOISE)
    cropped = w.reshape(4, old**2)[:, centre_taps(old, kernel)]
    assert fit.error < measured_error(wanted, np.einsum("cpt,ct->pc", inner, cropped), scale)


def test_depthwise_in_sequence() -> None:
    x, w = pictures(0, 3), weights(1, 3, 1, 5, 5)
    before = 0.8 * x + 0.2 * pictures(7, 3)
    t = np.einsum("cpt,ct->cp", patches(before, 5), w.reshape(3, -1)) + 2
    as_pictures = t.reshape(3, 5, 8, 8).transpose(1, 0, 2, 3)
    moments = gathered(x, 5, as_pictures, depthwise=True)
    fit = fit_depthwise(moments.second, w, 3, moments.target)
    inner = patches(x, 5)[:, :, centre_taps(5, 3)]
    for channel in range(3):
        weight, constant = least_squares(inner[channel], t[channel][:, None])
        np.testing.assert_allclose(fit.weight[channel].reshape(-1), weight[0], rtol=0, atol=NOISE)
        assert fit.bias[channel] == pytest.approx(constant[0], abs=NOISE)
        least = least_error(inner[channel], t[channel][:, None])
        assert fit.row_errors[channel] == pytest.approx(least, abs=NOISE)


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_larger_window_keeps_the_weights_to_the_bit(kernel: int, depthwise: bool) -> None:
    x = pictures(0, 3)
    w = weights(1, 3, 1 if depthwise else 3, 3, 3).astype("f4")
    moments = gathered(x, 3, depthwise=depthwise)
    fit = (fit_depthwise if depthwise else fit_dense_window)(moments.second, w, kernel)
    edge = (kernel - 3) // 2
    wanted = np.pad(w, [(0, 0), (0, 0), (edge, edge), (edge, edge)])
    np.testing.assert_array_equal(fit.weight.astype("f4"), wanted)
    assert not np.shares_memory(fit.weight, w)
    np.testing.assert_array_equal(fit.bias, 0)
    assert fit.error == 0


def test_a_window_whose_edge_was_zero_loses_nothing() -> None:
    w = np.zeros((4, 1, 5, 5), "f4")
    w[:, :, 1:4, 1:4] = np.random.default_rng(0).integers(-4, 5, (4, 1, 3, 3))
    fit = fit_depthwise(gathered(pictures(0, 4), 5, depthwise=True).second, w, 3)
    np.testing.assert_array_equal(fit.weight.astype("f4"), w[:, :, 1:4, 1:4])
    np.testing.assert_array_equal(fit.bias, 0)
    assert fit.error == 0


def test_a_dead_channel_becomes_its_constant() -> None:
    x = pictures(0, 2)
    x[:, 1] = 2
    w = weights(1, 2, 1, 3, 3)
    fit = fit_depthwise(gathered(x, 3, depthwise=True).second, w, 1)
    given = fit.weight[1, 0, 0, 0] * 2 + fit.bias[1]
    assert given == pytest.approx(2 * w[1].sum(), abs=NOISE)


@pytest.mark.parametrize("kept", [None, [2, 0]])
def test_dense_is_least_squares(kept: list[int] | None) -> None:
    x, w = pictures(0, 3), weights(1, 2, 3, 3, 3)
    moments = gathered(x, 3, depthwise=False)
    channels = None if kept is None else np.array(kept)
    fit = fit_dense_window(moments.second, w, 1, kept=channels)
    read = patches(x, 3)
    wanted = np.einsum("cpt,mct->pm", read, w.reshape(2, 3, 9))
    inner = read[[0, 1, 2] if kept is None else kept, :, 4].T
    weight, constant = least_squares(inner, wanted)
    np.testing.assert_allclose(fit.weight[:, :, 0, 0], weight, rtol=0, atol=NOISE)
    np.testing.assert_allclose(fit.bias, constant, rtol=0, atol=NOISE)
    assert fit.error == pytest.approx(least_error(inner, wanted), abs=NOISE)


def test_a_larger_dense_window_makes_good_what_a_target_asks() -> None:
    x, wide = pictures(0, 2), weights(1, 2, 2, 5, 5)
    t = np.einsum("cpt,mct->mp", patches(x, 5), wide.reshape(2, 2, 25))
    moments = gathered(x, 5, t.reshape(2, 5, 8, 8).transpose(1, 0, 2, 3), depthwise=False)
    fit = fit_dense_window(moments.second, wide[:, :, 1:4, 1:4], 5, moments.target)
    np.testing.assert_allclose(fit.weight, wide, rtol=0, atol=1e-6)
    assert fit.error < 1e-10


def test_windows_that_do_not_fit_are_refused() -> None:
    grams = gathered(pictures(0, 2), 3, depthwise=True).second
    with pytest.raises(ValueError, match="fitting 3x3 to 2x2 with moments of 3x3: all must be"):
        fit_depthwise(grams, np.ones((2, 1, 3, 3)), 2)
    with pytest.raises(ValueError, match="moments of 3x3 patches do not hold 5x5"):
        fit_depthwise(grams, np.ones((2, 1, 5, 5)), 3)
