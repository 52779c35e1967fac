"""What lies beside an emitted file: a contract, an example that runs alone, a model card."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fnac.stages.deployment.kit import Costs, Measured, write_kit
from fnac.stages.deployment.predict import Predictor, as_picture
from fnac.stages.emit import EmitSettings, emit
from fnac.tasks.answers import Boxes, Classes, Labels, Skeletons
from tests.stages.test_predict import emitted, network

ROOT = Path(__file__).resolve().parents[2]
ALONE = """
import importlib.util, json, pathlib, sys
refused = ("torch", "torchvision", "onnx", "fnac", "scipy", "matplotlib", "yaml")
sys.modules.update({name: None for name in refused})
folder = pathlib.Path(sys.argv[1])
spec = importlib.util.spec_from_file_location("example", folder / sys.argv[3])
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
answer = example.run(pathlib.Path(sys.argv[2]))
if "labels" in answer:
    answer["labels"] = answer["labels"].tolist()
print(json.dumps(answer, default=float))
"""


def run_alone(folder: Path, image: Path, example: str = "example.py") -> dict[str, Any]:
    """Run the example in a process that may import numpy, onnxruntime and Pillow only."""
    words = [sys.executable, "-c", ALONE, str(folder), str(image), example]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def noise(path: Path, height: int, width: int) -> Path:
    """Write smooth noise, which resizing by another library changes little."""
    coarse = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("preprocess", ["outside", "inside"])
@pytest.mark.parametrize("task", ["seg", "det", "pose", "cls"])
def test_the_example_runs_alone_and_says_what_predict_says(
    tmp_path: Path, task: str, preprocess: Any
) -> None:
    model = emitted(tmp_path, task, EmitSettings(preprocess=preprocess))
    image = noise(tmp_path / "image.png", 90, 60)
    found = run_alone(tmp_path, image)
    match Predictor(model)(as_picture(image)):
        case Labels() as wanted:
            assert (np.array(found["labels"]) == wanted.labels).mean() > 0.97
            assert found["names"] == list(wanted.names)
        case Boxes() as wanted:
            for one, box, score in zip(found["boxes"][:3], wanted.boxes, wanted.scores):
                assert one["score"] == pytest.approx(score, abs=0.02)
                assert one["box"] == pytest.approx(box.tolist(), abs=1.0)
        case Skeletons() as wanted:
            places = [[one["x"], one["y"]] for one in found["keypoints"]]
            np.testing.assert_allclose(places, wanted.keypoints[0], atol=1e-6)
            assert [one["name"] for one in found["keypoints"]] == list(wanted.names)
        case Classes() as wanted:
            best = {one["name"]: one["probability"] for one in found["classes"]}
            for i, probability in wanted.best():
                assert best[wanted.names[i]] == pytest.approx(probability, abs=0.02)


def test_the_example_runs_as_it_is_and_draws(tmp_path: Path) -> None:
    emitted(tmp_path, "seg")
    image, drawn = noise(tmp_path / "image.png", 40, 50), tmp_path / "seen.png"
    words = [sys.executable, str(tmp_path / "example.py"), str(image), str(drawn)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "%" in done.stdout
    assert Image.open(drawn).size == (50, 40)
    without = subprocess.run(words[:2], capture_output=True, text=True, check=False)
    assert "usage: python" in without.stderr


def test_the_contract_names_the_file_and_what_goes_in_and_out(tmp_path: Path) -> None:
    model = emitted(tmp_path, "pose")
    stored = json.loads((tmp_path / "model.json").read_text())
    assert stored["model"] == "model.onnx"
    assert stored["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    fed = stored["input"]
    assert (fed["name"], fed["dtype"], fed["layout"], fed["size"]) == (
        "x", "float32", "NCHW", [32, 40],
    )  # fmt: skip
    assert (fed["resize"], fed["window"], fed["assumed"]) == ("window", 1.25, False)
    assert [(one["name"], one["shape"][1:]) for one in stored["outputs"]] == [
        ("keypoints", [5, 2]), ("scores", [5]),
    ]  # fmt: skip
    assert stored["outputs"][0]["unit"] == "pixels of the input"
    assert len(stored["joints"]) == 5


def test_the_card_says_what_a_deployer_asks(tmp_path: Path) -> None:
    model = emitted(tmp_path, "det")
    card = (tmp_path / "README.md").read_text()
    for words in (
        "object detection", "python example.py image.jpg", "Not measured", "multiply-adds",
        "ms an image in onnxruntime", "## Limits", "sha256 of model.onnx", "letterbox",
    ):  # fmt: skip
        assert words in card, words
    assert "assumed" not in card
    measured = Measured("mAP", 12.345, 7, "val", "coco:/data")
    write_kit(model, Costs(1000, 10), measured=measured)
    card = (tmp_path / "README.md").read_text()
    assert "mAP 12.35 on 7 images of the split `val` of `coco:/data`" in card.replace(
        "12.34 ", "12.35 "
    )


def test_kits_of_two_files_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    emitted(tmp_path, "cls")
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    emit(tmp_path / "target.onnx", tmp_path / "half.onnx", EmitSettings(fp16=True))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name in kept} == kept
    image = noise(tmp_path / "image.png", 40, 50)
    one, other = run_alone(tmp_path, image), run_alone(tmp_path, image, "half.example.py")
    assert one["classes"][0]["name"] == other["classes"][0]["name"]
    assert "half.README.md" in {p.name for p in tmp_path.iterdir()}


def test_somebody_elses_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    (tmp_path / "model.json").write_text("{}")
    emitted(tmp_path, "cls")
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    assert (tmp_path / "model.json").read_text() == "{}"
    assert (tmp_path / "model.fnac.README.md").is_file()
    assert run_alone(tmp_path, noise(tmp_path / "image.png", 40, 50))["classes"]


def test_what_was_assumed_is_said_in_the_card(tmp_path: Path) -> None:
    g = network("cls", 3)
    path = g.save(tmp_path / "target.onnx")
    emit(path, tmp_path / "model.onnx", EmitSettings())
    card = (tmp_path / "README.md").read_text()
    assert "nobody stated mean and std: ImageNet's were assumed" in card
    assert json.loads((tmp_path / "model.json").read_text())["input"]["assumed"] is True


def test_the_readmes_snippet_runs(tmp_path: Path) -> None:
    """As printed: with the run that the page speaks of, and an image."""
    page = (ROOT / "README.md").read_text()
    snippet = next(
        block.split("```")[0] for block in page.split("```python\n")[1:] if "model.json" in block
    )
    folder = tmp_path / "runs" / "seg"
    folder.mkdir(parents=True)
    model = emitted(folder, "seg")
    noise(tmp_path / "noise.png", 45, 70)
    Image.open(tmp_path / "noise.png").save(tmp_path / "image.jpg", quality=95)
    program = snippet + "\nnp.save('labels.npy', labels)\n"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    labels = np.load(tmp_path / "labels.npy")[0]
    found = Predictor(model)(as_picture(tmp_path / "image.jpg"))
    assert isinstance(found, Labels)
    rows, columns = (np.arange(45) * 2 + 1) * 32 // 90, (np.arange(70) * 2 + 1) * 40 // 140
    assert (labels[rows][:, columns] == found.labels).mean() > 0.97
