"""The verifier: silent on clean rewrites, and it names the node of every injected fault."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from fnac.passes.base import Keeps, Left, Pass, Report, Rewrote
from fnac.passes.errors import OutputsDifferError, PassFailedError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed
from fnac.passes.running.verify import compare, noise
from tests.support.graphs import graph, outputs

BODY = """(float[batch,4,12,12] x) => (float[batch,4,12,12] y)
          <float[8,4,1,1] e, float[8,1,3,3] d, float[4,8,1,1] p, float[4,1,3,3] d2>
          { a = Conv(x, e) b = Relu(a)
            c = Conv<group=8, pads=[1,1,1,1]>(b, d) f = Relu(c) g = Conv(f, p)
            s = Add(x, g) t = Conv<group=4, pads=[1,1,1,1]>(s, d2) u = Relu(t) y = Sub(s, u) }"""


def node(g: Graph, name: str) -> gs.Node:
    return next(n for n in g.nodes if n.name == name)


def wrong_pad(g: Graph) -> None:
    conv = node(g, "c")
    conv.attrs["pads"] = [0, 2, 2, 0]


def shrinking_pad(g: Graph) -> None:
    node(g, "c").attrs["pads"] = [0, 0, 0, 0]


def wrong_group(g: Graph) -> None:
    conv = node(g, "c")
    conv.attrs["group"] = 4
    wide = np.concatenate([conv.inputs[1].values, np.zeros((8, 1, 3, 3), "f4")], 1)
    conv.inputs[1] = gs.Constant("wide", wide)


def group_without_weights(g: Graph) -> None:
    node(g, "c").attrs["group"] = 2


def channel_offset(g: Graph) -> None:
    conv = node(g, "g")
    conv.inputs[1] = gs.Constant("rolled", np.roll(conv.inputs[1].values, 1, axis=1))


def swapped_branch(g: Graph) -> None:
    last = node(g, "y")
    last.inputs[0], last.inputs[1] = last.inputs[1], last.inputs[0]


def one_weight(g: Graph) -> None:
    conv = node(g, "t")
    values = conv.inputs[1].values.copy()
    values[0, 0, 1, 1] += 1
    conv.inputs[1] = gs.Constant("changed", values)


FAULTS = {
    wrong_pad: "c",
    shrinking_pad: "s",  # the first node at which the smaller map meets the larger one, or c
    wrong_group: "c",
    group_without_weights: "c",
    channel_offset: "g",
    swapped_branch: "y",
    one_weight: "t",
}


def test_a_clean_copy_raises_no_alarm() -> None:
    g = graph(BODY)
    assert compare(g, g.copy()).equal


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_fault_is_found_at_its_node(fault) -> None:  # type: ignore[no-untyped-def]
    g = graph(BODY)
    broken = g.copy()
    fault(broken)
    difference = compare(g, broken)
    assert not difference.equal
    assert difference.first_difference == FAULTS[fault]


def test_names_do_not_matter_to_the_comparison() -> None:
    g = graph(BODY)
    other = g.copy()
    for i, n in enumerate(other.nodes):
        n.name = f"n{i}"
        for t in n.outputs:
            if not other.is_output(t):
                t.name = f"t{i}"
    assert compare(g, other).equal
    channel_rolled = other.copy()
    conv = channel_rolled.nodes[4]
    conv.inputs[1] = gs.Constant("rolled", np.roll(conv.inputs[1].values, 1, axis=1))
    assert compare(g, channel_rolled).first_difference == "n4"


def test_names_that_only_some_tensors_share_do_not_hide_the_first_difference() -> None:
    g = graph(BODY)
    other = g.copy()
    for name in ("a", "b", "c"):  # s, t, u and y keep their names
        for t in node(other, name).outputs:
            t.name = f"other.{t.name}"
    conv = node(other, "c")
    conv.inputs[1] = gs.Constant("rolled", np.roll(conv.inputs[1].values, 1, axis=0))
    assert compare(g, other).first_difference == "c"


def test_the_tolerance_is_the_networks_own_noise() -> None:
    g = graph(BODY)
    for c in list(g.constants()):
        c.values = np.random.default_rng(3).standard_normal(c.shape).astype("f4")
    split = g.copy()
    conv = node(split, "g")  # the same sum, regrouped: w = w/3 + (w - w/3)
    w = conv.inputs[1].values
    part = gs.Variable("part", np.float32)
    rest = gs.Variable("rest", np.float32)
    out = conv.outputs[0]
    a = gs.Node("Conv", "g.a", {}, [conv.inputs[0], gs.Constant("wa", w / 3)], [part])
    b = gs.Node("Conv", "g.b", {}, [conv.inputs[0], gs.Constant("wb", w - w / 3)], [rest])
    conv.outputs.clear()
    total = gs.Node("Add", "g.sum", {}, [part, rest], [out])
    split.insert([a, b, total], after=conv)
    split.cleanup()
    found = compare(g, split)
    assert found.equal
    largest = float(np.abs(outputs(g)["y"]).max())
    assert 0 < found.max_abs_diff <= found.tolerance < 1e-5 * largest


def test_another_shape_is_said_in_words() -> None:
    g = graph(BODY)
    other = g.copy()
    node(other, "y").attrs.clear()
    tail = gs.Variable("tail", np.float32)
    axes = gs.Constant("tail.pads", np.array([0, 0, 0, 0, 0, 0, 1, 0]))
    last = node(other, "y")
    out = last.outputs[0]
    last.outputs[0] = tail
    other.insert([gs.Node("Pad", "pad", {}, [tail, axes], [out])], after=last)
    found = compare(g, other)
    assert found.detail == "output y has shape 2x4x13x12 against 2x4x12x12"
    assert not found.equal
    printed = json.dumps(found.as_json(), allow_nan=False)
    assert json.loads(printed)["max_abs_diff"] is None


def test_a_graph_that_does_not_run_has_no_difference_in_numbers() -> None:
    g = graph(BODY)
    broken = g.copy()
    group_without_weights(broken)
    found = compare(g, broken).as_json()
    json.dumps(found, allow_nan=False)
    assert (found["equal"], found["max_abs_diff"]) == (False, None)


@dataclasses.dataclass(frozen=True)
class Break(Pass):
    """A pass that promises to keep the outputs and does not."""

    name: ClassVar[str] = "break"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS
    fault: str = "channel_offset"

    def run(self, graph: Graph) -> Report:
        globals()[self.fault](graph)
        return Report(rewrote={"g": "broken"})


@dataclasses.dataclass(frozen=True)
class Touch(Pass):
    """A pass that renames nothing and changes nothing but says what it saw."""

    name: ClassVar[str] = "touch"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        if node.op == "Relu":
            node.metadata["seen"] = "yes"
            return Rewrote("seen")
        return Left("it is no Relu") if node.op == "Sub" else None


def test_the_manager_names_the_pass_and_the_node() -> None:
    with pytest.raises(OutputsDifferError, match=r"break: the result must .* at node g: output y"):
        PassManager().run([Break()], graph(BODY))


def test_the_manager_names_a_pass_whose_graph_is_not_valid() -> None:
    with pytest.raises((PassFailedError, OutputsDifferError), match=r"^break: .*c"):
        PassManager().run([Break(fault="group_without_weights")], graph(BODY))


def test_without_verification_the_fault_passes_and_the_ledger_says_so() -> None:
    manager = PassManager(verify=False)
    manager.run([Break()], graph(BODY))
    assert [e.verdict for e in manager.ledger] == ["unverified"]


def test_the_ledger_tells_what_was_done(tmp_path) -> None:  # type: ignore[no-untyped-def]
    manager = PassManager(dump=tmp_path)
    manager.run([Touch()], graph(BODY))
    (entry,) = manager.ledger
    assert entry.verdict == "equal"
    assert entry.report.rewrote == {"b": "seen", "f": "seen", "u": "seen"}
    assert entry.report.left == {"y": "it is no Relu"}
    assert [p.name for p in tmp_path.iterdir()] == ["01-touch.onnx"]
    assert Graph.load(tmp_path / "01-touch.onnx").nodes[1].metadata == {"seen": "yes"}


@pytest.mark.parametrize(
    ("end", "unit"),
    [
        ("y = Sigmoid(h)", float(np.spacing(np.float32(1)))),  # near 1, where nothing moves it
        ("n = Neg(h) y = Relu(n)", 0.0),  # 0 whatever is shaken
        ("y = ArgMax<axis=1>(h)", 0.0),
    ],
)
def test_what_is_rounded_has_a_unit_of_noise_at_least(end: str, unit: float) -> None:
    body = f"(float[batch,4] x) => (y) <float[1] far> {{ a = Abs(x) h = Add(a, far) {end} }}"
    g = graph(body, values={"far": [40]})
    assert noise(g, random_feed(g))["y"] == unit
