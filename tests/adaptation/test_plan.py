"""A run's plan: settled once, written down, read back as it was; runs of other versions refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fnac.adaptation.plan import SECTIONS, Plan
from fnac.adaptation.resuming import plan_to_resume, read_plan
from fnac.adaptation.settings import with_recipe
from fnac.cli import run
from fnac.config import Config, read_yaml, write_yaml
from fnac.errors import UsageError
from fnac.models.recipes import load_recipe, recipe_names
from fnac.tasks import TASKS

SCENES = "scenes:train=4,val=2,size=32"


def planned(task: str | None = None, recipe: str | None = None, **sections: Any) -> Plan:
    recipe = recipe or ("none" if sections else None)
    given: Config = {"adapt": {"task": task} if task else {}, **sections}
    return Plan.of(with_recipe(given, recipe))


def read_back(plan: Plan, folder: Path) -> Plan:
    write_yaml(folder / "config.yaml", plan.written())
    return Plan.of(read_yaml(folder / "config.yaml", of_run=True))


@pytest.mark.parametrize("task", TASKS)
def test_the_plan_of_a_task_reads_back_as_it_was(task: str, tmp_path: Path) -> None:
    plan = planned(task)
    assert plan.export.seed == plan.adapt.seed == "bundled"
    assert plan.expand.classes == len(plan.source.classes)
    assert read_back(plan, tmp_path) == plan


@pytest.mark.parametrize("name", recipe_names())
def test_the_plan_of_a_recipe_reads_back_as_it_was(name: str, tmp_path: Path) -> None:
    plan = planned(recipe=name, expand={"classes": 3})
    recipe = load_recipe(name)
    assert plan.export.seed == plan.adapt.seed == recipe["export"]["seed"]
    assert plan.search.batch_size == recipe["search"]["batch_size"]
    assert read_back(plan, tmp_path) == plan


def test_evolution_trains_no_alphas_and_says_so(tmp_path: Path) -> None:
    """So a warm-up as long as the search, which is a recipe's, is no contradiction."""
    plan = planned(
        recipe="builtin-seg",
        adapt={"strategy": "evolve"},
        search={"epochs": 1},
        expand={"classes": 3},
    )
    assert (plan.search.train_alphas, plan.search.epochs) == (False, 1)
    assert read_back(plan, tmp_path) == plan


def test_every_setting_that_is_not_its_default_comes_back(tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "adapt": {"task": "det", "data": SCENES, "budget": 2.5e6, "latency_table": "t.json"},
        "task": {"resize": "sides", "score": 0.1, "iou_crop": False},
        "export": {"weights": "none", "width": 0.5},
        "expand": {"size": [64, 96], "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]},
        "search": {"random_seed": 3, "scale": [0.1, 0.3], "lr": "3e-05", "clip": None},
        "derive": {"weights": "seed", "use_at_least": 1 / 3},
        "shrink": {"effort": 2, "least": 1 / 3},
        "tune": {"schedule": "step", "milestones": [1, 2.5], "lr_warmup_from": 0.1},
        "emit": {"any_size": True, "labels": "uint8"},
        "eval": {"split": "test", "limit": 3},
    }
    plan = Plan.of(sections)
    assert plan.emit.score == 0.1
    assert plan.search.clip is None
    assert plan.search.lr == 3e-5
    again = read_back(plan, tmp_path)
    assert again == plan
    for section in SECTIONS:
        assert getattr(again, section) == getattr(plan, section)


def test_the_recorded_seed_is_the_seed_that_runs() -> None:
    """Without a seed and a recipe, mobilenetv2 used to be recorded, and the bundled one run."""
    plan = planned("seg", expand={"classes": 3})
    assert (plan.adapt.seed, plan.export.seed) == ("bundled", "bundled")
    said = planned("seg", adapt={"task": "seg", "seed": "resnet18"}, export={"seed": "fbnetc"})
    assert (said.adapt.seed, said.export.seed) == ("resnet18", "resnet18")
    exported = planned("seg", export={"seed": "fbnetc"}, expand={"classes": 3})
    assert (exported.adapt.seed, exported.export.seed) == ("fbnetc", "fbnetc")


def test_without_proofs_no_stage_proves() -> None:
    plan = planned("seg", adapt={"task": "seg", "no_verify": True}, expand={"classes": 3})
    assert not plan.derive.verify
    assert plan.emit.no_verify


def test_the_data_set_is_opened_once_and_only_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fnac.adaptation import plan as module

    opened = []
    whole = module.open_source
    monkeypatch.setattr(module, "open_source", lambda s: opened.append(s) or whole(s))
    plan = planned("seg", adapt={"task": "seg", "data": SCENES}, expand={"classes": 6})
    assert opened == []
    assert plan.source is plan.source
    assert len(opened) == 1


def test_a_run_of_another_layout_is_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yaml(tmp_path / "config.yaml", {"adapt": {"task": "seg"}, "search": {"seed": 0}})
    with pytest.raises(UsageError, match=r"config.yaml: settings of version 1 were found; this"):
        read_plan(tmp_path)
    words = ["adapt", "--resume", "-o", str(tmp_path)]
    assert run(words) == 2
    (tmp_path / "config.yaml").write_text("task: seg\nbudget: 0.6x\nepochs: 4\n")  # no sections
    capsys.readouterr()
    assert run(words) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told == (
        f"fnac: {tmp_path}/config.yaml: settings of version 1 were found; this fnac reads version "
        "2, in which keys have other names (docs/settings.md); begin a new run"
    )
    write_yaml(tmp_path / "config.yaml", {"version": 9, "adapt": {"task": "seg"}})
    with pytest.raises(UsageError, match="settings of version 9 were found"):
        read_yaml(tmp_path / "config.yaml")


def test_the_earlier_name_of_a_setting_is_answered_with_the_new_one() -> None:
    with pytest.raises(UsageError, match=r"search.seed: it is called search.random_seed now"):
        planned("seg", search={"seed": 3}, expand={"classes": 3})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"adapt": {"seed": "resnet18"}}, "adapt.seed is 'bundled' in"),
        ({"export": {"seed": "resnet18"}}, "export.seed is 'bundled' in"),
        ({"emit": {"iou": 0.4}}, "emit.iou is 0.5 in"),
        ({"task": {"iou": 0.4}}, "task.iou is 0.5 in"),
        ({"tune": {"lr": 0.5}}, "tune.lr is .*, 0.5 was given; leave it out"),
        ({"adapt": {"task": "seg"}}, "the task of .* is det, seg was given"),
        ({"profile": {"size": 3}}, "profile: adapt has no such section"),
    ],
)
def test_a_run_is_continued_as_it_was_begun(given: Config, words: str, tmp_path: Path) -> None:
    plan = planned("det")
    write_yaml(tmp_path / "config.yaml", plan.written())
    assert plan_to_resume(tmp_path, {"tune": {"lr": plan.tune.lr}}) == plan
    with pytest.raises(UsageError, match=words):
        plan_to_resume(tmp_path, given)


def test_settings_are_read_before_torch() -> None:
    code = (
        "import sys, fnac.adaptation.plan as p\n"
        "p.Plan.of({'adapt': {'task': 'seg'}, 'expand': {'classes': 3}})\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_word_for_a_network_and_another_for_a_random_number() -> None:
    written = json.dumps(planned("seg").written())
    assert written.count('"seed"') == 2  # the network, in adapt and in export
    assert written.count('"random_seed"') == 5
