from __future__ import annotations

from pathlib import Path

import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.graph import Graph
from tests.support.graphs import graph, renamed
from tests.support.mbconv_networks import left_alone, mbconv_network


def shape_of(g: Graph) -> list[tuple[float, int, list[str]]]:
    """Stride, width and blocks of every stage; ``+`` marks a residual."""
    return [
        (s.output_stride, s.width, [b.name + ("+" if b.residual else "") for b in s.blocks])
        for s in find_blocks(g).stages
    ]


@pytest.mark.parametrize("bn", [True, False])
@pytest.mark.parametrize("act", ["relu", "relu6", "hswish"])
@pytest.mark.parametrize("bias", [True, False])
def test_finds_stages_and_blocks_whatever_the_names(bn: bool, act: str, bias: bool) -> None:
    g = mbconv_network(bn=bn, act=act, bias=bias)
    expected = [(2, 4, ["k3e1"]), (4, 6, ["k3e2", "k3e2+"]), (4, 8, ["k3e2"])]
    assert shape_of(g) == expected
    assert shape_of(renamed(g)) == expected
    assert [s.index for s in find_blocks(g).searchable] == [1, 2]


def test_says_why_other_convolutions_are_left() -> None:
    assert find_blocks(mbconv_network()).left == {
        "stem": left_alone("3x3"),
        "last": left_alone("1x1"),
    }


def test_a_block_knows_its_parts() -> None:
    block = find_blocks(mbconv_network(same=True)).stages[1].blocks[0]
    assert block.expand is not None
    assert [n.name for n in block.nodes] == [
        "b1_ex", "b1_ex_bn", "b1_ex_act", "b1_dw", "b1_dw_bn", "b1_dw_act", "b1_pw", "b1_pw_bn",
    ]  # fmt: skip
    assert (block.entry.name, block.output.name) == ("b0_pw_bn", "b1_pw_bn")
    assert (block.in_channels, block.hidden, block.out_channels) == (4, 8, 6)
    assert (block.stride, block.dilation, block.expansion) == (2, 1, 2.0)


@pytest.mark.parametrize("gate", ["HardSigmoid", "Sigmoid"])
def test_a_gated_activation_is_part_of_the_block(gate: str) -> None:
    g = graph(f"""(float[1,2,9,9] x) => (float[1,3,9,9] y)
        <float[6,2,1,1] e, float[6,1,3,3] d, float[3,6,1,1] p>
        {{ a = Conv(x, e) s = {gate}(a) b = Mul(s, a)
           c = Conv<group=6, pads=[1,1,1,1]>(b, d) t = {gate}(c) f = Mul(c, t)
           y = Conv(f, p) }}""")
    assert shape_of(g) == [(1, 3, ["k3e3"])]
    assert [n.name for n in find_blocks(g).blocks[0].nodes] == ["a", "s", "b", "c", "t", "f", "y"]


BLOCK = "<float[6,2,1,1] e, float[6,1,3,3] d, float[2,6,1,1] p{more}>"


