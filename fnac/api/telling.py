"""The output that a person sees while Python runs a stage, as on the command line."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fnac.adaptation.history import without_hints

P = ParamSpec("P")
R = TypeVar("R")


def telling(stage: Callable[P, R]) -> Callable[P, R]:
    """Show what ``fnac`` logs on stderr while a stage runs, unless logging is set up already.

    ``logging.basicConfig(...)``, or a handler or level of the logger ``fnac``, is respected.
    """

    @functools.wraps(stage)
    def told(*arguments: P.args, **options: P.kwargs) -> R:
        log = logging.getLogger("fnac")
        if log.hasHandlers() or log.level != logging.NOTSET:
            with without_hints():
                return stage(*arguments, **options)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            with without_hints():
                return stage(*arguments, **options)
        finally:
            log.removeHandler(handler)
            log.setLevel(logging.NOTSET)

    return told
