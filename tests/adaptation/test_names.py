"""What a user writes in place of a known name, and what is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fnac.adaptation.plan import Plan
from fnac.adaptation.settings import with_recipe
from fnac.cli import run
from fnac.config import gather
from fnac.errors import UsageError
from fnac.names import TASK_ALIASES, TASKS, task_name


@pytest.mark.parametrize(("said", "task"), TASK_ALIASES.items())
def test_a_task_goes_by_its_usual_names(said: str, task: str) -> None:
    assert task in TASKS
    assert task_name(said.upper().replace("-", "_")) == task
    assert gather(options={"adapt": {"task": said}})["adapt"]["task"] == task


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--task", "sego"], "--task sego: no such name; did you mean 'seg'?; known: seg, det"),
        (["mobilnetv2", "--task", "seg"], "did you mean 'mobilenetv2'?; known: mobilenetv2"),
        (["--task", "seg", "--recipe", "bultin-seg"], "did you mean 'builtin-seg'"),
        (["--task", "seg", "--head", "deeplab3"], "did you mean 'deeplabv3' or 'deeplabv3plus'?"),
        (["--task", "seg", "--space", "mbconvseg"], "did you mean 'mbconv-seg'"),
        (["--task", "seg", "--remap", "fna_live"], "did you mean 'fna-live'"),
        (["--task", "seg", "--data", "cityscape:x"], "did you mean 'cityscapes'"),
        (["--task", "seg", "--set", "tune.epoch=3"], "did you mean 'epochs'"),
        (["--task", "seg", "--set", "tuning.epochs=3"], "did you mean 'tune'"),
        (["--task", "seg", "--set", "tune.schedule=cosin"], "did you mean 'cosine'"),
    ],
)
def test_a_slip_is_answered_with_the_closest_name(
    words: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapt", *words, "--set", "expand.classes=3"]) == 2
    assert why in capfd.readouterr().err


def test_a_pass_and_its_argument_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "m.onnx"), "-o", str(tmp_path / "n.onnx")]
    assert run(["run-pass", "widen-kernal", *words]) == 2
    assert "did you mean 'widen-kernel'?" in capfd.readouterr().err
    assert run(["run-pass", "widen-kernel{kernal=7}", *words]) == 2
    assert "did you mean 'kernel'?; arguments: kernel" in capfd.readouterr().err


def test_options_are_checked_before_torch_is_loaded() -> None:
    code = (
        "import sys, fnac.cli\n"
        "assert fnac.cli.run(['adapt', '--task', 'seg', '--set', 'search.epochs=many']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "search.epochs: 'many' was found; wanted a whole number" in done.stderr


# ------------------------------------------------------------------ recipes


def test_the_recipe_of_the_built_in_job_goes_with_its_data() -> None:
    """Whatever says that the data are the built-in scenes; ``none`` is a recipe as well."""
    for data in (None, "scenes:", "scenes:train=512,val=128,size=96"):
        made = with_recipe(
            {"adapt": {"task": "seg", "data": data} if data else {"task": "seg"}}, None
        )
        assert made["adapt"]["recipe"] == "builtin-seg"
        assert made["expand"]["size"] == [96, 96]
        assert made["adapt"]["data"] == (data or "scenes:train=512,val=128,size=96")
    for given, name in (({"data": "coco:x"}, None), ({}, "none"), ({"data": "scenes:"}, "none")):
        made = with_recipe({"adapt": {"task": "seg", **given}}, name)
        assert "expand" not in made
        assert made["adapt"].get("recipe") == name


def test_a_home_in_a_path_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["profile", "~/no.onnx"]) == 2
    assert f"{tmp_path}/no.onnx: there is no such file" in capfd.readouterr().err
    said = {"adapt": {"task": "seg", "seed": "~/seed.onnx"}, "expand": {"classes": 3}}
    assert Plan.of(said).export.seed == f"{tmp_path}/seed.onnx"
    with pytest.raises(UsageError, match=f"{tmp_path}/c.yaml: cannot be read"):
        gather(file=Path("~/c.yaml").expanduser())
