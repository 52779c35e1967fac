"""Networks of timm and torchvision from export to super network: one row each, as a table.

    python benchmarks/study_architectures.py [NAME ...] [-o TABLE.md]

Each is exported by `fnac export` with random weights, imported again and compared in eval mode with
onnxruntime; one training step at batch 2 must give every float weight a gradient and move every
BatchNorm statistic; then `fnac expand` makes the super network, out of which the seed must come to
the bit. Needs `fnac[timm]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from studies import write_table
from study_families import found, seed_inside
from torch import nn

from fnac.errors import FnacError
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed, run
from fnac.stages.expand import ExpandSettings, prepare_seed
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings

NAMES = (
    *("timm:resnetv2_50", "timm:rexnet_100", "timm:selecsls42b", "timm:dpn68"),
    *("timm:ese_vovnet19b_dw", "timm:hardcorenas_a", "timm:gernet_s", "timm:resnest14d"),
    *("timm:skresnet18", "timm:cspdarknet53", "timm:mobilenetv4_conv_medium"),
    *("timm:eca_nfnet_l0", "timm:seresnext26d_32x4d", "timm:dla46_c", "timm:ghostnetv2_100"),
    *("timm:starnet_s1", "timm:repvit_m0_9", "timm:hgnetv2_b0", "timm:inception_next_atto"),
    *("timm:tinynet_e", "torchvision:wide_resnet50_2", "torchvision:efficientnet_v2_s"),
    *("torchvision:shufflenet_v2_x0_5", "torchvision:regnet_x_400mf", "torchvision:mnasnet0_5"),
    *("torchvision:squeezenet1_0", "torchvision:vgg16"),
)
HEADER = (
    *("network", "outputs against onnxruntime", "weights with a gradient", "BN statistics moved"),
    *("blocks", "layers", "candidates", "seed inside"),
)


def difference(graph: Graph) -> str:
    """Return how far torch is from onnxruntime, relative to the largest output."""
    feed = random_feed(graph)
    module = import_onnx(graph.to_model()).eval()
    with torch.no_grad():
        made = module(*[torch.from_numpy(array) for array in feed.values()])
    outputs = made if isinstance(made, tuple) else (made,)
    expected = run(graph, feed)
    worst = max(
        float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(outputs, expected.values(), strict=True)
    )
    return f"{worst:.1e}"


def trained(graph: Graph) -> tuple[str, str]:
    """Take one step at batch 2; return how many weights got a gradient, and statistics moved."""
    module = import_onnx(graph.to_model()).train()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    height, width = graph.image_size() or (224, 224)
    torch.manual_seed(0)
    made = module(torch.randn(2, 3, height, width))
    outputs = made if isinstance(made, tuple) else (made,)
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    parameters = list(module.parameters())
    reached = sum(p.grad is not None for p in parameters)
    moved = sum(
        not torch.equal(was, norm.running_mean)
        for was, norm in zip(before, norms, strict=True)
        if norm.running_mean is not None
    )
    return f"{reached} / {len(parameters)}", f"{moved} / {len(norms)}"


def row(name: str) -> tuple[str, ...]:
    """Return the table's row of one network."""
    try:
        graph = export_seed(ExportSettings(seed=name, weights="none"))
    except FnacError as error:
        return (name, f"not exported: {error}", "", "", "", "", "", "")
    known = (name, difference(graph), *trained(graph))
    try:
        seed = prepare_seed(graph, ExpandSettings(), manager=PassManager(verify=False))
        blocks, layers, candidates, _, _ = found(seed)
        return (*known, blocks, layers, candidates, seed_inside(seed))
    except FnacError as error:
        return (*known, str(error), "", "", "")


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    write_table(HEADER, map(row, given.names or NAMES), given.output)


if __name__ == "__main__":
    main()
