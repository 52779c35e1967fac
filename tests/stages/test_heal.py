"""Healing: a network that was hurt learns from its original, without labels, to the byte."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fnac.data.readers.picture_folder import read_pictures
from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
from fnac.stages.heal import HealResult, heal, keeps_statistics, rate_share
from fnac.stages.heal_settings import HealSettings
from fnac.stages.tune import TuneSettings, tune
from fnac.tasks.segmentation import Segmentation
from fnac.training.weight_steps import WeightSteps
from tests.support.super_networks import CLASSES, SIZE, Squares, SquaresSource, tiny_super

BASE: dict[str, Any] = {
    "epochs": 6, "batch_size": 4, "lr": 0.01, "workers": 0, "device": "cpu", "held_out": 0.25,
    "checkpoint_every": 3, "log_every": 2, "lr_warmup_steps": 2,
}  # fmt: skip
PICTURES = Squares(16)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt something."""
    folder = tmp_path_factory.mktemp("original")
    graph = tiny_super()
    choose(graph, ["k3e1", "k5e1", "skip"])
    path = graph.save(folder / "target.onnx")
    settings = TuneSettings(
        epochs=8, batch_size=4, lr=0.05, scale=(1.0, 1.0), workers=0, device="cpu"
    )
    tune(path, SquaresSource(), Segmentation(CLASSES), path, folder / "tune", settings)
    return path


def hurt(path: Path, by: float = 1.0) -> Graph:
    """The network with noise on the weights of one layer."""
    graph = Graph.load(path)
    weight = next(c for c in graph.constants() if c.name == "layer1_k5e1_weight")
    noise = np.random.default_rng(0).normal(size=weight.shape) * np.abs(weight.values).mean()
    weight.values = (weight.values + by * noise).astype(np.float32)
    return graph


def run(folder: Path, student: Graph, original: Path, **changed: Any) -> HealResult:
    folder.mkdir(exist_ok=True)
    resume = changed.pop("resume", False)
    settings = HealSettings(**{**BASE, **changed})
    output = folder / "healed.onnx"
    return heal(
        student, original, PICTURES, settings, folder / "heal", output=output, resume=resume
    )


def test_it_heals_without_labels(tmp_path: Path, original: Path) -> None:
    student = hurt(original)
    result = run(tmp_path, student, original)
    assert result.start > 0.1
    assert result.error < 0.5 * result.start
    assert [point.epoch for point in result.curve] == list(range(7))
    assert result.error == min(point.error for point in result.curve)
    healed = Graph.load(tmp_path / "healed.onnx")
    assert [node.name for node in healed.nodes] == [node.name for node in student.nodes]
    assert [c.name for c in healed.constants()] == [c.name for c in student.constants()]
    entry = healed.manifest.pop("heal")
    assert (entry["weights"], entry["error"], entry["start"]) == (
        "best", result.error, result.start
    )  # fmt: skip
    assert healed.manifest == student.manifest
    with (tmp_path / "heal" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["error"]]
    assert [float(row["error"]) for row in rows] == pytest.approx(
        [point.error for point in result.curve]
    )


def test_images_of_several_sizes_heal(tmp_path: Path, original: Path) -> None:
    """As they lie in a folder: each is resized to the network's size."""
    for number, (height, width) in enumerate([(SIZE, SIZE), (40, 56), (32, 24), (50, 50)] * 2):
        noise = np.random.default_rng(number).integers(0, 255, (height, width, 3)).astype("u1")
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    images = read_pictures(tmp_path).split("train")
    settings = HealSettings(**{**BASE, "epochs": 1})
    result = heal(hurt(original), original, images, settings, tmp_path / "heal")
    assert len(result.curve) == 2


def test_it_never_ends_below_its_start(tmp_path: Path, original: Path) -> None:
    """A rate that tears everything down: the weights of the start are written."""
    student = hurt(original, by=0.05)
    result = run(tmp_path, student, original, lr=1.0, follow_error=False, bn="train")
    assert result.curve[-1].error > result.start
    assert result.error == result.start
    assert result.weights["of_step"] == 0
    mine = {c.name: c.values for c in Graph.load(tmp_path / "healed.onnx").constants()}
    for constant in student.constants():
        np.testing.assert_array_equal(mine[constant.name], constant.values, constant.name)


def test_the_last_weights_are_kept_where_that_is_asked_for(tmp_path: Path, original: Path) -> None:
    student = hurt(original, by=0.05)
    result = run(tmp_path, student, original, lr=1.0, follow_error=False, keep="last")
    assert result.error == result.curve[-1].error > result.start
    assert (result.weights["weights"], result.weights["of_step"]) == ("last", 18)


def test_the_original_itself_has_nothing_to_heal(tmp_path: Path, original: Path) -> None:
    result = run(tmp_path, Graph.load(original), original, epochs=1)
    assert result.start == pytest.approx(0, abs=1e-6)
    assert result.error <= result.start


