"""`fnac tune` with a teacher: beside labels, and alone on images without any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fnac.cli import run as fnac
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
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
