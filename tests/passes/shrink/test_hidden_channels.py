from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.blocks.hidden_channels import (
    HiddenChannels,
    find_hidden,
    keep_channels,
    trace_hidden,
)
from fnac.passes.graph import Graph
from tests.support.graphs import graph, outputs
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network


def found(g: Graph) -> tuple[list[HiddenChannels], dict[str, str]]:
    g.refresh_shapes()
    return find_hidden(g)


def names(channels: HiddenChannels) -> tuple[list[str], list[str]]:
    makers = [node.name for node in (*channels.makers, *channels.grouped)]
    return makers, [reading.node.name for reading in channels.readings]


def test_mbconv_blocks_have_their_hidden_channels() -> None:
    sets, left = found(mbconv_network([(8, 2, 1)]))
    assert [names(one) for one in sets] == [
        (["stem", "b0_dw"], ["b0_pw"]),
        (["b0_pw"], ["b1_ex"]),
        (["b1_ex", "b1_dw"], ["b1_pw"]),
        (["b2_ex", "b2_dw"], ["b2_pw"]),
        (["last"], ["logits"]),
    ]
    assert sets[-1].readings[0].pooled is not None
    assert left == dict.fromkeys(("b1_pw", "b2_pw"), "b2_add (Add) adds others to its channels")


def test_basic_and_bottleneck_blocks() -> None:
    sets, _ = found(resnet_network([(8, 1, 1)]))
    assert (["b0_c1"], ["b0_c2"]) in [names(one) for one in sets]
    sets, _ = found(resnet_network([(8, 1, 1)], kind="bottleneck"))
    inner = [names(one) for one in sets]
    assert (["b0_c1"], ["b0_c2"]) in inner
    assert (["b0_c2"], ["b0_c3"]) in inner


def test_squeeze_excitation_goes_along() -> None:
    sets, _ = found(resnet_network([(8, 1, 1)], kind="bottleneck", squeeze="inside"))
    one = next(s for s in sets if s.name == "b0_c2")
    assert names(one) == (["b0_c2", "b0_e"], ["b0_s", "b0_c3"])
    assert one.feedback


CHAIN = """(float[N,2,8,8] x) => (y)
<float[6,2,3,3] a, float[6] b, float[4,6,1,1] c, float[3,6,3,3] d, float[2,7,1,1] e> {
 s = Conv<pads=[1,1,1,1]>(x, a, b)
 t = Relu(s)
 u = Conv(t, c)
 v = Conv<pads=[1,1,1,1]>(t, d)
 w = Concat<axis=1>(u, v)
 r = Relu(w)
 y = Conv(r, e)
}"""


def test_a_fire_module_has_a_squeeze_of_two_readers_and_two_branches() -> None:
    sets, left = found(graph(CHAIN))
    assert [names(one) for one in sets] == [(["s"], ["u", "v"]), (["u"], ["y"]), (["v"], ["y"])]
    assert [one.readings[0].offset for one in sets] == [0, 0, 4]
    assert left == {"y": "y is an output of the network"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_channels_that_nobody_weighs_go_without_a_trace(place: int) -> None:
    """Zero columns of the readers are columns that may go: then nothing changes, to the bit."""
    g = graph(CHAIN)
    sets, _ = found(g)
    kept = np.array([0, 2])
    gone = np.setdiff1d(np.arange(sets[place].count), kept)
    for reading in sets[place].readings:
        weight = reading.node.inputs[1].values.copy()
        weight[:, reading.offset + gone] = 0
        reading.node.inputs[1].values = weight
    wanted = outputs(g)
    keep_channels(g, sets[place], kept, {})
    for reading in sets[place].readings:
        weight = np.delete(reading.node.inputs[1].values, reading.offset + gone, axis=1)
        reading.node.inputs[1].values = weight
    g.refresh_shapes()
    assert all(np.array_equal(wanted[name], value) for name, value in outputs(g).items())
    again = trace_hidden(g, sets[place].makers[0])
    assert again.count == 2


REFUSED = {
    "shared": (
        "s = Conv(x, a)\n t = Conv(s, c)\n u = Conv(t, c)\n y = Conv(u, c)",
        "s",
        "c is shared with u",
    ),
    "groups": ("s = Conv(x, a)\n y = Conv<group=2>(s, g)", "s", "y reads its channels in groups"),
    "others": (
        "s = Conv(x, a)\n t = Conv(x, a2)\n u = Add(s, t)\n y = Conv(u, c)",
        "s",
        "u (Add) adds others to its channels",
    ),
    "unknown": ("s = Conv(x, a)\n y = Softmax<axis=1>(s)", "s", "y (Softmax) reads its channels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_why_channels_stay(case: str) -> None:
    body, name, why = REFUSED[case]
    g = graph(
        "(float[N,4,4,4] x) => (y) <float[4,4,1,1] a, float[4,4,1,1] a2, float[4,4,1,1] c, "
        f"float[4,2,1,1] g> {{ {body} }}"
    )
    _, left = found(g)
    assert left[name] == why
