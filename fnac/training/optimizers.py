"""The weights' optimiser: parameter groups, and their learning rates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import Parameter

from .settings import OptimizerSettings


def make_optimizer(
    settings: OptimizerSettings, backbone: Sequence[Parameter], head: Sequence[Parameter]
) -> torch.optim.Optimizer:
    """Create the optimiser; every group stores its initial learning rate as ``base_lr``.

    Vectors (BN parameters and biases) go into groups without decay unless ``decay_bn``.
    """
    groups = []
    for role, parameters, lr in (
        ("backbone", backbone, settings.lr),
        ("head", head, settings.resolved_head_lr()),
    ):
        decayed = [p for p in parameters if settings.decay_bn or p.ndim > 1]
        plain = [p for p in parameters if not settings.decay_bn and p.ndim <= 1]
        for members, decay in ((decayed, settings.weight_decay), (plain, 0.0)):
            if members:
                groups.append(
                    {
                        "params": members,
                        "lr": lr,
                        "base_lr": lr,
                        "weight_decay": decay,
                        "role": role,
                    }
                )
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=settings.lr, momentum=settings.momentum, eps=1.0)
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings.lr)
        case _:
            return torch.optim.Adam(groups, lr=settings.lr)


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> tuple[float, float]:
    """Set every group to ``factor`` times its base; returns the backbone's and the head's rate."""
    rates = {"backbone": 0.0, "head": 0.0}
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
        rates[group["role"]] = group["lr"]
    return rates["backbone"], rates["head"]
