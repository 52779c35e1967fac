"""Run folders (docs/design.md): claimed once, never overwritten, enough to rebuild the result."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.plan import Plan, changed
from fnac.config import VERSION, Config, as_plain, read_yaml, write_json, write_yaml
from fnac.errors import FnacError, UsageError
from fnac.findings import Finding, read_findings
from fnac.ranks import Ranks

if TYPE_CHECKING:
    from fnac.data.account import DataAccount

DATA = "data.json"
"""The account of a run's data (fnac.data.account)."""
PACKAGES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx-graphsurgeon",
    "numpy",
    "scipy",
    "lightning-fabric",
    "torchmetrics",
)


def claim(out: Path | None, name: str) -> Path:
    """Make and return a new run folder: ``out``, or ``runs/name``; a taken one gets a number.

    A folder that exists but is empty is not taken.
    """
    wanted = out if out is not None else Path("runs") / name
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
            number += 1
            folder = wanted.with_name(f"{wanted.name}{number}")
        except OSError as error:
            raise UsageError(
                f"-o {wanted}: the folder cannot be made ({error.strerror}); name another"
            ) from error


@contextlib.contextmanager
def kept_if_trained(folder: Path, *, new: bool) -> Iterator[None]:
    """Remove a newly claimed folder again if the run fails before its first checkpoint."""
    try:
        yield
    except FnacError:
        if new and not any(folder.rglob("last.ckpt")):
            shutil.rmtree(folder)
        raise


def latest(out: Path | None, name: str | None) -> Path:
    """Return the folder that ``--resume`` continues: ``out``, or the newest ``runs/name*``.

    Raises UsageError if there is none.
    """
    if out is not None:
        if not (out / "config.yaml").is_file():
            raise UsageError(f"--resume: {out} holds no config.yaml; name the folder of a run")
        return out
    begun = [p.parent for p in Path("runs").glob(f"{name or ''}*/config.yaml")]
    if not begun:
        raise UsageError(f"--resume: there is no runs/{name or ''}*; name the run folder with -o")
    return max(begun, key=lambda folder: (folder / "config.yaml").stat().st_mtime_ns)


def read_plan(folder: Path) -> Plan:
    """Return the plan that a run was begun with; UsageError for one of another version."""
    return Plan.of(read_yaml(folder / "config.yaml", of_run=True))


def environment() -> dict[str, Any]:
    """Return what the result may depend on: versions, device, threads, the command."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cuda = torch.cuda.is_available()
    return {
        "fnac": metadata.version("fnac"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "command": ["fnac", *sys.argv[1:]],
    }


def describe(folder: Path, config: Mapping[str, Any], account: DataAccount | None = None) -> None:
    """Write what the run was told, what its data hold, and where it runs.

    These are config.yaml, data.json and env.json.
    """
    write_yaml(folder / "config.yaml", {"version": VERSION, **config})
    write_json(folder / "env.json", environment())
    if account is not None:
        write_json(folder / DATA, account.as_json())


def data_findings(folder: Path) -> tuple[Finding, ...]:
    """Return what the account of a run's data found; () where the run has none."""
    path = folder / DATA
    return read_findings(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()


def claim_for_all(
    out: Path | None, name: str, resume: bool, device: str = "auto"
) -> tuple[Path, Ranks]:
    """Let the first process claim the run folder (or find the latest) and tell the others."""
    take = latest if resume else claim
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return take(out, name), Ranks(first=True)
    from fnac.training.runtime import open_fabric
    from fnac.training.settings import RuntimeSettings

    fabric = open_fabric(RuntimeSettings(device=device))  # type: ignore[arg-type]
    folder = str(take(out, name)) if fabric.is_global_zero else ""
    return Path(fabric.broadcast(folder)), Ranks(fabric.is_global_zero, fabric)


def plan_to_resume(folder: Path, given: Config) -> Plan:
    """Return the plan of a run that is continued; UsageError if ``given`` says something else."""
    plan = read_plan(folder)
    begun, said = plan.adapt.task, given.get("adapt", {}).get("task")
    if said not in (None, begun):
        raise UsageError(
            f"--resume: the task of {folder} is {begun}, {said} was given; leave it out, or begin "
            "a new run"
        )
    asked, differing = changed(plan, given)
    for path in differing:
        section, _, key = path.partition(".")
        then, now = (getattr(getattr(one, section), key) for one in (plan, asked))
        raise UsageError(
            f"--resume: {path} is {as_plain(then)!r} in {folder}, {as_plain(now)!r} was given; "
            "leave it out, or begin a new run"
        )
    return plan
