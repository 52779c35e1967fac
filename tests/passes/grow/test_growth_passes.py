from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fnac.passes.base import Pass, Report
from fnac.passes.blocks.find import find_blocks
from fnac.passes.errors import ArgumentError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.grow.group_conv import GroupConv
from fnac.passes.grow.grow_depth import GrowDepth
from fnac.passes.grow.grow_width import GrowWidth
from fnac.passes.grow.randomize import Randomize
from fnac.passes.grow.widen_kernel import WidenKernel
from fnac.passes.registry import parse_pipeline
from tests.support.graphs import applied, assert_same_outputs, constants, graph, outputs, text
from tests.support.mbconv_networks import mbconv_network, same_graph

DEPTHWISE = """(float[1,4,9,9] x) => (float[1,4,5,5] y) <float[4,1,3,3] w>
               { y = Conv<group=4, pads=[1,1,1,1], strides=[2,2]>(x, w) }"""


def names(g: Graph) -> list[list[str]]:
    return [[block.name for block in stage.blocks] for stage in find_blocks(g).stages]


# ------------------------------------------------------------------ widen-kernel


def test_widens_the_kernel_and_its_padding_and_no_output_changes() -> None:
    before = graph(DEPTHWISE)
    after, report = applied(WidenKernel(kernel=7), before)
    assert report == Report({"y": "3 -> 7"}, {}, {"w.k7": "padded from w"})
    assert text(after) == (
        "y = Conv(x, w.k7[4, 1, 7, 7]) group=4 kernel_shape=[7, 7] pads=[3, 3, 3, 3] strides=[2, 2]"
    )
    assert_same_outputs(before, after)


def test_widens_a_dilated_kernel_by_the_dilated_margin() -> None:
    before = graph("""(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,1,3,3] w>
                      { y = Conv<group=4, pads=[2,2,2,2], dilations=[2,2]>(x, w) }""")
    after, _ = applied(WidenKernel(kernel=5), before)
    assert_same_outputs(before, after)


def test_asymmetric_padding_grows_by_the_margin() -> None:
    before = graph("""(float[1,4,8,8] x) => (float[1,4,4,4] y) <float[4,1,3,3] w>
                      { y = Conv<group=4, pads=[0,0,1,1], strides=[2,2]>(x, w) }""")
    after, _ = applied(WidenKernel(kernel=5), before)
    assert after.nodes[0].attrs["pads"] == [1, 1, 2, 2]
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (
            """(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,2,3,3] w>
            { y = Conv<group=2, pads=[1,1,1,1]>(x, w) }""",
            {"y": "it is grouped (2 groups), not depthwise"},
        ),
        (
            """(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,1,3,3] w>
            { y = Conv<group=4, auto_pad="SAME_UPPER">(x, w) }""",
            {"y": "its padding is SAME_UPPER, not explicit"},
        ),
        (
            """(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,1,1,3] w>
            { y = Conv<group=4, pads=[0,1,0,1]>(x, w) }""",
            {"y": "its kernel is 1x3, not square and odd"},
        ),
        (
            """(float[1,4,9] x) => (float[1,4,9] y) <float[4,1,3] w>
            { y = Conv<group=4, pads=[1,1]>(x, w) }""",
            {"y": "its kernel has 1 dimensions, not 2"},
        ),
        (
            """(float[1,4,9,9] x, float[4,1,3,3] w) => (float[1,4,9,9] y)
            { y = Conv<group=4, pads=[1,1,1,1]>(x, w) }""",
            {"y": "its weight is computed, not stored (the pass store-weights stores it)"},
        ),
        (
            """(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,1,3,3] w>
            { h = Conv<group=4, pads=[1,1,1,1]>(x, w) y = Conv<group=4, pads=[1,1,1,1]>(h, w) }""",
            {"h": "its weight is shared with y", "y": "its weight is shared with h"},
        ),
    ],
)
def test_widen_kernel_leaves_alone_and_says_why(body: str, left: dict[str, str]) -> None:
    before = graph(body)
    after, report = applied(WidenKernel(), before)
    assert report == Report({}, left)
    assert same_graph(after, before)


