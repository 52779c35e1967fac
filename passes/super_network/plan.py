"""Which layers a super network gets, and which candidates each has: the plan for mixing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from ..blocks.block import Block, Form
from ..blocks.candidate_names import SKIP, read_name
from ..blocks.structure import Stage, Structure
from ..blocks.windows import why_not_kernel
from ..decisions import Left
from ..errors import UnsupportedGraphError


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One choice at a layer; ``form`` is the block's form for it, None for ``skip``."""

    name: str
    form: Form | None = None


@dataclasses.dataclass(frozen=True)
class Layer:
    """One searchable position: the seed block it is remapped from and its candidates.

    ``stage``, ``index``  where it stands: the number of its stage, and its own in the stage
    ``seed_choice`` is the candidate that is the seed; ``added`` layers deepen a stage. One layer
    at each block's place, the last added behind the last block, ``owns_output``: what it leaves is
    the block's output tensor. ``declined``: candidates that the space offers and the block cannot
    take, with the reason.
    """

    stage: int
    index: int
    block: Block
    candidates: tuple[Candidate, ...]
    seed_choice: str
    added: bool
    owns_output: bool
    declined: Mapping[str, str]

    @property
    def name(self) -> str:
        """The layer's name in reports and in the manifest."""
        return f"stage{self.stage}.layer{self.index}"


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a space offers: candidates by name, ``skip``, layers per stage (() as in the seed).

    ``otherwise``  candidates of a layer to which ``names`` offers its seed's own and nothing else
    """

    names: Sequence[str]
    depths: Sequence[int]
    skip: bool
    otherwise: Sequence[str] = ()

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
        for stage, depth in zip(stages, depths, strict=True):
            yield from self._stage_layers(stage, max(depth, len(stage.blocks)))

    def _stage_layers(self, stage: Stage, depth: int) -> Iterator[Layer]:
        have = len(stage.blocks)
        if depth > have and not self.skip:
            raise UnsupportedGraphError(
                f"mix: stage {stage.index} has {have} blocks and {depth} were asked for without "
                f"skip; the seed would not be in its super network; allow skip, or depth {have}"
            )
        last = stage.blocks[-1].whole
        if depth > have and last.why_not_repeated is not None:
            raise UnsupportedGraphError(
                f"mix: stage {stage.index} cannot be deepened to {depth} layers: "
                f"{last.why_not_repeated}; keep its depth of {have}"
            )
        for i in range(depth):
            added = i >= have
            block = last if added else stage.blocks[i]  # Eq. 1, counted from 0
            candidates, declined = _candidates(block, self.names, added=added)
            if self.otherwise and len(candidates) == 1:
                candidates, more = _candidates(block, self.otherwise, added=added)
                declined |= more
            if added and not candidates:
                raise UnsupportedGraphError(
                    f"mix: stage {stage.index} cannot be deepened to {depth} layers: the space has "
                    f"no candidate for a copy of {last.node_name}; keep its depth of {have}"
                )
            if self.skip and i > 0 and (added or block.passes_on):
                candidates.append(Candidate(SKIP))
            yield Layer(
                stage=stage.index,
                index=i,
                block=block,
                candidates=tuple(candidates),
                seed_choice=SKIP if added else block.name,
                added=added,
                owns_output=i == depth - 1 or i < have - 1,
                declined=declined,
            )


def _candidates(
    block: Block, names: Sequence[str], *, added: bool
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the candidates of a layer with this ``block``, and why others are left out."""
    candidates: dict[str, Candidate] = {}
    declined: dict[str, str] = {}
    for name in names:
        spelled = read_name(name, block.kernel)
        form = block.form_of(spelled, added=added)
        if form is None:
            continue
        if isinstance(form, Left):
            declined[name] = form.why
        elif (why_not := why_not_kernel(block, spelled.kernel)) is not None:
            declined[name] = why_not
        else:
            spelling = block.spell(form, added=added)
            candidates[spelling] = Candidate(spelling, form)
    if not added:
        candidates[block.name] = Candidate(block.name, block.form)
        declined.pop(block.name, None)
    return list(candidates.values()), declined
