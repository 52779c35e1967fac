"""Detectors as exported: the emitted file finds what torch finds, at any size where it may."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fnac.data.readers.coco import read_coco
from fnac.data.sets.boxes import BoxPicture, box_source
from fnac.data.sets.listed import Listed
from fnac.importer import import_onnx
from fnac.passes.emit.anchors import AnchorSpec
from fnac.passes.graph import Graph
from fnac.passes.running.run import random_feed, run
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.evaluate import Feeding, OnnxNetwork, evaluate_module, evaluate_onnx
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from fnac.tasks import make_task
from fnac.tasks.detection.evaluation import unstacked
from fnac.tasks.settings import DetectionSettings

CLASSES = ("person", "car", "dog")
LOW = 0.004
"""Below what a fresh head gives, so that there are detections to compare."""


def spread(graph: Graph) -> None:
    """Make a fresh head's answers differ: logits by about 1, deltas by about 0.3."""
    values = run(graph, random_feed(graph))
    for output, wanted in zip(graph.outputs, (1.0, 0.3), strict=True):
        factor = np.float32(wanted / values[output.name].std())
        last, reached = [output], set()
        while last:
            node = graph.producer(last.pop())
            if node is None:
                continue
            if node.op == "Conv":
                if id(node.inputs[1]) not in reached:  # the levels share their weights
                    reached.add(id(node.inputs[1]))
                    node.inputs[1].values = node.inputs[1].values * factor
            else:
                last += node.inputs[:1] if node.op != "Concat" else node.inputs


def in_both(found: Any, wanted: Any) -> float:
    """The share of detections that the other side has as well: label, box and score."""
    rows = found["labels"][0] >= 0, wanted["labels"][0] >= 0
    assert min(int(r.sum()) for r in rows) >= 20
    (a, b), names = rows, ("boxes", "scores", "labels")
    boxes, scores, labels = ((found[n][0][a][:, None], wanted[n][0][b][None]) for n in names)
    same = (boxes[0] - boxes[1]).abs().amax(dim=2) < 1e-2
    same &= ((scores[0] - scores[1]).abs() < 1e-5) & (labels[0] == labels[1])
    return min(float(same.any(dim=axis).float().mean()) for axis in (0, 1))


@pytest.mark.parametrize(
    ("head", "size", "resize"),
    [("ssdlite", (96, 128), "stretch"), ("retinanet", (64, 96), "sides")],
)
def test_the_emitted_file_finds_what_torch_finds(
    tmp_path: Path, shared_data: Path, head: str, size: tuple[int, int], resize: str
) -> None:
    settings = ExportSettings(
        "mobilenetv2_w0.35", "none", size=size, task="det", head=head, classes=len(CLASSES)
    )
    graph = export_seed(settings)
    spread(graph)
    manifest = graph.manifest
    assert AnchorSpec.read(manifest["anchors"]).count(size) == graph.outputs[0].shape[1]
    source = read_coco(shared_data / "fixtures" / "coco", classes=CLASSES)
    task = make_task(
        "det", source, manifest, DetectionSettings(resize=resize, score=LOW, candidates=9999)
    )
    module = import_onnx(graph.to_model()).eval()
    emitting = EmitSettings(score=LOW, candidates=9999, any_size=resize == "sides")
    path = emit(graph.save(tmp_path / "m.onnx"), tmp_path / "model.onnx", emitting).path
    network, transform = OnnxNetwork(path), task.eval_transform(size, manifest)
    dataset, shapes = source.split("val"), set()
    objects: list[BoxPicture] = []
    rng = np.random.default_rng(0)

    def raw(images: torch.Tensor) -> Any:
        return dict(zip(task.output_names, module(images), strict=True))

    for index in (0, 1, 5):
        images, _ = task.collate([transform(*dataset[index])])
        shapes.add(tuple(images.shape[2:]))
        with torch.inference_mode():
            wanted, found = task.predict(raw, images), task.predict(network, images)
        shared = in_both(found, wanted)
        # a fresh head's scores lie close together: rounding may change who suppresses whom
        assert shared > 0.95, shared
        # what torch finds first, moved a little, is what there is to find in the measurement below
        whole = dataset.info(index)
        answers = unstacked(wanted, task.fit(size, manifest), [whole.size])[0]
        boxes = answers.boxes[:8]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        moved = boxes + rng.uniform(-0.12, 0.12, boxes.shape) * sides
        rows = np.column_stack([moved, answers.labels[:8]]).astype(np.float32)
        areas = sides[:, 0] * sides[:, 1]
        objects.append(dataclasses.replace(whole, boxes=rows, areas=areas, ignored=rows[:0]))
    assert (len(shapes) > 1) == (resize == "sides")
    # one by one: in a batch, images of several sizes are padded to the largest
    kwargs: dict[str, Any] = {"split": "val", "size": size, "feeding": Feeding(shown=False)}
    made = box_source("made", tmp_path, CLASSES, {"val": lambda: Listed(tuple(objects))})
    by_torch = evaluate_module(module, made, task, manifest=manifest, **kwargs)
    by_file = evaluate_onnx(path, made, task, **kwargs)
    assert 20 < by_torch.value < 99
    assert by_file.value == pytest.approx(by_torch.value, abs=0.2)  # mAP within 0.002
    assert by_file.extra.keys() == by_torch.extra.keys()
