"""The definition of a choice point, for the compiler's graph and for an imported model.

A mixture of n candidates is (FNA++ Eq. 7, as plain ONNX)::

    p = Softmax(alpha);  p_0, ..., p_n-1 = Split(p);  y = Sum(out_0 * p_0, ..., out_n-1 * p_n-1)

1. ``alpha`` is a stored vector of n numbers, n at least 2, and each p_i weighs one out_i
2. candidate i is the nodes that work for out_i alone; a candidate of none hands the entry on
3. all candidates read one tensor, the entry, and stored numbers, nothing else
4. nothing that the mixture computes on the way to y is read outside of it

What misses one of these is no mixture: its nodes are nodes like any others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class Wiring(NamedTuple):
    """A node as the pattern sees it: operator and names of tensors ("": none)."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Where a choice point is: places in the list of nodes, names of tensors.

    ``muls``, ``regions``, ``outputs``  in the order of the alphas; a region's nodes as listed
    """

    alpha: str
    entry: str
    softmax: int
    split: int
    muls: tuple[int, ...]
    sum: int
    regions: tuple[tuple[int, ...], ...]
    outputs: tuple[str, ...]

    @property
    def mixing(self) -> tuple[int, ...]:
        """The nodes that weight and sum."""
        return (self.softmax, self.split, *self.muls, self.sum)


def find_mixtures(
    nodes: Sequence[Wiring], results: Collection[str], stored: Mapping[str, Sequence[int]]
) -> list[Mixture]:
    """Return the mixtures of a network in the order of their Sums.

    nodes    in execution order
    results  names of the network's outputs
    stored   name of each stored tensor -> its shape
    """
    sums = [place for place, node in enumerate(nodes) if node.op == "Sum"]
    if not sums:
        return []
    finder = _Finder(nodes, results, stored)
    mixtures = (finder.mixture(place) for place in sums)
    return [mixture for mixture in mixtures if mixture is not None]


class _Finder:
    """The wiring of a network by tensor."""

    def __init__(
        self, nodes: Sequence[Wiring], results: Collection[str], stored: Mapping[str, Sequence[int]]
    ) -> None:
        self.nodes = nodes
        self.results = frozenset(results)
        self.stored = stored
        self.maker: dict[str, int] = {}
        self.readers: dict[str, list[int]] = {}
        for place, node in enumerate(nodes):
            for name in node.inputs:
                self.readers.setdefault(name, []).append(place)
            self.maker.update((name, place) for name in node.outputs if name)

    def mixture(self, place: int) -> Mixture | None:
        """Return the mixture that the Sum at ``place`` computes, if it is one."""
        weighed = self._weighed(place)
        if weighed is None:
            return None
        split, rows = weighed
        softmax = self.maker[self.nodes[split].inputs[0]]
        muls = tuple(mul for mul, _ in rows)
        outputs = tuple(out for _, out in rows)
        regions = tuple(self._region(mul, out) for mul, out in rows)
        entry = self._entry(regions, outputs)
        if entry is None:
            return None
        alpha = self.nodes[softmax].inputs[0]
        mixture = Mixture(alpha, entry, softmax, split, muls, place, regions, outputs)
        return None if self._is_read_outside(mixture) else mixture

    def _weighed(self, place: int) -> tuple[int, list[tuple[int, str]]] | None:
        """Return the Split of the alphas and, in its order, each Mul and the tensor it weights."""
        rows: dict[str, tuple[int, str]] = {}
        splits: set[int] = set()
        for tensor in self.nodes[place].inputs:
            mul = self.maker.get(tensor)
            if mul is None or self.nodes[mul].op != "Mul":
                return None
            pair = self.nodes[mul].inputs
            shares = [name for name in pair if self._split_of_alphas(name) is not None]
            if len(shares) != 1 or shares[0] in rows:
                return None
            rows[shares[0]] = (mul, pair[1] if pair[0] == shares[0] else pair[0])
            splits.add(self.maker[shares[0]])
        if len(splits) != 1:
            return None
        split = splits.pop()
        order = self.nodes[split].outputs
        softmax = self.maker[self.nodes[split].inputs[0]]
        counted = list(self.stored[self.nodes[softmax].inputs[0]]) == [len(order)]
        if len(order) < 2 or not counted or set(order) != rows.keys():
            return None
        return split, [rows[name] for name in order]

    def _split_of_alphas(self, tensor: str) -> int | None:
        """Return the Split that computes ``tensor``, if it splits a softmax of stored numbers."""
        split = self.maker.get(tensor)
        if split is None or self.nodes[split].op != "Split":
            return None
        softmax = self.maker.get(self.nodes[split].inputs[0])
        if softmax is None or self.nodes[softmax].op != "Softmax":
            return None
        return split if self.nodes[softmax].inputs[0] in self.stored else None

    def _region(self, mul: int, out: str) -> tuple[int, ...]:
        """Return the nodes needed for ``out``, which ``mul`` weights, and for nothing else."""
        inside = {mul}
        stack = [out]
        while stack:
            place = self.maker.get(stack.pop())
            if place is None or place in inside:
                continue
            outputs = [name for name in self.nodes[place].outputs if name]
            readers = [reader for name in outputs for reader in self.readers.get(name, ())]
            if self.results.isdisjoint(outputs) and inside.issuperset(readers):
                inside.add(place)
                stack.extend(name for name in self.nodes[place].inputs if name)
        return tuple(sorted(inside - {mul}))

    def _entry(self, regions: Sequence[tuple[int, ...]], outputs: Sequence[str]) -> str | None:
        """Return the one tensor that all candidates read, if there is one."""
        read: set[str] = set()
        for region, out in zip(regions, outputs, strict=True):
            computed = {name for place in region for name in self.nodes[place].outputs}
            read.update(name for place in region for name in self.nodes[place].inputs if name)
            read -= computed
            if not region:
                read.add(out)
        entries = {name for name in read if not self._is_constant(name)}
        if len(entries) != 1:
            return None
        entry = entries.pop()
        handed_on = (out for region, out in zip(regions, outputs, strict=True) if not region)
        return entry if all(out == entry for out in handed_on) else None

    def _is_constant(self, tensor: str) -> bool:
        maker = self.maker.get(tensor)
        return tensor in self.stored or (maker is not None and self.nodes[maker].op == "Constant")

    def _is_read_outside(self, mixture: Mixture) -> bool:
        inside = {*mixture.mixing, *(place for region in mixture.regions for place in region)}
        inner = (name for place in inside - {mixture.sum} for name in self.nodes[place].outputs)
        return any(
            name in self.results or not inside.issuperset(self.readers.get(name, ()))
            for name in inner
        )
