"""Classifiers of timm and torchvision as seeds: names and BN kept, symbolic batch, same outputs."""

from __future__ import annotations

import importlib.util
from collections import Counter

import numpy as np
import pytest
import torch

from fnac.errors import OutputsDifferError, UsageError
from fnac.models.seeds import from_libraries as timm_torchvision
from fnac.models.seeds.from_libraries import library_network
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import run
from fnac.stages.expand import ExpandSettings, prepare_seed
from fnac.stages.export import export_seed
from fnac.stages.exporting.from_libraries import check_against_torch
from fnac.stages.exporting.settings import ExportSettings

needs_onnxscript = pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is None, reason="needs fnac[onnxscript]"
)
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs fnac[timm]")


def same_weights(graph: Graph, state: dict[str, torch.Tensor]) -> None:
    stored = {c.name: c.values for c in graph.constants()}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            assert np.array_equal(stored[name], value.numpy()), name


@needs_onnxscript
@needs_timm
def test_a_network_of_timm() -> None:
    settings = ExportSettings("timm:test_resnet", "none", size=(64, 64), classes=7)
    graph = export_seed(settings)
    native = library_network("timm", "test_resnet", "none", 7).module
    same_weights(graph, native.state_dict())
    operators = Counter(n.op for n in graph.nodes)
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in native.modules())
    assert operators["BatchNormalization"] == norms > 0
    assert set(operators) <= {
        *("Conv", "BatchNormalization", "Relu", "Add", "MaxPool", "AveragePool", "ReduceMean"),
        *("GlobalAveragePool", "Flatten", "Reshape", "Shape", "Squeeze", "Concat", "Gemm"),
    }
    x = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        wanted = native(x).numpy()
    found = run(graph, {"input": x.numpy()})["logits"]
    # float32 sums in another order
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert graph.manifest["num_classes"] == 7
    assert graph.manifest["name"] == "timm:test_resnet"
    assert graph.manifest["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert graph.manifest["seed"] == {"source": "none", "licence": "random start"}
    check_against_torch(graph, library_network("timm", "test_resnet", "none", 7), (64, 64))
    with pytest.raises(OutputsDifferError, match="timm:test_resnet: the exported network differs"):
        check_against_torch(
            graph, library_network("timm", "test_resnet", "none", 7, random_seed=1), (64, 64)
        )


@needs_onnxscript
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "regnet_y_400mf", "vgg11_bn"],
)
def test_networks_of_torchvision(name: str) -> None:
    graph = export_seed(ExportSettings(f"torchvision:{name}", "none", size=(64, 64)))
    same_weights(graph, library_network("torchvision", name, "none").module.state_dict())
    head = export_seed(
        ExportSettings(f"torchvision:{name}", "none", (64, 64), None, "cls", classes=3)
    )
    assert run(head, {"input": np.zeros((2, 3, 64, 64), "f4")})["logits"].shape == (2, 3)


def test_a_network_of_torchvision_and_its_preprocessing() -> None:
    made = library_network("torchvision", "resnet18", "none", 5)
    assert made.module.fc.out_features == 5
    assert not made.module.training
    assert (made.size, made.mean) == ((224, 224), (0.485, 0.456, 0.406))
    again = library_network("torchvision", "resnet18", "none", 5)
    assert torch.equal(made.module.conv1.weight, again.module.conv1.weight)


@pytest.mark.slow
@needs_onnxscript
def test_a_segmentation_network_of_torchvision_keeps_its_head_or_gets_another() -> None:
    name = "torchvision:deeplabv3_mobilenet_v3_large"
    made = export_seed(ExportSettings(name, "none", classes=5, size=(64, 96)))
    assert list(made.outputs[0].shape[1:]) == [5, 64, 96]
    assert made.manifest["num_classes"] == 5
    assert "classifier.1.weight" in {t.name for t in made.constants()}
    own = ExpandSettings(task="seg", head="own", classes=3)
    for settings, parts in ((own, False), (ExpandSettings(task="seg", classes=3), True)):
        seed = prepare_seed(made, settings, manager=PassManager(verify=False))
        assert list(seed.outputs[0].shape[1:]) == [3, 64, 96]
        assert ("classifier.1.weight" in {t.name for t in seed.constants()}) != parts


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"seed": "torchvision:resnet19"},
            "torchvision:resnet19: no such network; similar: .*resn",
        ),
        (
            {"seed": "torchvision:resnet18", "width": 0.5},
            "--width 0.5: torchvision:resnet18 has th",
        ),
        (
            {"seed": "torchvision:quantized_mobilenet_v2"},
            "segmentation networks with float weights are exported, and it is neither",
        ),
        (
            {"seed": "torchvision:fcn_resnet50", "weights": None, "classes": 5},
            "its published weights are of its own classes; .* --task seg --head own --classes 5",
        ),
        ({"seed": "torchvision:resnet18", "weights": "no.pth"}, r"no\.pth: there is no such file"),
    ],
)
def test_what_a_library_has_not(settings: dict, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        export_seed(ExportSettings(**{"weights": "none", **settings}))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_torchvision.importlib.util, "find_spec", lambda name: None)
    for name, extra in (("timm:resnet18", "timm"), ("torchvision:resnet18", "onnxscript")):
        with pytest.raises(
            UsageError, match=rf"is not installed; .*pip install -e '\.\[{extra}\]'"
        ):
            export_seed(ExportSettings(name, "none", size=(32, 32)))


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **named: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", offline)
    with pytest.raises(
        UsageError, match=r"^torchvision:resnet18: its weights could not be downloaded \(no route"
    ):
        export_seed(ExportSettings("torchvision:resnet18"))
