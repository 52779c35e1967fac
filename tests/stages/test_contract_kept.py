"""What a network was trained with is what its file says, and what is emitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from fnac.adaptation.single_stages import run_eval
from fnac.data import open_data
from fnac.data.preprocessing import (
    ASSUMED,
    parse_stated,
    preprocessing,
    preprocessing_findings,
    state_preprocessing,
)
from fnac.data.sets.joints import LSP
from fnac.data.transforms.boxes import Fit
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import BOX_LABELS, BOX_SCORES, BOXES, LABELS, Contract
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.opening.as_trained import state_training
from fnac.stages.tune import tune
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import make_task
from fnac.tasks.base import Task
from fnac.tasks.classification import Classification
from fnac.tasks.detection.task import Detection
from fnac.tasks.pose.task import Pose
from fnac.tasks.segmentation import Segmentation
from fnac.tasks.settings import DetectionSettings
from tests.stages.test_evaluate import MANIFEST, write_model
from tests.stages.test_tune_stage import BASE, target
from tests.support.graphs import graph
from tests.support.super_networks import CLASSES, SquaresSource

DETECTOR = """(float[N,3,32,40] x) => (l, d)
    <float[4,3,8,8] w, float[4] b, float[8,3,8,8] v, int64[3] s, int64[3] t>
    { a = Conv<strides = [8, 8]>(x, w, b) k = Transpose<perm = [0, 2, 3, 1]>(a) l = Reshape(k, s)
      e = Conv<strides = [8, 8]>(x, v) f = Transpose<perm = [0, 2, 3, 1]>(e) d = Reshape(f, t) }"""


def detector(**manifest: object) -> Graph:
    g = graph(DETECTOR, values={"s": [0, -1, 2], "t": [0, -1, 4]})
    anchors = {"levels": [{"stride": 8, "boxes": [[8, 8], [8, 16]]}]}
    head = {"role": "target", "task": "det", "head": "retinanet", "num_classes": 2}
    g.manifest.update({**head, "anchors": anchors, **manifest})
    return g


def test_what_was_tuned_at_a_size_is_emitted_at_it(tmp_path: Path) -> None:
    """A network for 12x12 images, tuned at 20x16."""
    model = target(tmp_path / "target.onnx")
    settings = TuneSettings(**{**BASE, "steps": 1, "size": (20, 16)})
    source, task = SquaresSource(), Segmentation(CLASSES)
    tuned = tune(model, source, task, tmp_path / "tuned.onnx", tmp_path / "tune", settings)
    made = Graph.load(emit(tuned.output, tmp_path / "model.onnx", EmitSettings()).path)
    assert made.inputs[0].shape[2:] == [20, 16]
    assert made.outputs[0].shape[1:] == [20, 16]
    found = Contract.read(made.manifest)
    assert found.input.size == (20, 16)
    assert found.classes == CLASSES
    assert found.outputs == ({"name": "labels", **LABELS},)


def test_stated_preprocessing_goes_with_the_network(tmp_path: Path) -> None:
    model = target(tmp_path / "target.onnx")
    settings = TuneSettings(**{**BASE, "steps": 1, "mean": "caffe"})
    source, task = SquaresSource(), Segmentation(CLASSES)
    tuned = tune(model, source, task, tmp_path / "tuned.onnx", tmp_path / "tune", settings)
    found = Contract.read(Graph.load(tuned.output).manifest).input
    assert (found.color, found.assumed) == ("BGR", False)
    assert found.mean == pytest.approx([103.939 / 255, 116.779 / 255, 123.68 / 255])


MAPS = "(float[N,3,12,12] x) => (float[N,{n},12,12] y) <float[{n},3,1,1] w> {{ y = Conv(x, w) }}"
ROWS = """(float[N,3,12,12] x) => (float[N,2] y) <float[2,3,1,1] w>
    { c = Conv(x, w) g = GlobalAveragePool(c) y = Flatten(g) }"""


@pytest.mark.parametrize(
    ("task", "text"),
    [(Segmentation(("a", "b")), MAPS.format(n=2)), (Pose(LSP), MAPS.format(n=14)),
     (Classification(("a", "b")), ROWS)],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_a_file_of_no_task_says_what_it_was_tuned_for(task: Task, text: str) -> None:
    g = graph(text)
    state_training(g, task)
    stated = Contract.read(g.manifest)
    assert (stated.task, stated.classes, g.manifest["head"]) == (task.name, task.names, "own")
    assert g.manifest["num_classes"] == len(task.names)
    assert [one["name"] for one in stated.outputs] == ["y"]
    assert "meaning" in stated.outputs[0]
    task.check_network(g.manifest)
    other = graph(text)
    state_training(
        other, Segmentation(("a", "b")) if task.name == "cls" else Classification(CLASSES)
    )
    assert Contract.read(other.manifest).task is None  # it ends otherwise


def test_a_file_of_no_task_and_other_classes_is_refused(tmp_path: Path) -> None:
    model = graph(MAPS.format(n=4)).save(tmp_path / "found.onnx")
    settings = TuneSettings(**{**BASE, "steps": 1})
    with pytest.raises(UsageError, match="the network has 4 classes; the data set has"):
        tune(model, SquaresSource(), Segmentation(CLASSES), tmp_path / "t.onnx", tmp_path, settings)


def test_a_file_of_no_task_is_evaluated_for_what_it_was_tuned_for(tmp_path: Path) -> None:
    count = len(CLASSES)
    model = graph(MAPS.format(n=count)).save(tmp_path / "found.onnx")
    settings = TuneSettings(**{**BASE, "steps": 1})
    task = Segmentation(CLASSES)
    tuned = tune(model, SquaresSource(), task, tmp_path / "t.onnx", tmp_path / "tune", settings)
    made = Graph.load(emit(tuned.output, tmp_path / "model.onnx", EmitSettings()).path)
    assert Contract.read(made.manifest).outputs == ({"name": "labels", **LABELS},)


def test_an_emitted_detector_says_what_its_rows_mean(tmp_path: Path) -> None:
    path = detector(size=[32, 40]).save(tmp_path / "t.onnx")
    made = Graph.load(emit(path, tmp_path / "m.onnx", EmitSettings(score=0.25)).path)
    assert made.manifest["outputs"] == [
        {"name": "boxes", **BOXES},
        {"name": "scores", **BOX_SCORES, "score_floor": 0.25},
        {"name": "labels", **BOX_LABELS},
    ]


@pytest.mark.parametrize(
    ("stated", "asked", "mode"),
    [
        (None, None, "letterbox"),
        ("stretch", None, "stretch"),
        ("stretch", "letterbox", "letterbox"),
        ("sides", None, "sides"),
    ],
)
def test_a_detector_is_fed_as_its_file_says(stated: str, asked: str, mode: str) -> None:
    g = detector(preprocessing={} if stated is None else {"resize": stated})
    source = SquaresSource()
    task = make_task("det", source, g.manifest, DetectionSettings(resize=asked))  # type: ignore
    assert isinstance(task, Detection)
    assert task.fit((32, 40), g.manifest) == Fit((32, 40), mode)  # type: ignore[arg-type]
    state_training(g, task)
    assert Contract.read(g.manifest).input.resize == mode


def test_images_of_two_sides_leave_the_networks_size_as_it_is() -> None:
    g = detector(size=[32, 40])
    task = Detection(("a", "b"), DetectionSettings(resize="sides"))
    state_training(g, task, (48, 80))
    found = Contract.read(g.manifest).input
    assert (found.size, found.sides, found.resize) == ((32, 40), (48, 80), "sides")
    assert g.inputs[0].shape[2:] == [32, 40]


def test_a_pose_network_knows_joints_limbs_and_window() -> None:
    g = graph("(float[N,3,32,32] x) => (y) <float[14,3,1,1] w> { y = Conv(x, w) }")
    state_training(g, Pose(LSP))
    found = Contract.read({**g.manifest, "task": "pose"})
    assert (found.input.resize, found.input.window) == ("window", 1.25)
    assert found.classes == LSP.names
    assert found.limbs == LSP.limbs


def test_what_is_assumed_is_written_down_and_found() -> None:
    manifest: dict[str, object] = {"size": [8, 8]}
    state_preprocessing(manifest, None, None)
    assert Contract.read(manifest).input.assumed
    assert [str(one) for one in preprocessing_findings(manifest)] == [ASSUMED]
    state_preprocessing(manifest, "tf", None)
    assert preprocessing(manifest) == ((0.5,) * 3, (0.5,) * 3, "RGB")
    assert preprocessing_findings(manifest) == ()


def test_another_preprocessing_than_the_file_states_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Measured with it, a network loses points, and nothing else says why."""
    manifest: dict[str, object] = {"size": [8, 8]}
    state_preprocessing(manifest, None, None)
    state_preprocessing(manifest, "tf", None)
    state_preprocessing(manifest, "0.5,0.5,0.5", "0.5,0.5,0.5")
    assert not caplog.records, "nobody had stated one, or it is the same"
    state_preprocessing(manifest, "imagenet", None)
    assert "the file states mean 0.5,0.5,0.5, std 0.5,0.5,0.5, RGB; mean 0.485" in caplog.text
    assert preprocessing(manifest)[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("mean", "std", "wanted"),
    [
        (None, None, None),
        ("imagenet", None, (0.485, 0.456, 0.406)),
        (None, "tf", (0.5, 0.5, 0.5)),
        ("tf", "tf", (0.5, 0.5, 0.5)),
        ("0.1, 0.2,0.3", "1,1,1", (0.1, 0.2, 0.3)),
        ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), (0.1, 0.2, 0.3)),
    ],
)
def test_spellings_of_mean_and_std(mean: object, std: object, wanted: object) -> None:
    found = parse_stated(mean, std)  # type: ignore[arg-type]
    assert (None if found is None else found[0]) == wanted


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ("0.5,0.5,0.5", None, "mean and std: one of them was given; wanted both or neither"),
        ("123.7,116.3,103.5", "58.4,57.1,57.4", "pixels of 0 to 255; divide them by 255"),
        ("imagenet", "0.5,0.5,0.5", "imagenet brings mean, std and colour order along"),
        ("imagenet", "tf", "give it alone"),
        ("torch", "0.5,0.5,0.5", "--mean torch: wanted three numbers on pixels / 255, e.g."),
        ("0.5,0.5", "0.5,0.5,0.5", "--mean 0.5,0.5: wanted three numbers"),
        ("0.5,0.5,nan", "0.5,0.5,0.5", "three numbers"),
        ("0,0,0", "1,1,0", "--std 1,1,0: wanted numbers above 0"),
    ],
)
def test_wrong_mean_and_std_are_refused(mean: str, std: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_stated(mean, std)


def test_eval_says_once_that_preprocessing_is_assumed_and_takes_what_is_stated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_model(tmp_path / "m.onnx", manifest=None)
    asked = {"adapt": {"data": "scenes:train=1,val=2,size=48"}, "eval": {"size": (48, 48)}}
    guessed = run_eval(model, asked)
    assert [record.message for record in caplog.records] == [ASSUMED]
    caplog.clear()
    asked["eval"] |= {"mean": (0.5, 0.5, 0.1), "std": (0.1, 0.9, 0.3)}
    assert run_eval(model, asked).per_class != guessed.per_class
    assert caplog.records == []


def test_eval_refuses_data_of_other_classes_and_takes_a_map(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = list(open_data("scenes:train=1,val=2,size=48").classes)
    others = [*own[1:], "horse"]
    manifest = {**MANIFEST, "task": "seg", "num_classes": 8, "classes": others}
    model = write_model(tmp_path / "m.onnx", manifest=manifest)
    asked: dict[str, dict[str, object]] = {"adapt": {"data": "scenes:train=1,val=2,size=48"}}
    with pytest.raises(UsageError, match=r"(?s)other classes.*the file \(8\): .*horse.*the data"):
        run_eval(model, asked)
    found = run_eval(model, {**asked, "eval": {"classes_map": "by-name"}})
    assert list(found.per_class) == others
    assert found.per_class["horse"] is None or found.per_class["horse"] == 0
    assert f"not measured, for the network has no such class: {own[0]}" in caplog.text
    right = write_model(tmp_path / "n.onnx", manifest={**manifest, "classes": own})
    assert list(run_eval(right, asked).per_class) == own


def test_eval_refuses_another_number_of_classes_and_another_task(tmp_path: Path) -> None:
    """A file whose classes have no names still has a number of them, and one task."""
    manifest = {**MANIFEST, "task": "seg", "num_classes": 9}
    model = write_model(tmp_path / "m.onnx", manifest=manifest)
    asked: dict[str, dict[str, object]] = {"adapt": {"data": "scenes:train=1,val=2,size=48"}}
    with pytest.raises(UsageError, match="has 9 classes; the data set has 8"):
        run_eval(model, asked)
    asked["adapt"]["task"] = "cls"
    with pytest.raises(
        UsageError, match=r"m\.onnx: it is for --task seg, as its manifest says; --t"
    ):
        run_eval(model, asked)
