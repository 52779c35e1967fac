"""The passes about blocks keep what they declare, mind no names, and report every change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fnac.passes.base import Keeps, Pass
from fnac.passes.graph import Graph
from fnac.passes.grow.grow_depth import GrowDepth
from fnac.passes.grow.grow_width import GrowWidth
from fnac.passes.heads.attach_head import AttachHead
from fnac.passes.heads.cut_classifier import CutClassifier
from fnac.passes.heads.replace_classes import ReplaceClasses
from fnac.passes.heads.set_output_stride import SetOutputStride
from fnac.passes.manager import interface
from fnac.passes.shrink.narrow_hidden import NarrowHidden
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from tests.support.graphs import applied, assert_same_outputs, graph, renamed
from tests.support.mbconv_networks import mbconv_network, same_graph

HEAD = """(float[N,8,h,w] features) => (float[N,5,h,w] logits) <float[5,8,1,1] weight>
    { logits = Conv(features, weight) }"""
MIX = Mix(kernels=(3, 5), expansions=(2, 3), depths=(3, 2))


def plain() -> Graph:
    return mbconv_network()


def folded() -> Graph:
    return mbconv_network(bn=False, bias=True, same=True)


def mixed() -> Graph:
    return applied(MIX, plain())[0]


def features() -> Graph:
    return mbconv_network(classifier=False)


IMAGES = np.random.default_rng(3).integers(-3, 4, (16, 3, 16, 16)).astype(np.float32)

PASSES: dict[str, tuple[Pass, Callable[[], Graph]]] = {
    "mix": (MIX, plain),
    "mix, BN folded": (MIX, folded),
    "choose": (Choose(), mixed),
    "choose another": (Choose("k5e3-skip-k3e2-k3e3-k5e2"), mixed),
    "grow-depth": (GrowDepth(depth=3), plain),
    "grow-depth, preserving": (GrowDepth(depth=3, variant="preserving"), folded),
    "grow-width": (GrowWidth(expansion=3), folded),
    "cut-classifier": (CutClassifier(), folded),
    "set-output-stride": (SetOutputStride(stride=2), plain),
    "replace-classes": (ReplaceClasses(classes=3), plain),
    "narrow-hidden": (NarrowHidden(share=0.5, multiple=2, images=IMAGES), plain),
    "narrow-hidden, BN folded": (NarrowHidden(share=0.5, multiple=2, images=IMAGES), folded),
    "attach-head": (AttachHead(model=graph(HEAD, opset=18).to_model()), features),
}


def shape_of(g: Graph) -> list[tuple[object, ...]]:
    """Everything but names: operators, attributes, wiring, weights."""
    place = {id(t): (i, k) for i, n in enumerate(g.nodes) for k, t in enumerate(n.outputs)}
    return [
        (
            node.op,
            sorted((k, str(v)) for k, v in node.attrs.items()),
            [place.get(id(t), t.values.tobytes() if hasattr(t, "values") else "input")
             for t in node.inputs],
        )
        for node in g.nodes
    ]  # fmt: skip


@pytest.mark.parametrize(("p", "make"), PASSES.values(), ids=PASSES)
def test_pass_keeps_its_promise(p: Pass, make: Callable[[], Graph]) -> None:
    before = make()
    as_it_was = before.copy()
    after, report = applied(p, before)
    assert same_graph(before, as_it_was), "the pass reached through the copy"
    assert report.rewrote
    assert not same_graph(after, before)
    after.to_model()  # raises when two tensors share a name
    if Keeps.INTERFACE in p.keeps:
        assert interface(after) == interface(before)
    for _, reference, twin in p.proofs(before, after):
        assert_same_outputs(reference, twin)
    assert same_graph(before, as_it_was), "the proofs changed the graph before"


@pytest.mark.parametrize(("p", "make"), PASSES.values(), ids=PASSES)
def test_no_pass_reads_names(p: Pass, make: Callable[[], Graph]) -> None:
    before = make()
    one, _ = applied(p, before)
    other, _ = applied(p, renamed(before, seed=int(np.random.default_rng(5).integers(1000))))
    assert shape_of(one) == shape_of(other)


@pytest.mark.parametrize(("p", "make"), PASSES.values(), ids=PASSES)
def test_new_tensors_are_accounted_for(p: Pass, make: Callable[[], Graph]) -> None:
    before = make()
    after, report = applied(p, before)
    old = {c.name for c in before.constants()}
    helpers = (".sizes",)  # of Split: no weights
    new = [c.name for c in after.constants() if c.name not in old and not c.name.endswith(helpers)]
    assert [name for name in new if name not in report.initializers] == []
    stored = {c.name for c in after.constants()}
    assert [name for name in report.initializers if name not in stored] == []
