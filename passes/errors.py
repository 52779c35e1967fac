"""What can go wrong in the compiler.

FnacError                   1  anything fnac says about itself; never raised bare
├── FileNotWritableError    2  a file that was asked for cannot be written there
├── FileNotThereError       2  no file is where one was said to be
├── ArgumentError           2  what a pass was asked for cannot be: its children say of what
│   ├── PipelineError          the text of a pipeline names an unknown pass or argument
│   ├── StrategyError          no remapping strategy has this name, or it does not fit a block
│   ├── CandidateNameError     a candidate is spelled in a way that means nothing
│   └── ArchError              an arch does not fit the super network's layers
├── FitDataError            6  images, or the features they give, are nothing to fit weights to
├── UnsupportedGraphError   3  this file or graph is not something fnac can work on
├── PassFailedError         4  a pass broke its word: its graph does not check or does not run
└── OutputsDifferError      5  a pass that keeps outputs changed them, or two files differ

The number is the exit code of the command line (docs/design.md); ``fnac.errors`` adds the
errors of the product. A message says where, what was found, what was wanted and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class FnacError(Exception):
    """Base of every error that fnac raises on purpose."""

    exit_code: ClassVar[int] = 1


class FileNotWritableError(FnacError):
    """A file cannot be written at the path that was given."""

    exit_code = 2


class FileNotThereError(FnacError):
    """There is no file at the path that was given."""

    exit_code = 2


class ArgumentError(FnacError):
    """A pass was asked for something that cannot be."""

    exit_code = 2


class PipelineError(ArgumentError):
    """The text of a pipeline names an unknown pass or argument."""


class StrategyError(ArgumentError):
    """No remapping strategy has this name, or it cannot work on this block."""


class CandidateNameError(ArgumentError):
    """A candidate is spelled in a way that means nothing."""


class ArchError(ArgumentError):
    """The arch does not fit the super network's layers."""


class FitDataError(FnacError):
    """The images, or the features that they give, are nothing to fit weights to."""

    exit_code = 6


class UnsupportedGraphError(FnacError):
    """The file is not an ONNX network, or not one this pass or stage can work on."""

    exit_code = 3


class PassFailedError(FnacError):
    """A pass left a graph that does not check, infer or run."""

    exit_code = 4


class OutputsDifferError(FnacError):
    """The outputs of two graphs that must compute the same function differ."""

    exit_code = 5
