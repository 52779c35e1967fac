"""What proofs cost: `fnac emit` and `fnac expand` of a ResNet-50, with them and without, in turn.

Each run is a process of its own: its wall time, the processor time of all its threads, and the most
memory it held. Wall time is the machine's, processor time the program's: on a machine that does
something else at the time, read the latter.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
LIMITS = {"emit": (3.0, 600), "expand": (10.0, 1536)}  # seconds and MB that proofs may come to


@dataclasses.dataclass(frozen=True)
class Spent:
    """What one process took: seconds, seconds of processors, MB."""

    wall: float
    cpu: float
    memory: float


def spent(*arguments: str) -> Spent:
    """Run one fnac process to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "fnac.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"fnac {' '.join(arguments)}: exit code {process.returncode}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        seed, out = str(Path(folder) / "resnet50.onnx"), str(Path(folder) / "out.onnx")
        spent("export", "resnet50", "--weights", "none", "-o", seed)
        for command, (seconds, megabytes) in LIMITS.items():
            sides: dict[str, list[Spent]] = {"": [], "--no-verify": []}
            for _ in range(ROUNDS):
                for option, runs in sides.items():
                    runs.append(spent(command, seed, "-o", out, *option.split()))
            for option, runs in sides.items():
                wall, cpu, memory = (
                    statistics.median(getattr(run, field.name) for run in runs)
                    for field in dataclasses.fields(Spent)
                )
                limit = "" if option else f"   (limits: {seconds:g} s, {megabytes} MB)"
                print(
                    f"{f'{command} {option}':20} {wall:6.2f} s, {cpu:6.2f} s of processors, "
                    f"{memory:5.0f} MB{limit}"
                )


if __name__ == "__main__":
    main()
