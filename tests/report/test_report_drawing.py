"""The drawing of networks that are not MobileNets: groups, and an expansion that a head reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from fnac.passes.graph import Graph
from fnac.passes.super_network.mix import TABLE_VII, Mix
from fnac.report.architecture import KERNEL_FILLS, draw_architectures
from fnac.report.network import FixedBlock, Network, read_network
from tests.passes.blocks.test_tapped_expansion import MIX, tapped_network
from tests.support.graphs import applied
from tests.support.resnet_networks import resnet_network


def written(g: Graph, mix: Mix, folder: Path) -> Network:
    mixed, _ = applied(mix, g)
    mixed.save(folder / "super.onnx")
    return read_network(folder / "super.onnx")


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_residual_blocks_are_coloured_by_kernel_and_named_by_groups(
    kind: str, tmp_path: Path
) -> None:
    network = written(resnet_network(((16, 2, 1), (32, 3, 2)), kind=kind), Mix(), tmp_path)
    assert network.fixed == (FixedBlock("conv3x3", 2, 1, 8),)
    assert [layer.channels for layer in network.layers] == [16, 16, 32, 32, 32]
    assert [layer.stride for layer in network.layers] == [1, 1, 2, 1, 1]
    drawing = draw_architectures(network, [("Seed", network.seed_choices), ("Target", TABLE_VII)])
    boxes = [box for box in drawing.boxes if box.tooltip.startswith("stage")]
    assert [box.fill for box in boxes[5:]] == [KERNEL_FILLS[k] for k in (3, 5, 5, 7, 7)]
    assert len({box.height for box in boxes}) == 1
    texts = [label.text for label in drawing.labels]
    assert [text for text in texts if text.startswith("K") and "G" in text] == [
        *["K3G1"] * 5, "K3G1", "K5G2", "K5G4", "K7G4", "K7G8",
    ]  # fmt: skip
    assert "G: groups" in texts
    assert "height: expansion" not in texts


def test_a_shared_expansion_is_no_block_of_its_own(tmp_path: Path) -> None:
    network = written(tapped_network(), MIX, tmp_path)
    assert network.fixed == (FixedBlock("conv3x3", 2, 1, 4), FixedBlock("k3e1", 1, 1, 4))
    drawing = draw_architectures(network, [("Seed", network.seed_choices)])
    assert "height: expansion" in [label.text for label in drawing.labels]
