"""Every seed under every head: exported file, re-imported module and native torch agree."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fnac.importer import import_onnx
from fnac.models.seeds.find import find_seed
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from tests.support.native_networks import Headed, load

SEEDS = (
    "mobilenetv2_w0.25",
    "resnet18_w0.125",
    "resnet50_w0.125",
    "fbnetc_w0.25",
    "proxyless_w0.25",
)
HEADS = {
    "deeplabv3": "seg",
    "deeplabv3plus": "seg",
    "retinanet": "det",
    "ssdlite": "det",
    "simplebaseline": "pose",
    "linear": "cls",
}
CLASSES = 3
SIZE = 64
PAIRS = [(seed, head) for seed in SEEDS for head in HEADS]


@functools.cache
def exported(seed: str, head: str) -> Graph:
    return export_seed(
        ExportSettings(
            seed, "none", size=(SIZE, SIZE), task=HEADS[head], head=head, classes=CLASSES,
            output_stride=16 if HEADS[head] == "seg" else None,
        )
    )  # fmt: skip


def native(seed: str, head: str) -> nn.Module:
    """Return the same network in plain torch, with the file's weights."""
    graph = exported(seed, head)
    net = find_seed(seed).table.network(0, keep_last=head in ("ssdlite", "linear"))
    made = Headed(net, head, CLASSES, 16)
    if HEADS[head] == "seg":
        dilate(made.net)
    load(made, graph)
    return made.eval()


def dilate(net: nn.Module) -> None:
    """Give up the last stride: from its convolutions on, everything is dilated by 2."""
    stages = list(net.features) if hasattr(net, "features") else list(net.layer4)
    found = not hasattr(net, "features")
    strides = 1
    for stage in stages:
        for conv in (m for m in stage.modules() if isinstance(m, nn.Conv2d)):
            if conv.stride[0] == 2 and not found:
                strides *= 2
                found = strides == 32
            if found:
                conv.stride = (1, 1)
                if conv.kernel_size[0] > 1:
                    conv.dilation = (2, 2)
                    conv.padding = (conv.kernel_size[0] - 1,) * 2
    return


def images() -> torch.Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("seed", "head"), PAIRS)
def test_the_file_computes_what_torch_does(seed: str, head: str) -> None:
    graph, made = exported(seed, head), native(seed, head)
    imported = import_onnx(graph.to_model()).eval()
    with torch.no_grad():
        wanted = made(images())
        found = imported(images())
    found = found if isinstance(found, tuple) else (found,)
    session = onnxruntime.InferenceSession(
        graph.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ran = session.run(None, {"input": images().numpy()})
    assert len(wanted) == len(found) == len(ran) == (2 if HEADS[head] == "det" else 1)
    for a, b, c in zip(wanted, found, ran, strict=True):
        assert torch.equal(a, b)
        # float32 sums of up to 2880 products in another order, through 20 to 60 layers
        np.testing.assert_allclose(c, a.numpy(), rtol=0, atol=1e-4 * float(a.abs().max()))
        assert a.std() > 0


@pytest.mark.parametrize(("seed", "head"), PAIRS)
def test_every_parameter_gets_a_gradient(seed: str, head: str) -> None:
    graph = exported(seed, head)
    module = import_onnx(graph.to_model()).train()
    # a weight that several levels share is one parameter
    assert sum(p.numel() for p in module.parameters()) == profile(graph).params
    made = module(images())
    made = made if isinstance(made, tuple) else (made,)
    weights = [torch.randn(t.shape, generator=torch.Generator().manual_seed(1)) for t in made]
    sum((t * w).sum() for t, w in zip(made, weights, strict=True)).backward()
    without = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize(("seed", "head"), PAIRS)
def test_the_head_is_marked_and_described(seed: str, head: str) -> None:
    graph = exported(seed, head)
    parts = {n.name: n.metadata.get("fnac.part") for n in graph.nodes}
    assert {part for name, part in parts.items() if name.startswith("head.")} == {"head"}
    assert {part for name, part in parts.items() if not name.startswith("head.")} == {None}
    manifest = graph.manifest
    assert (manifest["task"], manifest["head"], manifest["num_classes"]) == (
        HEADS[head], head, CLASSES,
    )  # fmt: skip
    assert ("anchors" in manifest) == (HEADS[head] == "det")
    assert ("output_stride" in manifest) == (HEADS[head] == "seg")
    assert [t.shape[0] for t in graph.outputs] == ["batch"] * len(graph.outputs)
