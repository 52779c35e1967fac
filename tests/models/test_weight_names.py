"""Published weights in timm's and mit-han-lab's layout compute in our networks what they did."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fnac.models.seeds.mbconv import MBConvTable
from fnac.models.seeds.tables import FBNETC, MOBILENETV2, PROXYLESS, RESNET18
from fnac.models.seeds.weight_names import own_names
from fnac.models.seeds.weights import load_weights
from fnac.passes.cost import profile
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings


def lively(net: nn.Module) -> nn.Module:
    """Give BN statistics that are not 0 and 1."""
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.normal_(part.bias, 0, 0.1)
    return net.eval()


def exported_output(seed: str, net: nn.Module, x: Tensor, folder: Path) -> np.ndarray:
    torch.save({"state_dict": net.state_dict()}, folder / "w.pth")
    graph = export_seed(ExportSettings(seed, str(folder / "w.pth"), size=(64, 64)))
    session = onnxruntime.InferenceSession(
        graph.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": x.numpy()})[0]


@pytest.mark.parametrize(
    ("name", "seed", "options"),
    [
        ("fbnetc_100", "fbnetc", {"bn_eps": 1e-3}),  # as its published weights were trained
        ("mobilenetv2_100", "mobilenetv2", {}),
        ("resnet18", "resnet18", {}),
    ],
)
def test_timms_networks(name: str, seed: str, options: dict, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (-e '.[timm]')")
    theirs = lively(timm.create_model(name, **options))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs(x).numpy()
        found = exported_output(seed, theirs, x, tmp_path)
        # float32 sums of up to 1984 products in another order
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        next(theirs.parameters()).add_(0.01)
        assert np.abs(theirs(x).numpy() - found).max() > 1e-4 * np.abs(wanted).max()


def test_timms_fbnetc_keeps_its_expansion_convolutions(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (-e '.[timm]')")
    net = timm.create_model("fbnetc_100")
    state, table = own_names(net.state_dict(), FBNETC)
    assert isinstance(table, MBConvTable)
    assert table.stages[0].blocks == "k3e1+"
    assert table.stages[1].blocks == "k3e6 k3e1+ k3e1+"
    assert table.epsilon == 1e-3
    assert load_weights(table.network(), state, "timm") == []
    torch.save(net.state_dict(), tmp_path / "w.pth")
    graph = export_seed(ExportSettings("fbnetc", str(tmp_path / "w.pth")))
    assert profile(graph).params == sum(p.numel() for p in net.parameters())


# ------------------------------------------------------------------ ProxylessNAS


class Inverted(nn.Module):
    """MBInvertedConvLayer in mit-han-lab's names; a skipped place has none."""

    def __init__(self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.inverted_bottleneck = None
        if expansion != 1:
            self.inverted_bottleneck = part(inputs, hidden, 1)
        self.depth_conv = part(hidden, hidden, kernel, stride, hidden)
        self.point_linear = part(hidden, outputs, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.inverted_bottleneck is None else self.inverted_bottleneck(x)
        y = self.point_linear(self.depth_conv(y))
        return x + y if self.residual else y


def part(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [("conv", conv), ("bn", nn.BatchNorm2d(outputs, eps=1e-3))]
    return nn.Sequential(OrderedDict([*layers, *([("relu", nn.ReLU6())] if act else [])]))


class ProxylessMobile(nn.Module):
    """proxyless_mobile as its published config lists it: one entry a place, None for a zero."""

    PLACES = (
        (16, 3, 1, 1),
        (32, 5, 3, 2), (32, 3, 3, 1), None, None,
        (40, 7, 3, 2), (40, 3, 3, 1), (40, 5, 3, 1), (40, 5, 3, 1),
        (80, 7, 6, 2), (80, 5, 3, 1), (80, 5, 3, 1), (80, 5, 3, 1),
        (96, 5, 6, 1), (96, 5, 3, 1), (96, 5, 3, 1), (96, 5, 3, 1),
        (192, 7, 6, 2), (192, 7, 6, 1), (192, 7, 3, 1), (192, 7, 3, 1),
        (320, 7, 6, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = part(3, 32, 3, 2)
        self.blocks = nn.ModuleList()
        channels = 32
        for place in self.PLACES:
            block = nn.Module()
            if place is not None:
                outputs, kernel, expansion, stride = place
                block.mobile_inverted_conv = Inverted(channels, outputs, kernel, expansion, stride)
                channels = outputs
            self.blocks.append(block)
        self.feature_mix_layer = part(channels, 1280, 1)
        self.classifier = nn.ModuleDict({"linear": nn.Linear(1280, 1000)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_conv(x)
        for block in self.blocks:
            x = block.mobile_inverted_conv(x) if list(block.children()) else x
        x = self.feature_mix_layer(x).mean((2, 3))
        return self.classifier["linear"](x)


def test_mit_han_labs_proxyless(tmp_path: Path) -> None:
    theirs = lively(ProxylessMobile())
    assert "blocks.6.mobile_inverted_conv.inverted_bottleneck.conv.weight" in theirs.state_dict()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs(x).numpy()
        found = exported_output("proxyless", theirs, x, tmp_path)
        # float32 sums of up to 1280 products in another order
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        theirs.blocks[21].mobile_inverted_conv.depth_conv.bn.bias.add_(0.1)
        assert np.abs(theirs(x).numpy() - found).max() > 1e-4 * np.abs(wanted).max()


# ------------------------------------------------------------------ names


def test_timm_names_become_torchvisions() -> None:
    pairs = {
        "conv_stem.weight": "features.0.0.weight",
        "bn1.running_mean": "features.0.1.running_mean",
        "blocks.0.0.conv_dw.weight": "features.1.conv.0.0.weight",
        "blocks.0.0.bn1.bias": "features.1.conv.0.1.bias",
        "blocks.0.0.conv_pw.weight": "features.1.conv.1.weight",
        "blocks.0.0.bn2.weight": "features.1.conv.2.weight",
        "blocks.1.0.conv_pw.weight": "features.2.conv.0.0.weight",
        "blocks.2.1.conv_dw.weight": "features.5.conv.1.0.weight",
        "blocks.2.1.bn2.running_var": "features.5.conv.1.1.running_var",
        "blocks.6.0.conv_pwl.weight": "features.17.conv.2.weight",
        "blocks.6.0.bn3.bias": "features.17.conv.3.bias",
        "conv_head.weight": "features.18.0.weight",
        "bn2.weight": "features.18.1.weight",
        "classifier.weight": "classifier.1.weight",
        "classifier.bias": "classifier.1.bias",
    }
    values = {name: torch.tensor(float(i)) for i, name in enumerate(pairs)}
    renamed, table = own_names(values, MOBILENETV2)
    assert renamed == {pairs[name]: value for name, value in values.items()}
    assert table is MOBILENETV2
    assert set(renamed) <= set(MOBILENETV2.network().state_dict())
    assert own_names(renamed, MOBILENETV2)[0] is renamed
    assert own_names(values, RESNET18) == (values, RESNET18)


def test_a_skipped_place_counts_in_proxylesss_names() -> None:
    values = {
        "first_conv.conv.weight": torch.tensor(0.0),
        "blocks.5.mobile_inverted_conv.depth_conv.conv.weight": torch.tensor(1.0),
    }
    renamed, _ = own_names(values, PROXYLESS)
    assert set(renamed) == {"features.0.0.weight", "features.4.conv.1.0.weight"}
