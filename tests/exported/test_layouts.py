"""Height and width are where the layout says, at every stage, operator set and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.through_stages import QUICK, SIZE, STAGES, Stage, backbone, through
from tests.support.written_nets import NEWEST, Written

FREE = ("n", "h", "w", 3)
FIXED = (1, *SIZE, 3)
SPELLINGS = ("turned", "cast", "normalised", "read before", "turned back")


def sweep(
    spelling: str,
    opset: int,
    shape: tuple[int | str, ...],
    folder: Path,
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Take a channels-last network, as tf2onnx writes one, through the stages."""
    net = Written(shape, opset)
    x = "x"
    match spelling:
        case "cast":
            x = net.op("Cast", x, to=1)
        case "normalised":
            scaled = net.op("Div", x, net.keep(127.5, np.float32))
            x = net.op("Sub", scaled, net.keep(1.0, np.float32))
        case "read before":
            x = net.op("Relu", x)
    end = backbone(net, net.op("Transpose", x, perm=[0, 3, 1, 2]))
    if spelling == "turned back":
        end = net.op("Transpose", end, perm=[0, 2, 3, 1])
    through(net.model(end), folder, SIZE if shape is FREE else None, stages=stages)


@pytest.mark.parametrize("place", range(len(SPELLINGS)), ids=lambda k: SPELLINGS[k])
def test_channels_last_networks_pass_every_stage(place: int, tmp_path: Path) -> None:
    opset = (9, 13, 17)[place % 3]
    sweep(SPELLINGS[place], opset, (FREE, FIXED)[place % 2], tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [FREE, FIXED], ids=["free", "fixed"])
@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21, NEWEST])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_at_every_operator_set(
    spelling: str, opset: int, shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    sweep(spelling, opset, shape, tmp_path)
