"""What `fnac expand` finds in classifiers of many families: one row a file, as a table.

    python benchmarks/study_families.py FOLDER [-o docs/evidence/families.md]

For every ONNX file in FOLDER: the kinds of blocks, the candidates, how many convolutions are not
searched and the most frequent reason. The super network is built and the seed derived from it: it
must be bit-identical to the prepared seed. The row must stay the same if every node and tensor of
the file is renamed at random first.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
from studies import write_table

from fnac.errors import FnacError
from fnac.passes.blocks.find import find_blocks
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.stored_layers import read_layers
from fnac.passes.super_network.choose import Choose
from fnac.stages.expand import ExpandSettings, mixing_pass, prepare_seed

HEADER = (
    "network",
    "blocks",
    "layers",
    "candidates",
    "left",
    "most frequent reason",
    "seed inside",
)


def renamed(graph: Graph) -> Graph:
    """Return a copy in which every node and tensor has a random name."""
    made = graph.copy()
    rng = np.random.default_rng(0)
    kept: set[int] = set()
    for node in made.nodes:
        node.name = f"n{rng.integers(1 << 40)}"
        for tensor in [*node.inputs, *node.outputs]:
            if id(tensor) not in kept and tensor.name:
                tensor.name = f"t{rng.integers(1 << 40)}"
                kept.add(id(tensor))
    return made.copy()


def found(graph: Graph) -> tuple[str, str, str, str, str]:
    """Return blocks, layers, candidates, left and the most frequent reason as they are printed."""
    structure = find_blocks(graph)
    kinds = Counter(block.kind for stage in structure.searchable for block in stage.blocks)
    layers = [
        la for la in mixing_pass(graph, ExpandSettings()).plan(graph) if len(la.candidates) > 1
    ]
    names = Counter(c.name for layer in layers for c in layer.candidates)
    offered = [name for name, count in names.most_common() if count > 1 or len(layers) == 1]
    why = Counter(re.sub(r"\S*\d\S* \(", "a node (", one) for one in structure.left.values())
    reason = f"{why.most_common(1)[0][0]} ({why.most_common(1)[0][1]})" if why else ""
    blocks = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return blocks, str(len(layers)), " ".join(offered[:8]), str(len(structure.left)), reason


def seed_inside(seed: Graph) -> str:
    """Mix the candidates of a prepared seed, choose its own; say what came out."""
    mixed = seed.copy()
    mixing_pass(seed, ExpandSettings()).run(mixed)
    if not read_layers(mixed.manifest):
        return "no choice"
    Choose().run(mixed)
    before, after = (g.to_model().graph.SerializeToString() for g in (seed, mixed))
    return "bit-identical" if before == after else "not bit-identical: a bug"


def row(path: Path) -> tuple[str, ...]:
    """Return the table's row of one file."""
    name = path.stem.removesuffix(".legdyn")
    manager = PassManager(verify=False)
    try:
        file = Graph.load(path)
        seed = prepare_seed(file.copy(), ExpandSettings(), manager=manager)
        what = found(seed)
        if found(prepare_seed(renamed(file), ExpandSettings(), manager=manager)) != what:
            return (name, *what, "names matter: a bug")
        return (name, *what, seed_inside(seed))
    except FnacError as error:
        return (name, "", "", "", "", str(error).replace(f"{path.parent}/", ""), "")


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    write_table(HEADER, map(row, sorted(given.folder.glob("*.onnx"))), given.output)


if __name__ == "__main__":
    main()
