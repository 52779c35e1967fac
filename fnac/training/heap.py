"""Keep the memory that a training step frees for the next step."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEEP_ALL = -1
_MMAP_FROM = (1 << 30, 32 << 20)  # before 2.35 glibc takes 32 MiB at most

USERS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")
"""The variables by which a user settles the same question."""


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory instead of returning it to the system; True if it does.

    The activations of a step are freed and allocated again at every step. Given back, each page
    comes back zeroed through a page fault. The process then stays as large as its largest step,
    which it would be at the next step anyway; single blocks above 1 GiB (32 MiB before glibc
    2.35) still go back.

    Nothing is done under another C library, or where the user has set glibc's own variables
    (``GLIBC_TUNABLES``, ``MALLOC_TRIM_THRESHOLD_`` and the like).
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in USERS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # either setting ends glibc's own adaptation of both: the trim threshold alone would do harm
    if not any(mallopt(_MMAP_THRESHOLD, size) for size in _MMAP_FROM):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEEP_ALL))
