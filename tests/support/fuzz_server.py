"""Run command lines of fnac one by one, each in a forked child under limits of time and memory.

``Server`` starts this module as a process of its own: it has loaded what the commands need and has
one thread, so that a child starts in milliseconds and a crash or a hang costs nobody else. What a
command loads by itself, it loads once in ``_serve``, not once in every child.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

SECONDS = 10.0  # of processor time that one command line may take
PATIENCE = 60.0  # of wall-clock time, on a machine that others use as well
MEGABYTES = 2048  # resident at most; the address space may be twice that
SLICE = 100_000  # characters of stderr that are kept


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one command line ended: exit code, or minus the signal that killed it; None: hung."""

    code: int | None
    seconds: float
    megabytes: float
    stderr: str


class Server:
    """The process that runs command lines; use it in a ``with``."""

    def __enter__(self) -> Server:
        """Start the process."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fuzz_server"],
            cwd=Path(__file__).resolve().parent.parent.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()

    def run(self, arguments: list[str]) -> Outcome:
        """Run ``fnac ARGUMENTS``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))


def _serve() -> None:
    import onnxruntime

    from fnac.passes.registry import PASSES, resolve

    onnxruntime.set_default_logger_severity(4)
    for name in PASSES:
        resolve(name)
    _load_commands()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(json.dumps(dataclasses.asdict(_run(json.loads(line)))), file=answers, flush=True)


def _load_commands() -> None:
    """Let each command refuse a file that is not there, and with it load its modules."""
    import fnac.cli

    missing = "no-such-file.onnx"
    lines = [
        ["inspect", missing],
        ["profile", missing],
        ["expand", missing, "-o", "not-written.onnx"],
        ["verify", missing, missing],
    ]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        for line in lines:
            code = fnac.cli.run(line)
            assert code in (2, 3), (line, code)
    gc.collect()
    gc.freeze()  # the children share the pages


def _run(arguments: list[str]) -> Outcome:
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _be_the_child(arguments, errors.fileno())
        status, used, hung = _wait(child, start)
        errors.seek(0)
        text = errors.read(SLICE).decode(errors="replace")
    seconds = used.ru_utime + used.ru_stime
    code = None if hung else os.waitstatus_to_exitcode(status)
    return Outcome(code, round(seconds, 3), used.ru_maxrss / 1024, text)


def _wait(child: int, start: float) -> tuple[int, resource.struct_rusage, bool]:
    handle = os.pidfd_open(child)
    try:
        left = PATIENCE - (time.monotonic() - start)
        ready, _, _ = select.select([handle], [], [], max(left, 0))
    finally:
        os.close(handle)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    by_clock = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    return status, used, not ready or by_clock


def _be_the_child(arguments: list[str], errors: int) -> None:
    """Run the command line and leave; never returns."""
    import fnac.cli

    code = 99  # what no command line ends with: an error escaped even the last line of defence
    try:
        limit = int(SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (2 * MEGABYTES << 20, 2 * MEGABYTES << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.dup2(errors, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        code = fnac.cli.run(arguments)
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
