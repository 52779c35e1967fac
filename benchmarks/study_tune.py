"""`fnac tune` against a plain torch script: MobileNetV2 + DeepLabv3 on CamVid at 180x240.

    python benchmarks/study_tune.py WEIGHTS.safetensors CAMVID [--epochs 12] [--random-seed 0]
    python benchmarks/study_tune.py WEIGHTS.safetensors CAMVID --rounds 3 --epochs 2

The script is what one writes without fnac: torchvision's MobileNetV2 (output stride 16 by
dilation), all images held in memory, SGD 0.01 (head 0.05), momentum 0.9, weight decay 5e-4, poly
0.9, flips; its validation mIoU is printed. With ``--rounds`` this script and ``fnac tune`` run in
turn as whole commands from the same ImageNet weights, and their seconds are compared pair by pair.
``OMP_NUM_THREADS=1`` gives the acceptance test's one thread; WEIGHTS in torchvision's layout.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from pairs import in_turn, say
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassJaccardIndex
from torchvision.models import mobilenet_v2

from fnac.models.heads.deeplabv3 import DeepLabV3Head

SIZE, BATCH, CLASSES = (180, 240), 8, 11
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Network(nn.Module):
    """Torchvision's MobileNetV2 at output stride 16 with DeepLabv3's head."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        net = mobilenet_v2()
        net.load_state_dict(load_file(weights))
        self.backbone = net.features[:18]
        for block in self.backbone[14:]:
            depthwise = block.conv[1][0]
            if depthwise.stride == (2, 2):
                depthwise.stride = (1, 1)
            else:
                depthwise.dilation = depthwise.padding = (2, 2)
        self.head = DeepLabV3Head(320, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, classes, H, W)."""
        logits: Tensor = self.head(self.backbone(image), image)
        return logits


def read(root: Path, split: str) -> tuple[Tensor, Tensor]:
    """Return images (N, 3, H, W), normalized, and masks (N, H, W), void 255."""
    pictures, masks = [], []
    height, width = SIZE
    for name in (root / f"{split}.txt").read_text().split():
        picture = Image.open(root / "images" / split / f"{name}.jpg").convert("RGB")
        mask = Image.open(root / "labels" / split / f"{name}.png")
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        pictures.append(torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255)
        small = mask.resize((width, height), Image.Resampling.NEAREST)
        masks.append(torch.from_numpy(np.array(small)).long())
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    labels = torch.stack(masks)
    return (torch.stack(pictures) - mean) / std, labels.where(labels < CLASSES, 255)


def train(weights: Path, camvid: Path, epochs: int, seed: int) -> float:
    """Train and return the validation mIoU in percent."""
    torch.manual_seed(seed)
    net = Network(weights).train()
    pictures, masks = read(camvid, "train")
    groups = [{"params": net.backbone.parameters()}, {"params": net.head.parameters(), "lr": 0.05}]
    optimizer = torch.optim.SGD(groups, 0.01, momentum=0.9, weight_decay=5e-4)
    total = epochs * (len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: (1 - s / total) ** 0.9)
    for epoch in range(epochs):
        start = time.perf_counter()
        order = torch.randperm(len(pictures))
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            flipped = torch.rand(BATCH) < 0.5
            x, y = pictures[batch], masks[batch]
            x = torch.where(flipped.view(-1, 1, 1, 1), x.flip(-1), x)
            y = torch.where(flipped.view(-1, 1, 1), y.flip(-1), y)
            loss = functional.cross_entropy(net(x), y, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: {seconds:.1f} s, loss {loss.item():.3f}", flush=True)
    metric = MulticlassJaccardIndex(CLASSES, ignore_index=255)
    pictures, masks = read(camvid, "val")
    net.eval()
    with torch.no_grad():
        for x, y in zip(pictures.split(BATCH), masks.split(BATCH), strict=True):
            metric.update(net(x).argmax(1), y)
    return 100 * float(metric.compute())


def compare(weights: Path, camvid: Path, epochs: int, rounds: int) -> None:
    """Run the script and ``fnac tune`` in turn, each with one evaluation at its end."""
    command = [sys.executable, "-m", "fnac.cli"]
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "seed.onnx"
        export = ["--task", "seg", "--head", "deeplabv3", "--classes", str(CLASSES)]
        export += ["--size", f"{SIZE[0]}x{SIZE[1]}", "--weights", str(weights), "-o", str(network)]
        subprocess.run([*command, "export", "mobilenetv2", *export], check=True)
        tuned = [*command, "tune", str(network), "--task", "seg", "--data", f"camvid:{camvid}"]
        for key, value in {
            "epochs": epochs, "eval_every": epochs, "batch_size": BATCH, "optimizer": "sgd",
            "lr": 0.01, "head_lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "decay_bn": "true",
            "schedule": "poly", "poly_power": 0.9, "scale": "[1.0, 1.0]", "flip": "true",
        }.items():  # fmt: skip
            tuned += ["--set", f"tune.{key}={value}"]
        alone = [sys.executable, __file__, str(weights), str(camvid), "--epochs", str(epochs)]
        number = itertools.count()

        def ours() -> None:
            out = str(Path(folder) / f"run{next(number)}")
            subprocess.run([*tuned, "-o", out], check=True, stderr=subprocess.DEVNULL)

        say(
            in_turn(
                {"plain torch": lambda: subprocess.run(alone, check=True), "fnac tune": ours},
                rounds,
                warmup=0,
            ),
            "plain torch",
        )


def main() -> None:
    """Train, or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--random-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, help="compare with fnac tune, so many pairs")
    given = parser.parse_args()
    if given.rounds:
        compare(given.weights, given.camvid, given.epochs, given.rounds)
        return
    value = train(given.weights, given.camvid, given.epochs, given.random_seed)
    print(f"mIoU {value:.2f} (torch), seed {given.random_seed}")


if __name__ == "__main__":
    main()
