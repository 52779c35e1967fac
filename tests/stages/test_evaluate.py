"""Evaluation: onnxruntime on the file and torch on the module say the same number."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from fnac import progress
from fnac.data import open_data
from fnac.data.source import source_sample
from fnac.data.transforms.pictures import EvalTransform
from fnac.errors import DataError, FileNotThereError, UnsupportedGraphError, UsageError
from fnac.stages.evaluate import (
    Feeding,
    Picked,
    evaluate_module,
    evaluate_onnx,
    extremes,
    predict_first,
)
from fnac.tasks.mean_iou import MeanIoU
from fnac.tasks.segmentation import Segmentation, class_ids

SCENES = "scenes:train=1,val=7,size=48"
TASK = Segmentation(tuple(open_data(SCENES).classes))
MANIFEST = {
    "version": 1,
    "size": [32, 40],
    "preprocessing": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "color": "BGR"},
}


class Small(nn.Module):
    """One convolution, stride 4, with fixed weights: 8 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        drawn = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.conv.weight.copy_(torch.randn(8, 3, 3, 3, generator=drawn))
            self.conv.bias.zero_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


def write_model(
    path: Path,
    *,
    batch: int | str = "n",
    size: tuple[int | str, int | str] = ("h", "w"),
    labels: str = "",
    manifest: dict[str, object] | None = MANIFEST,
) -> Path:
    """The same network as an ONNX file; ``labels`` = upsampling factors end in class ids."""
    net = Small()
    nodes = [
        helper.make_node("Conv", ["x", "weight", "bias"], ["y"], strides=[4, 4], pads=[1, 1, 1, 1])
    ]
    weights = [
        numpy_helper.from_array(net.conv.weight.detach().numpy(), "weight"),
        numpy_helper.from_array(np.zeros(8, dtype=np.float32), "bias"),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8, "oh", "ow"])
    if labels:
        weights.append(numpy_helper.from_array(np.array([1, 1, 4, 4], np.float32), "factor"))
        nodes.append(
            helper.make_node(
                "Resize", ["y", "", "factor"], ["big"], mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
        )  # fmt: skip
        nodes.append(helper.make_node("ArgMax", ["big"], ["ids"], axis=1, keepdims=0))
        output = helper.make_tensor_value_info("ids", TensorProto.INT64, [batch, "oh", "ow"])
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, *size])
    graph = helper.make_graph(nodes, "g", [picture], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    if manifest is not None:
        helper.set_model_props(model, {"fnac": json.dumps(manifest)})
    onnx.save(model, path)
    return path


def by_hand(images: int = 7) -> tuple[float, list[float | None]]:
    """The protocol spelled out, without the stage's code."""
    net, metric = Small().eval(), MeanIoU(8)
    transform = EvalTransform((32, 40), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "BGR")
    for i in range(images):
        image, mask = open_data(SCENES).split("val")[i]
        pixels, _ = transform(image, mask)
        logits = functional.interpolate(net(pixels[None]), (32, 40), mode="bilinear")
        logits = functional.interpolate(logits, mask.shape, mode="bilinear")  # the labels' size
        metric.update(logits.argmax(1), mask[None])
    return metric.compute(), metric.per_class()


@pytest.mark.parametrize("labels", ["", "ids"])
@pytest.mark.parametrize("batch", ["n", 3])
def test_onnxruntime_and_torch_agree(tmp_path: Path, batch: int | str, labels: str) -> None:
    path = write_model(tmp_path / "m.onnx", batch=batch, labels=labels)
    source = open_data(SCENES)
    onnx_result = evaluate_onnx(path, source, TASK, threads=1, feeding=Feeding(batch_size=2))
    net = Small().train()
    torch_result = evaluate_module(
        net, source, TASK, manifest=MANIFEST, feeding=Feeding(batch_size=4, shown=False)
    )
    value, per_class = by_hand()
    assert net.training
    assert abs(onnx_result.value - value) < 1e-3
    assert abs(torch_result.value - value) < 1e-3
    assert 0 < value < 50
    assert onnx_result.images == torch_result.images == 7
    assert onnx_result.size == (32, 40)
    assert list(onnx_result.per_class) == source.classes
    assert list(torch_result.per_class.values()) == pytest.approx(per_class, abs=1e-2)
    printed = onnx_result.to_json()
    assert {"metric", "value", "images"} <= set(printed)
    assert printed["metric"] == "mIoU"
    json.dumps(printed)


def test_a_changed_weight_changes_the_number(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    before = evaluate_onnx(path, open_data(SCENES), TASK, threads=1).value
    model = onnx.load(path)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[3, 1] += 1
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    onnx.save(model, path)
    assert evaluate_onnx(path, open_data(SCENES), TASK, threads=1).value != before


def test_predict_first_is_what_was_measured(tmp_path: Path) -> None:
    dataset, metric = open_data(SCENES).split("val"), MeanIoU(8)
    ids, size = predict_first(write_model(tmp_path / "ids.onnx", labels="ids"), TASK, dataset, 3)
    logits, _ = predict_first(write_model(tmp_path / "m.onnx", batch=2), TASK, dataset, 3)
    assert size == (32, 40)
    for i, pair in enumerate(zip(ids, logits, strict=True)):
        a, b = (class_ids(outputs, size, 8, "m.onnx")[0] for outputs in pair)
        assert a.shape == b.shape == (32, 40)
        assert (a != b).float().mean() < 0.01
        seen = functional.interpolate(pair[1]["y"], (32, 40), mode="bilinear")
        seen = functional.interpolate(seen, (48, 48), mode="bilinear").argmax(1)
        metric.update(seen, dataset[i][1][None])
    assert metric.compute() == pytest.approx(by_hand(3)[0], abs=1e-3)
    assert len(predict_first(tmp_path / "m.onnx", TASK, dataset, 20)[0]) == 7


def test_limit_and_size(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    result = evaluate_onnx(
        path, open_data(SCENES), TASK, threads=1, feeding=Feeding(limit=3, batch_size=2)
    )
    assert (result.images, result.value) == (3, pytest.approx(by_hand(3)[0], abs=1e-3))
    assert evaluate_onnx(path, open_data(SCENES), TASK, size=(48, 48), threads=1).size == (48, 48)


def test_file_without_manifest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_model(tmp_path / "m.onnx", manifest=None)
    with pytest.raises(UsageError, match=r"m\.onnx: neither a fixed input size nor one in its"):
        evaluate_onnx(path, open_data(SCENES), TASK, threads=1)
    evaluate_onnx(path, open_data(SCENES), TASK, size=(48, 48), threads=1)
    assert caplog.text == ""  # run_eval says once what was assumed


def test_fixed_size(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", size=(24, 24))
    assert evaluate_onnx(path, open_data(SCENES), TASK, threads=1).size == (24, 24)
    with pytest.raises(UsageError, match=r"--size 32x32: .*m\.onnx takes 24x24 only"):
        evaluate_onnx(path, open_data(SCENES), TASK, size=(32, 32), threads=1)


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(FileNotThereError, match="no such file; wanted an ONNX file"):
        evaluate_onnx(path, open_data(SCENES), TASK)
    for content in (b"", b"not a network at all", write_model(path).read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(UnsupportedGraphError, match=r"m\.onnx: onnxruntime cannot load it"):
            evaluate_onnx(path, open_data(SCENES), TASK)


def test_network_of_other_classes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "images" / "val").mkdir(parents=True)
    (folder / "masks" / "val").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (16, 16)).save(folder / "images" / "val" / "a.png")
    Image.new("L", (16, 16)).save(folder / "masks" / "val" / "a.png")
    (folder / "classes.txt").write_text("a\nb\nc\n")
    source = open_data(f"folder:{folder}")
    task = Segmentation(tuple(source.classes))
    with pytest.raises(UsageError, match=r"m\.onnx: 8 classes; the data set has 3"):
        evaluate_onnx(write_model(tmp_path / "m.onnx"), source, task, threads=1)
    with pytest.raises(UsageError, match="network: 8 classes; the data set has 3"):
        evaluate_module(Small(), source, task, size=(16, 16), manifest={})


def test_cuda_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write_model(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="--device cuda: onnxruntime sees no CUDA device"):
        evaluate_onnx(path, open_data(SCENES), TASK, device="cuda")


def test_no_picture_is_no_number(tmp_path: Path) -> None:
    path, source = write_model(tmp_path / "m.onnx"), open_data(SCENES)
    wanted = r"eval: split 'val' has 7 images, limited to 0; wanted at least 1 to measure"
    with pytest.raises(DataError, match=wanted):
        evaluate_onnx(path, source, TASK, threads=1, feeding=Feeding(limit=0))
    with pytest.raises(DataError, match=wanted):
        evaluate_module(
            Small(), source, TASK, size=(32, 32), manifest={}, feeding=Feeding(limit=0, shown=False)
        )


class Uncounted:
    """Two images whose truth is 255 everywhere."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(3, 16, 16, dtype=torch.uint8), torch.full((16, 16), 255).byte()

    def id(self, index: int) -> str:
        return str(index)


def test_no_counted_pixel_is_no_number() -> None:
    with pytest.raises(DataError, match="in 2 images every pixel is 255"):
        evaluate_module(
            Small(), open_data(SCENES), TASK, size=(16, 16), manifest={}, dataset=Uncounted()
        )


def test_a_short_evaluation_is_quiet_and_a_long_one_speaks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, source = write_model(tmp_path / "m.onnx"), open_data(SCENES)
    caplog.set_level(logging.INFO, "fnac")
    evaluate_onnx(path, source, TASK, threads=1, feeding=Feeding(batch_size=3))
    assert not caplog.messages
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    evaluate_module(Small(), source, TASK, manifest=MANIFEST)
    evaluate_onnx(path, source, TASK, threads=1, feeding=Feeding(batch_size=3, shown=False))
    assert not caplog.messages
    evaluate_onnx(path, source, TASK, threads=1, feeding=Feeding(batch_size=3))
    assert [line.split(",")[0] for line in caplog.messages] == [
        f"eval: image {done} of 7" for done in (3, 6, 7)
    ]
    assert capsys.readouterr().out == ""


def test_extremes_are_measured_one_by_one(tmp_path: Path) -> None:
    source = open_data("scenes:train=1,val=9,size=32")
    dataset = source.split("val")
    path = write_model(tmp_path / "m.onnx")
    groups = extremes(path, TASK, dataset, 2)
    picked = {name: [one.index for one in group] for name, group in groups.items()}
    assert [len(places) for places in picked.values()] == [2, 2, 2]
    assert len({*picked["best"], *picked["median"], *picked["worst"]}) == 6
    values = [one.value for group in groups.values() for one in group]
    assert values == sorted(values, reverse=True)
    alone = Picked(dataset, (picked["worst"][-1],))
    assert alone.id(0) == dataset.id(picked["worst"][-1])
    assert source_sample(alone, 0) == (dataset, picked["worst"][-1])
    few = extremes(path, TASK, Picked(dataset, (3, 4, 5)), 2)
    assert [len(group) for group in few.values()] == [2, 0, 1]
