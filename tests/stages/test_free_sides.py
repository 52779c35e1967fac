"""A free batch, height or width is free, however the exporter spells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fnac.importer import import_onnx
from fnac.inspection.inspect import InspectSettings, inspect_file
from fnac.inspection.profile import ProfileSettings, profile_file
from fnac.passes.graph import Graph
from fnac.passes.running.run import random_feed, run
from fnac.passes.stored_layers import read_layers
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.expand import ExpandSettings, expand
from tests.support.mbconv_networks import mbconv_network

SIZE = (32, 32)
SPELLINGS = {"-1": -1, "?": "?", "a name": "n", "nothing": None}


def network(path: Path, spelling: str, opset: int, free: tuple[int, ...]) -> Path:
    """Write a small network whose input and output sides ``free`` are spelt so."""
    model = mbconv_network(((6, 2, 2),), opset=opset).to_model()
    for value in [*model.graph.input, *model.graph.output]:
        for place, side in enumerate(value.type.tensor_type.shape.dim):
            if place not in free:
                continue
            side.Clear()
            said = SPELLINGS[spelling]
            if isinstance(said, int):
                side.dim_value = said
            elif said is not None:
                side.dim_param = said
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("free", [(0,), (0, 2, 3)])
@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_stage_takes_it(
    spelling: str, opset: int, free: tuple[int, ...], tmp_path: Path
) -> None:
    path = network(tmp_path / "net.onnx", spelling, opset, free)
    size = SIZE if 2 in free else None
    counted, _ = profile_file(path, ProfileSettings(size))
    assert counted.madds == (76_850 if size else 19_250)
    assert len(inspect_file(path, InspectSettings()).blocks) == 3
    graph = Graph.load(path)
    feed = random_feed(graph, size)
    assert len(feed[graph.inputs[0].name]) == 2
    with torch.no_grad():
        answers = import_onnx(onnx.load(path))(torch.from_numpy(feed[graph.inputs[0].name])).numpy()
    np.testing.assert_allclose(
        answers, run(graph, feed)[graph.outputs[0].name], rtol=1e-4, atol=1e-3
    )
    emit(path, tmp_path / "emitted.onnx", EmitSettings(size=size))
    assert len(read_layers(expand(graph, ExpandSettings(size=size)).manifest)) == 2
