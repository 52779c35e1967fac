"""The torch module of an ONNX network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, fx, nn

from .choice_module import ChoiceModule


class ImportedModule(fx.GraphModule):
    """An ONNX network in torch: ordinary torch.nn parts called by generated code.

    ``forward`` takes the graph's inputs positionally and returns its output, or a tuple of its
    outputs. Parameters and buffers hang where their initializers' names say as far as possible:
    ``features.0.0.weight`` is at ``features.0.0.weight``.
    """

    def __init__(
        self,
        root: nn.Module,
        graph: fx.Graph,
        parameter_names: dict[str, str] | None = None,
        head: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(root, graph)
        if parameter_names is not None:
            self.meta["parameter_names"] = dict(parameter_names)
            self.meta["head"] = frozenset(head)

    @property
    def parameter_names(self) -> dict[str, str]:
        """Initializer (or constant tensor) name -> path of its Parameter or buffer."""
        names: dict[str, str] = self.meta["parameter_names"]
        return names

    @property
    def choice_points(self) -> list[ChoiceModule]:
        """The choice points in network order; empty for an ordinary network."""
        points: list[ChoiceModule] = []
        for node in self.graph.nodes:
            if node.op == "call_module":
                part = self.get_submodule(str(node.target))
                if isinstance(part, ChoiceModule):
                    points.append(part)
        return points

    def alphas(self) -> list[nn.Parameter]:
        """Return the architecture parameters in network order."""
        return [point.alpha for point in self.choice_points]

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters first read by nodes marked ``fnac.part = head``."""
        return list(self._part(head=True))

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Return all other parameters, without the alphas."""
        return list(self._part(head=False))

    def _part(self, *, head: bool) -> Iterator[nn.Parameter]:
        alphas = {id(a) for a in self.alphas()}
        inside = {id(self.get_tensor(n)) for n in self.meta["head"] if n in self.parameter_names}
        for parameter in self.parameters():
            if id(parameter) not in alphas and (id(parameter) in inside) == head:
                yield parameter

    def get_tensor(self, name: str) -> Tensor:
        """Return the Parameter or buffer an ONNX tensor became."""
        *folders, leaf = self.parameter_names[name].split(".")
        owner = self.get_submodule(".".join(folders))
        tensor: Tensor = getattr(owner, leaf)
        return tensor

    # ------------------------------------------------------------------ what the next step runs

    def mix(self) -> None:
        """Run all paths of every choice point, weighted by softmax(alpha)."""
        for point in self.choice_points:
            point.mix()

    def choose(self, indices: Sequence[int]) -> None:
        """Run one path of each choice point, not scaled."""
        for point, index in zip(self.choice_points, indices, strict=True):
            point.choose(index)

    def two_path(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Run two paths of each choice point, weighted by their own two alphas."""
        for point, pair in zip(self.choice_points, pairs, strict=True):
            point.two_path(*pair)

    def gumbel(self, indices: Sequence[int], noise: Sequence[Tensor], tau: float) -> None:
        """Run one sampled path of each choice point with the Gumbel-softmax gradient."""
        for point, index, one in zip(self.choice_points, indices, noise, strict=True):
            point.gumbel(index, one, tau)

    def __deepcopy__(self, memo: dict[int, Any]) -> ImportedModule:
        copy = super().__deepcopy__(memo)
        assert isinstance(copy, ImportedModule)
        copy.meta = dict(self.meta)
        return copy
