"""``tune``: parameter adaptation. Trains the weights of any ONNX network on a data set.

Reads an ONNX file, leaves one with the same nodes and names and new weights. A run that was killed
continues from its last checkpoint and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fnac.config import as_plain
from fnac.data.source import DataSource
from fnac.errors import UsageError
from fnac.importer import import_onnx, write_back
from fnac.passes.graph import Graph
from fnac.progress import StepProgress
from fnac.stages.evaluate import evaluate_module
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.base import Task
from fnac.tasks.network_check import check_pictures
from fnac.training.checkpoints import (
    fingerprint,
    load_checkpoint,
    load_network,
    restore_precision,
    save_checkpoint,
)
from fnac.training.run_log import CsvLog, LossTrace
from fnac.training.runtime import (
    open_fabric,
    prepare_module,
    same_buffers,
    seed_step,
    training_loader,
)
from fnac.training.settings import for_batch
from fnac.training.weight_steps import open_weight_steps, to_device

logger = logging.getLogger(__name__)

COLUMNS = ("step", "epoch", "loss", "lr", "head_lr")


@dataclasses.dataclass(frozen=True)
class TuneResult:
    """Outcome of tuning: steps taken, last loss, validation metric in percent (None: no val)."""

    output: Path
    steps: int
    loss: float
    val: float | None


def tune(
    model: Path,
    source: DataSource,
    task: Task,
    output: Path,
    folder: Path,
    settings: TuneSettings,
    *,
    resume: bool = False,
) -> TuneResult:
    """Train the network of ``model`` and write it to ``output``.

    folder   gets ``last.ckpt`` and ``metrics.csv``; with ``resume`` its checkpoint is continued
    raises   UsageError for a super network or other classes, TrainingError when training fails
    """
    graph = Graph.load(model)
    graph.check_finite()
    task.check_network(graph.manifest)
    check_pictures(graph)
    if any(node.op == "QuantizeLinear" for node in graph.nodes):
        logger.warning(
            "activations are quantized, and rounding has no gradient: what stands in front of the "
            "last one is not trained; open them with fnac run-pass open-activations"
        )
    module = import_onnx(graph.to_model())
    if module.choice_points:
        raise UsageError(
            f"{model}: it is a super network ({len(module.choice_points)} choice points); derive "
            "an architecture first (`fnac derive`)"
        )
    settings = for_batch(settings, settings.batch_size)
    fabric = open_fabric(settings)
    train = source.split("train")
    loader = training_loader(train, task, graph.manifest, settings, fabric, settings.random_seed)
    per_epoch = loader.batches_per_epoch
    total = settings.steps or settings.epochs * per_epoch
    plain = prepare_module(module, fabric, settings)
    weights = open_weight_steps(
        fabric,
        plain,
        module.backbone_parameters(),
        module.head_parameters(),
        settings,
        task,
        total,
        per_epoch,
    )
    identity = {**as_plain(settings), "steps": total, "network": "tune"}
    checkpoint, start, log_size = folder / "last.ckpt", 0, None
    state: dict[str, Any] = {}
    if resume and checkpoint.exists():
        state = load_checkpoint(checkpoint, identity)
        load_network(checkpoint, plain, state["network"])
        weights.optimizer.load_state_dict(state["optimizer"])
        restore_precision(fabric, state)
        start, log_size = int(state["step"]), int(state["log_size"])
        logger.info("tune: resumed at step %d of %d", start, total)
    elif settings.recalibrate_bn:
        batches = loader.iterate(0, settings.recalibrate_bn)
        recalibrate_bn(plain, (to_device(fabric, b, settings.channels_last)[0] for b in batches))
        same_buffers(fabric, plain)
    if settings.freeze_bn:
        freeze_bn(plain)
    if not state and fabric.is_global_zero:
        checkpoint.unlink(missing_ok=True)  # of another run, not to be resumed
    measured = f"val_{task.metric}"
    table = folder / "metrics.csv" if fabric.is_global_zero else None
    log = CsvLog(table, (*COLUMNS, measured), log_size)
    trace = LossTrace(log)
    trace.last = float(state.get("loss", math.nan))
    val: float | None = state.get("val")
    validation = source.split("val") if "val" in source.splits else None
    if validation is not None and settings.cache:
        still = dataclasses.replace(settings, scale=(1.0, 1.0))  # is measured at one scale
        validation = task.cached(validation, still, graph.manifest)

    def evaluate() -> float | None:
        if validation is None or not fabric.is_global_zero:
            return None
        value = evaluate_module(
            plain,
            source,
            task,
            size=settings.whole_size(graph.manifest),
            manifest=graph.manifest,
            batch_size=max(1, settings.batch_size // fabric.world_size),
            workers=settings.workers,
            dataset=validation,
        ).value
        if settings.freeze_bn:  # back in training mode, and so was BN
            freeze_bn(plain)
        return value

    with StepProgress("tune", total, start=start, shown=fabric.is_global_zero) as progress:
        for step, batch in enumerate(loader.iterate(start, total), start):
            seed_step(settings.random_seed, step, fabric.global_rank)
            loss = weights.step(step, *to_device(fabric, batch, settings.channels_last))
            epoch, done = step // per_epoch, step + 1
            trace.add(loss, step=done, epoch=epoch, lr=weights.lr, head_lr=weights.head_lr)
            epoch_over = done % per_epoch == 0
            if done % settings.log_every == 0 or epoch_over or done == total:
                shown = {} if val is None else {task.metric: f"{val:.1f}"}
                progress.figures(loss=trace.read(), **shown)
            if done == total or (epoch_over and (epoch + 1) % settings.eval_every == 0):
                val = evaluate()
                if val is not None:
                    trace.row(step=done, epoch=epoch, **{measured: val})
            progress.advance(done)
            if done == total or epoch_over or done % settings.checkpoint_every == 0:
                log_bytes = trace.flush()
                content = {
                    "settings": fingerprint(identity),
                    "step": done,
                    "loss": trace.last,
                    "val": val,
                    "log_size": log_bytes,
                    "network": plain.state_dict(),
                    "optimizer": weights.optimizer.state_dict(),
                }
                save_checkpoint(fabric, checkpoint, content)
    if fabric.is_global_zero:
        tuned = Graph.from_model(write_back(module.cpu(), graph.to_model()))
        tuned.manifest["tune"] = {"steps": total, "val": val, "metric": task.metric}
        tuned.save(output)
    fabric.barrier()
    return TuneResult(output, total, trace.last, val)


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the batch normalisations of ``module``."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def freeze_bn(module: nn.Module) -> None:
    """Put BN into evaluation mode and its parameters out of training."""
    for norm in batch_norms(module):
        norm.eval()
        norm.requires_grad_(False)


def recalibrate_bn(module: nn.Module, batches: Any) -> None:
    """Average the BN statistics of ``module`` anew over ``batches`` of images; weights stay."""
    norms = batch_norms(module)
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        for images in batches:
            module(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
