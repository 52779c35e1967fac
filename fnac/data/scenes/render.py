"""Paint a scene: image, class mask and object numbers. numpy, about one millisecond at 96x96."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from .describe import Points, Scene, Texture

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def render_scene(
    scene: Scene,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return image (3, H, W) RGB, class ids (H, W), and object numbers (H, W), all uint8.

    Object numbers count ``scene.objects`` from 1 where an object is seen; clutter and ground
    are 0, as in the class ids.
    """
    height, width = scene.height, scene.width
    generator = np.random.Generator(np.random.PCG64(scene.entropy))
    image = _ground(scene, generator)
    classes = np.zeros((height, width), dtype=np.uint8)
    numbers = np.zeros((height, width), dtype=np.uint8)
    for number, item in enumerate(scene.objects, start=1):
        x0, y0, x1, y1 = item.box
        left, top = max(0, int(x0)), max(0, int(y0))
        right, bottom = min(width, int(x1) + 1), min(height, int(y1) + 1)
        if left >= right or top >= bottom:
            continue
        inside = fill_outline(item.outline, top, bottom, left, right)
        window = image[:, top:bottom, left:right]
        np.copyto(window, _paint(item.texture, top, bottom, left, right), where=inside)
        classes[top:bottom, left:right][inside] = item.kind
        numbers[top:bottom, left:right][inside] = number if item.kind else 0
    return _develop(scene, image, generator), classes, numbers


def fill_outline(outline: Points, top: int, bottom: int, left: int, right: int) -> Bools:
    """Return which pixel centres of the window lie inside (even-odd), (bottom-top, right-left)."""
    x0, y0 = outline[:, 0, None], outline[:, 1, None]
    x1, y1 = np.roll(outline, -1, axis=0).T[..., None]
    rows = np.arange(top, bottom) + 0.5
    crosses = (y0 <= rows) != (y1 <= rows)
    rise = np.where(y1 == y0, 1.0, y1 - y0)
    at = np.where(crosses, x0 + (rows - y0) / rise * (x1 - x0), np.inf)
    columns = np.arange(left, right) + 0.5
    inside: Bools = np.logical_xor.reduce(at[:, :, None] < columns, axis=0)
    return inside


def _paint(texture: Texture, top: int, bottom: int, left: int, right: int) -> Floats:
    """Return the texture over the window, (3, h, w)."""
    first, second = (np.array(c, dtype=np.float32)[:, None, None] for c in texture.colours)
    if texture.pattern == "plain":
        return first
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - texture.centre[0])
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - texture.centre[1]))[:, None]
    cos, sin = np.float32(texture.cos / texture.period), np.float32(texture.sin / texture.period)
    u, v = x * cos + y * sin, y * cos - x * sin
    on: Bools
    a: npt.NDArray[np.floating]
    b: npt.NDArray[np.floating]
    if texture.pattern == "stripes":
        on = _odd(u)
    elif texture.pattern == "checks":
        on = _odd(u) ^ _odd(v)
    elif texture.pattern == "rings":
        on = _odd(np.sqrt(u * u + v * v) + np.float32(0.5))
    elif texture.pattern == "dots":
        a, b = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
        on = a * a + b * b < np.float32(0.1)
    else:  # bricks: rows half a brick apart, joints a quarter of a row high
        row = np.floor(v * np.float32(1.4))
        a = u * np.float32(0.7) + row * np.float32(0.5)
        on = (v * np.float32(1.4) - row < np.float32(0.28)) | (a - np.floor(a) < np.float32(0.16))
    return np.where(on, second, first)


def _odd(values: Floats) -> Bools:
    return (np.floor(values).astype(np.int32) & 1).astype(np.bool_)


def _ground(scene: Scene, generator: np.random.Generator) -> Floats:
    """Return the cluttered background (3, H, W): three colours mixed by smooth noise."""
    coarse = _smooth_noise(generator, 4, scene.height, scene.width)
    middle = _smooth_noise(generator, 11, scene.height, scene.width)
    fine = _smooth_noise(generator, 31, scene.height, scene.width)
    first, second, third = (np.array(c, dtype=np.float32)[:, None, None] for c in scene.ground)
    image = first + (second - first) * coarse
    image += (third - image) * (np.float32(0.6) * middle)
    image *= np.float32(0.6) + np.float32(0.8) * fine
    return image


def _smooth_noise(generator: np.random.Generator, cells: int, height: int, width: int) -> Floats:
    """Return random values on a grid, linearly interpolated to (height, width), in [0, 1)."""
    grid = generator.random((cells + 1, cells + 1), dtype=np.float32)
    row, row_part = _steps(cells, height)
    column, column_part = _steps(cells, width)
    lines = grid[row] + (grid[row + 1] - grid[row]) * row_part[:, None]
    start = lines[:, column]
    return start + (lines[:, column + 1] - start) * column_part


@functools.cache
def _steps(cells: int, length: int) -> tuple[npt.NDArray[np.int64], Floats]:
    at = (np.arange(length) + 0.5) * (cells / length)
    whole = np.floor(at).astype(np.int64)
    return whole, (at - whole).astype(np.float32)


def _develop(scene: Scene, image: Floats, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Apply light, a slight blur and grain, in place; return uint8."""
    gain, across, down = (np.float32(part) for part in scene.light)
    x = np.linspace(-1, 1, scene.width, dtype=np.float32)
    y = np.linspace(-1, 1, scene.height, dtype=np.float32)[:, None]
    image *= gain * (np.float32(1) + across * x + down * y)
    third = np.float32(0.25)
    image[:, 1:] += third * (image[:, :-1] - image[:, 1:])
    image[:, :, 1:] += third * (image[:, :, :-1] - image[:, :, 1:])
    grain = generator.random(image.shape, dtype=np.float32)
    image += np.float32(2 * scene.noise) * (grain - np.float32(0.5))
    image *= np.float32(255)
    np.clip(image, 0, 255, out=image)
    return image.astype(np.uint8)
