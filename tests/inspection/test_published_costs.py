"""The costs of torchvision's own networks, to the integer, before and after BN folding."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import onnx
import pytest
import torch
import torchvision

from fnac.passes.cost import profile
from fnac.passes.emit.fold_batchnorm import FoldBatchNorm
from fnac.passes.graph import Graph


def exported(name: str) -> Graph:
    net = getattr(torchvision.models, name)(weights=None).eval()
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:  # the exporter merges equal ones
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.01)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.randn(1, 3, 224, 224),),
            buffer,
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return Graph.from_model(onnx.load_from_string(buffer.getvalue()))


@pytest.mark.parametrize(
    ("name", "madds", "params"),
    [
        ("mobilenet_v2", 300_774_272, 3_504_872),
        pytest.param("resnet50", 4_089_184_256, 25_557_032, marks=pytest.mark.slow),
    ],
)
def test_madds_of_torchvision(tmp_path: Path, name: str, madds: int, params: int) -> None:
    graph = exported(name)
    counted = profile(graph)
    assert (counted.madds, counted.params) == (madds, params)
    folded = graph.copy()
    FoldBatchNorm().run(folded)
    assert not [node for node in folded.nodes if node.op == "BatchNormalization"]
    assert profile(folded).madds == madds
    graph.save(tmp_path / "m.onnx")
    program = (
        "import sys, fnac.cli; code = fnac.cli.run(['profile', sys.argv[1]]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.onnx")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{madds:,}" in done.stdout
