"""Freed memory is kept: touching it again costs no page faults."""

import subprocess
import sys

import pytest

from fnac.heap import keep_freed_memory

BLOCKS = 4
PAGES = BLOCKS * (48 << 20) // 4096

SCRIPT = f"""
import ctypes, resource, sys
from fnac.heap import keep_freed_memory

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
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True
    )
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    assert faults_of_second_round("kept") < PAGES // 10


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_without_it_every_page_is_faulted_in_again() -> None:
    assert faults_of_second_round("given back") > PAGES // 10


def test_settings_of_the_user_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnac.heap.platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
