"""Small detectors, segmenters and landmark networks in the spellings of the published ones.

Each function writes the head of one family upon ``Found.backbone`` and returns the outputs; what it
multiplies and stores is counted on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.written_nets import Written

Size = tuple[int, int]
SIZE: Size = (64, 96)
WIDTH = 8
"""Channels of every feature map."""
DEEPEST = 16
"""Stride of the last feature map; fnac's detection heads take features of stride 32 as well."""
CLASSES = 3
ANCHORS = 2


class Found(Written):
    """A network that counts its multiply-adds at ``SIZE`` and its parameters.

    deepest  stride of the last feature map; two searchable blocks for every one from 4 on
    """

    def __init__(self, shape: tuple[int | str, ...], opset: int, deepest: int = DEEPEST) -> None:
        super().__init__(shape, opset)
        self.maps = [at for at in (4, 8, 16, 32) if at <= deepest]
        self.blocks = 2 * len(self.maps)
        self.fixed = all(isinstance(side, int) for side in shape)
        self.madds = self.parameters = 0

    def places(self, stride: int) -> Size:
        """Return the height and width of a feature map."""
        return SIZE[0] // stride, SIZE[1] // stride

    def layer(
        self, x: str, o: int, i: int, k: int, at: int, act: bool = True, g: int = 1, s: int = 1
    ) -> str:
        """Add a convolution with bias whose output is of stride ``at``."""
        weight, bias = self.weight(o, i // g, k, k), self.weight(o)
        height, width = self.places(at)
        self.madds += o * (i // g) * k * k * height * width
        self.parameters += o * (i // g) * k * k + o
        made = self.op("Conv", x, weight, bias, kernel_shape=[k, k], pads=[k // 2] * 4,
                       group=g, strides=[s, s])  # fmt: skip
        return str(self.op("Relu", made) if act else made)

    def constant(self, values: Any) -> str:
        """Store floats that the network computes with; more than one count as parameters."""
        array = np.asarray(values, np.float32)
        if array.size > 1:
            self.parameters += array.size
        return self.keep(array)

    def backbone(self) -> dict[int, str]:
        """Write a stem and inverted residual blocks; return stride -> feature map."""
        x, maps = self.layer("x", WIDTH, 3, 3, 2, s=2), {}
        for at in self.maps:
            for step in (2, 1):
                wide = self.layer(x, 3 * WIDTH, WIDTH, 1, at // step)
                deep = self.layer(wide, 3 * WIDTH, 3 * WIDTH, 3, at, g=3 * WIDTH, s=step)
                narrow = self.layer(deep, WIDTH, 3 * WIDTH, 1, at, act=False)
                x = narrow if step == 2 else str(self.op("Add", narrow, x))
            maps[at] = x
        return maps

    def scales(self) -> list[tuple[int, str]]:
        """Write the backbone; return (stride, feature map) of what a detector reads."""
        return sorted(self.backbone().items())[1:]

    def rows(self, x: str, numbers: int) -> str:
        """Turn (1, A * numbers, H, W) into (1, H * W * A, numbers): one row a box."""
        turned = self.op("Transpose", x, perm=[0, 2, 3, 1])
        if self.fixed:
            return str(self.op("Reshape", turned, self.keep([1, -1, numbers])))
        batch = self.unsqueeze(self.size(x, 0))
        shape = self.op("Concat", batch, self.keep([-1, numbers]), axis=0)
        return str(self.op("Reshape", turned, shape))

    def part(self, x: str, start: int, end: int, axis: int) -> str:
        """Cut a tensor along one axis, as the operator set spells it."""
        if self.opset < 10:
            return str(self.op("Slice", x, axes=[axis], starts=[start], ends=[end]))
        return str(self.op("Slice", x, *(self.keep([n]) for n in (start, end, axis))))

    def grid(self, at: int) -> np.ndarray:
        """Return the cells of a feature map as (1, H * W, 2): x, y."""
        height, width = self.places(at)
        y, x = np.mgrid[:height, :width]
        return np.stack([x, y], -1).reshape(1, -1, 2).astype(np.float32)


Head = Callable[[Found], tuple[str, ...]]


def nanodet(net: Found) -> tuple[str, ...]:
    """Classes as probabilities and distributions of the sides, scale by scale."""
    ends = []
    for at, x in net.scales():
        own = net.layer(net.layer(x, WIDTH, WIDTH, 5, at, g=WIDTH), WIDTH, WIDTH, 1, at)
        both = net.layer(own, CLASSES + 4 * 8, WIDTH, 1, at, act=False)
        scores = net.op("Sigmoid", net.part(both, 0, CLASSES, 1))
        sides = net.part(both, CLASSES, CLASSES + 32, 1)
        ends += [net.rows(scores, CLASSES), net.rows(sides, 32)]
    return tuple(ends)


def nanodet_plus(net: Found) -> tuple[str, ...]:
    """All scales in one tensor, one row a place."""
    ends = []
    for at, x in net.scales():
        both = net.layer(x, CLASSES + 32, WIDTH, 1, at, act=False)
        scores = net.op("Sigmoid", net.part(both, 0, CLASSES, 1))
        joined = net.op("Concat", scores, net.part(both, CLASSES, CLASSES + 32, 1), axis=1)
        ends.append(net.rows(joined, CLASSES + 32))
    return (str(net.op("Concat", *ends, axis=1)),)


def yolo_fastest(net: Found) -> tuple[str, ...]:
    """The maps of every scale, channels last, sigmoid and softmax in place."""
    ends = []
    for at, x in net.scales():
        boxes = net.op("Sigmoid", net.layer(x, 4 * ANCHORS, WIDTH, 1, at, act=False))
        there = net.op("Sigmoid", net.layer(x, ANCHORS, WIDTH, 1, at, act=False))
        names = net.layer(x, CLASSES, WIDTH, 1, at, act=False)
        turned = net.op("Transpose", names, perm=[0, 2, 3, 1])
        last = 3 if net.opset < 13 else -1
        back = net.op("Transpose", net.op("Softmax", turned, axis=last), perm=[0, 3, 1, 2])
        joined = net.op("Concat", boxes, there, back, axis=1)
        ends.append(str(net.op("Transpose", joined, perm=[0, 2, 3, 1])))
    return tuple(ends)


def yolo_decoded(net: Found) -> tuple[str, ...]:
    """Boxes in pixels, from stored cells and anchors: a file of one size."""
    ends = []
    for at, x in net.scales():
        raw = net.layer(x, 5 + CLASSES, WIDTH, 1, at, act=False)
        rows = net.op("Sigmoid", net.rows(raw, 5 + CLASSES))
        moved = net.op("Mul", net.part(rows, 0, 2, 2), net.constant(2.0))
        moved = net.op("Add", moved, net.constant(net.grid(at) - 0.5))
        centre = net.op("Mul", moved, net.constant(float(at)))
        twice = net.op("Mul", net.part(rows, 2, 4, 2), net.constant(2.0))
        square = net.op("Pow", twice, net.keep(2.0, np.float32))
        sides = net.op("Mul", square, net.constant([[[2.0 * at, 3.0 * at]]]))
        rest = net.part(rows, 4, 5 + CLASSES, 2)
        ends.append(net.op("Concat", centre, sides, rest, axis=2))
    return (str(net.op("Concat", *ends, axis=1)),)


def yunet(net: Found) -> tuple[str, ...]:
    """Classes, faces, boxes and five points, each scale and each kind an output."""
    kinds: dict[str, list[str]] = {"class": [], "there": [], "box": [], "points": []}
    for at, x in sorted(net.backbone().items()):
        own = net.layer(net.layer(x, WIDTH, WIDTH, 1, at, act=False), WIDTH, WIDTH, 3, at, g=WIDTH)
        for kind, numbers in zip(kinds, (1, 1, 4, 10), strict=True):
            flat = net.layer(own, numbers, WIDTH, 1, at, act=False)
            deep = net.layer(flat, numbers, numbers, 3, at, act=False, g=numbers)
            rows = net.rows(deep, numbers)
            kinds[kind].append(str(net.op("Sigmoid", rows)) if numbers == 1 else rows)
    return tuple(end for ends in kinds.values() for end in ends)


def ultraface(net: Found) -> tuple[str, ...]:
    """SSD of faces: softmax over two classes, boxes decoded from stored priors."""
    scores, moves, priors = [], [], []
    for at, x in net.scales():
        scores.append(net.rows(net.layer(x, 2 * ANCHORS, WIDTH, 3, at, act=False), 2))
        moves.append(net.rows(net.layer(x, 4 * ANCHORS, WIDTH, 3, at, act=False), 4))
        centres = np.repeat((net.grid(at) + 0.5) * at / (SIZE[1], SIZE[0]), ANCHORS, 1)
        priors.append(np.concatenate([centres, np.full_like(centres, at / 64)], 2))
    stored = np.concatenate(priors, 1)
    found = net.op("Softmax", net.op("Concat", *scores, axis=1), axis=2)
    move = net.op("Concat", *moves, axis=1)
    shift = net.op("Mul", net.part(move, 0, 2, 2), net.constant(0.1))
    shift = net.op("Mul", shift, net.constant(stored[..., 2:]))
    centre = net.op("Add", shift, net.constant(stored[..., :2]))
    grown = net.op("Exp", net.op("Mul", net.part(move, 2, 4, 2), net.constant(0.2)))
    sides = net.op("Mul", grown, net.constant(stored[..., 2:]))
    half = net.op("Div", sides, net.constant(2.0))
    low, high = net.op("Sub", centre, half), net.op("Add", centre, half)
    return str(found), str(net.op("Concat", low, high, axis=2))


def pfld(net: Found) -> tuple[str, ...]:
    """Every scale pooled, joined, and one product that gives the landmarks."""
    maps = net.backbone()
    *early, deepest = maps
    pooled = []
    for at in early:
        height, width = net.places(at)
        mean = net.op("AveragePool", maps[at], kernel_shape=[height, width])
        pooled.append(net.op("Flatten", mean, axis=1))
    pooled.append(net.op("Flatten", net.op("GlobalAveragePool", maps[deepest]), axis=1))
    joined = net.op("Concat", *pooled, axis=1)
    numbers = len(maps) * WIDTH
    net.madds += 10 * numbers
    net.parameters += 10 * numbers + 10
    weight, bias = net.weight(10, numbers), net.weight(10)
    return maps[4], str(net.op("Gemm", joined, weight, bias, transB=1))


def segmenter(net: Found) -> tuple[str, ...]:
    """Logits enlarged to the image, and the classes' probabilities."""
    at, x = net.scales()[-1]
    low = net.layer(x, CLASSES, WIDTH, 1, at, act=False)
    if net.opset < 9:
        large = net.op("Upsample", low, scales=[1.0, 1.0, float(at), float(at)], mode="linear")
    elif net.opset < 11:
        kind = "Upsample" if net.opset == 9 else "Resize"
        large = net.op(kind, low, net.keep([1, 1, at, at], np.float32), mode="linear")
    elif net.fixed:
        empty, sizes = net.keep([], np.float32), net.keep([1, CLASSES, *SIZE])
        large = net.op("Resize", low, empty, empty, sizes, mode="linear",
                       coordinate_transformation_mode="align_corners")  # fmt: skip
    else:
        empty = net.keep([], np.float32)
        whole = net.slice(net.op("Shape", "x"), 2, 4)
        sizes = net.op("Concat", net.slice(net.op("Shape", low), 0, 2), whole, axis=0)
        large = net.op("Resize", low, empty, empty, sizes, mode="linear",
                       coordinate_transformation_mode="half_pixel")  # fmt: skip
    if net.opset < 13:  # over the last axis and what follows it
        turned = net.op("Transpose", large, perm=[0, 2, 3, 1])
        return str(large), str(net.op("Softmax", turned, axis=3))
    return str(large), str(net.op("Softmax", large, axis=1))


def retinanet(net: Found) -> tuple[str, ...]:
    """torchvision's rows: heads shared by the scales, ``view`` and ``permute`` over five axes."""
    ends = []
    weight, bias = net.weight(ANCHORS * CLASSES, WIDTH, 3, 3), net.weight(ANCHORS * CLASSES)
    net.parameters += ANCHORS * CLASSES * (WIDTH * 9 + 1)
    for at, x in net.scales():
        height, width = net.places(at)
        net.madds += ANCHORS * CLASSES * WIDTH * 9 * height * width
        raw = net.op("Conv", x, weight, bias, kernel_shape=[3, 3], pads=[1] * 4)
        if net.fixed:
            shape = net.keep([1, ANCHORS, CLASSES, height, width])
            flat = net.keep([1, -1, CLASSES])
        else:
            batch = net.unsqueeze(net.size(raw, 0))
            sides = [net.unsqueeze(net.size(raw, axis)) for axis in (2, 3)]
            shape = net.op("Concat", batch, net.keep([-1, CLASSES]), *sides, axis=0)
            flat = net.op("Concat", batch, net.keep([-1, CLASSES]), axis=0)
        turned = net.op("Transpose", net.op("Reshape", raw, shape), perm=[0, 3, 4, 1, 2])
        ends.append(net.op("Reshape", turned, flat))
    return (str(net.op("Sigmoid", net.op("Concat", *ends, axis=1))),)


HEADS: dict[str, Head] = {
    "nanodet": nanodet,
    "nanodet-plus": nanodet_plus,
    "yolo-fastest": yolo_fastest,
    "yolo-decoded": yolo_decoded,
    "yunet": yunet,
    "ultraface": ultraface,
    "pfld": pfld,
    "segmenter": segmenter,
    "retinanet": retinanet,
}
STORED_SIZE = ("yolo-decoded", "ultraface", "pfld")
"""What holds numbers of one size of images: cells, priors, windows over a whole map."""


def kept_boxes(net: Found) -> tuple[str, ...]:
    """torchvision's and SSDLite's end: TopK, NonMaxSuppression, the kept rows gathered."""
    at, x = net.scales()[-1]
    scores = net.op("Sigmoid", net.rows(net.layer(x, CLASSES, WIDTH, 1, at, act=False), CLASSES))
    corners = net.rows(net.layer(x, 4, WIDTH, 1, at, act=False), 4)
    turned = net.op("Transpose", scores, perm=[0, 2, 1])
    limits = (net.keep([20]), net.keep([0.5], np.float32), net.keep([0.05], np.float32))
    kept = net.op("NonMaxSuppression", corners, turned, *limits)
    place = net.op("Gather", kept, net.keep(2, np.int64), axis=1)
    return (str(net.op("Gather", corners, place, axis=1)),)


def rows_without_images(net: Found) -> tuple[str, ...]:
    """NanoDet for OpenCV: the rows of all images below each other."""
    ends = []
    for at, x in net.scales():
        raw = net.layer(x, CLASSES, WIDTH, 1, at, act=False)
        flat = net.op("Reshape", raw, net.keep([CLASSES, -1]))
        ends.append(str(net.op("Sigmoid", net.op("Transpose", flat, perm=[1, 0]))))
    return tuple(ends)


def rows_joined(net: Found) -> tuple[str, ...]:
    """YOLO-FastestV2: the rows of two scales, below each other where the images stand."""
    ends = []
    for at, x in net.scales():
        raw = net.layer(x, CLASSES, WIDTH, 1, at, act=False)
        turned = net.op("Transpose", raw, perm=[0, 2, 3, 1])
        ends.append(net.op("Reshape", turned, net.keep([-1, CLASSES])))
    return (str(net.op("Concat", *ends, axis=0)),)


ONE_IMAGE: dict[str, Head] = {
    "kept boxes": kept_boxes,
    "rows without images": rows_without_images,
    "rows joined": rows_joined,
}
"""What answers for one image alone."""
