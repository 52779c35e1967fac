"""Whole networks: MobileNetV2 through both of torch's exporters, and files people publish."""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from torch import Tensor, nn

from fnac.importer import ImportedModule, import_onnx, write_back
from fnac.passes.errors import UnsupportedGraphError
from tests.support.importing import assert_close, run_ort, run_torch

SIZE = 32


def native() -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v2(weights=None, width_mult=0.25, num_classes=10)
    net.train()
    with torch.no_grad():
        net(torch.randn(8, 3, SIZE, SIZE))  # statistics that are not all 0 and 1
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # exporters drop it in eval mode
    return net.eval()


def exported(net: nn.Module, exporter: str) -> onnx.ModelProto:
    x = torch.randn(2, 3, SIZE, SIZE)
    net = copy.deepcopy(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = torch.export.Dim("batch", min=1, max=64)
            program = torch.onnx.export(
                net, (x,), dynamo=True, optimize=False, verbose=False, dynamic_shapes=({0: batch},)
            )
            assert program is not None
            return program.model_proto
        buffer = io.BytesIO()
        torch.onnx.export(
            net,
            (x,),
            buffer,
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    return onnx.load_from_string(buffer.getvalue())


@pytest.fixture(scope="module", params=["legacy", "dynamo"])
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, onnx.ModelProto]:
    net = native()
    return net, exported(net, request.param)


def losses(net: nn.Module, dtype: torch.dtype, steps: int = 5, size: int = SIZE) -> list[Tensor]:
    net = copy.deepcopy(net).to(dtype).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    found = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(4, 3, size, size, generator=generator).to(dtype)
        loss = net(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return found


def test_outputs_equal_native_torch(pair: tuple[nn.Module, onnx.ModelProto]) -> None:
    net, made = pair
    x = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(import_onnx(made)(x), net(x))


def test_state_dict_has_the_names_of_the_native_one(
    pair: tuple[nn.Module, onnx.ModelProto],
) -> None:
    net, made = pair
    module = import_onnx(made)
    theirs = net.state_dict()
    ours = module.state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_five_sgd_steps_equal_native_torch_to_the_bit(
    pair: tuple[nn.Module, onnx.ModelProto], dtype: torch.dtype
) -> None:
    net, made = pair
    assert losses(import_onnx(made), dtype) == losses(net, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "densenet121"])
def test_published_architectures_train_as_native_torch_does(name: str) -> None:
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None, num_classes=10)
    for part in net.modules():  # what draws at random has no place in a comparison
        if isinstance(part, nn.Dropout | torchvision.ops.StochasticDepth):
            part.p = 0.0
    net.eval()
    # at 32 pixels BN of the last stage sees four numbers a channel, and efficientnet_b0 turns a
    # change of 1e-15 in its own weights into 8e-3 after five steps: nothing to compare with
    size = 64
    made = import_onnx(exported(net, "legacy"))
    ours = torch.stack(losses(made, torch.float64, size=size))
    theirs = torch.stack(losses(net, torch.float64, size=size))
    assert torch.isfinite(theirs).all()
    assert theirs.unique().numel() == 5  # it learns, or at least moves
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=0)


def test_every_parameter_gets_a_gradient(pair: tuple[nn.Module, onnx.ModelProto]) -> None:
    module = import_onnx(pair[1]).train()
    module(torch.randn(2, 3, SIZE, SIZE)).square().sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None] == []


def test_weights_go_back_to_the_bit(pair: tuple[nn.Module, onnx.ModelProto]) -> None:
    _, made = pair
    module = import_onnx(made)
    assert write_back(module, made).SerializeToString() == made.SerializeToString()
    with torch.no_grad():
        module.train()(torch.randn(4, 3, SIZE, SIZE))  # moves the statistics
        for parameter in module.parameters():
            parameter.mul_(1.01)
    module.eval()
    back = write_back(module, made)
    names = [t.name for t in made.graph.initializer]
    assert [t.name for t in back.graph.initializer][: len(names)] == names
    again = import_onnx(back)
    for name, tensor in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(again.state_dict()[name], tensor), name
    feeds = [np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)]
    assert_close(run_torch(module, feeds), run_ort(back, feeds), 1e-5)


