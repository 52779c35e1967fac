"""What search and tune share: devices, batches, random seeds.

Everything a step draws at random comes from (random seed, step, rank) or from a generator whose
state is in the checkpoint; learning rates and batches are functions of the step. So a checkpoint
of weights, optimisers and counters is enough to continue bit for bit.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from fnac.data.batches import BatchSettings
from fnac.data.loader import EpochLoader
from fnac.data.source import Dataset
from fnac.data.transforms.photometric import with_changes
from fnac.errors import TrainingError, UsageError
from fnac.training.heap import keep_freed_memory
from fnac.training.settings import RuntimeSettings
from fnac.training.watchers import check_services

if TYPE_CHECKING:
    from fnac.tasks.base import Task

# The others wait in a barrier while the first process expands, evaluates or reports: NCCL's own
# 10 minutes would kill the job.
BARRIER_TIMEOUT = timedelta(hours=6)


def check_device(settings: RuntimeSettings) -> bool:
    """Say whether a run computes with CUDA; UsageError if CUDA is requested but missing."""
    check_services(settings.loggers)
    local = _processes_here()
    cuda = torch.cuda.is_available() if settings.device == "auto" else settings.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise UsageError("device cuda: torch sees no CUDA device; use device cpu or auto")
    if settings.precision == "16-mixed" and not cuda:
        raise UsageError("precision 16-mixed: only CUDA devices have it; use 32 or bf16-mixed")
    if cuda and local > torch.cuda.device_count():
        raise UsageError(
            f"{local} processes: torch sees {torch.cuda.device_count()} CUDA devices; start as "
            "many, or use device cpu"
        )
    return cuda


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def open_fabric(settings: RuntimeSettings, *, single_paths: bool = False) -> Fabric:
    """Start Fabric on one process, or join those that torchrun started (DDP; gloo on CPUs)."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    cuda, local = check_device(settings), _processes_here()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    strategy: Any = "auto"
    if world > 1:
        strategy = DDPStrategy(
            find_unused_parameters=single_paths,
            process_group_backend="nccl" if cuda else "gloo",
            timeout=BARRIER_TIMEOUT,
        )
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=local,
        num_nodes=world // local,
        strategy=strategy,
        precision="32-true" if settings.precision == "32" else settings.precision,
    )
    fabric.launch()
    if not cuda:
        keep_freed_memory()
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return fabric


def prepare_module(module: nn.Module, fabric: Fabric, settings: RuntimeSettings) -> nn.Module:
    """Set the training mode and memory format of ``module``; SyncBN on several CUDA devices."""
    module.train()
    if settings.sync_bn and fabric.world_size > 1 and fabric.device.type == "cuda":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if settings.channels_last:
        module = module.to(memory_format=torch.channels_last)
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and not isinstance(part, nn.SyncBatchNorm):
            part.register_forward_pre_hook(functools.partial(_check_values, name))
        if isinstance(part, _InstanceNorm):
            part.register_forward_pre_hook(functools.partial(_check_pixels, name))
    return module


def _check_values(name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse BN statistics over a single value per channel, whose variance is zero."""
    shape = inputs[0].shape
    if part.training and len(shape) > 1 and inputs[0].numel() == shape[1]:
        raise TrainingError(
            f"{name}: this BatchNorm normalises over the batch, and sees one value per channel "
            f"(1 image per device, map {'x'.join(map(str, shape[2:])) or '1x1'}): its output would "
            "be the same for every image; give a --batch of at least 2 images per device"
        )


def _check_pixels(name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse statistics over a single pixel, whose variance is zero."""
    if part.training and inputs[0].shape[2:].numel() == 1:
        raise TrainingError(
            f"{name}: this InstanceNormalization normalises over the map, and sees one pixel: its "
            "output is the same for every image, and nothing in front of it would be trained; "
            "give larger images (--size), or a network without it"
        )


def seed_step(random_seed: int, step: int, rank: int) -> None:
    """Seed torch's global generators for one step (dropout), so that no state must be saved."""
    sequence = np.random.SeedSequence((random_seed, 0xD0, step, rank))
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def training_loader(
    dataset: Dataset,
    task: Task,
    manifest: Mapping[str, Any],
    batches: BatchSettings,
    fabric: Fabric,
    random_seed: int,
) -> EpochLoader:
    """Return the loader of a training set, with the task's transforms for the manifest."""
    return EpochLoader(
        task.cached(dataset, batches, manifest) if batches.cache else dataset,
        with_changes(task.train_transform(batches, manifest), batches.photometric),
        batches.batch_size,
        random_seed=random_seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        workers=batches.workers,
        collate=task.collate,
    )


def same_buffers(fabric: Fabric, module: nn.Module) -> None:
    """Give every rank the first rank's buffers (BN statistics)."""
    if fabric.world_size > 1:
        for buffer in module.buffers():
            buffer.copy_(fabric.broadcast(buffer, src=0))
