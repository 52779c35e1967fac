"""Old operators mean what they meant at every stage, not only where the operator set is raised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.passes.normalize.test_old_operators import SPELLINGS, Spelling
from tests.support.through_stages import CHANNELS, QUICK, SIZE, STAGES, Stage, backbone, through
from tests.support.written_nets import Written

FIXED = (1, 3, *SIZE)
ROWS = {"rows_and_gemm": 5 * 256, "normalised_rows": 2 * 256}  # weights of their own
BIASED = 5  # and a bias, up to operator set 10


def sweep(spelling: Spelling, opset: int, folder: Path, stages: Sequence[Stage] = STAGES) -> None:
    net = Written(FIXED, opset)
    x = backbone(net, "x")
    name = spelling.__name__
    own = ROWS.get(name, 0)
    if own:  # these take 256 numbers
        height, width = SIZE[0] // 8, SIZE[1] // 8
        sides = {"kernel_shape": [height, width], "strides": [height, width]}
        x = net.op("MaxPool", x, **sides)
        assert CHANNELS * 64 == 256
    end = net.op("Relu", spelling(net, x))
    products = own if name == "rows_and_gemm" else 0
    if name == "rows_and_gemm" and opset < 11:
        own += BIASED
    through(net.model(end), folder, more_madds=products, more_weights=own, stages=stages)


@pytest.mark.parametrize("place", range(len(SPELLINGS)), ids=lambda k: SPELLINGS[k].__name__)
def test_old_operators_pass_every_stage(place: int, tmp_path: Path) -> None:
    sweep(SPELLINGS[place], (7, 9, 10, 11)[place % 4], tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(7, 18))
@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda one: one.__name__)
def test_at_every_operator_set(spelling: Spelling, opset: int, tmp_path: Path) -> None:
    sweep(spelling, opset, tmp_path)
