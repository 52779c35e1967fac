"""Describe synthetic scenes: textured shapes, clutter and light, from a random seed.

A scene is a list of objects, each with its class, outline, box and keypoints, so that
segmentation, detection and pose are served from one description; :mod:`.render` paints it.
A class is a shape *and* a texture: colours say nothing, two classes share a shape, two share a
texture, and the clutter has the same shapes and textures in other pairs.

Everything is drawn from ``PCG64((random_seed, number))`` and computed with IEEE ``+ - * /`` on
coordinates rounded to 1/16 pixel: the same number is the same scene on every platform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Colour = tuple[float, float, float]
Draw = Callable[[], float]
"""Draws the next number, uniform in [0, 1)."""

KINDS: tuple[tuple[str, str, str], ...] = (
    # class name, shape, texture
    ("striped disc", "disc", "stripes"),
    ("checkered disc", "disc", "checks"),
    ("dotted square", "square", "dots"),
    ("ringed square", "square", "rings"),
    ("bricked triangle", "triangle", "bricks"),
    ("dotted star", "star", "dots"),
    ("checkered cross", "cross", "checks"),
)
CLASSES = ["background", *(name for name, _, _ in KINDS)]
KEYPOINTS = ["centre", "top", "right_end", "bottom", "left_end"]
# Shapes and textures that are no class together: they are painted as clutter.
DECOYS = (
    ("disc", "plain"), ("disc", "dots"), ("square", "stripes"), ("square", "plain"),
    ("triangle", "plain"), ("triangle", "checks"), ("star", "stripes"), ("star", "plain"),
    ("cross", "plain"), ("cross", "bricks"), ("bar", "plain"), ("bar", "rings"),
    ("blob", "plain"), ("blob", "bricks"),
)  # fmt: skip


def _regular(corners: int, turn: float = 0.0, radii: tuple[float, ...] = (1.0,)) -> Points:
    angles = [2 * math.pi * (i / corners) - math.pi / 2 + turn for i in range(corners)]
    return np.array(
        [
            (radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a))
            for i, a in enumerate(angles)
        ]
    )


SHAPES: dict[str, Points] = {
    # outlines in units of the object's radius, y downwards
    "disc": _regular(20),
    "square": _regular(4, math.pi / 4, (1.15,)),
    "triangle": _regular(3, 0.0, (1.2,)),
    "star": _regular(10, 0.0, (1.2, 0.5)),
    "cross": np.array(
        [
            (-0.36, -1.05), (0.36, -1.05), (0.36, -0.36), (1.05, -0.36), (1.05, 0.36), (0.36, 0.36),
            (0.36, 1.05), (-0.36, 1.05), (-0.36, 0.36), (-1.05, 0.36), (-1.05, -0.36),
            (-0.36, -0.36),
        ]
    ),
    "bar": np.array([(-1.6, -0.18), (1.6, -0.18), (1.6, 0.18), (-1.6, 0.18)]),
    "blob": _regular(7, 0.0, (1.0, 0.7, 1.1, 0.8)),
}  # fmt: skip
# Keypoints in the same units: the centre, and four ends a little inside the outline.
_ENDS: Points = np.array([(0.0, 0.0), (0.0, -0.8), (0.8, 0.0), (0.0, 0.8), (-0.8, 0.0)])


@dataclass(frozen=True)
class Texture:
    """A two-colour pattern in a rotated frame; lengths in pixels, colours in 0..1."""

    pattern: str
    period: float
    cos: float
    sin: float
    centre: tuple[float, float]
    colours: tuple[Colour, Colour]


@dataclass(frozen=True)
class SceneObject:
    """One painted shape; ``kind`` is its class id (0 = clutter, which counts as background)."""

    kind: int
    outline: Points
    keypoints: Points
    texture: Texture

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return the box of the whole outline (x0, y0, x1, y1), pixels, hidden parts included."""
        x0, y0 = self.outline.min(axis=0)
        x1, y1 = self.outline.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


