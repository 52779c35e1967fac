"""Pre-train the bundled seed, a MobileNetV2 of width 0.35, on CIFAR-10.

    python -m fnac.models.bundled.train CIFAR10_FOLDER --work FOLDER      # 30 minutes of one core
    python benchmarks/export_bundled_seed.py CIFAR10_FOLDER --work FOLDER   # writes the ONNX file

CIFAR10_FOLDER holds ``cifar10_train_jpeg.npz`` and ``cifar10_test_jpeg.npz``: the JPEG bytes of
image i are ``header + data[offsets[i]:offsets[i + 1]]``. Images of 32x32 are shown at 48x48 and
then 64x64, so that the network keeps its ordinary strides and its features serve dense tasks on
small images. One checkpoint an epoch (``last.pt``); the same command continues from it.
"""

from __future__ import annotations

import argparse
import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fnac.models.seeds.mbconv import MBConvNet
from fnac.models.seeds.tables import MOBILENETV2

logger = logging.getLogger("train")

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
EVAL_SIZE = 64
"""Height and width in pixels at which the accuracy is stated."""


@dataclass(frozen=True)
class Settings:
    """One line each: the network, then the schedule, then the augmentation."""

    width: float = 0.35
    last: int = 512  # channels of the last 1x1 convolution; 1280 would be most of the file
    epochs: int = 28
    small_epochs: int = 14  # first epochs at 48x48, the others at 64x64
    batch_size: int = 128
    learning_rate: float = 0.15  # peak; linear warm-up, then a half cosine to 0
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 1e-4  # on convolution and linear weights only
    label_smoothing: float = 0.05
    zoom: tuple[float, float] = (0.7, 1.1)  # side of the window shown, in image sides
    shift: float = 0.15  # largest shift of the window's centre, in half image sides
    colour: float = 0.25  # largest relative change of brightness and of contrast
    seed: int = 0


def load_images(file: Path) -> tuple[Tensor, Tensor, list[str]]:
    """Decode one packed file: uint8 (N, 3, 32, 32), int64 labels (N,), class names."""
    packed = np.load(file)
    header, data, offsets = packed["header"].tobytes(), packed["data"].tobytes(), packed["offsets"]
    count = len(offsets) - 1
    images = np.empty((count, 32, 32, 3), np.uint8)
    for i in range(count):
        jpeg = header + data[offsets[i] : offsets[i + 1]]
        images[i] = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    labels = torch.from_numpy(packed["labels"].astype(np.int64))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return pixels, labels, [str(name) for name in packed["classes"]]


def normalized(images: Tensor) -> Tensor:
    """Turn uint8 (N, 3, H, W) into normalized float32."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images.float() / 255 - mean) / std


def upsampled(images: Tensor, size: int = EVAL_SIZE) -> Tensor:
    """Turn uint8 (N, 3, H, W) into what the network is tested on: (N, 3, size, size)."""
    return F.interpolate(normalized(images), (size, size), mode="bilinear", align_corners=False)


def augmented(images: Tensor, size: int, settings: Settings, rng: torch.Generator) -> Tensor:
    """Show a random window of each image, half of them mirrored, colours varied: (N, 3, s, s)."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    zoom = uniform(*settings.zoom)
    mirror = (torch.rand(n, generator=rng) < 0.5).float() * -2 + 1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
    for axis in (0, 1):
        room = (1 - zoom).clamp(min=settings.shift)
        theta[:, axis, 2] = uniform(-1, 1) * room
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    shown = F.grid_sample(normalized(images), grid, padding_mode="reflection", align_corners=False)
    contrast = 1 + uniform(-settings.colour, settings.colour).view(n, 1, 1, 1)
    brightness = uniform(-settings.colour, settings.colour).view(n, 1, 1, 1)
    return shown * contrast + brightness


def batches(count: int, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of each full batch of one shuffled epoch."""
    yield from torch.randperm(count, generator=rng).split(size)[: count // size]


def learning_rate(settings: Settings, epoch: float) -> float:
    """Linear warm-up to the peak, then a half cosine down to 0."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * epoch / settings.warmup_epochs
    done = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.learning_rate * 0.5 * (1 + float(np.cos(np.pi * min(1.0, done))))


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose highest output is the right class."""
    model.eval()
    right = 0
    for x, y in zip(images.split(500), labels.split(500)):
        x = upsampled(x).contiguous(memory_format=torch.channels_last)
        right += int((model(x).argmax(1) == y).sum())
    return right / len(labels)


def build(settings: Settings, classes: int = 10) -> MBConvNet:
    """Build the network with its random start."""
    torch.manual_seed(settings.seed)
    return MOBILENETV2.scaled(settings.width, settings.last).network(classes)


def train(data: Path, work: Path, settings: Settings, stop_after: int | None = None) -> None:
    """Train, or go on from ``work/last.pt``; ``stop_after`` epochs only, if given."""
    images, labels, classes = load_images(data / "cifar10_train_jpeg.npz")
    test_images, test_labels, _ = load_images(data / "cifar10_test_jpeg.npz")
    model = build(settings, len(classes)).to(memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=True,
    )
    first = 0
    if (work / "last.pt").exists():
        state = torch.load(work / "last.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    steps = len(labels) // settings.batch_size
    for epoch in range(first, min(settings.epochs, stop_after or settings.epochs)):
        size = 48 if epoch < settings.small_epochs else EVAL_SIZE
        rng = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
        model.train()
        started, total = time.monotonic(), 0.0
        for step, index in enumerate(batches(len(labels), settings.batch_size, rng)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, epoch + step / steps)
            x = augmented(images[index], size, settings, rng)
            x = x.contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(
                model(x), labels[index], label_smoothing=settings.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        right = accuracy(model, test_images[:2000], test_labels[:2000])
        logger.info(
            "epoch %d/%d size %d loss %.4f accuracy %.4f (first 2000 test images) %.0f s",
            epoch + 1, settings.epochs, size, total / steps, right, time.monotonic() - started,
        )  # fmt: skip
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch + 1,
            "classes": classes,
        }
        torch.save(state, work / "next.pt")
        (work / "next.pt").replace(work / "last.pt")
    logger.info("accuracy on all test images: %.4f", accuracy(model, test_images, test_labels))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Pre-train the bundled seed on CIFAR-10.")
    parser.add_argument("data", type=Path, help="folder with the two npz files")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    train(arguments.data, arguments.work, Settings(epochs=arguments.epochs))


if __name__ == "__main__":
    main()
