"""`fnac list`, `data`, `init`, `compare`, `--print-config`, `--version --json`."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from fnac.adaptation.plan import SECTIONS, Plan
from fnac.adaptation.settings import AdaptSettings
from fnac.adaptation.strategies import MEANINGS, STRATEGIES
from fnac.cli import run as fnac
from fnac.config import gather
from fnac.data.readers.names import MEANINGS as LAYOUTS
from fnac.data.readers.names import TASKS_OF
from fnac.data.spec import READERS
from fnac.models.recipes import recipe_names
from fnac.models.seeds.seed_names import BUNDLED, FAMILIES
from fnac.models.seeds.seed_names import MEANINGS as SEEDS
from fnac.overview.registries import KINDS
from fnac.overview.sample_sheet import spread
from fnac.overview.settings_table import settings_of
from fnac.passes.registry import PASSES
from fnac.stages.tune_settings import TuneSettings
from tests.support.data_sets import classes, segmentation

RESULTS = {
    "metric": {"name": "mIoU", "value": 50.0},
    "seed": {"madds": 100, "params": 10},
    "baseline": {"value": 48.0},
    "target": {"madds": 80, "params": 8, "images": 4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_names_what_the_registry_knows(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fnac(["list", kind, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)[kind]
    assert all(entry["what"] for entry in entries)
    names = {entry["name"] for entry in entries}
    known = {
        "passes": set(PASSES),
        "recipes": {*recipe_names(), "none"},
        "strategies": set(STRATEGIES),
        "readers": {*READERS, "pictures"},
    }
    assert names == known.get(kind, names)
    assert fnac(["list", kind]) == 0
    assert all(name in capsys.readouterr().out for name in [entries[0]["name"]])


def test_every_name_has_a_meaning() -> None:
    assert MEANINGS.keys() == STRATEGIES.keys()
    assert LAYOUTS.keys() == READERS.keys()
    assert {name: tuple(tasks) for name, tasks in READERS.items()} == TASKS_OF
    assert SEEDS.keys() == {*FAMILIES, BUNDLED}


def test_a_list_goes_by_one_of_its_things(capsys: pytest.CaptureFixture[str]) -> None:
    assert fnac(["list", "strategy"]) == 0
    assert "measured" in capsys.readouterr().out
    assert fnac(["list", "networks"]) == 2


def test_data_counts_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, sheet = segmentation(tmp_path / "set"), tmp_path / "sheet.png"
    assert fnac(["data", spec, "--samples", "3", "-o", str(sheet), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "seg"  # the folder has masks, and no class folders
    assert told["sheet"] == str(sheet)
    samples = told["splits"]["train"]["samples"]
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[1] == 12 + min(3, samples) * (320 + 12)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_data_that_nothing_learns_from_is_told_and_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = segmentation(tmp_path / "set")
    for mask in (tmp_path / "set").rglob("masks/**/*.png"):
        Image.fromarray(np.zeros_like(np.asarray(Image.open(mask)))).save(mask)
    assert fnac(["data", spec, "--task", "seg", "--samples", "0"]) == 6
    err = capsys.readouterr().err
    assert "alone occurs in 'train'" in err
    assert "train pixels" in err  # the table says it as well


def test_data_of_several_tasks_wants_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert fnac(["data", "scenes:train=2,val=1"]) == 2
    assert "can be read for seg, det, pose, cls" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["det", "pose", "cls"])
def test_the_sheet_of_every_task(task: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    words = ["data", "scenes:train=4,val=1", "--task", task, "--samples", "2", "-o", str(sheet)]
    assert fnac(words) == 0
    assert Image.open(sheet).width == 12 + 2 * 332


def test_samples_are_spread_over_a_split() -> None:
    assert spread(100, 4) == [0, 25, 50, 75]
    assert spread(3, 12) == [0, 1, 2]


def test_a_new_settings_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    spec = classes(tmp_path / "set")
    assert fnac(["init", "--task", "cls", "--data", spec, "-o", str(path)]) == 0
    assert gather(file=path) == {
        **{section: {} for section in SECTIONS},
        "adapt": {"task": "cls", "data": spec},
    }
    said = {"adapt": {"task": "cls", "data": spec}}
    assert Plan.of(gather(file=path)) == Plan.of(gather(options=said))


def test_every_line_of_a_settings_file_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert fnac(["init", "--task", "det", "-o", str(path)]) == 0
    text = re.sub(r"^  # (\w+: )", r"  \1", path.read_text(), flags=re.MULTILINE)
    assert "\n  # " not in text
    path.write_text(text)
    said = gather(file=path)
    assert said["tune"]["lr"] == TuneSettings().lr
    said["adapt"]["data"] = "scenes:train=2,val=1"
    plan, plain = Plan.of(said), Plan.of({"adapt": dict(said["adapt"])})
    assert plan.tune == plain.tune
    assert plan.search == plain.search
    assert plan.task == plain.task
    assert fnac(["init", "-o", str(path)]) == 2  # it is there


def test_a_settings_file_holds_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert fnac(["init", "--recipe", "coco-ssdlite-mobilenetv2", "-o", str(path)]) == 0
    said = gather(file=path)
    assert said["adapt"]["task"] == "det"
    assert said["expand"]["head"] == "ssdlite"


def test_the_settings_that_a_run_would_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert fnac(["adapt", "--task", "seg", "--print-config", "--set", "tune.lr=0.5"]) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert written["adapt"]["recipe"] == "builtin-seg"
    assert written["tune"]["lr"] == 0.5
    assert written.pop("version")
    assert Plan.of(written).written()["tune"] == written["tune"]


def test_the_settings_of_one_stage(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "bundled", "--task", "seg", "--epochs", "3", "--print-config"]
    assert fnac(words) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert written["tune"]["epochs"] == 3
    assert written["adapt"] == {"task": "seg", "data": None, "skip_bad": False}


def test_settings_are_read_with_their_meaning() -> None:
    rows = {row.key: row for row in settings_of(TuneSettings)}
    assert rows["epochs"].default == "12"
    assert rows["batch_size"].meaning == "Images per step, over all processes together."
    assert {row.key for row in settings_of(AdaptSettings)} == AdaptSettings().__dict__.keys()


def test_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value, lr in (("one", 50.0, 0.1), ("two", 52.5, 0.2)):
        (tmp_path / name).mkdir()
        results = {**RESULTS, "metric": {"name": "mIoU", "value": value}}
        (tmp_path / name / "results.json").write_text(json.dumps(results))
        config = {"tune": {"lr": lr, "epochs": 3, "workers": int(10 * lr)}}
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["compare", str(tmp_path / "one"), str(tmp_path / "two")]
    assert fnac(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["one", "50.00", "80", "8", "48.00", "0.0"]
    assert lines[3].split() == ["two", "52.50", "+2.50", "80", "8", "48.00", "0.0"]
    assert lines[-1].split() == ["tune.lr", "0.1", "0.2"]
    assert fnac([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["value"] for one in told["runs"]] == [50.0, 52.5]
    assert told["settings"] == {"tune.lr": [0.1, 0.2]}
    assert fnac(["compare", str(tmp_path)]) == 2
    assert "no results.json" in capsys.readouterr().err


def test_the_version_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert fnac(["--version", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"fnac", "python", "packages", "device"} <= told.keys()
    assert "command" not in told
    assert fnac(["--version"]) == 0
    assert capsys.readouterr().out == f"fnac, version {told['fnac']}\n"


def test_quiet_leaves_notes_out_and_warnings_say_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = tmp_path / "seed.onnx"
    assert fnac(["export", "bundled", "-o", str(seed)]) == 0
    assert "next: fnac adapt" in capsys.readouterr().err
    assert fnac(["--quiet", "export", "bundled", "-o", str(seed)]) == 0
    assert capsys.readouterr().err == ""
    logging.getLogger("fnac").warning("look at this")
    assert capsys.readouterr().err == "warning: look at this\n"
