"""Run folders (docs/design.md): claimed once, never overwritten, complete."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import logging
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.history import command, tell_continue
from fnac.adaptation.kept_files import KeptFiles
from fnac.adaptation.resuming import (
    CONFIG,
    FINGERPRINT,
    START_OF,
    check_as_left,
    check_start,
    is_adaptation,
    latest,
)
from fnac.config import VERSION, as_json, as_plain, as_yaml, write_json
from fnac.errors import FnacError, UsageError
from fnac.findings import Finding, read_findings
from fnac.ranks import Ranks

if TYPE_CHECKING:
    from fnac.data.account import DataAccount
    from fnac.data.source import DataSource

LOCK = ".lock"
RUN_LOG = "run.log"
"""Everything that a run said, with the time; a resumed one goes on in it."""
DATA = "data.json"
"""The account of a run's data (fnac.data.account)."""
LIMIT = "search/limit.json"
"""The latency of the seed and of the budget in nanoseconds, where whole networks are timed."""
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
    """Create and return a new run folder: ``out``, or ``runs/name``; a number is added if taken.

    A folder that exists but is empty is not taken.
    """
    first = out if out is not None else Path("runs") / name
    folder, number = first, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
            number += 1
            folder = first.with_name(f"{first.name}{number}")
        except OSError as error:
            raise UsageError(
                f"-o {first}: the folder cannot be made ({error.strerror}); name another"
            ) from error


@contextlib.contextmanager
def begun(out: Path | None, name: str, device: str) -> Iterator[tuple[Path, Ranks]]:
    """Claim a new run folder and hold it; emptied again if the run fails before a checkpoint.

    The first process claims it and tells the others. A folder that was made for the run goes.
    """
    before = out is not None and out.is_dir()
    folder, ranks = _for_all(claim, out, name, device)
    is_new = not (before and out is not None and folder.samefile(out))
    with _held(folder, ranks):  # a folder that another process holds is not ours to empty
        try:
            with _logged(folder, ranks):
                yield folder, ranks
        except FnacError:
            if ranks.first and not any(folder.rglob("last.ckpt")):
                _empty(folder, is_new)
            raise


@contextlib.contextmanager
def continued(folder: Path, device: str) -> Iterator[Ranks]:
    """Hold the folder of a run that is continued."""
    _, ranks = _for_all(latest, folder, "", device)
    with _held(folder, ranks), _logged(folder, ranks):
        yield ranks


@contextlib.contextmanager
def working_in(
    out: Path | None,
    stage: str,
    device: str,
    source: DataSource,
    asked: Mapping[str, Any],
    start: Mapping[str, str],
    *,
    resume: bool,
    account: DataAccount | None = None,
) -> Iterator[tuple[Path, Ranks]]:
    """Hold the folder in which a single stage trains: a new one, or the one that is continued.

    asked  what the stage was told, section by section
    start  the network that it is given: ``model``, its name, and ``network``, its digest
    """
    if resume:
        folder = latest(out, stage)
        with continued(folder, device) as ranks:
            if ranks.first:
                check_as_left(folder, source)
                check_start(folder, start)
            yield folder, ranks
        return
    with begun(out, stage, device) as (folder, ranks):
        if ranks.first:
            told = {name: as_plain(one) for name, one in asked.items()}
            KeptFiles(folder).write(START_OF, as_json(start))
            describe(folder, told, source, account)
        yield folder, ranks


@contextlib.contextmanager
def _held(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Hold a folder for this process group; UsageError where another one holds it.

    The system's lock on an open file dies with the process, however it dies.
    """
    if not ranks.first:
        yield
        return
    import fcntl

    try:
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise UsageError(
            f"{folder}: the run folder cannot be written ({error.strerror}); change its "
            "permissions, or name another with -o"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: another process works in this run folder; wait for its end, or name "
                "another folder with -o"
            ) from error
        yield


@contextlib.contextmanager
def _logged(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Write what fnac says meanwhile to ``run.log``; say how to go on after Ctrl-C."""
    if not ranks.first:
        yield
        return
    log = logging.getLogger("fnac")
    handler = logging.FileHandler(folder / RUN_LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s  %(levelname)-7s  %(message)s"))
    version, words = metadata.version("fnac"), shlex.join(["fnac", *command()])
    log.addHandler(handler)
    handler.handle(log.makeRecord(log.name, logging.INFO, "", 0, f"{version}: {words}", (), None))
    try:
        yield
    except KeyboardInterrupt:
        if (folder / CONFIG).is_file():
            tell_continue(folder, is_adaptation(folder))
        raise
    except FnacError as error:
        text = f"stopped: {error}"
        handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, text, (), None))
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


def _empty(folder: Path, is_new: bool) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if is_new:
        folder.rmdir()


def _for_all(
    take: Callable[[Path | None, str], Path], out: Path | None, name: str, device: str
) -> tuple[Path, Ranks]:
    """Let the first process claim a run folder and send its path to the others."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return take(out, name), Ranks(first=True)
    from fnac.training.runtime import open_fabric
    from fnac.training.settings import RuntimeSettings

    fabric = open_fabric(RuntimeSettings(device=device))  # type: ignore[arg-type]
    folder = str(take(out, name)) if fabric.is_global_zero else ""
    return Path(fabric.broadcast(folder)), Ranks(fabric.is_global_zero, fabric)


def environment() -> dict[str, Any]:
    """Return what the result may depend on: versions, device, threads, the command.

    Without torch the device is the CPU, and there is no ``torch_threads``.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    device: dict[str, Any] = {"device": "cpu", "cpu_count": os.cpu_count()}
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            device["device"] = torch.cuda.get_device_name(0)
        device["torch_threads"] = torch.get_num_threads()
    return {
        "fnac": metadata.version("fnac"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        **device,
        "command": ["fnac", *sys.argv[1:]],
    }


def describe(
    folder: Path,
    config: Mapping[str, Any],
    source: DataSource,
    account: DataAccount | None = None,
) -> None:
    """Write the run's settings, the content of its data and its environment.

    config.yaml, fingerprint.json and data.json have digests, for a resumed run takes them.
    """
    from fnac.data.sets.fingerprint import fingerprint

    kept = KeptFiles(folder)
    kept.write(FINGERPRINT, as_json(fingerprint(source)))
    if account is not None:
        kept.write(DATA, as_json(account.as_json()))
    kept.write(CONFIG, as_yaml({"version": VERSION, **config}))
    began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    write_json(folder / "env.json", {"date": began, **environment()})


def data_findings(folder: Path) -> tuple[Finding, ...]:
    """Return the findings on a run's data; () if there are none."""
    path = folder / DATA
    return read_findings(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()


def limit_in_ms(folder: Path) -> float | None:
    """Return the limit in milliseconds that a run folder keeps; None where it keeps none."""
    path = folder / LIMIT
    if not path.exists():
        return None
    kept: Mapping[str, int] = json.loads(path.read_text())
    return kept["limit_ns"] / 1e6
