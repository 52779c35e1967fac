"""Stages that runs of a study share are computed once and reused.

Two runs share a stage where every setting that it depends on is the same. The first of them
computes it; a later one gets the finished files in its folder ``given/`` before it begins.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from fnac.adaptation.adapt_run import GIVEN
from fnac.adaptation.plan import Plan
from fnac.adaptation.settings import NARROWS_TUNED_SEED
from fnac.config import as_plain

SUBJECT = ("seed", "task", "data", "skip_bad", "calibrate", "no_verify")
"""Settings of ``adapt`` that every stage depends on."""


def shared_stages(plan: Plan) -> dict[str, str]:
    """Return the stages of a run that others may share: file -> digest of its settings.

    ``super.onnx``       the super network as expanded
    ``tuned_seed.onnx``  of ``measured`` and ``uniform``, in its place
    ``baseline.onnx``    the control, tuned
    """
    subject = {key: getattr(plan.adapt, key) for key in SUBJECT}
    parts: dict[str, Any] = {"adapt": subject}
    for section in ("task", "export", "expand"):
        parts[section] = as_plain(getattr(plan, section))
    tuning = {**parts, "tune": as_plain(plan.tune)}
    if plan.adapt.strategy in NARROWS_TUNED_SEED:
        tuning["seed_share"] = plan.adapt.seed_share
        stages = {"tuned_seed.onnx": tuning}
    else:
        stages = {"super.onnx": parts}
    if plan.adapt.baseline and plan.tune.teacher is None:
        stages["baseline.onnx"] = tuning
    return {name: _digest({"file": name, **settings}) for name, settings in stages.items()}


def hand_on(folder: Path, stages: dict[str, str], store: Path) -> None:
    """Store the shared stages of a finished run that are not stored yet."""
    store.mkdir(parents=True, exist_ok=True)
    for name, digest in stages.items():
        source = folder / (GIVEN if name == "super.onnx" else ".") / name
        kept = store / f"{digest}.onnx"
        if source.exists() and not kept.exists():
            part = kept.with_suffix(".part")
            shutil.copyfile(source, part)
            part.replace(kept)


def take_over(stages: dict[str, str], store: Path) -> dict[str, Path]:
    """Return the shared stages that were computed before: file -> stored path."""
    kept = {name: store / f"{digest}.onnx" for name, digest in stages.items()}
    return {name: path for name, path in kept.items() if path.exists()}


def _digest(settings: dict[str, Any]) -> str:
    text = json.dumps(as_plain(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
