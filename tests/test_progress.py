"""What long work says of itself: how far it is, how fast, how long it will take."""

from __future__ import annotations

import logging
import sys

import pytest

from fnac import progress
from fnac.progress import StepProgress, StepsAhead


def test_dear_steps_count_for_what_they_take() -> None:
    ahead = StepsAhead(0, 10, lambda step: "dear" if step >= 8 else "cheap")
    for step in range(4):
        ahead.took(step, step + 1, 1.0)
    assert ahead.seconds() == (4 * 1.0 + 2 * 1.0, False)  # at least: no dear one came yet
    for step in range(4, 8):
        ahead.took(step, step + 1, 1.0)
    ahead.took(8, 9, 30.0)
    assert ahead.seconds() == (30.0, True)


def test_steps_that_come_together_are_counted_together() -> None:
    ahead = StepsAhead(0, 100, lambda _step: "")
    ahead.took(0, 50, 5.0)
    assert ahead.seconds() == (5.0, True)
    ahead.took(50, 50, 9.0)
    assert ahead.seconds() == (5.0, True)


def test_lines_name_speed_and_figures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(progress, "LINE_EVERY_S", 2.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, "fnac"), StepProgress("tune", 4, images=8) as shown:
        for done in range(1, 5):
            shown.figures(loss=0.5)
            shown.advance(done)
    assert "step 2 of 4, " in caplog.text
    assert "8 images/s" in caplog.text
    assert "loss 0.5" in caplog.text


def test_a_bar_on_a_terminal_goes_and_one_line_stays(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level(logging.INFO, "fnac"), StepProgress("tune", 2) as shown:
        shown.phase("tune, epoch 1/1")
        shown.advance(1)
        shown.advance(2)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["tune: step 2 of 2"]