@dataclass(frozen=True)
class Scene:
    """An image before it is painted; later objects cover earlier ones."""

    height: int
    width: int
    objects: tuple[SceneObject, ...]
    light: tuple[float, float, float]
    noise: float
    ground: tuple[Colour, Colour, Colour]
    entropy: int


def describe_scene(random_seed: int, number: int, height: int = 96, width: int = 96) -> Scene:
    """Draw scene ``number`` of the series ``random_seed``: 4 to 7 decoys and 1 to 3 objects."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((random_seed, number))))
    draw: Draw = generator.random
    unit = min(height, width)
    ground = (_colour(draw), _colour(draw), _colour(draw))
    light = (0.7 + 0.4 * draw(), 0.6 * draw() - 0.3, 0.6 * draw() - 0.3)
    noise = 0.01 + 0.05 * draw()
    objects = []
    for _ in range(4 + int(4 * draw())):
        shape, pattern = DECOYS[int(len(DECOYS) * draw())]
        centre = (width * draw(), height * draw())
        radius = unit * (0.05 + 0.08 * draw())
        objects.append(_place(draw, 0, shape, pattern, centre, radius, turn=math.pi))
    taken: list[tuple[float, float, float]] = []
    for _ in range(1 + int(3 * draw())):
        kind = 1 + int(len(KINDS) * draw())
        radius = unit * (0.18 + 0.12 * draw())
        spot = _free_spot(draw, taken, radius, width, height)
        if spot is None:
            continue
        taken.append((*spot, radius))
        _, shape, pattern = KINDS[kind - 1]
        objects.append(_place(draw, kind, shape, pattern, spot, radius, turn=math.pi / 7))
    entropy = int(generator.integers(2**31))
    return Scene(height, width, tuple(objects), light, noise, ground, entropy)


def _free_spot(
    draw: Draw, taken: list[tuple[float, float, float]], radius: float, width: int, height: int
) -> tuple[float, float] | None:
    """Find a centre where at most a part of an earlier object gets covered."""
    for _ in range(12):
        x, y = width * (0.15 + 0.7 * draw()), height * (0.15 + 0.7 * draw())
        if all(
            (x - a) * (x - a) + (y - b) * (y - b) > 0.64 * (radius + r) * (radius + r)
            for a, b, r in taken
        ):
            return x, y
    return None


def _place(
    draw: Draw,
    kind: int,
    shape: str,
    pattern: str,
    centre: tuple[float, float],
    radius: float,
    turn: float,
) -> SceneObject:
    angle = turn * (2 * draw() - 1)
    cos, sin = math.cos(angle), math.sin(angle)
    wide, high = radius * (0.85 + 0.3 * draw()), radius * (0.85 + 0.3 * draw())
    period = max(3.0, radius * (0.36 + 0.16 * draw()))
    texture = Texture(pattern, period, cos, sin, centre, _colour_pair(draw))

    def put(points: Points) -> Points:
        x, y = points[:, 0] * wide, points[:, 1] * high
        placed = np.stack([x * cos - y * sin + centre[0], x * sin + y * cos + centre[1]], axis=1)
        return np.rint(placed * 16) / 16

    return SceneObject(kind, put(SHAPES[shape]), put(_ENDS), texture)


def _colour(draw: Draw) -> Colour:
    return 0.1 + 0.8 * draw(), 0.1 + 0.8 * draw(), 0.1 + 0.8 * draw()


def _colour_pair(draw: Draw) -> tuple[Colour, Colour]:
    """Draw two colours that differ by about 0.35 or more in mean brightness, in random order."""
    first = _colour(draw)
    mean = (first[0] + first[1] + first[2]) / 3
    shift = 0.35 + 0.25 * draw()
    shift = -shift if mean > 0.5 else shift
    tint = (0.2 * draw() - 0.1, 0.2 * draw() - 0.1, 0.2 * draw() - 0.1)
    second = tuple(min(1.0, max(0.0, c + shift + t)) for c, t in zip(first, tint, strict=True))
    pair = (first, (second[0], second[1], second[2]))
    return pair if draw() < 0.5 else (pair[1], pair[0])
