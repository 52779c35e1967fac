"""The weight step: forward, loss, backward, clip, update. The same in search and in tune."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import Parameter

from fnac.training.objectives import Objective
from fnac.training.optimizers import make_optimizer, set_learning_rates
from fnac.training.settings import OptimizerSettings


@dataclasses.dataclass
class WeightSteps:
    """Steps of the weights' optimiser on a network that Fabric has wrapped."""

    fabric: Fabric
    network: nn.Module
    optimizer: Any
    settings: OptimizerSettings
    objective: Objective
    total: int
    per_epoch: int
    lr: float = 0.0
    head_lr: float = 0.0

    def step(self, step: int, images: Tensor, truths: Tensor) -> Tensor:
        """Take weight step ``step`` (from 0) on one batch; returns the loss, on the device.

        images   float32 (n, 3, H, W) on any device; truths: as the objective wants them
        """
        return self.step_at(self.settings.factor(step, self.total, self.per_epoch), images, truths)

    def step_at(self, factor: float, images: Tensor, truths: Tensor) -> Tensor:
        """Take a step at ``factor`` times the learning rates of the settings; see ``step``."""
        self.lr, self.head_lr = set_learning_rates(self.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective(self.network(images), images, truths)
        self.fabric.backward(loss)
        if self.settings.clip is not None:
            clip(self.fabric, self.network, self.optimizer, self.settings.clip)
        self.optimizer.step()
        return loss.detach()


def open_weight_steps(
    fabric: Fabric,
    module: nn.Module,
    backbone: Sequence[Parameter],
    head: Sequence[Parameter],
    settings: OptimizerSettings,
    objective: Objective,
    total: int,
    per_epoch: int,
) -> WeightSteps:
    """Move ``module`` to the device, wrap it (DDP, precision) and create its optimiser."""
    network = fabric.setup_module(module)
    optimizer = fabric.setup_optimizers(make_optimizer(settings, backbone, head))
    return WeightSteps(fabric, network, optimizer, settings, objective, total, per_epoch)


def clip(fabric: Fabric, network: nn.Module, optimizer: Any, norm: float) -> None:
    """Clip the norm of all gradients; a non-finite norm is left for the loss to report."""
    fabric.clip_gradients(network, optimizer, max_norm=norm, error_if_nonfinite=False)


def to_device(
    fabric: Fabric, batch: tuple[Tensor, Tensor], channels_last: bool
) -> tuple[Tensor, Tensor]:
    """Move a batch to the device, in the memory format of the network."""
    images, truths = batch
    images = images.to(fabric.device, non_blocking=True)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    return images, truths.to(fabric.device, non_blocking=True)
