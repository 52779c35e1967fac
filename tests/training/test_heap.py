"""Freed memory is kept: touching it again costs no page faults."""

import os
import platform
import subprocess
import sys
from typing import ClassVar

import pytest

from fnac.training.heap import USERS, keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")

BLOCKS = 4
PAGES = BLOCKS * (48 << 20) // 4096

SCRIPT = f"""
import ctypes, resource, sys
from fnac.training.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for _ in range(2):  # the second round is counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(ctypes.c_size_t(48 << 20)) for _ in range({BLOCKS})]
    for block in blocks:
        for page in range(0, 48 << 20, 4096):
            ctypes.c_char.from_address(block + page).value = b"x"
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_second_round(how: str) -> int:
    command = [sys.executable, "-c", SCRIPT, how]
    ours = {name: value for name, value in os.environ.items() if name not in USERS}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=ours)
    return int(run.stdout)


@glibc
def test_freed_memory_is_kept_for_the_next_step() -> None:
    assert faults_of_second_round("kept") < PAGES // 10


@glibc
def test_without_it_every_page_is_faulted_in_again() -> None:
    assert faults_of_second_round("given back") > PAGES // 10


def test_settings_of_the_user_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnac.training.heap.platform.libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnac.training.heap.platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("largest", "wanted"),
    [
        (1 << 30, [(-3, 1 << 30), (-1, -1)]),
        (32 << 20, [(-3, 1 << 30), (-3, 32 << 20), (-1, -1)]),
        (0, [(-3, 1 << 30), (-3, 32 << 20)]),
    ],
    ids=["2.35", "2.31", "refused"],
)
def test_what_older_libraries_refuse(
    monkeypatch: pytest.MonkeyPatch, largest: int, wanted: list[tuple[int, int]]
) -> None:
    class Library:
        asked: ClassVar[list[tuple[int, int]]] = []

        def __init__(self, name: None) -> None: ...

        def mallopt(self, what: int, value: int) -> int:
            self.asked.append((what, value))
            return int(value <= largest)

    monkeypatch.setattr("fnac.training.heap.platform.libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr("fnac.training.heap.ctypes.CDLL", Library)
    for name in USERS:
        monkeypatch.delenv(name, raising=False)
    assert keep_freed_memory() == (largest > 0)
    assert Library.asked == wanted
