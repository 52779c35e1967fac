"""The alpha step: loss on the alphas' half of the data, gradient to alphas only, cost term."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import Parameter

from fnac.architectures.costs import SpaceCosts
from fnac.importer import ImportedModule
from fnac.search.health import softmax_rows
from fnac.search.sampler import PathSampler
from fnac.search.settings import SearchSettings
from fnac.search.steering import Steering, cost_term
from fnac.tasks.base import Task
from fnac.training.weight_steps import clip


@dataclasses.dataclass(frozen=True)
class AlphaOutcome:
    """The result of an alpha step: task loss (on the device), lambda, expected cost after it."""

    loss: Tensor
    lambda_: float
    expected: float


class AlphaSteps:
    """Adam on the alphas, and the cost term: in the loss (fixed lambda) or as a push (steered)."""

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        module: ImportedModule,
        settings: SearchSettings,
        task: Task,
        space: SpaceCosts,
        sampler: PathSampler,
        *,
        steps: int,
    ) -> None:
        self.fabric, self.network = fabric, network
        self.settings, self.task, self.space, self.sampler = settings, task, space, sampler
        self.steps = steps
        self.lr = settings.resolved_alpha_lr(steps)
        self.points = module.choice_points
        self.alphas: list[Parameter] = [point.alpha for point in self.points]
        known = {id(alpha) for alpha in self.alphas}
        self._weights = [p for p in module.parameters() if id(p) not in known]
        adam = torch.optim.Adam(
            self.alphas, lr=self.lr, betas=(0.5, 0.999), weight_decay=settings.alpha_weight_decay
        )
        self.optimizer: Any = fabric.setup_optimizers(adam)
        sizes = [len(alpha) for alpha in self.alphas]
        self.halves = torch.zeros(2, sum(sizes), dtype=torch.float64)
        self._centre = torch.block_diag(*(torch.eye(n, dtype=torch.float64) - 1 / n for n in sizes))
        self._costs = [
            torch.tensor(layer.costs, dtype=torch.float32, device=fabric.device)
            for layer in space.layers
        ]

    def rows(self) -> list[np.ndarray]:
        """Return the alphas as float64 arrays."""
        return [alpha.detach().cpu().double().numpy() for alpha in self.alphas]

    def expected(self) -> float:
        """Return the expected cost of the whole network, in the unit of the space."""
        return self.space.expected([row.tolist() for row in softmax_rows(self.rows())])

    def agreement(self) -> float:
        """Return how well the alpha movements of both halves of the search agree.

        The correlation, over all candidates, of what Adam did in the first half of the alpha steps
        with what it did in the second, each layer about its mean; the steered cost term is not in
        it. 1: the same; about 0: a random walk, the data did not decide.
        """
        first, second = self.halves @ self._centre
        norm = float(first.norm() * second.norm())
        return float(first @ second) / norm if norm > 0 else 0.0

    def led(self) -> list[np.ndarray]:
        """Return the alphas as the task alone moved them, without cost: one float64 row per layer.

        Only of a steered search: with a fixed lambda Adam sees the cost as well.
        """
        sizes = [len(alpha) for alpha in self.alphas]
        return [row.numpy().copy() for row in self.halves.sum(0).split(sizes)]

    def _flat(self) -> Tensor:
        return torch.cat([alpha.detach().cpu().double() for alpha in self.alphas])

    def step(
        self, step: int, images: Tensor, truths: Tensor, steering: Steering | None
    ) -> AlphaOutcome:
        """Take alpha step ``step`` (from 0); ``steering`` None: the lambda of the settings."""
        for weight in self._weights:
            weight.requires_grad_(False)
        try:
            self._set_paths(step)
            self.optimizer.zero_grad(set_to_none=True)
            size = (int(images.shape[-2]), int(images.shape[-1]))
            loss = self.task.loss(self.network(images), truths, size)
            fixed, whole = self.settings.lambda_ or 0.0, loss
            if steering is None and fixed:
                whole = torch.add(loss, cost_term(self.alphas, self._costs), alpha=fixed)
            self.fabric.backward(whole)
        finally:
            for weight in self._weights:
                weight.requires_grad_(True)
        clip(self.fabric, self.network, self.optimizer, self.settings.alpha_clip)
        before = self._flat()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.halves[0 if 2 * step < self.steps else 1] += self._flat() - before
        if steering is None:
            return AlphaOutcome(loss.detach(), fixed, self.expected())
        push = steering.push(self.rows(), step, self.lr)
        with torch.no_grad():
            for alpha, shift in zip(self.alphas, push.shifts, strict=True):
                alpha.add_(torch.from_numpy(shift).to(alpha))
        return AlphaOutcome(loss.detach(), push.lambda_, push.expected)

    def _set_paths(self, step: int) -> None:
        points = self.points
        match self.settings.alpha_grad:
            case "all":
                for point in points:
                    point.mix()
            case "two-path":
                for point, (first, second) in zip(points, self.sampler.pairs(self.alphas)):
                    if first == second:  # a layer with one candidate
                        point.choose(first)
                    else:
                        point.two_path(first, second)
            case "gumbel":
                hot, cold = self.settings.gumbel_temperature
                tau = hot * (cold / hot) ** (step / max(1, self.steps - 1))
                noises = self.sampler.gumbel([len(alpha) for alpha in self.alphas])
                for point, alpha, noise in zip(points, self.alphas, noises):
                    index = int((alpha.detach().cpu() + noise).argmax())
                    point.gumbel(index, noise.to(alpha), tau)
