"""Fixtures shared by every test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that lies beside the project; absent in a user's clone."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data sets (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture(autouse=True)
def _log_as_python_makes_it() -> Iterator[None]:
    """Take back what the command line does to fnac's log, which other tests read."""
    yield
    log = logging.getLogger("fnac")
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True
