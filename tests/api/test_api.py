"""The stages in Python: on networks in memory, with typed settings, told as tables."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fnac
from fnac.api.settings import EvalSettings, TuneSettings
from fnac.api.telling import telling
from fnac.errors import UsageError
from fnac.findings import Finding
from tests.support.data_sets import classes
from tests.support.graphs import graph

CLASSIFIER = """(float[batch,3,32,32] x) => (float[batch,4] y)
  <float[8,3,3,3] w, float[8] b, float[4,8] v, float[4] c> {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)  r = Relu(a)
    p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<transB=1>(f, v, c) }"""
QUICK = TuneSettings(epochs=5, batch_size=4, workers=0, device="cpu", scale=(1.0, 1.0))


def test_from_a_seed_to_predictions(tmp_path: Path) -> None:
    seed, data = fnac.Network(graph(CLASSIFIER)), classes(tmp_path / "data")
    tuned = fnac.tune(seed, task="cls", data=data, out=tmp_path / "run", settings=QUICK, epochs=1)
    assert tuned.steps == len(list((tmp_path / "data" / "train").rglob("*.*"))) // 4  # one epoch
    assert re.match(r"fnac\.Tuned in .*run\n  top-1 ", repr(tuned))
    assert seed.graph.outputs[0].shape[1] == 4  # it stays as it is
    model = fnac.emit(tuned.network, out=tmp_path / "model.onnx")
    assert (tmp_path / "model.json").is_file()
    measured = fnac.evaluate(model, data=data, settings=EvalSettings(limit=4))
    assert measured.images == 4
    assert repr(measured).splitlines()[0] == f"top-1 {measured.value:.2f} on 4 images of val"
    picture = np.zeros((40, 50, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    answers = fnac.predict(tmp_path / "model.onnx", [picture, tmp_path / "one.png"])
    assert answers[0].as_json() == answers[1].as_json()
    assert {one["name"] for one in answers[0].as_json()["classes"]} == {"cat", "dog"}


def test_images_without_labels_are_enough_with_a_teacher(tmp_path: Path) -> None:
    student, teacher = (fnac.Network(graph(CLASSIFIER)) for _ in range(2))
    original = teacher.save(tmp_path / "original.onnx")
    (tmp_path / "images").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    healed = fnac.tune(
        student, data=f"pictures:{tmp_path / 'images'}", out=tmp_path / "run",
        teacher=str(original), epochs=1, batch_size=4, workers=0, device="cpu",
    )  # fmt: skip
    assert (healed.metric, healed.loss) == ("error", None)
    assert healed.value is not None
    assert repr(healed).splitlines()[1].split() == ["error", f"{healed.value:.4f}"]


def test_a_network_is_handed_out_as_a_torch_module() -> None:
    network = fnac.Network(graph(CLASSIFIER))
    module = network.module()
    image = torch.randn(2, 3, 32, 32)
    before = module(image)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)
        halved = module(image)
    changed = network.with_weights(module)
    assert torch.allclose(changed.module()(image), halved, atol=1e-6)
    assert torch.equal(network.module()(image), before)
    assert repr(network) == "<fnac.Network found, 5 nodes, 32x32>"


def test_a_profile_prints_as_a_table() -> None:
    text = repr(fnac.Network(graph(CLASSIFIER)).profile())
    assert text.startswith("Profile of 5 nodes at 32x32 (exact)\n  MAdds   55,328\n")
    assert len(text.splitlines()) < 12


def test_settings_that_are_no_section_are_refused() -> None:
    with pytest.raises(UsageError, match=r"size: \[96, 96\] was found; wanted settings of a sec"):
        fnac.adapt(size=(96, 96))


def test_a_run_prints_as_a_table() -> None:
    costs = {"madds": 1_000_000, "params": 2_000}
    run = fnac.Run(
        Path("runs/seg"), fnac.Network(graph(CLASSIFIER)), 50.0, "mIoU", costs,
        {"madds": 800_000, "params": 1_500}, (Finding("x", "be careful"),), {"value": 48.0},
    )  # fmt: skip
    lines = repr(run).splitlines()
    assert lines[3].split() == ["target", "50.00", "800K", "1.50K"]
    assert lines[4].split() == ["baseline", "48.00", "1.00M", "2.00K"]
    assert lines[-1] == "note: be careful"


def test_progress_is_shown_unless_logging_is_set_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("fnac")

    @telling
    def stage() -> int:
        logging.getLogger("fnac.stages").info("half way")
        return 3

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert stage() == 3
    assert capsys.readouterr().err == "half way\n"
    assert log.handlers == []
    assert log.level == logging.NOTSET
    log.setLevel(logging.WARNING)
    assert stage() == 3
    assert capsys.readouterr().err == ""
