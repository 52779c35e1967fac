"""Stage ``export``: the files it leaves, their manifest, their cost, their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fnac.errors import UsageError
from fnac.models import bundled
from fnac.models.seeds.tables import MOBILENETV2
from fnac.passes.graph import Graph
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        graph.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": x})[0]


def test_the_manifest_of_a_seed_with_its_head(tmp_path: Path) -> None:
    graph = export_seed(
        ExportSettings(
            "mobilenetv2", "none", size=(1024, 2048), task="seg", head="deeplabv3", classes=19
        )
    )
    graph = Graph.load(graph.save(tmp_path / "m.onnx"))
    assert graph.manifest == {
        "role": "seed",
        "name": "mobilenetv2",
        "size": [1024, 2048],
        "preprocessing": {
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "color": "RGB",
            "range": [0.0, 1.0],
            "layout": "NCHW",
            "resize": "stretch",
            "assumed": False,
        },
        "num_classes": 19,
        "classes": None,
        "seed": {"source": "none", "licence": "Apache-2.0; random start"},
        "task": "seg",
        "head": "deeplabv3",
        "taps": [{"name": "features", "stride": 16, "channels": 320}],
        "output_stride": 16,
        "stride": 16,
        "outputs": [
            {
                "name": "logits",
                "meaning": "a score of each class in each cell",
                "unit": "logit",
            }
        ],
    }
    parts = {node.metadata.get("fnac.part") for node in graph.nodes if node.name[:5] == "head."}
    assert parts == {"head"}
    assert not any(n.metadata.get("fnac.part") for n in graph.nodes if n.name[:8] == "features")


def test_a_segmenter_runs_at_sizes_its_stride_does_not_divide() -> None:
    settings = ExportSettings(
        "mobilenetv2_w0.35", "none", size=(90, 120), task="seg", classes=4, output_stride=8
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 90, 120)).astype(np.float32)
    assert run(export_seed(settings), x).shape == (2, 4, 90, 120)


def test_weights_of_a_file_arrive_unchanged(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = MOBILENETV2.scaled(0.5).network(12).eval()
    torch.save(net.state_dict(), tmp_path / "w.pth")
    file = str(tmp_path / "w.pth")
    graph = export_seed(ExportSettings("mobilenetv2", file, size=(64, 64), width=0.5))
    stored = {constant.name: constant.values for constant in graph.constants()}
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert np.array_equal(stored[name], value.numpy()), name
    assert graph.manifest["num_classes"] == 12
    assert graph.manifest["seed"]["source"] == "w.pth"
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        # float32 sums of up to 1280 products in another order
        np.testing.assert_allclose(run(graph, x.numpy()), net(x).numpy(), rtol=0, atol=2e-5)
    with_head = export_seed(ExportSettings("mobilenetv2", file, (64, 64), 0.5, "seg", classes=3))
    stored = {constant.name: constant.values for constant in with_head.constants()}
    name = "features.17.conv.2.weight"
    assert np.array_equal(stored[name], net.state_dict()[name].numpy())


def test_random_weights_follow_their_seed() -> None:
    def stem(seed: int) -> np.ndarray:
        graph = export_seed(
            ExportSettings("mobilenetv2_w0.35", "none", size=(32, 32), random_seed=seed)
        )
        return next(c.values for c in graph.constants() if c.name == "features.0.0.weight")

    assert np.array_equal(stem(0), stem(0))
    assert not np.array_equal(stem(0), stem(1))


def test_the_bundled_seed_is_small_and_exports_as_it_is() -> None:
    file = bundled.path()
    assert file.stat().st_size < 1_500_000
    original, exported = Graph.load(file), export_seed(ExportSettings("bundled"))
    x = np.random.default_rng(0).standard_normal((2, 3, *bundled.SIZE)).astype(np.float32)
    assert np.array_equal(run(original, x), run(exported, x))
    assert exported.manifest["classes"] == original.manifest["classes"]
    assert len(exported.manifest["classes"]) == 10
    assert exported.manifest["seed"].keys() >= {"source", "licence", "sha256", "accuracy"}
    fresh = export_seed(ExportSettings("bundled", task="seg", classes=6, size=(96, 96)))
    assert (fresh.manifest["classes"], fresh.manifest["num_classes"]) == (None, 6)


def test_the_bundled_seed_recognises_what_it_was_trained_on(shared_data: Path) -> None:
    from benchmarks.train_bundled_seed import load_images, upsampled

    graph = Graph.load(bundled.path())
    images, labels, classes = load_images(shared_data / "cifar10" / "cifar10_test_jpeg.npz")
    assert classes == graph.manifest["classes"]
    found = run(graph, upsampled(images[:1000]).numpy()).argmax(1)
    accuracy = float((found == labels[:1000].numpy()).mean())
    # 1000 of the 10,000 images: the stated accuracy within three standard deviations
    assert accuracy == pytest.approx(graph.manifest["seed"]["accuracy"], abs=0.04)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": "vgg"}, "seed vgg: no such name; known: mobilenetv2, resnet18"),
        ({"weights": "no.pth"}, r"no\.pth: there is no such file"),
        ({"classes": 0}, "--classes 0: wanted at least 1"),
        ({"head": "deeplabv3"}, "--head deeplabv3: a head needs its --task"),
        ({"task": "seg"}, "--task seg: the head needs --classes N"),
        (
            {"task": "det", "classes": 3, "head": "deeplabv3"},
            "--head deeplabv3: head 'deeplabv3' is for seg; for det there are: retinanet, ssdlite",
        ),
        (
            {"task": "det", "classes": 3, "output_stride": 8},
            "retinanet reads the backbone as it is",
        ),
        (
            {"task": "seg", "classes": 3, "head": "fcn", "weights": "none"},
            "--head fcn: no such name; known: own, deeplabv3",
        ),
        ({"size": (16, 64)}, "--size 16x64: wanted at least 32x32"),
    ],
)
def test_what_cannot_be_exported_is_explained(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export_seed(ExportSettings(**settings))
