"""A batch of one: BatchNorm over a single value per channel is refused with the layer's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fnac.adaptation.dry_run import dry_run
from fnac.adaptation.plan import Plan
from fnac.errors import TrainingError
from fnac.importer import import_onnx
from fnac.stages.tune import tune
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.segmentation import Segmentation
from fnac.training.runtime import open_fabric, prepare_module
from fnac.training.settings import RuntimeSettings
from tests.support.graphs import graph
from tests.support.super_networks import CLASSES, SquaresSource

# a pooled branch beside the map, as in DeepLabv3: its BN sees one value per channel and image
POOLED = f"""(float[batch,3,32,32] x) => (float[batch,{len(CLASSES)},32,32] logits)
<float[8,3,3,3] stem, float[8,8,1,1] pooled_w, float[8] g, float[8] b, float[8] m, float[8] v,
 float[{len(CLASSES)},8,1,1] last>
{{ c = Conv<pads=[1,1,1,1]>(x, stem)
   p = GlobalAveragePool(c)
   q = Conv(p, pooled_w)
   n = BatchNormalization(q, g, b, m, v)
   s = Add(c, n)
   logits = Conv(s, last) }}"""


def pooled(path: Path) -> Path:
    made = graph(POOLED)
    made.manifest = {"role": "seed", "size": [32, 32]}
    return made.save(path)


def tuned(folder: Path, batch: int) -> None:
    settings = TuneSettings(
        epochs=1, batch_size=batch, scale=(1.0, 1.0), workers=0, device="cpu", recalibrate_bn=0
    )
    model = pooled(folder / "net.onnx")
    tune(model, SquaresSource(), Segmentation(CLASSES), folder / "o.onnx", folder / "t", settings)


def test_tuning_on_single_images_names_the_layer_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as told:
        tuned(tmp_path, batch=1)
    text = str(told.value)
    assert "this BatchNorm normalises over the batch, and sees one value per channel" in text
    assert "give a --batch of at least 2 images per device" in text
    assert not (tmp_path / "o.onnx").exists()


def test_a_map_of_one_pixel_has_no_statistics_of_its_own(tmp_path: Path) -> None:
    text = POOLED.replace("BatchNormalization(q, g, b, m, v)", "InstanceNormalization(q, g, b)")
    made = graph(text)
    made.manifest = {"role": "seed", "size": [32, 32]}
    model = made.save(tmp_path / "net.onnx")
    settings = TuneSettings(
        epochs=1, batch_size=2, scale=(1.0, 1.0), workers=0, device="cpu", recalibrate_bn=0
    )
    source, task = SquaresSource(), Segmentation(CLASSES)
    with pytest.raises(TrainingError, match="normalises over the map, and sees one pixel"):
        tune(model, source, task, tmp_path / "o.onnx", tmp_path / "t", settings)
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(str(model)).run(None, {"x": images})
    answer = import_onnx(made.to_model()).eval()(torch.from_numpy(images))
    assert np.allclose(answer.detach().numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_two_images_are_enough(tmp_path: Path) -> None:
    tuned(tmp_path, batch=2)
    assert (tmp_path / "o.onnx").exists()


def test_stored_statistics_normalise_one_value() -> None:
    """A map of one pixel is refused in training alone; a larger map normalises one image."""
    settings = RuntimeSettings(device="cpu")
    net = prepare_module(nn.BatchNorm2d(4), open_fabric(settings), settings)
    net(torch.zeros(1, 4, 1, 2))
    with pytest.raises(TrainingError, match="1 image per device, map 1x1"):
        net(torch.zeros(1, 4, 1, 1))
    net.eval()
    assert net(torch.zeros(1, 4, 1, 1)).shape == (1, 4, 1, 1)


@pytest.mark.slow
def test_the_dry_run_refuses_what_the_run_would(tmp_path: Path) -> None:
    plan = Plan.of(
        {
            "adapt": {"task": "seg", "data": "scenes:train=8,val=2,size=64", "no_verify": True},
            "expand": {"size": [64, 64]},
            "search": {"batch_size": 1},
            "tune": {"batch_size": 1},
        }
    )
    with pytest.raises(TrainingError, match="at least 2 images per device"):
        dry_run(plan)
