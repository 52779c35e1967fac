from __future__ import annotations

from fnac.passes.emit.clean import Clean
from tests.support.graphs import applied, assert_same_outputs, graph, text


def test_what_no_output_needs_goes() -> None:
    before = graph(
        """(float[N,2,4,4] x) => (y) <float[3,2,1,1] w, float[3,2,1,1] u>
           { dead = Conv(x, u) also = Relu(dead) y = Conv(x, w) }"""
    )
    after, report = applied(Clean(), before)
    assert report.rewrote == {"dead": "unused", "also": "unused"}
    assert text(after) == "y = Conv(x, w[3, 2, 1, 1])"
    assert_same_outputs(before, after)
    assert applied(Clean(), after)[1].rewrote == {}


def test_equal_bounds_are_stored_once_and_equal_weights_are_not() -> None:
    before = graph(
        """(float[N,2,4,4] x) => (y)
           <float a = {6.0}, float b = {6.0}, float c = {5.0}, float[2,2,1,1] w, float[2,2,1,1] u>
           { f = Clip(x, , a) g = Clip(f, , c) h = Clip(g, , b) i = Conv(h, w) y = Conv(i, u) }""",
        values={"w": 1, "u": 1},
    )
    after, report = applied(Clean(), before)
    assert report.rewrote == {"h": "equal constants merged"}
    assert text(after) == (
        "f = Clip(x, , a[])\ng = Clip(f, , c[])\nh = Clip(g, , a[])\n"
        "i = Conv(h, w[2, 2, 1, 1])\ny = Conv(i, u[2, 2, 1, 1])"
    )
    assert_same_outputs(before, after)


def test_unread_optional_outputs_go() -> None:
    before = graph("(float[N,2] x) => (float[N,2] y) { h, mask = Dropout(x) y = Relu(h) }")
    after, report = applied(Clean(), before)
    assert report.rewrote == {"h": "unread outputs dropped"}
    assert text(after) == "h = Dropout(x)\ny = Relu(h)"
    assert_same_outputs(before, after)


def test_notes_of_the_exporter_go_and_ours_stay() -> None:
    before = graph("(float[N,2] x) => (float[N,2] y) { y = Relu(x) }")
    before.doc_string = "made by an exporter"
    before.metadata["licence"] = "MIT"
    before.nodes[0].metadata.update({"pkg.torch.stack": "/home/me", "fnac.part": "head"})
    after, report = applied(Clean(), before)
    assert report.rewrote == dict.fromkeys(("y", "graph"), "exporter's notes dropped")
    assert after.nodes[0].metadata == {"fnac.part": "head"}
    assert (after.doc_string, after.metadata) == ("", {"licence": "MIT"})


def test_what_is_computed_twice_is_computed_once() -> None:
    before = graph(
        """(float[N,2,4,4] x) => (y) <float[2,2,1,1] w, float two = {2}>
           { a = Relu(x) b = Relu(x) c = Mul(a, two) d = Mul(b, two)
             e = LeakyRelu<alpha = 0.1>(c) f = LeakyRelu<alpha = 0.2>(d)
             g = Add(e, f) y = Conv(g, w) }"""
    )
    after, report = applied(Clean(), before)
    assert report.rewrote == {"b": "computed once, by a", "d": "computed once, by c"}
    assert [node.op for node in after.nodes] == [
        *("Relu", "Mul", "LeakyRelu", "LeakyRelu", "Add", "Conv")
    ]
    assert_same_outputs(before, after)


def test_what_is_drawn_twice_and_what_is_an_output_stays() -> None:
    before = graph(
        """(float[N,2] x) => (float[N,2] y, float[N,2] z, float[N,2] q)
           { y = Relu(x) z = Relu(x) r = RandomNormalLike<seed = 1.0>(x)
             s = RandomNormalLike<seed = 1.0>(x) q = Sub(r, s) }"""
    )
    after, report = applied(Clean(), before)
    assert report.rewrote == {}
    assert len(after.nodes) == 5
