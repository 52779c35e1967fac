"""Remapping strategies by name (FNA++ Sec. 3.1, 5.3, 5.4; ``fna-live`` is ours).

A strategy says where new channels come from and how a kernel changes size;
:mod:`.mbconv` and its neighbours apply it to a kind of block.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from ..errors import StrategyError
from .block_arrays import ConvArrays
from .rules import dilate_kernel, remap_kernel


@dataclasses.dataclass(frozen=True)
class Strategy:
    """One way to remap: which channels are kept, and how new channels start."""

    name: str
    select: Literal["first", "gamma", "std", "l1"] = "first"
    grow: Literal["zeros", "live", "replicate"] = "zeros"
    kernel: Literal["centre", "dilate"] = "centre"
    fresh: bool = False  # nothing is remapped, everything starts at random
    keeps_larger_kernel: bool = True
    keeps_wider: bool = True
    silent: bool = False  # copies of a block begin as the identity (Net2Deeper)
    refits: bool = False  # fewer channels are chosen, and weights fitted, on features of images


STRATEGIES = {
    s.name: s
    for s in (
        Strategy("fna"),
        Strategy("fna-live", grow="live"),
        Strategy("net2net", grow="replicate"),
        Strategy("net2net-depth", silent=True),
        Strategy("net2net-both", grow="replicate", silent=True),
        Strategy("bn-gamma", select="gamma"),
        Strategy("std", select="std"),
        Strategy("l1", select="l1"),
        Strategy("dilate", kernel="dilate", keeps_larger_kernel=False),
        Strategy("random", fresh=True, keeps_larger_kernel=False, keeps_wider=False),
    )
}


FIT = Strategy("fit", grow="live", refits=True)
"""Fewer hidden channels come from who has the features (:mod:`..super_network.mix`), not from
arrays; everything else is remapped as by ``fna-live``."""
NAMES = (*STRATEGIES, FIT.name)


def strategy(name: str) -> Strategy:
    """Return the strategy called ``name``. Raises StrategyError listing the known ones."""
    if name not in NAMES:
        raise StrategyError(f"no remapping strategy is called {name!r}; known: {', '.join(NAMES)}")
    return FIT if name == FIT.name else STRATEGIES[name]


def remap_window(conv: ConvArrays, kernel: int, how: Strategy) -> ConvArrays:
    """Return a convolution with another kernel; ``dilate`` spreads the taps where they fit."""
    k = int(conv.weight.shape[-1])
    spread = how.kernel == "dilate" and kernel > k > 1 and (kernel - 1) % (k - 1) == 0
    remap = dilate_kernel if spread else remap_kernel
    return dataclasses.replace(conv, weight=remap(conv.weight, kernel))
