"""ResNets: torchvision's names, shapes and function, in both directions."""

from __future__ import annotations

import pytest
import torch
import torchvision.models

from fnac.models.errors import ModelError
from fnac.models.seeds.resnet import ResNetTable
from fnac.models.seeds.tables import RESNET18, RESNET50


@pytest.mark.parametrize("table", [RESNET18, RESNET50], ids=lambda t: t.name)
def test_outputs_are_those_of_torchvision_with_the_same_weights(table: ResNetTable) -> None:
    torch.manual_seed(0)
    ours, theirs = table.network().eval(), getattr(torchvision.models, table.name)().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours(x), theirs(x))
        theirs.layer3[1].conv2.weight.add_(0.01)
        assert not torch.equal(ours(x), theirs(x))
        theirs.load_state_dict(ours.state_dict())
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("table", "params", "channels"), [(RESNET18, 11_176_512, 512), (RESNET50, 23_508_032, 2048)]
)
def test_the_backbone_has_the_papers_parameters(
    table: ResNetTable, params: int, channels: int
) -> None:
    net = table.network(0)
    assert sum(p.numel() for p in net.parameters()) == params
    assert net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, channels, 2, 2)


def test_a_narrow_resnet() -> None:
    assert RESNET50.scaled(0.25).widths == (16, 32, 64, 128)
    assert RESNET50.scaled(0.25).name == "resnet50_w0.25"
    with pytest.raises(ModelError, match="width 0: wanted a number above 0"):
        RESNET50.scaled(0)
    with pytest.raises(ModelError, match="resnet50: it has no last convolution to give 64"):
        RESNET50.scaled(1, last=64)
    with pytest.raises(ModelError, match="block 'wide'; there are: basic, bottleneck"):
        ResNetTable("x", "wide", (1,)).network()
