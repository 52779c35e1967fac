"""The exporter: one node per layer, every weight named, outputs as in torch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from fnac.models.heads.deeplabv3 import DeepLabV3Head
from fnac.models.heads.export import export_head
from fnac.models.seeds.tables import MOBILENETV2
from fnac.models.to_onnx import ExportError, to_onnx


def run(model: onnx.ModelProto, **inputs: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]


def randomize_statistics(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.normal_(part.bias, 0, 0.1)


def test_mobilenetv2_is_written_layer_by_layer() -> None:
    net = MOBILENETV2.scaled(0.35).network(10).eval()
    randomize_statistics(net)
    model = to_onnx(net, {"input": ["batch", 3, 64, 64]}, {"logits": ["batch", 10]})
    onnx.checker.check_model(model, full_check=True)
    assert Counter(node.op_type for node in model.graph.node) == {
        "Conv": 52,
        "BatchNormalization": 52,
        "Clip": 35,
        "Add": 10,
        "GlobalAveragePool": 1,
        "Dropout": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    assert (model.ir_version, model.opset_import[0].version) == (10, 18)
    modules = dict(net.named_modules())
    convs = [n.name for n in model.graph.node if n.op_type == "Conv"]
    assert all(isinstance(modules[name], nn.Conv2d) for name in convs)
    for batch in (1, 3):
        x = torch.randn(batch, 3, 64, 64)
        with torch.no_grad():
            wanted = net(x).numpy()
        # float32: sums of up to 1280 products in another order
        np.testing.assert_allclose(run(model, input=x), wanted, rtol=0, atol=2e-5)


def test_equal_weights_stay_separate_initializers() -> None:
    net = MOBILENETV2.scaled(0.35).network(10).eval()
    model = to_onnx(net, {"input": ["batch", 3, 64, 64]}, {"logits": ["batch", 10]})
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    bounds = {name for name in stored if name.endswith((".min", ".max", ".ratio"))}
    assert stored.keys() - bounds == wanted.keys()
    for name, value in wanted.items():
        assert np.array_equal(stored[name], value.numpy()), name
    readers = Counter(name for node in model.graph.node for name in node.input)
    assert {readers[name] for name in stored} == {1}


@pytest.mark.parametrize("output_stride", [16, 8])
def test_the_head_runs_at_any_size(output_stride: int) -> None:
    model = export_head("deeplabv3", {"features": 24}, 5, output_stride, random_seed=3)
    onnx.checker.check_model(model, full_check=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = DeepLabV3Head(24, 5, output_stride).eval()
    for batch, (h, w), (height, width) in [(1, (12, 15), (180, 240)), (2, (7, 5), (97, 70))]:
        features, image = torch.randn(batch, 24, h, w), torch.randn(batch, 3, height, width)
        with torch.no_grad():
            wanted = head(features, image).numpy()
            found = run(model, features=features, image=image)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)
            head.aspp[2].dw.weight[0, 0, 1, 1] += 1
            assert np.abs(head(features, image).numpy() - found).max() > 2e-5
            head.aspp[2].dw.weight[0, 0, 1, 1] -= 1


def test_the_head_is_minimal_and_named() -> None:
    model = export_head("deeplabv3", {"features": 320}, 19)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators == {
        "Conv": 10,
        "BatchNormalization": 9,
        "Relu": 9,
        "GlobalAveragePool": 1,
        "Shape": 2,
        "Expand": 1,
        "Concat": 1,
        "Dropout": 1,
        "Resize": 1,
    }
    names = [n.name for n in model.graph.node] + [t.name for t in model.graph.initializer]
    assert all(name.startswith("head.") for name in names)
    assert len({n.name for n in model.graph.node}) == len(model.graph.node)
    dilations = {
        n.name: onnx.helper.get_node_attr_value(n, "dilations")[0]
        for n in model.graph.node
        if n.name.endswith(".dw")
    }
    assert dilations == {"head.aspp.1.dw": 6, "head.aspp.2.dw": 12, "head.aspp.3.dw": 18}


def test_a_head_is_random_by_its_seed_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (
        export_head("deeplabv3", {"features": 8}, 2, random_seed=s) for s in (0, 0, 1)
    )
    assert one == same
    assert one != other
    assert torch.equal(torch.get_rng_state(), state)


class _Odd(nn.Module):
    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = layer or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(self.layer(x))[0]


def test_what_cannot_be_written_is_named() -> None:
    dims = {"x": ["batch", 3]}
    with pytest.raises(ExportError, match=r"function .*sort.* is not written"):
        to_onnx(_Odd(), dims, {"y": ["batch", 3]})
    conv = nn.Sequential(nn.Conv2d(3, 3, 3, padding="same"))
    with pytest.raises(ExportError, match=r"^0 \(Conv2d\): padding 'same'; wanted zeros"):
        to_onnx(conv, {"x": ["batch", 3, 8, 8]}, {"y": ["batch", 3, 8, 8]})
