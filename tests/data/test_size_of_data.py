"""The size of a network that says none: the training images' own, said aloud."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from fnac.adaptation.plan import Plan
from fnac.data.batches import PERSON, size_of_data, size_of_shape
from fnac.passes.graph import Graph
from tests.support.graphs import graph

FREE = """(float[n,3,h,w] x) => (float[n,4,h,w] y) <float[4,3,3,3] w0>
          { y = Conv<pads=[1,1,1,1]>(x, w0) }"""


class Images:
    """Images of given (H, W), black; no target is looked at."""

    def __init__(self, *shapes: tuple[int, int]) -> None:
        self.shapes = shapes

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(3, *self.shapes[index], dtype=torch.uint8), torch.zeros(0)

    def id(self, index: int) -> str:
        return str(index)


@pytest.mark.parametrize(
    ("shapes", "task", "size"),
    [
        ([(96, 96)], "seg", (96, 96)),
        ([(360, 480)], "seg", (352, 480)),
        ([(360, 480)], "det", (352, 480)),
        ([(3000, 4000)], "seg", (384, 512)),
        ([(20, 20)], "seg", (32, 32)),
        ([(100, 300), (200, 300), (210, 300)], "seg", (192, 288)),  # one odd image does not count
        ([(300, 500)], "cls", (288, 288)),
        ([(3000, 4000)], "cls", (512, 512)),
        ([(300, 500)], "pose", PERSON),
    ],
)
def test_it_is_about_the_images_own(
    shapes: list[tuple[int, int]], task: str, size: tuple[int, int]
) -> None:
    assert size_of_data(Images(*shapes), task) == size


@pytest.mark.parametrize(
    ("shape", "longest", "size"),
    [
        ((360, 480), 512, (384, 512)),
        ((360, 480), 224, (160, 224)),  # 5 % narrower: the same shape still
        ((96, 160), 32, (32, 64)),  # 32x32 is another shape
        ((96, 160), 64, (64, 96)),
        ((1080, 1920), 512, (288, 512)),
        ((64, 64), 100, (96, 96)),
        ((10, 1000), 64, (32, 128)),  # no multiple of 32 is as narrow: the nearest
    ],
)
def test_a_size_of_the_same_shape(
    shape: tuple[int, int], longest: int, size: tuple[int, int]
) -> None:
    assert size_of_shape(shape, longest) == size


def test_it_is_said_with_the_way_to_another(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fnac"):
        size_of_data(Images((360, 480)), "seg")
    assert "352x480" in caplog.text
    assert "the training images are about 360x480; --size HxW takes another" in caplog.text


def planned(seed: Path, **expand: object) -> Plan:
    return Plan.of(
        {
            "adapt": {
                "task": "seg",
                "seed": str(seed),
                "data": "scenes:train=2,val=1,size=96x128",
            },
            "expand": expand,
        }
    )


def test_a_file_of_any_size_takes_the_datas_and_no_other_does(tmp_path: Path) -> None:
    free = graph(FREE).save(tmp_path / "free.onnx")
    assert planned(free).expand.size == (96, 128)
    assert planned(free, size=[64, 64]).expand.size == (64, 64)
    model = graph(FREE).to_model()
    for axis, side in ((2, 48), (3, 80)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    onnx.checker.check_model(model)
    fixed = Graph.from_model(model).save(tmp_path / "fixed.onnx")
    assert planned(fixed).expand.size is None  # the file's own
