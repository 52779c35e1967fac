"""Predictions on images of one's own are those that eval measures, in the images' own pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import fnac
from fnac import cli
from fnac.data import open_data
from fnac.data.preprocessing import ASSUMED
from fnac.errors import DataError, UnsupportedGraphError, UsageError
from fnac.passes.graph import Graph
from fnac.stages.deployment.predict import Predictor, as_picture, find_images
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.evaluate import predict_first
from fnac.stages.opening.as_trained import state_training
from fnac.tasks import make_task
from fnac.tasks.answers import Boxes, Classes, Labels, Skeletons
from fnac.tasks.detection.evaluation import unstacked
from fnac.tasks.detection.task import Detection
from fnac.tasks.pose.task import Pose
from tests.support.graphs import graph

SCENES = "scenes:train=1,val=4,size=48"
SIZE = (32, 40)
DETECTOR = """(float[N,3,32,40] x) => (l, d)
    <float[16,3,8,8] w, float[16] b, float[8,3,8,8] v, int64[3] s, int64[3] t>
    { a = Conv<strides = [8, 8]>(x, w, b) k = Transpose<perm = [0, 2, 3, 1]>(a) l = Reshape(k, s)
      e = Conv<strides = [8, 8]>(x, v) f = Transpose<perm = [0, 2, 3, 1]>(e) d = Reshape(f, t) }"""
MAPS = """(float[N,3,32,40] x) => (y) <float[{c},3,4,4] w> {{ y = Conv<strides = [4, 4]>(x, w) }}"""
LOGITS = """(float[N,3,32,40] x) => (y) <float[{c},3,8,8] w>
    {{ a = Conv<strides = [8, 8]>(x, w) b = GlobalAveragePool(a) y = Flatten(b) }}"""


def network(task: str, classes: int) -> Graph:
    rng = np.random.default_rng(0)
    draw: dict[str, Any] = {"w": rng.normal(size=(classes, 3, 4, 4)) / 4}
    if task == "cls":
        draw["w"] = rng.normal(size=(classes, 3, 8, 8))
    text = LOGITS if task == "cls" else MAPS
    if task == "det":
        text, anchors = DETECTOR, 2
        draw = {
            "w": rng.normal(size=(anchors * classes, 3, 8, 8)) / 30,
            "b": np.full(anchors * classes, -1.0),
            "v": rng.normal(size=(8, 3, 8, 8)) / 40,
            "s": [0, -1, classes],
            "t": [0, -1, 4],
        }
        text = text.replace("[16", f"[{anchors * classes}")
    g = graph(text.format(c=classes) if task != "det" else text, values=draw)
    anchors_of = {"levels": [{"stride": 8, "boxes": [[8, 8], [8, 16]]}]}
    g.manifest.update(role="target", task=task, num_classes=classes, size=list(SIZE))
    if task == "det":
        g.manifest.update(anchors=anchors_of, head="retinanet")
    return g


def emitted(
    folder: Path,
    task: str,
    settings: EmitSettings | None = None,
    images: np.ndarray | None = None,
) -> Path:
    """Emit an untrained network for the built-in scenes, fed as its task feeds it."""
    source = open_data(SCENES, task)
    g = network(task, len(source.classes))
    state_training(g, make_task(task, source, g.manifest), mean="tf")
    path = g.save(folder / "target.onnx")
    return emit(path, folder / "model.onnx", settings or EmitSettings(), images=images).path


@pytest.mark.parametrize("task", ["seg", "det", "pose", "cls"])
@pytest.mark.parametrize("raw", [False, True])
def test_predictions_are_those_that_eval_measures(tmp_path: Path, task: str, raw: bool) -> None:
    model = emitted(tmp_path, task, EmitSettings(no_postprocess=raw))
    source = open_data(SCENES, task)
    dataset = source.split("val")
    kind = make_task(task, source, Graph.load(model).manifest)
    outputs, size = predict_first(model, kind, dataset, 4)
    assert size == SIZE
    predictor = Predictor(model)
    for index, output in enumerate(outputs):
        image, target = dataset[index]
        picture = image.permute(1, 2, 0).numpy()
        height, width = picture.shape[:2]
        match predictor(picture):
            case Labels() as found:
                assert found.names == tuple(source.classes)
                assert found.labels.shape == (height, width)
                ids = next(iter(output.values()))
                ids = (
                    torch.nn.functional.interpolate(ids, SIZE, mode="bilinear").argmax(1)
                    if raw
                    else ids
                )
                rows = [(2 * i + 1) * SIZE[0] // (2 * height) for i in range(height)]
                cols = [(2 * i + 1) * SIZE[1] // (2 * width) for i in range(width)]
                np.testing.assert_array_equal(found.labels, ids[0].numpy()[rows][:, cols])
                assert len(np.unique(found.labels)) > 1
            case Boxes() as found:
                assert isinstance(kind, Detection)
                fit = kind.fit(size, Graph.load(model).manifest)
                wanted = unstacked(output, fit, [(height, width)])[0]
                np.testing.assert_array_equal(found.boxes, wanted.boxes)
                np.testing.assert_array_equal(found.scores, wanted.scores)
                assert len(found.boxes) > 3
                assert found.boxes[:, 2].max() <= width
            case Classes() as found:
                wanted_best = int(next(iter(output.values()))[0].argmax())
                assert found.best()[0][0] == wanted_best
                assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
            case Skeletons():
                assert isinstance(kind, Pose)
                (cx, cy), (wide, high) = target[-2:, :2].tolist()
                half = (wide / 2.5, high / 2.5)
                box = (
                    cx + 0.5 - half[0],
                    cy + 0.5 - half[1],
                    cx + 0.5 + half[0],
                    cy + 0.5 + half[1],
                )
                person = predictor(picture, [box])
                assert isinstance(person, Skeletons)
                joints, _ = kind.decoded(output, size, "model")
                factor = min(SIZE[1] / wide, SIZE[0] / high)
                middle = np.array([SIZE[1] / 2, SIZE[0] / 2])
                back = (joints[0].numpy() + 0.5 - middle) / factor + [cx + 0.5, cy + 0.5] - 0.5
                np.testing.assert_allclose(person.keypoints[0], back, atol=1e-3)


def test_without_a_box_the_whole_image_is_one_person(tmp_path: Path) -> None:
    predictor = Predictor(emitted(tmp_path, "pose"))
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    whole = predictor(picture)
    assert isinstance(whole, Skeletons)
    # 64x80 is twice 32x40: the middle of a cell of 4 pixels there is one of 8 here, + quarters
    assert whole.keypoints.shape == (1, 5, 2)
    assert ((whole.keypoints + 0.5) % 1 == 0).all()
    assert whole.as_json()["keypoints"][0]["joints"][0].keys() == {"name", "x", "y", "score"}


@pytest.mark.parametrize("task", ["seg", "det", "pose", "cls"])
def test_answers_can_be_drawn_and_written(tmp_path: Path, task: str) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    answer = Predictor(emitted(tmp_path, task))(picture)
    drawn = answer.draw(picture)
    assert min(drawn.size) >= 320
    assert len(drawn.getcolors(1 << 24) or ()) > 20
    assert answer.in_words()
    assert list(answer.as_json()) == [
        {"seg": "labels", "det": "boxes", "pose": "keypoints", "cls": "classes"}[task]
    ]
    if isinstance(answer, Labels):
        np.testing.assert_array_equal(np.array(answer.mask()), answer.labels)
        shares = [one["share"] for one in answer.as_json()["labels"]]
        assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_a_file_that_does_not_say_enough_is_asked_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    g = network("cls", 3)
    g.manifest.clear()
    found = g.save(tmp_path / "found.onnx")
    with pytest.raises(UsageError, match="does not say its task; add --task"):
        Predictor(found)
    answer = Predictor(found, task="cls")(np.zeros((9, 9, 3), np.uint8))
    assert [record.message for record in caplog.records] == [ASSUMED]
    assert isinstance(answer, Classes)
    assert set(answer.names) == {"class 0", "class 1", "class 2"}
    model = emitted(tmp_path, "cls")
    with pytest.raises(UsageError, match="is for cls; leave --task out"):
        Predictor(model, task="seg")
    with pytest.raises(UsageError, match="boxes of persons are for pose"):
        Predictor(model)(np.zeros((9, 9, 3), np.uint8), [(0, 0, 1, 1)])
    with pytest.raises(UsageError, match=r"wanted uint8 \(H, W, 3\)"):
        Predictor(model)(np.zeros((9, 9), np.uint8))
    g.manifest["role"] = "super"
    g.manifest["layers"] = [{"name": "a", "candidates": [{"name": "k3", "madds": 1, "params": 1}]}]
    with pytest.raises(UnsupportedGraphError, match="derive a network first"):
        Predictor(g.save(tmp_path / "super.onnx"))


def test_images_are_found_in_folders_and_by_patterns(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / "in" / name)
    a, b = tmp_path / "in" / "a.jpg", tmp_path / "in" / "b.png"
    assert find_images([str(tmp_path / "in")]) == [a, b]
    assert find_images([str(b), str(tmp_path / "in" / "*")]) == [b, a]
    with pytest.raises(UsageError, match=r"none.png: no such file or folder"):
        find_images([str(tmp_path / "none.png")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        find_images([str(tmp_path / "empty")])
    assert as_picture(str(b)).tolist() == as_picture(Image.open(b)).tolist()


def test_the_same_numbers_come_from_onnxruntime_alone(tmp_path: Path) -> None:
    """The contract's words, spelled out in numpy for an image of the network's own size."""
    model = emitted(tmp_path, "seg")
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    answer = Predictor(model)(picture)
    pixels = ((picture.astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    assert isinstance(answer, Labels)
    same = answer.labels == session.run(None, {"x": pixels})[0][0]
    assert same.mean() > 0.999  # one rounding more or less may tip a tie


def test_the_command_writes_json_and_drawings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = emitted(tmp_path, "seg")
    for name in ("one.png", "two.png"):
        noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"not an image")
    asked = ["predict", str(model), str(tmp_path / "*.png")]
    assert cli.run(asked) == 6
    assert "broken.png" in capsys.readouterr().err
    assert cli.run([*asked, "--skip-bad", "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(one["path"]).name for one in found["pictures"]] == ["one.png", "two.png"]
    first = found["pictures"][0]
    assert first["size"] == [20, 30]
    assert sum(one["pixels"] for one in first["labels"]) == 600
    mask = np.array(Image.open(first["mask"]))
    assert mask.shape == (20, 30)
    assert np.bincount(mask.ravel())[first["labels"][0]["id"]] == first["labels"][0]["pixels"]
    assert Path(first["drawn"]).is_file()
    assert cli.run(["predict", str(model), str(tmp_path / "one.png")]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{tmp_path / 'one.png'}: {first['labels'][0]['name']} ")
    assert cli.run(["predict", str(model), str(tmp_path / "one.png"), "--box", "1,2,3"]) == 2


def test_networks_in_python_predict(tmp_path: Path) -> None:
    model = emitted(tmp_path, "det")
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    network_found = fnac.load(model)
    answers = [
        network_found.predict(given)
        for given in (picture, tmp_path / "one.png", Image.fromarray(picture))
    ]
    wanted = Predictor(model)(picture).as_json()
    assert wanted["boxes"]
    assert [answer.as_json() for answer in answers] == [wanted] * 3


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """NaN would become class 0 of an arg-max, or JSON that no reader takes."""
    weights = np.full((2, 3, 8, 8), np.nan, np.float32)
    path = graph(LOGITS.format(c=2), values={"w": weights}).save(tmp_path / "nan.onnx")
    with pytest.raises(UnsupportedGraphError, match="output y holds NaN; wanted numbers"):
        Predictor(path, task="cls")(np.zeros((32, 40, 3), np.uint8))


def test_networks_of_grey_images_are_named(tmp_path: Path) -> None:
    text = LOGITS.format(c=2).replace("[N,3,", "[N,1,").replace("[2,3,", "[2,1,")
    path = graph(text).save(tmp_path / "grey.onnx")
    with pytest.raises(UnsupportedGraphError, match=r"has 1 channel; images have 3 \(RGB\)"):
        Predictor(path, task="cls")
