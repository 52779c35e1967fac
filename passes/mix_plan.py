"""Which layers a super network gets, and which candidates each: the plan for mixing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from .block_edit import why_not_kernel
from .errors import UnsupportedGraphError
from .structure import Block, Stage, Structure, candidate_name

SKIP = "skip"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One choice at a layer; ``kernel`` and ``hidden`` are 0 for ``skip``."""

    name: str
    kernel: int = 0
    hidden: int = 0


@dataclasses.dataclass(frozen=True)
class Layer:
    """One searchable position: the seed block it is remapped from and its candidates.

    ``seed_choice`` is the candidate that is the seed; ``added`` layers deepen a stage. One layer
    at each block's place, the last added behind the last block, ``owns_output``: what it leaves is
    the block's output tensor.
    """

    name: str
    stage: int
    block: Block
    candidates: tuple[Candidate, ...]
    seed_choice: str
    added: bool
    owns_output: bool


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a space offers: kernels x expansions, ``skip``, and layers per stage (() as in seed)."""

    kernels: Sequence[int]
    expansions: Sequence[int]
    depths: Sequence[int]
    skip: bool

    def layers(self, structure: Structure) -> Iterator[Layer]:
        """Yield the layers of the super network in network order.

        Raises UnsupportedGraphError if ``depths`` does not fit the network.
        """
        stages = structure.searchable
        if self.depths and len(self.depths) != len(stages):
            raise UnsupportedGraphError(
                f"mix: depths for {len(self.depths)} stages were given, but the network has "
                f"{len(stages)} stages to search; give as many, or none to keep the seed's"
            )
        depths = self.depths or (0,) * len(stages)
        for stage, wanted in zip(stages, depths, strict=True):
            yield from self._stage_layers(stage, max(wanted, len(stage.blocks)))

    def _stage_layers(self, stage: Stage, depth: int) -> Iterator[Layer]:
        have = len(stage.blocks)
        if depth > have and not self.skip:
            raise UnsupportedGraphError(
                f"mix: stage {stage.index} has {have} blocks and {depth} were asked for without "
                f"skip; the seed would not be in its super network; allow skip, or depth {have}"
            )
        for i in range(depth):
            block = stage.blocks[min(i, have - 1)]  # Eq. 1, counted from 0
            added = i >= have
            width = block.out_channels if added else block.in_channels
            candidates = self._candidates(block, width, own=not added)
            passes_on = added or (block.stride == 1 and block.in_channels == block.out_channels)
            if self.skip and i > 0 and passes_on:
                candidates.append(Candidate(SKIP))
            yield Layer(
                name=f"stage{stage.index}.layer{i}",
                stage=stage.index,
                block=block,
                candidates=tuple(candidates),
                seed_choice=SKIP if added else block.name,
                added=added,
                owns_output=i == depth - 1 or i < have - 1,
            )

    def _candidates(self, block: Block, width: int, *, own: bool) -> list[Candidate]:
        found = {
            candidate_name(k, e): Candidate(candidate_name(k, e), k, e * width)
            for k in self.kernels
            for e in self.expansions
            if why_not_kernel(block, k) is None
        }
        if own:
            found[block.name] = Candidate(block.name, block.kernel, block.hidden)
        return list(found.values())
