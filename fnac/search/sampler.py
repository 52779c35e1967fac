"""Sample the path of every layer from a generator of its own.

The generator lives on the CPU, is seeded alike on every rank and advances alike, so that all
ranks run the same path; its state is part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PathSampler:
    """Draws paths for the layers of one super network."""

    def __init__(self, random_seed: int) -> None:
        self._generator = torch.Generator("cpu")
        self._generator.manual_seed(random_seed)

    def uniform(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Draw one path per layer, all candidates alike; ``sizes``: candidates per layer."""
        return self.multinomial([torch.zeros(size) for size in sizes])

    def multinomial(self, alphas: Sequence[Tensor]) -> tuple[int, ...]:
        """Draw one path per layer from softmax(alpha); ``alphas``: one (n,) tensor per layer."""
        return tuple(self._draw(alpha, 1)[0] for alpha in alphas)

    def pairs(self, alphas: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
        """Draw two different paths per layer from softmax(alpha), the first drawn first.

        A layer with a single candidate gives (0, 0).
        """
        drawn = (self._draw(alpha, min(2, len(alpha))) for alpha in alphas)
        return tuple((paths[0], paths[-1]) for paths in drawn)

    def gumbel(self, sizes: Sequence[int]) -> list[Tensor]:
        """Draw standard Gumbel noise, one (n,) float32 tensor on the CPU per layer."""
        return [
            -torch.log(
                torch.empty(size, dtype=torch.float64).exponential_(generator=self._generator)
            ).float()
            for size in sizes
        ]

    def _draw(self, alpha: Tensor, count: int) -> list[int]:
        """Draw ``count`` different candidates in float64 on the CPU, the same on every device."""
        share = torch.softmax(alpha.detach().to("cpu", torch.float64), dim=0)
        share = share.clamp_min(torch.finfo(torch.float64).tiny)  # so that two can always be drawn
        return torch.multinomial(share, count, generator=self._generator).tolist()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the generator's state, for a checkpoint."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self._generator.set_state(state["generator"])
