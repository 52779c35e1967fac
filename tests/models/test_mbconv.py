"""MobileNetV2 in table form: torchvision's names, shapes and function; strides and dilations."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import mobilenet_v2

from fnac.models.errors import ModelError
from fnac.models.heads.export import build_head
from fnac.models.seeds.mbconv import BlockSpec, MBConvNet, MBConvTable, Stage
from fnac.models.seeds.tables import FBNETC, MOBILENETV2, PROXYLESS
from tests.support.native_networks import Headed


@pytest.mark.parametrize("width", [1.0, 0.5, 0.35, 1.4])
def test_parameters_are_named_and_shaped_as_in_torchvision(width: float) -> None:
    ours = MOBILENETV2.scaled(width).network().state_dict()
    theirs = mobilenet_v2(width_mult=width).state_dict()
    assert list(ours) == list(theirs)
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]


def test_outputs_are_those_of_torchvision_with_the_same_weights() -> None:
    ours, theirs = MOBILENETV2.network().eval(), mobilenet_v2().eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
        next(ours.parameters()).add_(0.01)
        assert not torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("table", "params", "channels"),
    [(MOBILENETV2, 1_811_712, 320), (FBNETC, 2_883_328, 352), (PROXYLESS, 2_387_352, 320)],
)
def test_the_backbone_has_the_papers_parameters(
    table: MBConvTable, params: int, channels: int
) -> None:
    net = table.network(0)
    assert sum(p.numel() for p in net.parameters()) == params
    assert net.channels == channels


@pytest.mark.parametrize(
    ("output_stride", "dilations", "size"),
    [(32, [1] * 7, 2), (16, [1, 1, 1, 1, 1, 2, 2], 4), (8, [1, 1, 1, 2, 2, 4, 4], 8)],
)
def test_output_stride_dilates_whole_stages(
    output_stride: int, dilations: list[int], size: int
) -> None:
    net = MBConvNet(MOBILENETV2, 0, output_stride)
    index, found = 1, []
    for stage in MOBILENETV2.stages:
        blocks = net.features[index : index + len(stage.parse())]
        index += len(blocks)
        found.append(
            {
                m.dilation[0]
                for m in blocks.modules()
                if isinstance(m, torch.nn.Conv2d) and m.groups > 1
            }
        )
    assert found == [{d} for d in dilations]
    assert net.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 320, size, size)


@pytest.mark.parametrize(
    "net",
    [
        MOBILENETV2.scaled(0.35, 64).network(10),
        Headed(MBConvNet(MOBILENETV2, 0, 16), "deeplabv3", 3, 16),
    ],
)
def test_every_parameter_gets_a_gradient(net: torch.nn.Module) -> None:
    made = net.train()(torch.randn(2, 3, 64, 64))
    (made[0] if isinstance(made, tuple) else made).square().sum().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_signal_of_a_random_network_neither_vanishes_nor_explodes() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        spread = MOBILENETV2.network().eval().features(torch.randn(2, 3, 64, 64)).std().item()
    assert 0.01 < spread < 100


def test_a_stage_is_read_from_text() -> None:
    stage = Stage("k5e6 skip k3e1+ k3e1 x2", 32, 2)
    blocks = [BlockSpec(5, 6), BlockSpec(3, 1, pointwise=True), BlockSpec(3, 1), BlockSpec(3, 1)]
    assert stage.parse() == blocks
    assert stage.places() == [blocks[0], None, *blocks[1:]]
    assert [b.expands for b in blocks] == [True, True, False, False]
    with pytest.raises(ModelError, match=r"'k5x6'; wanted k<kernel>e<expansion>, skip or x<rep"):
        Stage("k5x6", 32).parse()


def test_impossible_strides_are_refused() -> None:
    with pytest.raises(ModelError, match="output stride 4: wanted 8, 16 or 32"):
        MBConvNet(MOBILENETV2, 0, output_stride=4)
    with pytest.raises(ModelError, match="output stride 64: wanted 8, 16 or 32"):
        build_head("deeplabv3", {"features": 320}, 19, 64)
    with pytest.raises(ModelError, match="head 'fcn'; there are: deeplabv3"):
        build_head("fcn", {"features": 320}, 19)
