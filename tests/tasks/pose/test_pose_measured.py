"""One pose network measured three ways: in torch, raw in onnxruntime, and as it is emitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.adaptation.plan import Plan
from fnac.data import DataSource, open_data
from fnac.errors import UsageError
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.evaluate import EvalResult, Feeding, evaluate_module, evaluate_onnx, predict_first
from fnac.tasks import make_task
from fnac.tasks.settings import PoseSettings
from tests.support.graphs import graph
from tests.support.persons import coco_person, write_coco

BODY = """(float[N,3,H,W] x) => (heatmaps) <float[{k},3,4,4] w>
    {{ heatmaps = Conv<strides = [4, 4]>(x, w) }}"""
NAMES = ("left_shoulder", "right_shoulder", "nose")


def network(path: Path, weight: np.ndarray, size: int) -> Path:
    g = graph(BODY.format(k=len(weight)), values={"w": weight})
    g.manifest.update(
        role="target", task="pose", head="simplebaseline", num_classes=len(weight),
        size=[size, size], preprocessing={"mean": [0.5] * 3, "std": [0.25] * 3, "color": "RGB"},
    )  # fmt: skip
    return g.save(path)


def coloured_discs(root: Path) -> DataSource:
    """Persons whose left shoulder is red, right shoulder green, nose blue."""
    persons = []
    for number in range(4):
        spots = [(18 + 3 * number, 20), (40, 25 + number), (30, 35)]
        flat = [value for x, y in spots for value in (x, y, 2)]
        persons.append(
            coco_person(number, keypoints=flat, bbox=[8, 8, 44, 40 + number], area=900.0)
        )
    write_coco(root, persons, "val", names=NAMES)
    for person in persons:
        picture = np.zeros((60, 80, 3), np.uint8)
        rows, columns = np.mgrid[:60, :80]
        for channel, (x, y) in enumerate(zip(person["keypoints"][::3], person["keypoints"][1::3])):
            picture[(columns - x) ** 2 + (rows - y) ** 2 <= 9, channel] = 255
        Image.fromarray(picture).save(root / "images/val" / f"p{person['image_id']}.png")
    return open_data(f"coco-keypoints:{root}", "pose")


def three_ways(target: Path, source: DataSource, limit: int | None = None) -> list[EvalResult]:
    made = emit(target, target.with_name("model.onnx"), EmitSettings()).path
    g = Graph.load(target)
    task = make_task("pose", source, g.manifest)
    module = import_onnx(g.to_model())
    return [
        evaluate_module(
            module,
            source,
            task,
            manifest=g.manifest,
            feeding=Feeding(limit=limit, batch_size=3, shown=False),
        ),
        evaluate_onnx(
            target, source, task, feeding=Feeding(limit=limit, batch_size=4, shown=False)
        ),
        evaluate_onnx(made, source, task, feeding=Feeding(limit=limit, batch_size=2, shown=False)),
    ]


def test_torch_and_emitted_file_agree_on_discs(tmp_path: Path) -> None:
    weight = np.zeros((3, 3, 4, 4))
    weight[[0, 1, 2], [0, 1, 2]] = 1 / 16
    source = coloured_discs(tmp_path)
    target = network(tmp_path / "target.onnx", weight, 64)
    found = three_ways(target, source)
    assert [r.metric for r in found] == ["AP"] * 3
    assert found[0].value > 90
    assert [r.value for r in found] == [found[0].value] * 3
    assert found[1].extra == found[2].extra
    wrong = network(tmp_path / "wrong.onnx", weight[[1, 2, 0]], 64)
    assert three_ways(wrong, source)[2].value < 10


def test_flip_test_in_both_runtimes(tmp_path: Path) -> None:
    """Both runtimes average the same two runs; keypoints cannot be averaged."""
    weight = np.random.default_rng(0).normal(size=(3, 3, 4, 4))
    source = coloured_discs(tmp_path)
    target = network(tmp_path / "target.onnx", weight, 64)
    g = Graph.load(target)
    plain = make_task("pose", source, g.manifest)
    flipped = make_task("pose", source, g.manifest, PoseSettings(flip_test=True))
    module = import_onnx(g.to_model())
    in_torch = evaluate_module(module, source, flipped, manifest=g.manifest)
    in_onnx = evaluate_onnx(target, source, flipped, feeding=Feeding(shown=False))
    assert in_torch.value == in_onnx.value
    assert in_torch.per_class == pytest.approx(in_onnx.per_class, abs=1e-6)
    without = evaluate_onnx(target, source, plain, feeding=Feeding(shown=False))
    assert in_torch.per_class != pytest.approx(without.per_class, abs=1)
    made = emit(target, tmp_path / "model.onnx", EmitSettings()).path
    with pytest.raises(UsageError, match=r"task.flip_test: this file outputs keypoints"):
        evaluate_onnx(made, source, flipped, feeding=Feeding(shown=False))


def test_torch_and_emitted_file_agree_on_the_pack(tmp_path: Path, shared_data: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(14, 3, 4, 4))
    source = open_data(f"lsp:{shared_data / 'lspet_pose'}", "pose")
    found = three_ways(network(tmp_path / "target.onnx", weight, 64), source, limit=40)
    assert found[0].metric == "PCK@0.2"
    assert found[0].images == 40
    assert max(r.value for r in found) - min(r.value for r in found) <= 0.2
    assert 0 < found[0].value < 20  # it knows nothing


def test_pictures_of_the_emitted_file(tmp_path: Path) -> None:
    weight = np.zeros((3, 3, 4, 4))
    weight[[0, 1, 2], [0, 1, 2]] = 1 / 16
    source = coloured_discs(tmp_path)
    target = network(tmp_path / "target.onnx", weight, 64)
    made = emit(target, tmp_path / "model.onnx", EmitSettings()).path
    task, dataset = make_task("pose", source), source.split("val")
    outputs, at = predict_first(made, task, dataset, 2)
    paths = task.pictures(dataset, outputs, tmp_path / "pictures", at, Graph.load(made).manifest)
    assert [p.name for p in paths] == ["prediction_00-p0-100.png", "prediction_01-p1-101.png"]


def test_a_run_that_could_not_be_measured_is_refused_before_it_begins() -> None:
    config = {"adapt": {"task": "pose"}, "task": {"flip_test": True}}
    with pytest.raises(UsageError, match=r"task.flip_test: it averages heatmaps, and the emitted"):
        Plan.of(config)
    plan = Plan.of({**config, "emit": {"no_postprocess": True}})
    assert plan.task == PoseSettings(flip_test=True)
