"""Networks whose BatchNormalization was folded against the same with theirs: one row each.

    python benchmarks/study_restored.py FOLDER [--folded .dyndyn] [--whole .legdyn] [-o TABLE.md]

FOLDER holds each network twice, ``NAME.dyndyn.onnx`` (exported folded) and ``NAME.legdyn.onnx``. Of
both and of the first after ``normalize,restore-batchnorm`` the BatchNormalizations are counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from studies import write_table

from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.registry import parse_pipeline

HEADER = ("network", "its own", "left by folding", "restored", "as many")


def row(folded: Path, whole: Path, name: str) -> tuple[str, ...]:
    """Return the table's row of one network."""
    own = _count(Graph.load(whole))
    graph = Graph.load(folded)
    left = _count(graph)
    PassManager(verify=False).run(parse_pipeline("normalize,restore-batchnorm"), graph)
    restored = _count(graph) - left
    return (name, str(own), str(left), str(restored), "yes" if left + restored == own else "no")


def _count(graph: Graph) -> int:
    return sum(node.op == "BatchNormalization" for node in graph.nodes)


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folded", default=".dyndyn")
    parser.add_argument("--whole", default=".legdyn")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    names = sorted(p.name for p in given.folder.glob(f"*{given.folded}.onnx"))
    rows = (
        row(given.folder / name, given.folder / name.replace(given.folded, given.whole), stem)
        for name in names
        for stem in [name.removesuffix(f"{given.folded}.onnx")]
    )
    write_table(HEADER, rows, given.output)


if __name__ == "__main__":
    main()
