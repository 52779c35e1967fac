from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.remap.rules import (
    channel_importance,
    dilate_kernel,
    kaiming,
    remap_groups,
    remap_kernel,
    remap_width,
    top_channels,
)


def counted(*shape: int) -> np.ndarray:
    """1, 2, 3, ...: no zero, every entry tells where it came from."""
    return np.arange(1, np.prod(shape) + 1, dtype="f4").reshape(shape)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_remap_kernel_there_and_back(kernel: int) -> None:
    w = counted(2, 1, 3, 3)
    there = remap_kernel(w, kernel)
    assert (there.shape, there.dtype) == ((2, 1, kernel, kernel), w.dtype)
    assert not np.shares_memory(there, w)
    if kernel >= 3:
        np.testing.assert_array_equal(remap_kernel(there, 3), w)
        assert there.sum() == w.sum()
    else:
        np.testing.assert_array_equal(there, w[:, :, 1:2, 1:2])


def test_remap_kernel_refuses_what_has_no_centre() -> None:
    with pytest.raises(ValueError, match="remapping 3x3 to 4x4: both must be square and odd"):
        remap_kernel(counted(1, 1, 3, 3), 4)
    with pytest.raises(ValueError, match="remapping 1x3 to 5x5: both must be square and odd"):
        remap_kernel(counted(1, 1, 1, 3), 5)


def test_dilate_kernel_spreads_the_taps() -> None:
    w = counted(1, 1, 3, 3)
    wide = dilate_kernel(w, 7)
    np.testing.assert_array_equal(wide[..., ::3, ::3], w)
    assert wide.sum() == w.sum()
    np.testing.assert_array_equal(dilate_kernel(w, 3), w)
    with pytest.raises(ValueError, match="a 5x5 kernel do not spread evenly over 7x7"):
        dilate_kernel(counted(1, 1, 5, 5), 7)


def test_remap_width_keeps_the_first_channels_and_pads_with_zeros() -> None:
    w = counted(4, 3, 1, 1)
    np.testing.assert_array_equal(remap_width(w, 2), w[:2])
    np.testing.assert_array_equal(remap_width(w, 2, 2), w[:2, :2])
    wide = remap_width(w, 6, 5)
    np.testing.assert_array_equal(wide[:4, :3], w)
    assert wide.shape == (6, 5, 1, 1)
    assert wide.sum() == w.sum()


def test_remap_groups_counts_from_zero() -> None:
    w = counted(4, 4, 1, 1)
    halves = remap_groups(w, 2)
    np.testing.assert_array_equal(halves[:2], w[:2, :2])  # the first outputs read inputs 0 and 1
    np.testing.assert_array_equal(halves[2:], w[2:, 2:])
    np.testing.assert_array_equal(remap_groups(w, 1), w)
    with pytest.raises(ValueError, match="3 groups do not divide 4 output and 4 input channels"):
        remap_groups(w, 3)


def test_top_channels_are_sorted_by_index_not_by_value() -> None:
    np.testing.assert_array_equal(top_channels(np.array([1.0, 9.0, 3.0, 9.0, 2.0]), 3), [1, 2, 3])
    np.testing.assert_array_equal(top_channels(np.array([5.0, 5.0, 5.0]), 2), [0, 1])


def test_channel_importance() -> None:
    w = np.array([[1.0, -3.0], [2.0, 2.0]])[:, :, None, None]
    np.testing.assert_array_equal(channel_importance(w, None, "std"), [2.0, 0.0])
    np.testing.assert_array_equal(channel_importance(w, None, "l1"), [4.0, 4.0])
    np.testing.assert_array_equal(channel_importance(w, np.array([-2.0, 1.0]), "gamma"), [2.0, 1.0])
    with pytest.raises(ValueError, match="there is no batch normalisation"):
        channel_importance(w, None, "gamma")
    with pytest.raises(ValueError, match="no measure of channels is called 'max'"):
        channel_importance(w, None, "max")


def test_kaiming_has_the_spread_of_its_fan_in() -> None:
    w = kaiming((400, 50, 3, 3), np.dtype("f4"), np.random.default_rng(0))
    assert w.dtype == np.float32
    assert w.std() == pytest.approx(np.sqrt(2 / 450), rel=0.01)
