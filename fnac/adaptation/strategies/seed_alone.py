"""``seed``: keep the seed's own architecture and fine-tune it."""

from __future__ import annotations

from .differentiable import Differentiable


class SeedAlone(Differentiable):
    """Take the seed's own candidate of every layer."""

    name = "seed"

    def choose(self) -> None:
        """Derive the seed's architecture."""
        if self.run.ranks.first:
            self.run.derive(arch="seed")
            self.record([self._chosen()])
        self.run.ranks.wait()
