"""Choice points: every mode against a mixture worked out by hand, and against onnxruntime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from fnac.importer import ImportedModule, import_onnx, write_back
from fnac.importer.choice_points import find_points
from fnac.passes.graph import Graph
from fnac.passes.super_network.choice_points import find_choice_points
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied
from tests.support.importing import assert_close, assert_imports, model, run_ort, run_torch
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network
from tests.support.super_networks import tiny_super

SHAPE = (2, 3, 6, 6)
TEXT = (
    "(float[N,3,H,W] x) => (float[N,4,H,W] y) "
    "<float[4,3,1,1] stem_W, float[3] one_A, float[4,4,1,1] a_W, float[4,4,3,3] b_W, "
    "float[2] two_A, float[4,4,1,1] c_W, float[4,4,3,3] d_W, "
    "int64[3] ones = {{1, 1, 1}}, int64[2] pair = {{1, 1}}> {{ "
    "h = Conv(x, stem_W) "
    "p = Softmax<axis=0>(one_A) p0, p1, p2 = Split<axis=0>(p, ones) "
    "a = Conv(h, a_W) r = Relu(a) s = Add(r, h) b = Conv<pads=[1,1,1,1]>(h, b_W) "
    "m0 = Mul(s, p0) m1 = Mul({second}) m2 = Mul(h, p2) k = Sum({terms}) "
    "q = Softmax(two_A) q0, q1 = Split<axis=0>(q, pair) "
    "c = Conv(k, c_W) d = Conv<pads=[1,1,1,1]>(k, d_W) "
    "n0 = Mul(c, q0) n1 = Mul(d, q1) y = Sum(n0, n1) }}"
)


def super_network(second: str = "b, p1", terms: str = "m0, m1, m2") -> onnx.ModelProto:
    made = model(TEXT.format(second=second, terms=terms))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return made


@pytest.fixture
def module() -> ImportedModule:
    return import_onnx(super_network())


def pieces(module: ImportedModule, x: Tensor) -> tuple[Tensor, list[Tensor], list[nn.Module]]:
    """Return the first layer's entry, its candidates' outputs, and the second layer's paths."""
    w = {n: module.get_tensor(n) for n in ("stem.weight", "a.weight", "b.weight")}
    entry = nn.functional.conv2d(x, w["stem.weight"])
    first = nn.functional.conv2d(entry, w["a.weight"]).relu() + entry
    second = nn.functional.conv2d(entry, w["b.weight"], padding=1)
    return entry, [first, second, entry], list(module.choice_points[1].paths)


def test_mixed_network_equals_onnxruntime() -> None:
    module = assert_imports(super_network(), SHAPE)
    assert [(p.name, len(p)) for p in module.choice_points] == [("one", 3), ("two", 2)]
    assert [type(p) for p in module.choice_points[0].paths][-1] is nn.Identity
    assert module.parameter_names["one.alpha"] == "one.alpha"


@pytest.mark.parametrize(
    ("second", "terms"), [("p1, b", "m0, m1, m2"), ("b, p1", "m2, m0, m1")], ids=["mul", "sum"]
)
def test_order_of_operands_does_not_matter(second: str, terms: str) -> None:
    made = super_network(second, terms)
    module = assert_imports(made, SHAPE)
    assert len(module.choice_points) == 2
    assert isinstance(module.choice_points[0].paths[2], nn.Identity)


def test_mixture_is_the_sum_weighed_by_softmax(module: ImportedModule) -> None:
    x = torch.randn(SHAPE)
    _, outputs, paths = pieces(module, x)
    p, q = (torch.softmax(a, 0) for a in module.alphas())
    k = sum(w * o for w, o in zip(p, outputs))
    wanted = sum(w * path(k) for w, path in zip(q, paths))
    torch.testing.assert_close(module(x), wanted)
    module(x).square().sum().backward()
    assert all(a.grad is not None and a.grad.abs().sum() > 0 for a in module.alphas())


def test_single_path_is_not_scaled_and_leaves_alpha_alone(module: ImportedModule) -> None:
    x = torch.randn(SHAPE)
    _, outputs, paths = pieces(module, x)
    for first in range(3):
        module.choose([first, 1])
        torch.testing.assert_close(module(x), paths[1](outputs[first]))
    module(x).sum().backward()
    assert [a.grad for a in module.alphas()] == [None, None]
    unused = module.get_tensor("c.weight")
    assert unused.grad is None


def test_two_paths_share_the_softmax_of_their_own_alphas(module: ImportedModule) -> None:
    x = torch.randn(SHAPE)
    _, outputs, paths = pieces(module, x)
    module.two_path([(2, 0), (0, 1)])
    p = torch.softmax(module.alphas()[0][[2, 0]], 0)
    q = torch.softmax(module.alphas()[1], 0)
    k = p[0] * outputs[2] + p[1] * outputs[0]
    torch.testing.assert_close(module(x), q[0] * paths[0](k) + q[1] * paths[1](k))
    module(x).square().sum().backward()
    gradient = module.alphas()[0].grad
    assert gradient is not None
    assert gradient[1] == 0
    assert gradient[0] == pytest.approx(-float(gradient[2]), rel=1e-4)


