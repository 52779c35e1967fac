"""Small files and data sets that stand for those of a reader: pictures, labels, networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fnac.data import open_data
from fnac.passes.graph import Graph
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.opening.as_trained import state_training
from fnac.tasks import make_task
from tests.models.test_recipes import cityscapes, coco, mpii
from tests.stages.test_predict import network
from tests.support.mbconv_networks import mbconv_network

CAMVID_CLASSES = 11


def picture(path: Path, number: int, height: int = 48, width: int = 48) -> np.ndarray:
    """Draw a bright patch on noise; return which pixels are of the patch, as 0 and 1."""
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 90, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    top, left = generator.integers(4, height // 2), generator.integers(4, width // 2)
    mask[top : top + height // 3, left : left + width // 3] = 1
    pixels[mask == 1] = 150 + 40 * (number % 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return mask


def pictures(folder: Path, count: int = 10) -> None:
    """Write images of two sizes without labels."""
    for number in range(count):
        picture(folder / f"{number}.jpg", number, 48, 48 + 16 * (number % 2))


def street(folder: Path, count: int = 20) -> None:
    """Write a segmentation folder as the tutorial draws it."""
    (folder / "masks").mkdir(parents=True)
    for number in range(count):
        mask = picture(folder / "images" / f"{number}.jpg", number)
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("road\ncar\n")


def flowers(folder: Path, count: int = 6) -> None:
    """Write a folder of two classes, told apart by the brightness of a patch."""
    for number in range(2 * count):
        name = ("rose", "tulip")[number % 2]
        picture(folder / name / f"{number}.jpg", number % 2 + 6 * number)


def camvid(folder: Path, count: int = 8, height: int = 48, width: int = 64) -> None:
    """Write CamVid's layout: 11 classes in stripes."""
    for split in ("train", "val"):
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(count):
            name = f"{split}{number}"
            picture(folder / "images" / split / f"{name}.jpg", number, height, width)
            labels = np.arange(height) * CAMVID_CLASSES // height
            mask = np.repeat(labels[:, None], width, axis=1).astype(np.uint8)
            Image.fromarray(mask).save(folder / "labels" / split / f"{name}.png")
        names = [f"{split}{number}" for number in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(names))


def paper_data(folder: Path) -> None:
    """Write Cityscapes, COCO and MPII in their layouts, six images a split."""
    cityscapes(folder / "cityscapes")
    coco(folder / "coco")
    mpii(folder / "mpii")


def small_seed(noise: float = 0.0) -> Graph:
    """Return a small MobileNetV2 with random weights, a classifier of 32x32 images.

    noise  added to its weights, as a share of their deviation
    """
    graph = mbconv_network([(8, 2, 2), (12, 2, 2), (16, 2, 1)], expansion=4, size=32)
    generator = np.random.default_rng(0)
    for tensor in graph.constants():
        shape = tensor.shape
        if len(shape) > 1:
            spread = (2 / np.prod(shape[1:])) ** 0.5
            values = generator.normal(size=shape) + noise * generator.normal(size=shape)
            tensor.values = (spread * values).astype(np.float32)
        elif tensor.name.endswith((".gamma", ".beta", ".mean")):
            tensor.values = np.full(shape, float(tensor.name.endswith(".gamma")), np.float32)
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            node.attrs["epsilon"] = 1e-5
    graph.manifest.update(size=[32, 32])
    return graph


def seed(path: Path, noise: float = 0.0) -> None:
    """Write the small seed, or one with noise on its weights: a network that lost accuracy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small_seed(noise).save(path)


def tuned(path: Path, spec: str, task: str = "seg") -> None:
    """Write a small network with the classes of a data set, not yet emitted."""
    source = open_data(spec, task)
    graph = network(task, len(source.classes))
    state_training(graph, make_task(task, source, graph.manifest), mean="tf")
    path.parent.mkdir(parents=True, exist_ok=True)
    graph.save(path)


def model(path: Path, spec: str, task: str = "seg") -> None:
    """Write a small emitted network with its contract, example and card."""
    start = path.with_name("start-" + path.name)
    tuned(start, spec, task)
    emit(start, path, EmitSettings())
