"""Refuse a network that outputs probabilities, however it computes them."""

from __future__ import annotations

import torch
from torch import nn

from fnac.errors import UnsupportedGraphError

CLOSE = 1e-3
"""How far the sum over the classes may be from one."""
IMAGES = 2
"""Images of noise that are looked at."""


def check_no_probabilities(
    module: nn.Module, name: str, task: str, size: tuple[int, int] | None
) -> None:
    """Raise UnsupportedGraphError if output ``name``, the first, is a distribution over classes.

    module  the imported network; it stays in the mode that it is in
    size    (H, W) of its input in pixels

    The cross entropy takes logits. Whether the file computes the softmax with one operator, with an
    exponential and a sum, before or behind a resize: what comes out for noise sums to one.
    """
    if task not in ("cls", "seg") or size is None:
        return
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((IMAGES, 3, *size), generator=generator).to(device)
    mode = module.training
    with torch.no_grad():
        outputs = module.eval()(images)
    module.train(mode)
    first = outputs[0] if isinstance(outputs, tuple | list) else outputs
    if first.ndim < 2 or first.shape[1] < 2 or not torch.is_floating_point(first):
        return
    is_one = (first.float().sum(1) - 1).abs().max() <= CLOSE
    if is_one and float(first.min()) >= 0:
        raise UnsupportedGraphError(
            f"the output {name} holds probabilities (for noise, they sum to 1 over the "
            f"{first.shape[1]} classes), and the loss has a softmax of its own; export the network "
            f"without it, or expand with --task {task}, which attaches a head of logits"
        )
