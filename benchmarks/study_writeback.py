"""Trained in torch, written back, run in onnxruntime: one row a file, as a table.

    python benchmarks/study_writeback.py FOLDER [-o TABLE.md]

Every ONNX classifier in FOLDER takes one SGD step at batch 2 and is written back into its file. Its
outputs in onnxruntime must be those of the trained torch module, and the names of what it stores
those of before. The module is evaluated in float32 and, the same weights, in float64: torch's own
distance between the two says how much of a difference is the network's float noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from studies import write_table
from torch import Tensor

from fnac.errors import FnacError
from fnac.importer import import_onnx, write_back
from fnac.passes.graph import Graph
from fnac.passes.running.run import random_feed, run

LEARNING_RATE = 1e-3
HEADER = (
    "network", "onnxruntime - torch", "onnxruntime - torch float64", "torch - torch float64",
    "names", "changed tensors",
)  # fmt: skip


def row(path: Path) -> tuple[str, ...]:
    """Return the table's row of one file."""
    model = onnx.load(path)
    try:
        graph = Graph.from_model(model)
        module = import_onnx(model).train()
    except FnacError as error:
        return (path.stem, str(error), "", "", "", "")
    feed = random_feed(graph)
    pictures = [torch.from_numpy(array) for array in feed.values()]
    torch.manual_seed(0)
    made = module(*[torch.randn_like(p[:1].expand(2, *p.shape[1:])) for p in pictures])
    outputs = made if isinstance(made, tuple) else (made,)
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= LEARNING_RATE * parameter.grad.clamp(-1, 1)
        trained = _outputs(module.eval()(*pictures))
        back = write_back(module, model)
        exact = _outputs(module.double()(*[picture.double() for picture in pictures]))
    found = list(run(Graph.from_model(back), feed).values())
    pairs_compared = ((found, trained), (found, exact), (trained, exact))
    worst = (f"{_difference(ours, theirs):.1e}" for ours, theirs in pairs_compared)
    before, after = ([t.name for t in m.graph.initializer] for m in (model, back))
    pairs = zip(model.graph.initializer, back.graph.initializer, strict=False)
    changed = sum(a.raw_data != b.raw_data for a, b in pairs)
    return (path.stem, *worst, "same" if before == after else "others", str(changed))


def _outputs(made: Tensor | tuple[Tensor, ...]) -> list[npt.NDArray[Any]]:
    return [output.numpy() for output in (made if isinstance(made, tuple) else (made,))]


def _difference(ours: list[npt.NDArray[Any]], theirs: list[npt.NDArray[Any]]) -> float:
    """Return the largest difference, as a part of the largest output."""
    return max(
        float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))
        for a, b in zip(ours, theirs, strict=True)
    )


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    write_table(HEADER, map(row, sorted(given.folder.glob("*.onnx"))), given.output)


if __name__ == "__main__":
    main()
