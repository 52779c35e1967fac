"""The stages as commands."""

from __future__ import annotations

from .architectures import derive, expand, export, search
from .deploying import emit, evaluate
from .tuning import tune

COMMANDS = [export, expand, search, derive, tune, emit, evaluate]