def test_the_comparison_has_teeth() -> None:
    before = graph(DEPTHWISE)
    after, _ = applied(WidenKernel(kernel=5), before)
    weight = after.nodes[0].inputs[1]
    weight.values = weight.values.copy()
    weight.values[0, 0, 0, 0] += 1
    with pytest.raises(AssertionError):
        assert_same_outputs(before, after)


# ------------------------------------------------------------------ grow-width


@pytest.mark.parametrize("strategy", ["fna", "fna-live"])
@pytest.mark.parametrize("bn", [True, False])
def test_grows_every_block_and_no_output_changes(strategy: str, bn: bool) -> None:
    before = mbconv_network(bn=bn, bias=not bn)
    after, report = applied(GrowWidth(expansion=3, strategy=strategy), before)
    assert names(after) == [["k3e1"], ["k3e3", "k3e3"], ["k3e3"]]
    assert report.rewrote == dict.fromkeys(("b1_dw", "b2_dw", "b3_dw"), "k3e2 -> k3e3")
    assert report.left["b0_dw"] == "it has no expansion convolution to widen"
    padded = "padded live" if strategy == "fna-live" else "padded"
    assert report.initializers["b1_pw_weight.k3h12"] == f"{padded} from b1_pw_weight"
    assert_same_outputs(before, after)


def test_net2net_grows_within_rounding() -> None:
    """It divides by the number of copies, here 1 to 4: one rounding a weight, 2**-24 each."""
    before = mbconv_network()
    after, _ = applied(GrowWidth(expansion=3, strategy="net2net"), before)
    assert_same_outputs(before, after, tolerance=1e-5)


def test_a_wider_block_is_left() -> None:
    _, report = applied(GrowWidth(expansion=1), mbconv_network())
    assert report.rewrote == {}
    assert report.left["b1_dw"] == "it is wider already (k3e2)"


def test_random_width_promises_nothing() -> None:
    before = mbconv_network()
    after, _ = applied(GrowWidth(expansion=3, strategy="random"), before)
    assert list(GrowWidth(strategy="random").proofs(before, after)) == []
    assert len(list(GrowWidth().proofs(before, after))) == 1


# ------------------------------------------------------------------ grow-depth


@pytest.mark.parametrize("bn", [True, False])
def test_copies_the_last_block(bn: bool) -> None:
    before = mbconv_network(bn=bn, bias=not bn)
    after, report = applied(GrowDepth(depth=3), before)
    assert names(after) == [["k3e1"], ["k3e2"] * 3, ["k3e2"] * 3]
    assert report.rewrote == {"b2_dw": "depth 2 -> 3", "b3_dw": "depth 1 -> 3"}
    assert report.initializers["b2_ex_weight.block2"] == "copied from b2_ex_weight"
    assert report.initializers["b3_ex_weight.block1"] == "padded from b3_ex_weight"  # 6 -> 8 wide
    stages = find_blocks(after).stages
    assert stages[1].blocks[2].output.name == "b2_add"
    first, second = (b.project.weight.values for b in stages[1].blocks[1:])
    np.testing.assert_array_equal(first, second)
    assert list(GrowDepth().proofs(before, after)) == []


@pytest.mark.parametrize("bn", [True, False])
def test_the_preserving_variant_changes_no_output(bn: bool) -> None:
    before = mbconv_network(bn=bn, bias=not bn)
    after, _ = applied(GrowDepth(depth=4, variant="preserving"), before)
    assert_same_outputs(before, after)
    plain, _ = applied(GrowDepth(depth=4), before)
    with pytest.raises(AssertionError):
        assert_same_outputs(before, plain)


def test_deepens_one_stage() -> None:
    after, _ = applied(GrowDepth(depth=3, stage=1), mbconv_network())
    assert names(after) == [["k3e1"], ["k3e2"] * 3, ["k3e2"]]
    _, report = applied(GrowDepth(depth=1, stage=1), mbconv_network())
    assert report.left["b2_dw"] == "its stage is deeper already (2 blocks)"


def test_grow_depth_refusals() -> None:
    with pytest.raises(UnsupportedGraphError, match="stage=7, but 3 stages were found"):
        applied(GrowDepth(stage=7), mbconv_network())
    with pytest.raises(ArgumentError, match="variant=x; known: fna, preserving"):
        GrowDepth(variant="x")


