"""What can go wrong in the product, and the exit code of each (docs/design.md).

FnacError                    1
├── UsageError               2  an option, a configuration key or a budget that cannot be met
├── FileNotWritableError     2  (passes) a file cannot be written where it was asked for
├── FileNotThereError        2  (passes) no file is where one was said to be
├── ArgumentError            2  (passes) what a pass was asked for cannot be
├── UnsupportedGraphError    3  (passes) this graph is not supported
├── PassFailedError          4  (passes) a pass failed
├── OutputsDifferError       5  (passes) outputs differ
├── FitDataError             6  (passes) images, or features of them, that nothing can be fitted to
├── DataError                6  a file of the data set is missing, broken or out of range
└── TrainingError            6  training could not go on (loss not finite, checkpoint unusable)

ModelError                   2  (models) a ValueError that a stage turns into a UsageError
"""

from __future__ import annotations

from fnac.passes.errors import (
    ArgumentError,
    FileNotThereError,
    FileNotWritableError,
    FitDataError,
    FnacError,
    OutputsDifferError,
    PassFailedError,
    UnsupportedGraphError,
)

__all__ = [
    "ArgumentError",
    "DataError",
    "FileNotThereError",
    "FileNotWritableError",
    "FitDataError",
    "FnacError",
    "OutputsDifferError",
    "PassFailedError",
    "TrainingError",
    "UnsupportedGraphError",
    "UsageError",
]


class UsageError(FnacError):
    """The command line, a configuration file or a budget asks for something impossible."""

    exit_code = 2


class DataError(FnacError):
    """The data set is not what its reader expects; names the first broken file."""

    exit_code = 6


class TrainingError(FnacError):
    """Training cannot go on: a loss that is not finite, a checkpoint that does not fit."""

    exit_code = 6