def test_gumbel_runs_one_path_and_gives_alpha_the_softmax_gradient(module: ImportedModule) -> None:
    x = torch.randn(SHAPE)
    _, outputs, paths = pieces(module, x)
    noise = [torch.randn(3), torch.randn(2)]
    module.gumbel([1, 0], noise, 0.7)
    y = module(x)
    torch.testing.assert_close(y, paths[0](outputs[1]))
    y.sum().backward()
    alpha = module.alphas()[1].detach().requires_grad_()
    soft = torch.softmax((alpha + noise[1]) / 0.7, 0)[0]
    (soft * paths[0](outputs[1]).sum().detach()).backward()
    torch.testing.assert_close(module.alphas()[1].grad, alpha.grad, rtol=1e-4, atol=1e-5)


def test_modes_survive_deepcopy_and_compile(module: ImportedModule) -> None:
    x = torch.randn(SHAPE)
    module.choose([0, 1])
    twin = copy.deepcopy(module)
    with torch.no_grad():
        torch.testing.assert_close(twin(x), module(x))
        twin.mix()
        assert not torch.allclose(twin(x), module(x))
        compiled = torch.compile(module, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), module(x))
        module.choose([1, 1])
        torch.testing.assert_close(compiled(x), module(x))


def test_wrong_choices_are_refused(module: ImportedModule) -> None:
    with pytest.raises(ValueError, match=r"one: path 3; 0 to 2 are there"):
        module.choose([3, 0])
    with pytest.raises(ValueError, match=r"two: path 1 twice; wanted two different paths"):
        module.two_path([(0, 1), (1, 1)])
    with pytest.raises(ValueError, match=r"one: noise of shape \(2,\)"):
        module.gumbel([0, 0], [torch.zeros(2), torch.zeros(2)], 1.0)
    with pytest.raises(ValueError, match="zip"):
        module.choose([0])


def test_trained_alphas_and_weights_go_back() -> None:
    made = super_network()
    module = import_onnx(made)
    assert write_back(module, made).SerializeToString() == made.SerializeToString()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    back = write_back(module, made)
    feed = [np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)]
    assert_close(run_torch(module, feed), run_ort(back, feed), 1e-5)


def test_alphas_are_neither_head_nor_backbone(module: ImportedModule) -> None:
    assert len(module.backbone_parameters()) == 5
    assert len(module.alphas()) == 2
    assert module.head_parameters() == []


def test_a_mixture_read_from_inside_is_imported_as_plain_nodes() -> None:
    made = super_network()
    made.graph.output.append(onnx.helper.make_tensor_value_info("b", 1, ["N", 4, "H", "W"]))
    module = assert_imports(made, SHAPE)
    assert [p.name for p in module.choice_points] == ["two"]


SUPER_NETWORKS: dict[str, Callable[[], Graph]] = {
    "this file's": lambda: Graph.from_model(super_network()),
    "tiny": tiny_super,
    "mbconv": lambda: mixed(mbconv_network(), depths=(3, 2)),
    "mbconv, opset 12": lambda: mixed(mbconv_network(opset=12), depths=(3, 2)),
    "mbconv, e1 blocks": lambda: mixed(mbconv_network(plain_tail=True), depths=(3, 3)),
    "mbconv, hard-swish": lambda: mixed(mbconv_network(act="hswish")),
    "basic": lambda: mixed(resnet_network(), depths=(3, 3)),
    "bottleneck": lambda: mixed(resnet_network(kind="bottleneck", squeeze="inside")),
    "pooled shortcut": lambda: mixed(resnet_network(pooled_shortcut=True, squeeze="last")),
}


def mixed(seed: Graph, **how: Any) -> Graph:
    after, _ = applied(Mix(**how), seed)
    return after


@pytest.mark.parametrize("network", SUPER_NETWORKS.values(), ids=SUPER_NETWORKS)
def test_found_where_the_compiler_finds_them(network: Callable[[], Graph]) -> None:
    made = network().to_model()
    points = find_choice_points(Graph.from_model(made))
    ours = find_points(made.graph)
    assert points
    assert [(p.alpha.name, p.entry.name, p.output.name) for p in points] == [
        (o.alpha, o.entry, o.output) for o in ours
    ]
    assert [[t.name for t in p.outputs] for p in points] == [list(o.outputs) for o in ours]
    assert [[[n.name for n in region] for region in p.regions] for p in points] == [
        [[n.name for n in region] for region in o.regions] for o in ours
    ]
    paths = [point.paths for point in import_onnx(made).choice_points]
    assert [[not region for region in p.regions] for p in points] == [
        [isinstance(path, nn.Identity) for path in one] for one in paths
    ]
