"""Second moments of the input of a linear map, gathered over pixels of images.

Everything that fitted remapping needs to know of the images is

    G = mean([h; 1][h; 1]^T)      of the features h that a convolution reads,
    C = mean(t [h; 1]^T)          of a target t with those features, and mean(t^2),

(c + 1)^2 and m (c + 1) numbers, however many images there are. A k x k convolution reads k*k
numbers of each channel; h then holds them channel by channel, taps row by row, the order of a
weight (out, c, k, k) flattened behind its first axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import FitDataError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

TILE_BYTES = 64 * 2**20  # features and targets of the pixels that are multiplied at one time


@dataclasses.dataclass(frozen=True)
class Window:
    """What a square convolution reads around a pixel; units are pixels of its input.

    pads  top, left, bottom, right, as in ONNX
    """

    kernel: int = 1
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: int = 1

    @property
    def taps(self) -> int:
        """How many numbers of a channel one output pixel reads."""
        return self.kernel**2

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of what the convolution gives for an image of this size."""
        top, left, bottom, right = self.pads
        reach = self.dilation * (self.kernel - 1) + 1
        return (
            (height + top + bottom - reach) // self.stride + 1,
            (width + left + right - reach) // self.stride + 1,
        )


@dataclasses.dataclass(frozen=True)
class Target:
    """The target output of a linear map, as second moments with its features.

    cross   C, mean of t [h; 1]^T: (m, n + 1); of a depthwise convolution (c, taps + 1)
    square  mean of t^2: (m,)
    """

    cross: Floats
    square: Floats


@dataclasses.dataclass(frozen=True)
class Moments:
    """What :class:`Gram` has gathered.

    second  G: (n + 1, n + 1) with n = channels * taps; of a depthwise convolution one for each
            channel, (c, taps + 1, taps + 1)
    target  moments of the target, or None where none was given
    pixels  how many pixels they are means over
    """

    second: Floats
    target: Target | None
    pixels: int

    @property
    def unknowns(self) -> int:
        """How many weights one output is fitted with, the constant not counted."""
        return int(self.second.shape[-1]) - 1