@pytest.mark.parametrize("bn", ["keep", "train"])
def test_statistics_of_bn_are_kept_or_trained(tmp_path: Path, original: Path, bn: str) -> None:
    student = hurt(original)
    result = run(tmp_path, student, original, bn=bn, keep="last", epochs=2)
    before = {c.name: c.values for c in student.constants()}
    after = {c.name: c.values for c in result.graph.constants()}
    same = [np.array_equal(before[name], after[name]) for name in before if name.endswith("_mean")]
    assert all(same) if bn == "keep" else not any(same)
    assert not np.array_equal(before["stem_gamma"], after["stem_gamma"])


@pytest.mark.parametrize("changed", [{}, {"ema": 0.9}, {"patience": 2, "lr": 0.3}])
def test_a_killed_healing_ends_as_an_undisturbed_one(
    tmp_path: Path, original: Path, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    student = hurt(original)
    run(tmp_path / "whole", student, original, **changed)
    step = WeightSteps.step
    for kill_at in (1, 7):
        folder = tmp_path / f"killed{kill_at}"

        def dying(self: Any, number: int, *batch: torch.Tensor, at: int = kill_at) -> torch.Tensor:
            if number == at:
                raise KeyboardInterrupt
            return step(self, number, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(WeightSteps, "step", dying)
            with contextlib.suppress(KeyboardInterrupt):  # patience may have ended it before
                run(folder, student, original, **changed)
                assert "patience" in changed
        run(folder, student, original, resume=True, **changed)
        for name in ("healed.onnx", "heal/metrics.csv"):
            assert (tmp_path / "whole" / name).read_bytes() == (folder / name).read_bytes(), name


def test_patience_ends_a_run_that_goes_nowhere(tmp_path: Path, original: Path) -> None:
    settings = {"lr": 1.0, "follow_error": False, "patience": 2, "epochs": 20}
    result = run(tmp_path, hurt(original, by=0.05), original, **settings)
    assert len(result.curve) == 3
    assert result.weights["steps"] == 6


def test_an_emitted_file_is_healed_in_front_of_its_arg_max(tmp_path: Path, original: Path) -> None:
    def emitted(graph: Graph) -> Graph:
        model = graph.to_model()
        import onnx

        node = onnx.helper.make_node("ArgMax", ["logits"], ["labels"], "labels", axis=1, keepdims=0)
        model.graph.node.append(node)
        del model.graph.output[:]
        shape = ["N", SIZE, SIZE]
        model.graph.output.append(onnx.helper.make_tensor_value_info("labels", 7, shape))
        del model.metadata_props[:]
        return Graph.from_model(model)

    plain, student = emitted(Graph.load(original)), emitted(hurt(original))
    for graph in (plain, student):
        graph.manifest["size"] = [SIZE, SIZE]
    result = heal(student, plain, PICTURES, HealSettings(**BASE), tmp_path)
    assert result.error < 0.5 * result.start
    assert list(result.curve[0].outputs) == ["logits"]
    assert [output.name for output in result.graph.outputs] == ["labels"]


def test_a_teacher_of_other_outputs_is_refused(tmp_path: Path, original: Path) -> None:
    other = Graph.load(original)
    for name in ("head_weight", "head_bias"):
        constant = next(c for c in other.constants() if c.name == name)
        constant.values = constant.values[:2]
    other.outputs[0].shape[1] = 2
    with pytest.raises(Exception, match="wanted a network of the same outputs"):
        run(tmp_path, hurt(original), other.save(tmp_path / "other.onnx"))


def test_the_rate_follows_the_error_and_good_starts_keep_their_statistics() -> None:
    assert rate_share(2.0) == 1.0
    assert rate_share(0.1) < rate_share(0.3) < 1
    auto = HealSettings(**BASE)
    assert keeps_statistics(auto, 0.05)
    assert not keeps_statistics(auto, 0.9)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"held_out": 0.0}, "held_out 0: healing measures on held-out images"),
        ({"ema": 1.0}, "ema 1: wanted a decay between 0 and 1"),
        ({"patience": 0}, "patience 0: wanted at least 1"),
        ({"epochs": 0}, "epochs, steps: wanted at least 1"),
    ],
)
def test_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HealSettings(**{**BASE, **changed})


def test_an_epsilon_of_zero_is_refused_with_the_layer(original: Path, tmp_path: Path) -> None:
    """Torch does not train such a layer; a runtime runs it."""
    graph = Graph.load(original)
    norm = next(node for node in graph.nodes if node.op == "BatchNormalization")
    norm.attrs["epsilon"] = 0.0
    with pytest.raises(UnsupportedGraphError, match=r"BatchNormalization\): its epsilon is 0"):
        run(tmp_path / "run", graph, original)
