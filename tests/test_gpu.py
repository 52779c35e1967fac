"""What must hold on a CUDA device: `pytest -m gpu`; skipped where there is none."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from fnac.cli import run
from fnac.importer import ImportedModule, import_onnx
from fnac.models import bundled
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.stages.expand import ExpandSettings, expand

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.fixture(scope="module")
def network() -> Graph:
    settings = ExpandSettings(task="seg", classes=4, size=(64, 64), space="mbconv-seg")
    return expand(Graph.load(bundled.path()), settings, manager=PassManager(verify=False))


def one_step(module: ImportedModule, device: str) -> dict[str, torch.Tensor]:
    """Take one float64 SGD step on one path and return all weights on the CPU."""
    module = copy.deepcopy(module).double().to(device).train()
    for dropout in (m for m in module.modules() if isinstance(m, torch.nn.Dropout)):
        dropout.p = 0.0
    module.choose([0] * len(module.choice_points))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 64, 64, generator=generator, dtype=torch.float64).to(device)
    target = torch.randint(0, 4, (4, 64, 64), generator=generator).to(device)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    torch.nn.functional.cross_entropy(module(images), target).backward()
    optimizer.step()
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}


def test_one_training_step_is_the_same_on_cpu_and_cuda(network: Graph) -> None:
    module = import_onnx(network.to_model())
    on_cpu, on_cuda = one_step(module, "cpu"), one_step(module, "cuda")
    for name, tensor in on_cpu.items():
        # float64 sums in another order: 1e-9 is a million times its rounding
        torch.testing.assert_close(on_cuda[name], tensor, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_the_whole_chain_on_cuda(
    precision: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("adapt", "--task", "seg", "--json", "-o", str(tmp_path / "run")),
        *("--set", "adapt.data=scenes:train=64,val=16,size=64", "--size", "64x64"),
        *("--device", "cuda", "--precision", precision),
        *("--set", "search.epochs=2", "--set", "search.warmup_epochs=1"),
        *("--set", "tune.epochs=2"),
    ]
    assert run(arguments) == 0
    found = json.loads(capfd.readouterr().out)
    assert 0 <= found["value"] <= 100
    assert found["target"]["madds"] <= found["seed"]["madds"]


def test_a_compiled_module_computes_the_same(network: Graph) -> None:
    module = import_onnx(network.to_model()).cuda().eval()
    module.choose([0] * len(module.choice_points))
    images = torch.randn(2, 3, 64, 64, device="cuda")
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.compile(module)(images), module(images), rtol=1e-3, atol=1e-3
        )
