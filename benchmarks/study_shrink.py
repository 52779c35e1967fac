"""What shrinking leaves of a trained network, nothing trained: its own metric on labelled images.

    python benchmarks/study_shrink.py TUNED.onnx --data camvid:PATH --out FOLDER
        [--shares 0.5 0.25] [--budgets 0.63x 0.44x 0.36x] [--fits 3] [--images 120] [--effort 6]

For each of ``--fits`` sets of training images (evenly spread, each set begins elsewhere): every
block at the same share, fitted (``fit``), by its first channels (``fna``) and by its largest ones
(``l1``: sum of |weights| that read a channel); and ``fnac shrink`` at each budget. Rows are kept in
FOLDER/rows.jsonl as they come: a study that was stopped goes on. A table of means ends it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from fnac.architectures.budget import parse_budget
from fnac.data.spec import open_data
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.remap.eliminate import width_on_grid
from fnac.passes.shrink.answers import Judge
from fnac.passes.shrink.original import Original
from fnac.passes.shrink.sensitivity import Sensitivity
from fnac.passes.shrink.unfitted import first_channels, largest_channels
from fnac.stages.evaluate import Feeding, evaluate_onnx
from fnac.stages.shrink import shrink, split_images
from fnac.stages.shrinking.maker import Maker
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import open_shrinkable
from fnac.tasks import make_task


class Study:
    """One network, its data set, and where rows are kept."""

    def __init__(self, model: Path, data: str, out: Path, settings: ShrinkSettings) -> None:
        self.graph = Graph.load(model)
        self.task_name = str(self.graph.manifest["task"])
        self.source = open_data(data, self.task_name)
        self.task = make_task(self.task_name, self.source, self.graph.manifest)
        self.settings, self.out = settings, out
        self.subject = open_shrinkable(
            self.graph, heads=False, manager=PassManager(verify=not settings.no_verify)
        )
        out.mkdir(parents=True, exist_ok=True)
        self.file = out / "rows.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def images(self, fit: int, fits: int) -> np.ndarray:
        """Return images of the training set, evenly spread, beginning elsewhere for each fit."""
        dataset = self.source.split("train")
        count = min(self.settings.images + self.settings.held_back, len(dataset))
        step = len(dataset) / count
        places = ((np.arange(count) + fit / fits) * step).astype(int)
        size = self.graph.image_size()
        assert size is not None, "the file does not say how large its images are"
        transform = self.task.eval_transform(size, self.graph.manifest)
        images, _ = self.task.collate([transform(*dataset[int(place)]) for place in places])
        return np.asarray(images.numpy())

    def note(self, how: str, fit: int, graph: Graph, error: float | None) -> None:
        """Measure a network and keep a row."""
        path = graph.save(self.out / f"{how.replace(' ', '_')}.{fit}.onnx")
        value = evaluate_onnx(path, self.source, self.task, feeding=Feeding(shown=False)).value
        madds = profile(graph, self.graph.image_size()).madds
        row = {"how": how, "fit": fit, "metric": value, "madds": madds, "error": error}
        self.rows.append(row)
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def known(self, how: str, fit: int) -> bool:
        """Return whether the row is there."""
        return any(row["how"] == how and row["fit"] == fit for row in self.rows)


def same_share(study: Study, share: float, fit: int, images: np.ndarray) -> None:
    """Leave every block the same share, chosen in three ways."""
    subject, settings = study.subject, study.settings
    widths = [width_on_grid(one.count, share, settings.multiple) for one in subject.sets]
    names = [one.name for one in subject.sets]
    if not study.known(f"fit {share:g}", fit):
        fitted, held = split_images(images, settings)
        nothing = [Sensitivity(one.name, one.count, (), np.zeros(1), {}) for one in subject.sets]
        judge = Judge(subject.graph, held, batch=settings.batch)
        original = Original(subject.graph, fitted, batch=settings.batch)
        made = Maker(original, judge, nothing, settings).network(tuple(widths))
        study.note(f"fit {share:g}", fit, _tidy(made.graph), made.error)
    if fit > 0:  # the others look at no image
        return
    if not study.known(f"fna {share:g}", fit):
        first = first_channels(subject.graph, dict(zip(names, widths, strict=True)))
        study.note(f"fna {share:g}", fit, first, None)
    if not study.known(f"l1 {share:g}", fit):
        largest = largest_channels(subject.graph, dict(zip(names, widths, strict=True)))
        study.note(f"l1 {share:g}", fit, largest, None)


def _tidy(graph: Graph) -> Graph:
    graph.cleanup()
    graph.refresh_shapes()
    return graph


def table(study: Study) -> str:
    """Return mean and deviation of each way, in a Markdown table."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in study.rows:
        groups[row["how"]].append(row)
    whole = study.subject.madds
    lines = ["| kept | MAdds | fits | metric | deviation |", "|---|---|---|---|---|"]
    for how, rows in groups.items():
        values = [row["metric"] for row in rows]
        deviation = f"{statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cost = statistics.mean(row["madds"] for row in rows) / whole
        mean = statistics.mean(values)
        lines.append(f"| {how} | {cost:.3f}x | {len(values)} | {mean:.2f} | {deviation} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.25])
    parser.add_argument("--budgets", nargs="*", default=["0.63x", "0.44x", "0.36x"])
    parser.add_argument("--fits", type=int, default=3)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--effort", type=int, default=ShrinkSettings.effort)
    options = parser.parse_args()
    settings = dataclasses.replace(
        ShrinkSettings(), images=options.images, effort=options.effort, no_verify=True
    )
    study = Study(options.model, options.data, options.out, settings)
    if not study.known("original", 0):
        study.note("original", 0, study.graph, None)
    for fit in range(options.fits):
        images = study.images(fit, options.fits)
        for share in options.shares:
            same_share(study, share, fit, images)
        for budget in options.budgets:
            if not study.known(f"shrink {budget}", fit):
                found = shrink(study.graph, images, parse_budget(budget), settings)
                study.note(f"shrink {budget}", fit, found.graph, found.error)
    print(table(study))


if __name__ == "__main__":
    main()
