"""Trained in torch, written back, run in onnxruntime: one row a file, as a table.

    python benchmarks/study_writeback.py FOLDER [-o TABLE.md]

Every ONNX classifier in FOLDER takes one SGD step at batch 2 and is written back into its file. Its
outputs for three pictures in onnxruntime must be those of the trained torch module, and the names
of what it stores those of before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from studies import write_table

from fnac.errors import FnacError
from fnac.importer import import_onnx, write_back
from fnac.passes.graph import Graph
from fnac.passes.verify import random_feed, run

LEARNING_RATE = 1e-3
HEADER = ("network", "largest difference, of the largest output", "names", "changed tensors")


def row(path: Path) -> tuple[str, ...]:
    """Return the table's row of one file."""
    model = onnx.load(path)
    try:
        graph = Graph.from_model(model)
        module = import_onnx(model).train()
    except FnacError as error:
        return (path.stem, str(error), "", "")
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
        trained = module.eval()(*pictures)
    back = write_back(module, model)
    expected = trained if isinstance(trained, tuple) else (trained,)
    found = run(Graph.from_model(back), feed)
    worst = max(
        float(np.abs(ours.numpy() - theirs).max() / max(np.abs(theirs).max(), 1e-12))
        for ours, theirs in zip(expected, found.values(), strict=True)
    )
    before, after = ([t.name for t in m.graph.initializer] for m in (model, back))
    pairs = zip(model.graph.initializer, back.graph.initializer, strict=False)
    changed = sum(a.raw_data != b.raw_data for a, b in pairs)
    return (path.stem, f"{worst:.1e}", "same" if before == after else "others", str(changed))


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    write_table(HEADER, map(row, sorted(given.folder.glob("*.onnx"))), given.output)


if __name__ == "__main__":
    main()
