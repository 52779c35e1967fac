"""The dry run: it says what a run would cost and take, tries a step of each kind, keeps nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fnac.adaptation.dry_run import dry_run
from fnac.adaptation.plan import Plan
from fnac.cli import run
from fnac.errors import UsageError
from fnac.models.recipes import load_recipe


def test_it_predicts_steps_and_costs_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fnac.adaptation.dry_run.SHORT_S", math.inf)  # however slow the machine
    words = ["adapt", "--task", "seg", "--dry-run", "--json", "--no-verify", "--batch", "8"]
    assert (
        run([*words, "--set", "adapt.data=scenes:train=64,val=2,size=48", "--size", "64x64"]) == 0
    )
    found = json.loads(capfd.readouterr().out)
    assert found["data"] == {"train": 64, "val": 2}
    recipe = load_recipe("builtin-seg")
    per_epoch = 32 // 8
    assert found["plan"] == {
        "search_steps": recipe["search"]["epochs"] * per_epoch,
        "warmup_steps": recipe["search"]["warmup_epochs"] * per_epoch,
        "alpha_steps": (recipe["search"]["epochs"] - recipe["search"]["warmup_epochs"]) * per_epoch,
        "tune_steps": recipe["tune"]["epochs"] * 8,
    }
    space = found["space"]
    assert space["fixed"] + space["seed"] == found["seed"]["madds"]
    assert space["least"] < space["seed"] < space["most"]
    whole = {key: space["fixed"] + space[key] for key in ("seed", "least", "most")}
    budget = found["budget"]
    assert budget == {"asked": "1x", "value": budget["seed"], "unit": "madds", **whole}
    assert not found["notes"]
    assert found["steps"]["images"] == 8  # of a whole batch
    told = found["estimate"]
    assert [*told["seconds"]] == ["prepare", "search", "baseline", "tune", "measure"]
    assert min(told["seconds"].values()) > 0
    assert told["seconds"]["baseline"] == told["seconds"]["tune"]
    assert told["memory_bytes"] > 1e8
    assert not told["at_least"]
    assert list(tmp_path.iterdir()) == []


def test_too_few_samples_are_a_note_and_processes_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_recipe("builtin-seg")
    config["adapt"] = {"data": "scenes:train=4,val=1,size=48"}
    config["expand"]["size"] = [48, 48]
    plan = Plan.of({**config, "adapt": {**config["adapt"], "no_verify": True}})
    found = dry_run(plan)
    line = next(line for line in found.as_text().splitlines() if line.startswith("budget"))
    assert line.startswith("budget  ")
    assert "(1x); the seed costs " in line
    assert " MAdds, the search space has " in line
    assert found.steps["images"] == 2
    assert "\ntime    about " in found.as_text()
    assert "\nmemory  about " in found.as_text()
    assert found.notes[0].startswith(
        "search: the weights' part has 2 samples, which do not fill one batch of 16"
    )
    with pytest.raises(UsageError, match="the weights' part has 2 samples, which do not fill"):
        plan.check_batches()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--dry-run: it runs in one process"):
        dry_run(plan)