@pytest.mark.parametrize(
    ("nodes", "more", "why"),
    [
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, d) f = Relu(c)
               g = Conv(f, p) y = Relu(g)""",
            "",
            "its 1x1 convolution is activated: separable, not an inverted residual",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, d) f = Relu(c)
               g = Sigmoid(f) h = Mul(f, g) i = Add(h, f) y = Conv(i, p)""",
            "",
            "3 nodes read the depthwise output, not one",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, d)
               f = MaxPool<kernel_shape=[1,1]>(c) y = Conv(f, p)""",
            "",
            "it is followed by f (MaxPool), not by a 1x1 convolution",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, auto_pad="SAME_UPPER">(b, d)
               y = Conv(c, p)""",
            "",
            "its padding is SAME_UPPER, not explicit",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, d)
               f = Conv(c, p) g = Add(x, f) y = Add(g, f)""",
            "",
            "its projection is read by others than the residual g",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, d)
               f = Conv(c, p) h = Relu(b) i = Conv(h, p) y = Add(f, i)""",
            "",
            "its weights are shared with i",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=2, pads=[1,1,1,1]>(b, q)
               y = Conv(c, p)""",
            ", float[6,3,3,3] q",
            left_alone("3x3", " in 2 groups"),
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[0,1,0,1]>(b, q)
               y = Conv(c, p)""",
            ", float[6,1,1,3] q",
            "its kernel is 1x3, not square and odd",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1], strides=[1,2]>(b, d)
               f = Relu(c) y = Conv(f, p)""",
            "",
            "its strides are 1x2, not equal",
        ),
        (
            """a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, z)
               y = Conv(c, p)""",
            ", float[6,1,3,3] q",
            "its weight is computed, not stored (the pass store-weights stores it)",
        ),
    ],
)
def test_leaves_alone_and_says_why(nodes: str, more: str, why: str) -> None:
    first = "z = Abs(q)" if "(b, z)" in nodes else ""
    side = "h,w"
    body = f"(float[1,2,9,9] x) => (float[1,2,{side}] y) {BLOCK.format(more=more)}"
    used = f"{body} {{ {first} {nodes} }}"
    g = graph(used, check=False)
    structure = find_blocks(g, alone=False)
    assert structure.blocks == ()
    assert structure.left["c"] == why


def test_shared_weights_keep_a_block_out() -> None:
    g = graph(f"""(float[1,2,9,9] x) => (float[1,2,9,9] y) {BLOCK.format(more="")}
        {{ a = Conv(x, e) b = Relu(a) c = Conv<group=6, pads=[1,1,1,1]>(b, d) f = Conv(c, p)
           h = Conv(f, e) i = Relu(h) j = Conv<group=6, pads=[1,1,1,1]>(i, d) y = Conv(j, p) }}""")
    assert find_blocks(g, alone=False).left == {
        "a": left_alone("1x1"),
        "c": "its weights are shared with h",
        "f": left_alone("1x1"),
        "h": left_alone("1x1"),
        "j": "its weights are shared with a",
        "y": left_alone("1x1"),
    }


def test_heads_are_not_looked_at() -> None:
    g = mbconv_network()
    for node in g.nodes:
        if node.name.startswith(("b2", "b3", "last")):
            node.metadata["fnac.part"] = "head"
    structure = find_blocks(g)
    assert len(structure.blocks) == 2
    assert structure.left["b3_dw"] == "it is part of the head"


MOBILENET = [
    (2, 16, ["k3e1"]),
    (4, 24, ["k3e6", "k3e6+"]),
    (8, 32, ["k3e6", "k3e6+", "k3e6+"]),
    (16, 64, ["k3e6", "k3e6+", "k3e6+", "k3e6+"]),
    (16, 96, ["k3e6", "k3e6+", "k3e6+"]),
    (32, 160, ["k3e6", "k3e6+", "k3e6+"]),
    (32, 320, ["k3e6"]),
]


def test_finds_the_found_mobilenet(shared_data: Path) -> None:
    g = Graph.load(shared_data / "weights_imagenet" / "mobilenet_v2_tfhub_ptq.onnx")
    assert shape_of(renamed(g)) == MOBILENET


def test_finds_the_gluon_mobilenet(shared_data: Path) -> None:
    """Its first block has an expansion convolution that does not expand; strides lie elsewhere."""
    g = Graph.load(shared_data / "weights_mobilenet_bn" / "mobilenet_v2_gluon_bn.onnx")
    strides = (2, 4, 8, 8, 16, 32, 32)
    assert shape_of(g) == [
        (stride, *stage[1:]) for stride, stage in zip(strides, MOBILENET, strict=True)
    ]
    first = find_blocks(g).stages[0]
    assert "expand" in first.blocks[0].units
    assert not first.opens_search


def test_finds_a_proxyless_backbone(shared_data: Path) -> None:
    g = Graph.load(shared_data / "wild" / "proxyless_landmark_pfld.onnx")
    assert [(width, blocks[0]) for _, width, blocks in shape_of(g)] == [
        (8, "k3e1"), (16, "k5e3"), (16, "k7e3"), (24, "k7e6"), (32, "k5e6"), (64, "k7e6"),
        (96, "k7e6"),
    ]  # fmt: skip


def test_mobilenet_v1_has_no_larger_blocks(shared_data: Path) -> None:
    g = Graph.load(shared_data / "weights_imagenet" / "mobilenet_v1_keras_bn_trunc.onnx")
    structure = find_blocks(g, alone=False)
    assert structure.blocks == ()
    assert "separable, not an inverted residual" in structure.left["conv_dw_1"]
    assert {block.kind for block in find_blocks(g).blocks} == {"plain"}
    assert {block.name for block in find_blocks(g).blocks} == {"k3"}
