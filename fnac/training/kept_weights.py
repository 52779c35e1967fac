"""Which weights a training keeps: the best or the last, of the network or of its average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fnac.training.settings import KeptSettings


class KeptWeights:
    """Keeps a moving average and the best weights of a module in addition to the trained ones.

    higher   whether a greater figure is the better one
    chooses  whether there is a figure to choose by; without one the last weights are kept
    """

    def __init__(
        self, module: nn.Module, settings: KeptSettings, *, higher: bool, chooses: bool
    ) -> None:
        self._module, self._higher = module, higher
        self._keeps_best = chooses and settings.keep != "last"
        self._patience = settings.patience if chooses else None
        self._decay = settings.ema
        self._average: dict[str, Tensor] | None = None
        self._updates = 0
        self.best: dict[str, Tensor] | None = None
        self.value: float | None = None
        self.step, self._since = 0, 0

    def begin(self) -> None:
        """Start the average at the module's weights."""
        if self._decay is not None:
            self._average = _copied(self._module)

    def update(self) -> None:
        """Move the average towards the weights after a step; faster during the first steps."""
        if self._average is None or self._decay is None:
            return
        self._updates += 1
        share = 1 - min(self._decay, self._updates / (self._updates + 9))
        for name, tensor in self._module.state_dict().items():
            kept = self._average[name]
            if tensor.is_floating_point():
                kept.lerp_(tensor.detach(), share)
            else:
                kept.copy_(tensor)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights in the module within the context, if an average is kept."""
        if self._average is None:
            yield
            return
        trained = _copied(self._module)
        self._module.load_state_dict(self._average)
        try:
            yield
        finally:
            self._module.load_state_dict(trained)

    def offer(self, value: float, step: int) -> bool:
        """Keep the weights with metric ``value`` if they are the best so far.

        Call it inside ``averaged``. Returns whether they are the best now.
        """
        better = self.value is None or (value > self.value if self._higher else value < self.value)
        if not better:
            self._since += 1
            return False
        self.value, self.step, self._since = value, step, 0
        if self._keeps_best:
            self.best = _copied(self._module)
        return True

    def is_enough(self) -> bool:
        """Say whether the metric has not improved for longer than the patience."""
        return self._patience is not None and self._since >= self._patience

    def choose(self, last: int) -> dict[str, Any]:
        """Load the kept weights into the module; return which ones they are.

        last  the last step that was taken
        """
        words = "last" if self.best is None else "best"
        if self.best is not None:
            self._module.load_state_dict(self.best)
        elif self._average is not None:
            self._module.load_state_dict(self._average)
        entry: dict[str, Any] = {
            "weights": words,
            "of_step": last if self.best is None else self.step,
        }
        if self._decay is not None:
            entry["ema"] = self._decay
        return entry

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "average": self._average,
            "updates": self._updates,
            "best": self.best,
            "value": self.value,
            "step": self.step,
            "since": self._since,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))
        self._average, self.best = (_moved(state[key], device) for key in ("average", "best"))
        self._updates, self.value = state["updates"], state["value"]
        self.step, self._since = state["step"], state["since"]


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _moved(weights: Mapping[str, Tensor] | None, device: torch.device) -> dict[str, Tensor] | None:
    if weights is None:
        return None
    return {name: tensor.to(device) for name, tensor in weights.items()}