def test_torch_tools_work_on_it() -> None:
    module = import_onnx(exported(native(), "legacy"))
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        wanted = module(x)
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), wanted)
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), wanted)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert module(x).dtype == torch.bfloat16
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in synced.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in synced.modules())
    twin = copy.deepcopy(module)
    assert isinstance(twin, ImportedModule)
    assert twin.parameter_names == module.parameter_names
    twin.load_state_dict(module.state_dict())


FOUND = [
    "weights_cifar10_resnet/resnet20.onnx",
    "weights_imagenet/deeplabv3_mnv2_pascal_qdq.onnx",
    "weights_imagenet/mobilenet_v1_keras_bn_trunc.onnx",
    "weights_imagenet/mobilenet_v2_tf_qat_qdq.onnx",
    "weights_imagenet/mobilenet_v2_tfhub_ptq.onnx",
    "weights_imagenet/squeezenet1_1.onnx",
    "weights_imagenet/tiny_darknet_bn.onnx",
    "weights_mobilenet_bn/mobilenet_v2_gluon_bn.onnx",
    "wild/cifar_tutorial_cnn.onnx",
    "wild/mnist_cntk.onnx",
    "wild/nanodet_m.onnx",
    "wild/proxyless_landmark_pfld.onnx",
    "wild/squeezenet_fp16.onnx",
    "wild/ultraface_rfb320.onnx",
]


def image_of(made: onnx.ModelProto, batch: int = 1) -> np.ndarray:
    stored = {t.name for t in made.graph.initializer}
    value = next(v for v in made.graph.input if v.name not in stored).type.tensor_type
    sizes = [d.dim_value or 128 for d in value.shape.dim][1:]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.elem_type)
    return np.random.default_rng(0).normal(size=(batch, *sizes)).astype(dtype)


@pytest.mark.parametrize("file", FOUND)
def test_found_files_compute_the_same_and_train(shared_data: Path, file: str) -> None:
    made = onnx.load(shared_data / file)
    feed = image_of(made)
    module = import_onnx(made)
    # half precision: onnxruntime itself rounds after each node
    tolerance = 2e-2 if feed.dtype == np.float16 else 1e-5
    assert_close(run_torch(module, [feed]), run_ort(made, [feed]), tolerance)
    module.train()
    result = module(torch.from_numpy(image_of(made, batch=2)))
    outputs = result if isinstance(result, tuple) else (result,)
    torch.stack([o.float().square().mean() for o in outputs]).sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None] == []
    weights = {i for n in made.graph.node if n.op_type in ("Conv", "Gemm") for i in n.input[1:]}
    assert weights <= set(module.parameter_names)
    assert all(isinstance(module.get_tensor(w), nn.Parameter) for w in weights)


def test_quantized_weights_go_back_as_float(shared_data: Path) -> None:
    made = onnx.load(shared_data / "weights_imagenet" / "mobilenet_v2_tf_qat_qdq.onnx")
    module = import_onnx(made)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.001)
    back = write_back(module, made)
    assert not any(n.op_type == "DequantizeLinear" for n in back.graph.node)
    feed = image_of(made)
    assert_close(run_torch(module, [feed]), run_ort(back, [feed]), 1e-5)


def test_legacy_operators_are_refused_by_name(shared_data: Path) -> None:
    made = onnx.load(shared_data / "wild" / "style_candy.onnx")
    with pytest.raises(UnsupportedGraphError) as caught:
        import_onnx(made)
    assert str(caught.value) == (
        "scalerPreprocessor: operator ImageScaler of domain 'ai.onnx', version 7, is not "
        "supported; replace it, or export the network with standard operators "
        "(unsupported in all: Affine, Crop, ImageScaler)"
    )
    assert caught.value.exit_code == 3
