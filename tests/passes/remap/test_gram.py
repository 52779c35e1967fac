from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.remap.gram import (
    FitDataError,
    Gram,
    Moments,
    Window,
    effective_rank,
    sampled_places,
    too_few_pixels,
)

Array = np.ndarray


def whole(rng: np.random.Generator, *shape: int) -> Array:
    """Small integers: sums of their products are exact, so equality can be asked for."""
    return rng.integers(-4, 5, shape).astype("f4")


def patches_by_loops(x: Array, window: Window) -> Array:
    """(pixels, c * k * k), written from the definition of a convolution."""
    top, left, bottom, right = window.pads
    x = np.pad(x.astype("f8"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = window.dilation * (window.kernel - 1) + 1
    return np.array(
        [
            picture[:, i : i + reach : window.dilation, j : j + reach : window.dilation].reshape(-1)
            for picture in x
            for i in range(0, x.shape[2] - reach + 1, window.stride)
            for j in range(0, x.shape[3] - reach + 1, window.stride)
        ]
    )


def with_one(rows: Array) -> Array:
    return np.column_stack([rows, np.ones(len(rows))])


def gathered(gram: Gram, x: Array, t: Array | None = None, sizes: tuple[int, ...] = ()) -> Moments:
    """Add images in batches of these sizes, the rest in the last one."""
    start = 0
    for size in (*sizes, len(x) - sum(sizes)):
        some = slice(start, start + size)
        gram.add(x[some], None if t is None else t[some])
        start += size
    return gram.moments()


def assert_same_moments(one: Moments, other: Moments) -> None:
    assert one.pixels == other.pixels
    np.testing.assert_array_equal(one.second, other.second)
    assert (one.target is None) == (other.target is None)
    if one.target is not None and other.target is not None:
        np.testing.assert_array_equal(one.target.cross, other.target.cross)
        np.testing.assert_array_equal(one.target.square, other.target.square)


@pytest.mark.parametrize(
    "window",
    [
        Window(),
        Window(stride=2),
        Window(3, pads=(1, 1, 1, 1)),
        Window(3, stride=2, pads=(0, 0, 1, 1)),
        Window(3, dilation=2, pads=(2, 2, 2, 2)),
        Window(5, pads=(2, 1, 2, 3)),
    ],
)
def test_moments_of_whole_numbers_are_exact(window: Window) -> None:
    rng = np.random.default_rng(0)
    x = whole(rng, 4, 3, 6, 5)
    t = whole(rng, 4, 2, *window.output_size(6, 5))
    rows = with_one(patches_by_loops(x, window))
    wanted = t.astype("f8").transpose(0, 2, 3, 1).reshape(-1, 2)
    assert len(rows) == len(wanted)
    moments = gathered(Gram(3, window=window, outputs=2), x, t)
    assert moments.pixels == len(rows)
    assert moments.unknowns == 3 * window.taps
    np.testing.assert_array_equal(moments.second, rows.T @ rows / len(rows))
    assert moments.target is not None
    np.testing.assert_array_equal(moments.target.cross, wanted.T @ rows / len(rows))
    np.testing.assert_array_equal(moments.target.square, (wanted**2).sum(axis=0) / len(rows))


def test_a_depthwise_convolution_has_one_matrix_a_channel() -> None:
    rng = np.random.default_rng(0)
    window = Window(3, pads=(1, 1, 1, 1))
    x, t = whole(rng, 3, 4, 5, 5), whole(rng, 3, 4, 5, 5)
    dense = gathered(Gram(4, window=window, outputs=4), x, t)
    own = gathered(Gram(4, window=window, outputs=4, depthwise=True), x, t)
    assert dense.target is not None
    assert own.target is not None
    for channel in range(4):
        places = [*range(channel * 9, channel * 9 + 9), 36]
        np.testing.assert_array_equal(own.second[channel], dense.second[np.ix_(places, places)])
        np.testing.assert_array_equal(
            own.target.cross[channel], dense.target.cross[channel, places]
        )
    np.testing.assert_array_equal(own.target.square, dense.target.square)


def test_vectors_are_pictures_of_one_pixel() -> None:
    x = whole(np.random.default_rng(0), 5, 3)
    np.testing.assert_array_equal(
        gathered(Gram(3), x).second, gathered(Gram(3), x[:, :, None, None]).second
    )


@pytest.mark.parametrize("sampled", [None, 7])
@pytest.mark.parametrize("sizes", [(1, 2), (4,), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_batches_and_tiles_do_not_matter(
    sizes: tuple[int, ...], sampled: int | None, depthwise: bool
) -> None:
    rng = np.random.default_rng(0)
    x, t = whole(rng, 6, 3, 5, 4), whole(rng, 6, 3, 5, 4)

    def fresh(tile_bytes: int) -> Gram:
        return Gram(
            3,
            window=Window(3, pads=(1, 1, 1, 1)),
            outputs=3,
            depthwise=depthwise,
            pixels_per_picture=sampled,
            tile_bytes=tile_bytes,
        )

    assert_same_moments(gathered(fresh(2**20), x, t), gathered(fresh(1), x, t, sizes))
    changed = x.copy()
    changed[-1, 0] += 1
    with pytest.raises(AssertionError):
        assert_same_moments(gathered(fresh(2**20), x, t), gathered(fresh(1), changed, t, sizes))


def test_sums_of_any_numbers_differ_by_rounding_only() -> None:
    x = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype("f4")
    one, other = gathered(Gram(3), x), gathered(Gram(3, tile_bytes=100), x, sizes=(1, 3))
    # sums of 384 squares of order 1: 384 roundings of 1.1e-16 of the sum at most
    np.testing.assert_allclose(one.second, other.second, rtol=0, atol=384 * 1.2e-16 * 3)


def test_sampled_pixels_are_others_in_each_picture_and_the_same_each_time() -> None:
    first, second = sampled_places(0, 100, 10), sampled_places(1, 100, 10)
    assert len(set(first)) == 10
    assert (np.diff(first) > 0).all()
    assert first.tolist() != second.tolist()
    np.testing.assert_array_equal(first, sampled_places(0, 100, 10))
    np.testing.assert_array_equal(sampled_places(3, 4, 9), range(4))


def test_sampled_pixels_are_those_of_the_stated_hash() -> None:
    def splitmix64(number: int) -> int:
        key = (number + 1) * 0x9E3779B97F4A7C15 % 2**64
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
        return key ^ key >> 31

    by_hash = sorted(range(1000), key=lambda place: splitmix64(5 * 2**32 + place))
    assert sampled_places(5, 1000, 4).tolist() == sorted(by_hash[:4])


def test_sampled_pixels_cover_a_picture_evenly() -> None:
    seen = np.zeros(64)
    for picture in range(2000):
        seen[sampled_places(picture, 64, 8)] += 1
    assert seen.sum() == 16000
    # each pixel is seen 250 times on average, standard deviation sqrt(2000 * 1/8 * 7/8) = 14.8
    assert np.abs(seen - 250).max() < 5 * 14.8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_leaves_no_trace(value: float) -> None:
    gram = Gram(2, outputs=1)
    x, t = np.ones((3, 2, 2, 2), "f4"), np.ones((3, 1, 2, 2), "f4")
    gram.add(x, t)
    before = gram.moments()
    bad = x.copy()
    bad[2, 1, 0, 1] = value
    with pytest.raises(
        FitDataError,
        match=f"features of image 5: channel 1 is {value} at row 0, column 1; weights are",
    ):
        gram.add(bad, t)
    with pytest.raises(FitDataError, match="target of image 3: channel 0 is nan at row 1"):
        gram.add(x, np.where(np.arange(2)[:, None] == 1, np.float32(np.nan), t))
    assert_same_moments(before, gram.moments())


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features are \(1, 2, 4, 4\); 3 channels were announced"):
        Gram(3).add(np.ones((1, 2, 4, 4)))
    with pytest.raises(ValueError, match="a window of 5 has to fit"):
        Gram(2, window=Window(5)).add(np.ones((1, 2, 4, 4)))
    with pytest.raises(ValueError, match="0 channels of a target were announced"):
        Gram(2).add(np.ones((1, 2, 4, 4)), np.ones((1, 2, 4, 4)))
    with pytest.raises(ValueError, match=r"the target is \(1, 1, 4, 4\), not \(1, 1, 2, 2\)"):
        Gram(2, window=Window(3), outputs=1).add(np.ones((1, 2, 4, 4)), np.ones((1, 1, 4, 4)))
    with pytest.raises(ValueError, match=r"an array \(3,\); wanted \(N, c, H, W\) or \(N, c\)"):
        Gram(3).add(np.ones(3))
    with pytest.raises(ValueError, match="a depthwise convolution of 4 channels has no 3 outputs"):
        Gram(4, outputs=3, depthwise=True)
    with pytest.raises(FitDataError, match="no pixel was seen"):
        Gram(3).moments()


def test_memory_is_stated_and_held_to() -> None:
    gram = Gram(64, window=Window(3, pads=(1, 1, 1, 1)), tile_bytes=2**20)
    assert gram.memory_bytes <= 2 * 8 * (64 * 9) ** 2 + 2 * 2**20


def test_rank_and_whether_the_pictures_suffice() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5))
    x[:, 4] = x[:, 0] - x[:, 1] + 2
    many = gathered(Gram(5), x)
    assert effective_rank(many.second) == 4
    assert too_few_pixels(many) == ""
    few = gathered(Gram(5), x[:3])
    assert effective_rank(few.second) == 2  # three points span a plane
    assert too_few_pixels(few) == (
        "5 weights and a constant are fitted to 3 pixels; wanted at least 6: give more images"
    )
    assert effective_rank(gathered(Gram(2), np.full((9, 2), 3.7)).second) == 0
