"""A choice point as a module: one path, all paths mixed, or one of the cheaper estimators."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Mixed:
    """All paths, weighted by softmax(alpha) (FNA++ Eq. 7)."""


@dataclasses.dataclass(frozen=True)
class Single:
    """One path, its output not scaled; alpha gets no gradient."""

    index: int


@dataclasses.dataclass(frozen=True)
class TwoPath:
    """Two sampled paths, weighted by the softmax over their own two alphas (ProxylessNAS)."""

    first: int
    second: int


@dataclasses.dataclass(frozen=True, eq=False)
class Gumbel:
    """One sampled path with a straight-through Gumbel-softmax weight.

    ``index`` is the sampled path, argmax(alpha + noise); ``noise`` the (n,) Gumbel noise it was
    sampled with; ``tau`` the temperature. The weight is 1 forward; its gradient is that of
    softmax((alpha + noise) / tau)[index].
    """

    index: int
    noise: Tensor
    tau: float


Mode: TypeAlias = "Mixed | Single | TwoPath | Gumbel"


class ChoiceModule(nn.Module):
    """The candidates of a layer under their architecture parameters.

    ``alpha``  Parameter of shape (n,)
    ``paths``  the n candidates, in the order of the file; nn.Identity for ``skip``
    ``mode``   what the next forward computes; set it before each step, on the unwrapped module
    """

    alpha: nn.Parameter

    def __init__(self, name: str, alpha: nn.Parameter, paths: Sequence[nn.Module]) -> None:
        super().__init__()
        if alpha.shape != (len(paths),):
            raise ValueError(
                f"{name}: {len(paths)} paths, but alpha has shape {tuple(alpha.shape)}"
            )
        self.name = name
        self.alpha = alpha
        self.paths = nn.ModuleList(paths)
        self.mode: Mode = Mixed()

    def __len__(self) -> int:
        return len(self.paths)

    def probabilities(self) -> Tensor:
        """Return softmax(alpha), (n,), with its gradient."""
        return torch.softmax(self.alpha, 0)

    def mix(self) -> None:
        """Run all paths from now on."""
        self.mode = Mixed()

    def choose(self, index: int) -> None:
        """Run one path from now on."""
        self.mode = Single(self._checked(index))

    def two_path(self, first: int, second: int) -> None:
        """Run two different paths from now on."""
        if self._checked(first) == self._checked(second):
            raise ValueError(f"{self.name}: path {first} twice; wanted two different paths")
        self.mode = TwoPath(first, second)

    def gumbel(self, index: int, noise: Tensor, tau: float) -> None:
        """Run one path from now on, with the gradient of its Gumbel-softmax weight."""
        if noise.shape != self.alpha.shape or tau <= 0:
            raise ValueError(
                f"{self.name}: noise of shape {tuple(noise.shape)} and tau {tau}; "
                f"wanted shape {tuple(self.alpha.shape)} and a positive tau"
            )
        self.mode = Gumbel(self._checked(index), noise, tau)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer on its entry tensor as ``mode`` says."""
        mode = self.mode
        if isinstance(mode, Single):
            y: Tensor = self.paths[mode.index](x)
            return y
        if isinstance(mode, TwoPath):
            indices = [mode.first, mode.second]
            return self._weighed(x, indices, torch.softmax(self.alpha[indices], 0))
        if isinstance(mode, Gumbel):
            noise = mode.noise.to(self.alpha)
            soft = torch.softmax((self.alpha + noise) / mode.tau, 0)[mode.index]
            weight = 1 - soft.detach() + soft
            y = self.paths[mode.index](x)
            return y * weight.to(y.dtype)
        return self._weighed(x, range(len(self.paths)), self.probabilities())

    def _weighed(self, x: Tensor, indices: Sequence[int], weights: Tensor) -> Tensor:
        total: Tensor | None = None
        for k, index in enumerate(indices):
            y = self.paths[index](x)
            y = y * weights[k].to(y.dtype)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.paths):
            raise ValueError(f"{self.name}: path {index}; 0 to {len(self.paths) - 1} are there")
        return index

    def extra_repr(self) -> str:
        """Return name and mode."""
        return f"{self.name}, {self.mode}"
