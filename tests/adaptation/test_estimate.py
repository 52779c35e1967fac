"""Time and memory of a run, scaled from timed steps: by batch, by area, by what is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fnac.adaptation.estimate import STEPS, Estimate, StepClock, Timed, estimate
from fnac.adaptation.plan import Plan
from fnac.training.watchers import Training

STEPS_PLANNED = {"search_steps": 100, "warmup_steps": 40, "alpha_steps": 60, "tune_steps": 50}
MANIFEST: dict[str, Any] = {"size": [64, 64]}
TIMED = Timed(search=3.0, tune=1.0, measured=0.5, images=2, area=32 * 32, memory=3e9, before=1e9)


def plan(**adapt: object) -> Plan:
    return Plan.of(
        {
            "adapt": {"task": "seg", "data": "scenes:train=8,val=4,size=64", **adapt},
            "search": {"batch_size": 4},
            "tune": {"batch_size": 6, "epochs": 5, "eval_every": 2, "crop": [32, 64]},
        }
    )


def told(how: Plan) -> Estimate:
    return estimate(how, MANIFEST, STEPS_PLANNED, TIMED, prepare=7.0, validation=10)


def test_a_run_takes_what_its_steps_take() -> None:
    found = told(plan())
    search = (4 / 2) * (64 * 64 / 32**2)
    tune = (6 / 2) * (32 * 64 / 32**2)
    assert found.seconds == {
        "prepare": 7.0,
        "search": search * (60 * 3.0 + 40 * 1.0),
        "baseline": tune * 50,
        "tune": tune * 50,
        "measure": 2 * (3 + 2) * 10 * 0.5 * 4,  # the validation is of whole images
    }
    assert found.memory == 1e9 + search * 2e9
    assert not found.least


def test_what_a_strategy_leaves_out_takes_no_time() -> None:
    alone = told(plan(strategy="seed", baseline=False))
    assert [*alone.seconds] == ["prepare", "tune", "measure"]
    assert alone.memory == 1e9 + 6 * 2e9
    assert told(plan(strategy="evolve")).seconds["search"] == 8 * 100 * 1.0
    assert "at least" in told(plan(strategy="measured")).as_lines("CPU")[0]
    assert "not counted" not in told(plan()).as_lines("CPU")[0]


def test_a_batch_that_was_timed_needs_what_it_took() -> None:
    timed = dataclasses.replace(TIMED, images=64, area=256 * 256)
    found = estimate(plan(), MANIFEST, STEPS_PLANNED, timed, prepare=0, validation=0)
    assert found.memory == timed.memory


def test_the_clock_takes_the_time_between_the_ends_of_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("fnac.adaptation.estimate.time.perf_counter", lambda: now[0])
    clock = StepClock()
    for stage, ends in (("search", (10.0, 12.0, 15.0)), ("tune", (20.0, 21.0, 27.0))):
        training = Training(stage, Path(), STEPS, 0, {})
        for step, end in enumerate(ends, 1):
            now[0] = end - 0.5
            clock.row(training, {"step": step})
            now[0] = end
            clock.row(training, {"step": step})
    found = Timed.read(clock, images=2, area=9, validated=5, memory=2.0, before=1.0)
    assert (found.search, found.tune, found.measured) == (3.0, 1.0, 1.0)
