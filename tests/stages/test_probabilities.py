"""A network that outputs probabilities is refused, however it computes them."""

from __future__ import annotations

import pytest

from fnac.errors import UnsupportedGraphError
from fnac.importer import import_onnx
from fnac.stages.opening.probabilities import check_no_probabilities
from tests.support.graphs import graph

NETWORK = """(float[N,3,16,16] x) => (float[N,4,16,16] y)
  <float[4,3,1,1] w, float two = {{2}}, int64[1] axis = {{1}}> {{ c = Conv(x, w) {} }}"""
SOFTMAX = "e = Exp(c) s = ReduceSum(e, axis) y = Div(e, s)"


def checked(body: str, task: str, size: tuple[int, int] | None = (16, 16)) -> None:
    module = import_onnx(graph(NETWORK.format(body)).to_model())
    check_no_probabilities(module, "y", task, size)


@pytest.mark.parametrize("task", ["seg", "cls"])
@pytest.mark.parametrize(
    "body", [SOFTMAX, SOFTMAX.replace("y =", "d =") + " y = MaxPool<kernel_shape=[1,1]>(d)"]
)
def test_a_softmax_in_several_nodes_is_seen(body: str, task: str) -> None:
    with pytest.raises(UnsupportedGraphError, match="the output y holds probabilities"):
        checked(body, task)


@pytest.mark.parametrize("body", ["y = Relu(c)", "y = LogSoftmax<axis=1>(c)", "y = Mul(c, two)"])
def test_logits_are_taken(body: str) -> None:
    checked(body, "seg")


def test_heatmaps_and_networks_of_any_size_are_taken() -> None:
    checked(SOFTMAX, "pose")
    checked(SOFTMAX, "seg", None)