class Gram:
    """Gather second moments batch by batch, in float64.

    The result does not depend on how images are split into batches, but for the rounding of
    sums (whole numbers: not at all, below 2^53). With ``pixels_per_picture`` an image that has
    more output pixels than that gives only so many: those with the lowest hash of (number of the
    image, number of the pixel), see :func:`sampled_places`. All pixels count alike.

    Memory: the sums, one product of their size, and a tile of at most ``tile_bytes`` (or one
    pixel); :attr:`memory_bytes` says how much. Not counted: the batch that is handed in.
    """

    def __init__(
        self,
        channels: int,
        *,
        window: Window | None = None,
        outputs: int = 0,
        depthwise: bool = False,
        pixels_per_picture: int | None = None,
        tile_bytes: int = TILE_BYTES,
    ) -> None:
        """Start with nothing.

        channels   of the features
        window     what is read about an output pixel; one pixel if left out
        outputs    channels of the target, 0 for none
        depthwise  each channel's patch only with itself; a target has as many channels
        """
        if depthwise and outputs not in (0, channels):
            raise ValueError(
                f"a depthwise convolution of {channels} channels has no {outputs} outputs"
            )
        self.channels = channels
        self.window = window or Window()
        self.outputs = outputs
        self.depthwise = depthwise
        self.pixels_per_picture = pixels_per_picture
        self.pixels = 0
        self.pictures = 0
        taps = self.window.taps
        n = channels * taps
        rows = n + outputs
        self._tile_pixels = max(1, tile_bytes // (8 * rows))
        self._first = np.zeros((channels, taps) if depthwise else n)
        self._second = np.zeros((channels, taps, taps) if depthwise else (n, n))
        self._cross = np.zeros((outputs, taps if depthwise else n))
        self._target_first = np.zeros(outputs)
        self._target_square = np.zeros(outputs)

    @property
    def memory_bytes(self) -> int:
        """Peak memory of gathering in bytes, not counting the batch itself."""
        sums = 2 * (self._second.nbytes + self._cross.nbytes)
        rows = self.channels * self.window.taps + self.outputs
        return sums + 2 * 8 * rows * self._tile_pixels

    def add(self, features: NDArray[np.generic], target: NDArray[np.generic] | None = None) -> None:
        """Add a batch.

        features  (N, c, H, W), or (N, c) for vectors; any float dtype
        target    (N, m, H', W') of the window's output size, or (N, m)

        Raises FitDataError for values that are not finite, and then adds nothing; ValueError for
        shapes that do not fit.
        """
        features = _pictures(features)
        target = None if target is None else _pictures(target)
        self._check(features, target)
        for columns, targets in self._tiles(features, target):
            self._accumulate(columns, targets)
        self.pictures += len(features)

    def moments(self) -> Moments:
        """Return the means over everything added, as new arrays. Raises FitDataError if empty."""
        if not self.pixels:
            raise FitDataError("no pixel was seen; weights are fitted to at least one image")
        n = self._second.shape[-1]
        second = np.ones((*self._second.shape[:-2], n + 1, n + 1))
        second[..., :n, :n] = self._second / self.pixels
        second[..., :n, n] = second[..., n, :n] = self._first / self.pixels
        target = None
        if self.outputs:
            cross = np.column_stack([self._cross, self._target_first]) / self.pixels
            target = Target(cross, self._target_square / self.pixels)
        return Moments(second, target, self.pixels)

    def _check(self, features: NDArray[np.generic], target: NDArray[np.generic] | None) -> None:
        n, channels, height, width = features.shape
        size = self.window.output_size(height, width)
        if channels != self.channels or min(size) < 1:
            raise ValueError(
                f"features are {features.shape}; {self.channels} channels were announced and a"
                f" window of {self.window.kernel} has to fit"
            )
        if (target is not None) != bool(self.outputs):
            raise ValueError(f"{self.outputs} channels of a target were announced")
        if target is not None and target.shape != (n, self.outputs, *size):
            raise ValueError(f"the target is {target.shape}, not {(n, self.outputs, *size)}")
        self._check_finite("features", features)
        if target is not None:
            self._check_finite("target", target)

    def _check_finite(self, what: str, values: NDArray[np.generic]) -> None:
        for number, picture in enumerate(values):
            wrong = ~np.isfinite(picture)
            if wrong.any():
                channel, row, column = np.argwhere(wrong)[0]
                raise FitDataError(
                    f"{what} of image {self.pictures + number}: channel {channel} is"
                    f" {picture[channel, row, column]} at row {row}, column {column}; weights are"
                    f" fitted to finite numbers only: leave this image out, or repair the network"
                )

    def _tiles(
        self, features: NDArray[np.generic], target: NDArray[np.generic] | None
    ) -> Iterator[tuple[Floats, Floats | None]]:
        """Yield (channels, taps, pixels) and (outputs, pixels), a tile at a time."""
        read: list[NDArray[np.generic]] = []
        targets: list[NDArray[np.generic]] = []
        room = self._tile_pixels
        for number, picture in enumerate(features):
            height, width = self.window.output_size(*picture.shape[1:])
            places = sampled_places(self.pictures + number, height * width, self.pixels_per_picture)
            padded = _padded(picture, self.window.pads)
            while len(places):
                some, places = places[:room], places[room:]
                read.append(_patches(padded, self.window, some, width))
                if target is not None:
                    targets.append(target[number].reshape(self.outputs, -1)[:, some])
                room -= len(some)
                if not room:
                    yield _joined(read), _joined(targets) if targets else None
                    read, targets, room = [], [], self._tile_pixels
        if read:
            yield _joined(read), _joined(targets) if targets else None

    def _accumulate(self, columns: Floats, targets: Floats | None) -> None:
        pixels = columns.shape[-1]
        if not self.depthwise:
            columns = columns.reshape(-1, pixels)
        self._second += columns @ columns.swapaxes(-1, -2)
        self._first += columns.sum(axis=-1)
        self.pixels += pixels
        if targets is None:
            return
        if self.depthwise:
            self._cross += (columns @ targets[:, :, None])[..., 0]
        else:
            self._cross += targets @ columns.T
        self._target_first += targets.sum(axis=-1)
        self._target_square += (targets**2).sum(axis=-1)


def sampled_places(picture: int, places: int, count: int | None) -> Indices:
    """Return which pixels of an image are looked at, ascending.

    image  its number among all that were added, from 0
    places   how many pixels it has, counted row by row
    count    how many are wanted; None: all

    Those whose number has the lowest hash (splitmix64 of image * 2^32 + pixel): spread without a
    grid, others in every image, the same on every machine and for every batch size.
    """
    if count is None or count >= places:
        return np.arange(places)
    key = np.arange(places, dtype=np.uint64) + np.uint64(picture << 32)
    key = (key + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    key ^= key >> np.uint64(31)
    return np.sort(np.argpartition(key, count)[:count]).astype(np.int64)


def effective_rank(gram: Floats) -> int:
    """Return how many independent directions the features vary in, about their mean.

    gram     (n + 1, n + 1), see :class:`Moments`; takes all its eigenvalues: n^3 operations
    returns  the number of eigenvalues of the covariance above 1e-10 of the largest
    """
    mean = gram[-1, :-1]
    values = np.linalg.eigvalsh(gram[:-1, :-1] - np.outer(mean, mean))
    noise = 1e-15 * float(np.trace(gram[:-1, :-1]))  # of a variance computed from mean squares
    return int((values > max(1e-10 * values[-1], noise)).sum()) if len(values) else 0


def too_few_pixels(moments: Moments) -> str:
    """Return a sentence if there are fewer pixels than unknowns, else the empty string.

    With fewer, some weights are not determined by the images (the ridge keeps them near what
    they were), and an error measured on these pixels is too good to be true.
    """
    if moments.pixels > moments.unknowns:  # one more for the constant
        return ""
    return (
        f"{moments.unknowns} weights and a constant are fitted to {moments.pixels} pixels;"
        f" wanted at least {moments.unknowns + 1}: give more images"
    )


def _pictures(values: NDArray[np.generic]) -> NDArray[np.generic]:
    values = np.asarray(values)
    if values.ndim == 2:
        return values[:, :, None, None]
    if values.ndim != 4:
        raise ValueError(f"an array {values.shape}; wanted (N, c, H, W) or (N, c)")
    return values


def _padded(picture: NDArray[np.generic], pads: tuple[int, int, int, int]) -> NDArray[np.generic]:
    top, left, bottom, right = pads
    return np.pad(picture, ((0, 0), (top, bottom), (left, right))) if any(pads) else picture


def _patches(
    padded: NDArray[np.generic], window: Window, places: Indices, width: int
) -> NDArray[np.generic]:
    """Return (channels, taps, pixels) of one padded image; ``width`` of the output."""
    channels = len(padded)
    flat = padded.reshape(channels, -1)
    row, column = np.divmod(places, width)
    corner = (row * padded.shape[2] + column) * window.stride
    step = np.arange(window.kernel) * window.dilation
    offset = (step[:, None] * padded.shape[2] + step).reshape(-1)
    return np.asarray(np.take(flat, offset[:, None] + corner, axis=1))


def _joined(pieces: list[NDArray[np.generic]]) -> Floats:
    return np.concatenate(pieces, axis=-1, dtype=np.float64, casting="unsafe")
