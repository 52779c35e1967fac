"""A single stage goes on with what it was begun with; whatever else is said is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fnac.adaptation.resuming import START_OF, check_start, stage_to_resume
from fnac.adaptation.settings import AdaptSettings
from fnac.config import VERSION, write_json, write_yaml
from fnac.errors import UsageError
from fnac.search.settings import SearchSettings
from fnac.stages.heal_settings import HealSettings
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import settings_kind

ADAPT = AdaptSettings(data="scenes:train=8,val=2,size=32", seed="seed.onnx", budget="0.5x")
BEGUN: dict[str, dict[str, Any]] = {
    "search": {"adapt": ADAPT, "search": SearchSettings(), "task": settings_kind("seg")()},
    "tune": {
        "adapt": ADAPT,
        "tune": TuneSettings(lr=0.02),
        "task": settings_kind("seg")(),
        "expand": {"head": "lraspp"},
    },
    "heal": {
        "adapt": AdaptSettings(data="pictures:photos"),
        "heal": HealSettings(epochs=3),
        "tune": {"teacher": "original.onnx"},
    },
}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, sections in BEGUN.items():
        (tmp_path / name).mkdir()
        write_yaml(tmp_path / name / "config.yaml", {"version": VERSION, **sections})
    return tmp_path


def stage_of(name: str) -> str:
    return "tune" if name == "heal" else name


@pytest.mark.parametrize(
    ("name", "section", "key", "value"),
    [
        ("tune", "task", "loss", "focal"),
        ("tune", "adapt", "task", "cls"),
        ("tune", "adapt", "skip_bad", True),
        ("tune", "adapt", "data", "pictures:photos"),
        ("tune", "expand", "head", "deeplabv3"),
        ("tune", "expand", "output_stride", 8),
        ("tune", "tune", "lr", 0.01),
        ("search", "task", "loss", "focal"),
        ("search", "adapt", "budget", "0.6x"),
        ("search", "adapt", "budget_of", "params"),
        ("search", "search", "epochs", 3),
        ("heal", "tune", "teacher", "other.onnx"),
        ("heal", "tune", "epochs", 4),
        ("heal", "heal", "lr", 0.5),
        ("heal", "adapt", "data", "scenes"),
    ],
)
def test_another_setting_of_any_section_is_refused(
    folders: Path, name: str, section: str, key: str, value: Any
) -> None:
    where = section if (name, key) != ("heal", "epochs") else "heal"
    with pytest.raises(
        UsageError, match=rf"--resume: {where}\.{key} is .* was given; leave it out"
    ):
        stage_to_resume(folders / name, stage_of(name), {section: {key: value}})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("tune", {}),
        ("tune", {"tune": {"lr": 0.02, "workers": 3, "checkpoint_every": 7}}),
        ("tune", {"adapt": {"data": "scenes:size=32,train=8,val=2", "seed": "moved.onnx"}}),
        ("tune", {"expand": {"head": "lraspp", "size": None}, "search": {"epochs": 99}}),
        ("search", {"adapt": {"budget": "0.5x"}, "search": {"log_every": 2}}),
        ("heal", {"tune": {"epochs": 3, "teacher": "original.onnx", "workers": 1}}),
        ("heal", {"adapt": {"data": "pictures:moved/photos"}}),
    ],
)
def test_the_same_and_what_does_not_matter_is_taken(
    folders: Path, name: str, given: dict[str, dict[str, Any]]
) -> None:
    config = stage_to_resume(folders / name, stage_of(name), given)
    assert set(config) == set(BEGUN[name])
    for section, values in given.items():
        for key, value in values.items():
            in_section = "heal" if name == "heal" and key not in ("teacher", "data") else section
            if in_section in config and value is not None:
                assert config[in_section][key] == value


def test_what_is_not_said_stays_as_the_run_was_begun(folders: Path) -> None:
    assert stage_to_resume(folders / "tune", "tune", {})["tune"]["lr"] == 0.02
    assert stage_to_resume(folders / "heal", "tune", {})["heal"]["epochs"] == 3


def test_a_run_of_another_command_is_refused(folders: Path) -> None:
    with pytest.raises(UsageError, match="is no run of fnac tune"):
        stage_to_resume(folders / "search", "tune", {})
    whole = {name: {} for name in ("adapt", "export", "search", "derive", "tune", "eval")}
    text = "".join(f"{name}:\n  a: 1\n" for name in whole)
    (folders / "tune" / "config.yaml").write_text(f"version: {VERSION}\n{text}")
    with pytest.raises(UsageError, match="is a run of fnac adapt; continue it with fnac adapt"):
        stage_to_resume(folders / "tune", "tune", {})


def test_another_network_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    check_start(tmp_path, {"model": "any.onnx", "network": "1"})  # nothing was noted
    write_json(tmp_path / START_OF, {"model": "one.onnx", "network": "1"})
    check_start(tmp_path, {"model": "moved.onnx", "network": "1"})
    with pytest.raises(UsageError, match=r"began with one\.onnx, and two\.onnx is another"):
        check_start(tmp_path, {"model": "two.onnx", "network": "2"})
