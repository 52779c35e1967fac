"""`fnac tune`: a seed gets its head; a teacher beside labels, and alone on images without any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fnac.cli import run as fnac
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
from fnac.stages.opening.fitting_head import needs_head
from tests.support.data_sets import classes
from tests.support.graphs import graph
from tests.support.super_networks import Squares, tiny_super

QUICK = ["--device", "cpu", "--workers", "0", "--batch", "4", "--epochs", "2"]


@pytest.fixture
def networks(tmp_path: Path) -> tuple[Path, Path]:
    """A network and one with other weights, both for three classes."""
    paths = []
    for seed, name in enumerate(("original", "changed")):
        graph = tiny_super(seed=seed)
        choose(graph, ["k3e1", "k5e1", "skip"])
        paths.append(graph.save(tmp_path / f"{name}.onnx"))
    return paths[0], paths[1]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(10):
        image, _ = Squares(10)[index]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    return folder


def test_images_without_labels_are_enough_with_a_teacher(
    networks: tuple[Path, Path],
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original, changed = networks
    words = ["tune", str(changed), "--data", f"pictures:{pictures}", *QUICK]
    words += ["--teacher", str(original), "--held-out", "0.2", "-o", str(tmp_path / "run")]
    assert fnac([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["error"] < said["start"]
    assert said["curve"][0] == said["start"]
    assert len(said["curve"]) == 3
    healed = Graph.load(said["output"])
    assert healed.manifest["heal"]["curve"] == said["curve"]
    before = Path(said["output"]).read_bytes()
    assert fnac([*words, "--resume", "--json"]) == 0
    assert Path(said["output"]).read_bytes() == before


def test_images_without_labels_want_a_teacher(
    networks: tuple[Path, Path], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fnac(["tune", str(networks[1]), "--data", f"pictures:{pictures}", *QUICK]) == 2
    assert "name the network to learn from (--teacher ORIGINAL.onnx)" in capsys.readouterr().err


def test_a_setting_that_healing_has_not_is_named(
    networks: tuple[Path, Path], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", str(networks[1]), "--data", f"pictures:{pictures}", *QUICK]
    assert fnac([*words, "--teacher", str(networks[0]), "--set", "tune.eval_every=2"]) == 2
    assert "eval_every: no such setting" in capsys.readouterr().err


CLASSIFIER = """(float[batch,3,32,32] x) => (float[batch,4] y)
  <float[8,3,3,3] w, float[8] b, float[4,8] v, float[4] c> {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)  r = Relu(a)
    p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<transB=1>(f, v, c) }"""


@pytest.fixture
def seed_and_classes(tmp_path: Path) -> tuple[Path, str]:
    """A found classifier of four classes, and folders of other classes."""
    return graph(CLASSIFIER).save(tmp_path / "found.onnx"), classes(tmp_path / "data")


def test_a_seed_gets_a_head_for_the_data_set(
    seed_and_classes: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, data = seed_and_classes
    words = ["tune", str(seed), "--task", "cls", "--data", data, *QUICK, "--json"]
    words += ["--set", "tune.scale=1,1"]
    assert fnac([*words, "-o", str(tmp_path / "run")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["head"], said["metric"]) == ("linear", "top-1")
    tuned = Graph.load(said["output"])
    names = json.loads((tmp_path / "run" / "data.json").read_text())["classes"]
    assert tuned.manifest["classes"] == names
    assert tuned.outputs[0].shape[1] == len(names) != 4
    whole = (tmp_path / "run" / "target.onnx").read_bytes()
    assert fnac([*words, "-o", str(tmp_path / "run"), "--resume"]) == 0
    assert (tmp_path / "run" / "target.onnx").read_bytes() == whole
    assert fnac([*words, "-o", str(tmp_path / "again")]) == 0
    again = (tmp_path / "again" / "target.onnx").read_bytes()
    assert again == whole
    capsys.readouterr()
    start = Graph.load(tmp_path / "run" / "start.onnx")
    start.manifest["name"] = "edited"  # the weights are as they were
    start.save(tmp_path / "run" / "start.onnx")
    assert fnac([*words, "-o", str(tmp_path / "run"), "--resume"]) == 6
    assert "start.onnx: it is not as this run left it" in capsys.readouterr().err


def test_a_run_is_not_continued_with_another_network(
    seed_and_classes: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What start.onnx was made of counts, wherever the file lies now."""
    seed, data = seed_and_classes
    words = ["--task", "cls", "--data", data, *QUICK, "-o", str(tmp_path / "run")]
    assert fnac(["tune", str(seed), *words]) == 0
    moved, other = tmp_path / "moved.onnx", tmp_path / "other.onnx"
    moved.write_bytes(seed.read_bytes())
    network = Graph.load(seed)
    weights = next(one for one in network.constants() if one.values.dtype.kind == "f")
    weights.values = weights.values + 1
    network.save(other)
    capsys.readouterr()
    assert fnac(["tune", str(other), *words, "--resume"]) == 2
    assert (
        f"{tmp_path}/run began with {seed}, and {other} is another network"
        in capsys.readouterr().err
    )
    assert fnac(["tune", str(moved), *words, "--resume"]) == 0


def test_a_recipe_says_how_a_seed_is_tuned(
    seed_and_classes: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, data = seed_and_classes
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "expand: {task: cls}\ntune: {steps: 3, batch_size: 4, workers: 0, device: cpu}\n"
    )
    words = ["tune", str(seed), "--data", data, "--recipe", str(recipe), "--json"]
    assert fnac([*words, "-o", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 3


def test_a_seed_without_a_task_is_asked_for_one(
    seed_and_classes: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    seed, data = seed_and_classes
    assert fnac(["tune", str(seed), "--data", data, *QUICK]) == 2
    assert "--task: wanted seg, det, pose or cls" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "names", "wanted"), [("cls", 4, False), ("cls", 3, True), ("seg", 4, True)]
)
def test_a_head_is_needed_where_no_output_fits(task: str, names: int, wanted: bool) -> None:
    assert needs_head(graph(CLASSIFIER), task, names) is wanted


def test_a_classifier_whose_output_declares_no_shape_keeps_its_own_layer() -> None:
    text = """(float[N,3,8,8] x) => (y) <float[2,3,3,3] w>
        { c = Conv(x, w) g = GlobalAveragePool(c) y = Flatten(g) }"""
    assert not needs_head(graph(text), "cls", 2)
    assert needs_head(graph(text), "cls", 3)


def test_the_lines_that_scripts_read_keep_their_names(
    seed_and_classes: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, data = seed_and_classes
    words = ["tune", str(seed), "--task", "cls", "--data", data, *QUICK]
    assert fnac([*words, "--set", "tune.steps=2", "-o", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(":", 1) for line in lines if line.startswith(("loss:", "output:")))
    assert float(told["loss"]) > 0
    assert Path(told["output"].strip()).is_file()
    assert fnac(["emit", told["output"].strip(), "-o", str(tmp_path / "model.onnx")]) == 0
    assert f"output: {tmp_path / 'model.onnx'}" in capsys.readouterr().out.splitlines()
