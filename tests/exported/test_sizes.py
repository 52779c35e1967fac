"""A size given, free or stored, in any spelling, at any operator set, gives one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.passes.shapes.test_following import SPELLINGS
from tests.support.through_stages import QUICK, SIZE, STAGES, Stage, backbone, through
from tests.support.written_nets import NEWEST, Written

FREE = ("n", 3, "h", "w")
FIXED = (1, 3, *SIZE)

Spelling = Callable[[Written, str], str]


def sweep(
    spelling: Spelling,
    opset: int,
    shape: tuple[int | str, ...],
    nodes: bool,
    folder: Path,
    stages: Sequence[Stage] = STAGES,
) -> None:
    net = Written(shape, opset, nodes)
    model = net.model(net.op("Relu", spelling(net, backbone(net, "x"))))
    through(model, folder, SIZE if shape is FREE else None, stages=stages)


@pytest.mark.parametrize("place", range(len(SPELLINGS)), ids=lambda k: SPELLINGS[k].__name__)
def test_a_size_is_one_size_at_every_stage(place: int, tmp_path: Path) -> None:
    shape, opset = (FREE, FIXED)[place % 2], (9, 11, 13)[place % 3]
    sweep(SPELLINGS[place], opset, shape, place % 4 > 1, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [False, True], ids=["initializers", "constant-nodes"])
@pytest.mark.parametrize("shape", [FREE, FIXED], ids=["free", "fixed"])
@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda one: one.__name__)
def test_at_every_operator_set(
    spelling: Spelling, opset: int, shape: tuple[int | str, ...], nodes: bool, tmp_path: Path
) -> None:
    sweep(spelling, opset, shape, nodes, tmp_path)
