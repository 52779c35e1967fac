from __future__ import annotations

from pathlib import Path

import pytest

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.normalize.pipeline import PIPELINE
from fnac.passes.registry import parse_pipeline
from tests.support.graphs import assert_same_outputs, graph, text

AS_EXPORTED = """(float[1,2,8,8] x) => (float[1,3] y)
    <float[4,2,3,3] w, float[4,3] f, float[3] b>
    { p = Pad<pads = [0, 0, 0, 0, 0, 0, 1, 1]>(x) h = Conv<strides = [2, 2]>(p, w)
      r = Clip<min = 0.0, max = 6.0>(h) g = GlobalMaxPool(r) d = Dropout(g)
      t = Constant<value = int64[2] {1, -1}>() k = Reshape(d, t) o = MatMul(k, f)
      y = Add(o, b) }"""


def test_the_canonical_form() -> None:
    before = graph(AS_EXPORTED, opset=9)
    after = before.copy()
    manager = PassManager()
    manager.run(parse_pipeline("normalize"), after)
    conv, clip = after.nodes[:2]
    assert [n.op for n in after.nodes] == [
        *("Conv", "Clip", "GlobalMaxPool"),
        *("Dropout", "Flatten", "Gemm"),  # training needs it
    ]
    assert conv.attrs["pads"] == [0, 0, 1, 1]
    assert [float(t.values) for t in clip.inputs[1:]] == [0, 6]
    assert after.inputs[0].shape == ["batch", 2, 8, 8]
    assert after.opset == 18
    assert_same_outputs(before, after)
    assert all(entry.verdict in ("equal", "not run") for entry in manager.ledger)


def test_a_second_run_does_nothing() -> None:
    g = graph(AS_EXPORTED, opset=9)
    PassManager(verify=False).run(PIPELINE, g)
    once = text(g)
    manager = PassManager(verify=False)
    manager.run(PIPELINE, g)
    assert text(g) == once
    assert [entry.report.rewrote for entry in manager.ledger] == [{}] * len(PIPELINE)


FOUND = [
    "weights_imagenet/mobilenet_v2_tfhub_ptq",
    "weights_imagenet/mobilenet_v2_tf_qat_qdq",
    "weights_imagenet/mobilenet_v1_keras_bn_trunc",
    "weights_imagenet/squeezenet1_1",
    "weights_imagenet/tiny_darknet_bn",
    "weights_mobilenet_bn/mobilenet_v2_gluon_bn",
    "weights_cifar10_resnet/resnet20",
    "wild/cifar_tutorial_cnn",
    "wild/mnist_cntk",
    "wild/nanodet_m",
    "wild/proxyless_landmark_pfld",
    "wild/squeezenet_fp16",
    "wild/ultraface_rfb320",
]


@pytest.mark.parametrize("name", FOUND)
def test_found_networks_compute_the_same(shared_data: Path, name: str) -> None:
    from fnac.passes.running.verify import compare

    before = Graph.load(shared_data / f"{name}.onnx")
    after = before.copy()
    PassManager(verify=False).run(PIPELINE, after)
    found = compare(before, after)
    assert found.equal, found
    assert not isinstance(after.inputs[0].shape[0], int)
    left_over = {n.op for n in after.nodes} & {"Constant", "Identity", "Pad"}
    assert left_over <= ({"Pad"} if name.endswith("resnet20") else set())


def test_operators_outside_onnx_are_refused(shared_data: Path) -> None:
    with pytest.raises(UnsupportedGraphError, match="operator ImageScaler"):
        Graph.load(shared_data / "wild" / "style_candy.onnx")
