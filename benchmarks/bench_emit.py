"""Emitted model against the exporter's own optimised file of the same network in onnxruntime.

The exporter is torch's newer one where ``onnxscript`` is installed, else the older one with its
folding; the output says which.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import torch
import torchvision

from fnac.inspection.bench import BenchSettings, bench
from fnac.passes.graph import Graph
from fnac.stages.emit import EmitSettings, emit


def main() -> None:
    """Export MobileNetV2 both ways, emit ours, time the two in turn."""
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(weights=None).eval()
    example = torch.randn(1, 3, 224, 224)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        newer = importlib.util.find_spec("onnxscript") is not None
        print(f"exporter.onnx is from torch.onnx.export(dynamo={newer})")
        torch.onnx.export(
            network, (example,), folder / "exporter.onnx", dynamo=newer, verbose=False
        )
        torch.onnx.export(
            network,
            (example,),
            folder / "trainable.onnx",
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
        emit(folder / "trainable.onnx", folder / "emitted.onnx", EmitSettings())
        files = [folder / "exporter.onnx", folder / "emitted.onnx"]
        for file in files:
            print(f"{file.name:16} {len(Graph.load(file).nodes)} nodes")
        for threads in (1, 2):
            found = bench(files, BenchSettings(runs=60, threads=threads))
            print(f"threads {threads}")
            for row in found.rows():
                print("  ", Path(row[0]).name, "min/median/max ms", *row[1:4], "ratio", row[4])


if __name__ == "__main__":
    main()