# ------------------------------------------------------------------ group-conv


def test_groups_a_dense_convolution() -> None:
    before = graph("""(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,4,3,3] w>
                      { y = Conv<pads=[1,1,1,1]>(x, w) }""")
    after, report = applied(GroupConv(kernel=5, groups=2), before)
    assert report == Report({"y": "k3g1 -> k5g2"}, {}, {"w.g2.k5": "padded from w.g2"})
    assert text(after) == (
        "y = Conv(x, w.g2.k5[4, 2, 5, 5]) group=2 kernel_shape=[5, 5] pads=[2, 2, 2, 2]"
    )
    # what is lost is exactly the connections between the groups
    w = before.nodes[0].inputs[1]
    w.values = w.values.copy()
    w.values[:2, 2:] = 0
    w.values[2:, :2] = 0
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("shape", "attributes", "why"),
    [
        ("4,3,3,3", "pads=[1,1,1,1]", "2 groups do not divide 3 input and 4 output channels"),
        ("4,4,3,1", "pads=[1,0,1,0]", "its kernel is 3x1, not square and odd"),
        ("4,4,7,7", "", "its padding [0, 0, 0, 0] cannot shrink by 1"),
    ],
)
def test_group_conv_leaves_alone_and_says_why(shape: str, attributes: str, why: str) -> None:
    channels = shape.split(",")[1]
    before = graph(f"""(float[1,{channels},9,9] x) => (float[1,4,h,w2] y) <float[{shape}] w>
                       {{ y = Conv<{attributes or "group=1"}>(x, w) }}""")
    after, report = applied(GroupConv(), before)
    assert report == Report({}, {"y": why})
    assert same_graph(after, before)


# ------------------------------------------------------------------ randomize


def test_randomize_forgets_everything_but_the_head() -> None:
    before = mbconv_network()
    for node in before.nodes:
        if node.name == "logits":
            node.metadata["fnac.part"] = "head"
    after, report = applied(Randomize(random_seed=3), before)
    again, _ = applied(Randomize(random_seed=3), before)
    assert same_graph(after, again)
    old = {c.name: c.values for c in before.constants()}
    for constant in after.constants():
        kept = constant.name.startswith(("fc", "low", "high"))
        assert kept == np.array_equal(constant.values, old[constant.name]) or "var" in constant.name
        assert kept != (constant.name in report.initializers)
    assert constants(after)["b0_dw_gamma"] == [1, 1, 1, 1]
    assert np.isfinite(outputs(after)["logits"]).all()


# ------------------------------------------------------------------ all of them

GROWTH: dict[str, Callable[[], Pass]] = {
    text: lambda text=text: parse_pipeline(text)[0]  # type: ignore[misc]
    for text in (
        "widen-kernel{kernel=5}",
        "grow-width{expansion=3}",
        "grow-width{expansion=3,strategy=fna-live,random_seed=2}",
        "grow-depth{stage=1,depth=3}",
        "grow-depth{depth=3,variant=preserving}",
        "group-conv{kernel=5,groups=2}",
    )
}


@pytest.mark.parametrize("make", GROWTH.values(), ids=GROWTH)
def test_is_done_after_one_run(make: Callable[[], Pass]) -> None:
    before = (
        graph("""(float[1,4,9,9] x) => (float[1,4,9,9] y) <float[4,4,3,3] w>
        { y = Conv<pads=[1,1,1,1]>(x, w) }""")
        if make().name == "group-conv"
        else mbconv_network()
    )
    once, first = applied(make(), before)
    twice, again = applied(make(), once)
    assert first.rewrote
    assert again.rewrote == {}
    assert same_graph(twice, once)


@pytest.mark.parametrize("kernel", [0, 4])
def test_kernels_have_a_centre(kernel: int) -> None:
    with pytest.raises(ArgumentError, match="wanted an odd size"):
        WidenKernel(kernel=kernel)
    with pytest.raises(ArgumentError, match="an odd kernel"):
        GroupConv(kernel=kernel)
