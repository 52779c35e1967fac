"""The report of a run: `report.html` and its images."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_report"]


def write_report(run_folder: Path) -> Path:
    """Write `report.html` and `pictures/*.png` into a run folder; returns the page's path.

    A file of the run (its `model.onnx`) stands for the folder.

    Whatever the run has not produced yet is shown as "not run yet". Raises UsageError if the
    folder is no run folder. Matplotlib and onnx are loaded only here, torch never.
    """
    from fnac.report.page import write_page

    given = Path(run_folder)
    return write_page(given.parent if given.is_file() else given)
