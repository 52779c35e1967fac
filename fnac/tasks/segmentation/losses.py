"""Losses of class maps: cross entropy, focal and Dice, with weights of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fnac.data.source import IGNORE

LossName = Literal["cross-entropy", "focal", "dice", "cross-entropy+dice"]
WEIGHTS = (0.1, 10.0)
"""Least and greatest weight of a class that balancing gives."""


@dataclass(frozen=True)
class MapLoss:
    """The loss of a class map; pixels of 255 are ignored.

    name     of the loss
    gamma    focal: how much less a pixel counts that is right already; 0 is the cross entropy
    weights  of the classes, in their order; (): all alike
    """

    name: LossName = "cross-entropy"
    gamma: float = 2.0
    weights: tuple[float, ...] = ()

    def __call__(self, logits: Tensor, truths: Tensor) -> Tensor:
        """Return the scalar loss of logits float32 (N, C, H, W) for class ids int64 (N, H, W)."""
        match self.name:
            case "cross-entropy":
                return self._cross_entropy(logits, truths)
            case "focal":
                return self._focal(logits, truths)
            case "dice":
                return self._dice(logits, truths)
            case _:
                return (self._cross_entropy(logits, truths) + self._dice(logits, truths)) / 2

    def _weights(self, logits: Tensor) -> Tensor | None:
        return logits.new_tensor(self.weights) if self.weights else None

    def _cross_entropy(self, logits: Tensor, truths: Tensor) -> Tensor:
        """Return the mean over the pixels, weighted by their class (0 if none counts)."""
        weights = self._weights(logits)
        total = functional.cross_entropy(
            logits, truths, weight=weights, ignore_index=IGNORE, reduction="sum"
        )
        return total / self._counted(truths, weights)

    def _focal(self, logits: Tensor, truths: Tensor) -> Tensor:
        """Return the mean of ``(1 - p) ** gamma`` times the cross entropy of each pixel."""
        weights = self._weights(logits)
        plain = functional.cross_entropy(logits, truths, ignore_index=IGNORE, reduction="none")
        total = (1 - (-plain).exp()).clamp(min=1e-7).pow(self.gamma) * plain
        if weights is not None:
            total = total * weights[truths.clamp(max=len(weights) - 1)]
        return total.sum() / self._counted(truths, weights)

    def _dice(self, logits: Tensor, truths: Tensor) -> Tensor:
        """Return one minus the Dice coefficient, over the classes in the batch."""
        there = (truths != IGNORE)[:, None]
        classes = logits.shape[1]
        true = functional.one_hot(truths.where(there[:, 0], 0), classes).movedim(-1, 1) * there
        said = logits.softmax(dim=1) * there
        axes = (0, 2, 3)
        both, either = (true * said).sum(axes), (true + said).sum(axes)
        occurs = true.sum(axes) > 0
        weights = self._weights(logits)
        share = occurs.float() if weights is None else occurs * weights
        lost = 1 - 2 * both / either.clamp(min=1e-6)
        return (lost * share).sum() / share.sum().clamp(min=1e-6)

    def _counted(self, truths: Tensor, weights: Tensor | None) -> Tensor:
        there = truths != IGNORE
        if weights is None:
            return there.sum().clamp(min=1)
        return weights[truths[there]].sum().clamp(min=1e-6)


def balanced_weights(pixels: Sequence[int]) -> tuple[float, ...]:
    """Return a weight for each class: the median count of pixels over its own, within ``WEIGHTS``.

    A class that never occurs has weight 1.
    """
    known = torch.tensor([float(count) for count in pixels if count])
    if not len(known):
        return tuple(1.0 for _ in pixels)
    middle, (least, most) = float(known.quantile(0.5)), WEIGHTS
    return tuple(min(most, max(least, middle / count)) if count else 1.0 for count in pixels)
