"""What a user writes in place of a known name, and what is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fnac.adaptation.plan import Plan
from fnac.adaptation.settings import with_recipe
from fnac.cli import in_front, run
from fnac.config import gather
from fnac.errors import UsageError
from fnac.names import (
    PRECISION_ALIASES,
    PRECISIONS,
    TASK_ALIASES,
    TASKS,
    precision_name,
    task_name,
)
from tests.support.data_sets import segmentation


@pytest.mark.parametrize(("said", "task"), TASK_ALIASES.items())
def test_a_task_goes_by_its_usual_names(said: str, task: str) -> None:
    assert task in TASKS
    assert task_name(said.upper().replace("-", "_")) == task
    assert gather(options={"adapt": {"task": said}})["adapt"]["task"] == task


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--task", "sego"], "--task sego: no such name; did you mean 'seg'?; known: seg, det"),
        (["--task", "segmentaton"], "no such name; did you mean 'segmentation' or 'segment'?"),
        (["--task", "seg", "--recipe", "camvid"], "did you mean 'camvid-deeplabv3-mobilenetv2'?"),
        (["mobilnetv2", "--task", "seg"], "did you mean 'mobilenetv2'?; known: mobilenetv2"),
        (["--task", "seg", "--recipe", "bultin-seg"], "did you mean 'builtin-seg'"),
        (["--task", "seg", "--head", "deeplab3"], "did you mean 'deeplabv3' or 'deeplabv3plus'?"),
        (["--task", "seg", "--head", "ssdlite"], "is for det; for seg there are: deeplabv3"),
        (["--task", "seg", "--precision", "bf16-mix"], "did you mean 'bf16-mixed' or"),
        (["--task", "seg", "--classes", "9"], "--classes 9: the data set has "),
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


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--device", "cuda"], "device cuda: torch sees no CUDA device"),
        (["--precision", "fp16"], "precision 16-mixed: only CUDA devices"),
    ],
)
def test_a_device_that_is_not_there_is_told_before_the_data_are_read(
    words: list[str],
    why: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run(["adapt", "--task", "seg", *words]) == 2
    told = capfd.readouterr().err
    assert why in told
    assert "class" not in told  # the account of the data


@pytest.mark.parametrize(
    ("command", "option", "meant"),
    [
        ("adapt", "--epochs", "--epochs: it is a setting here: --set tune.epochs=VALUE"),
        ("adapt", "--head-lr", "--head-lr: it is a setting here: --set tune.head_lr=VALUE"),
        ("adapt", "--name", "--name: here it is -o FOLDER"),
        ("adapt", "--imgsz", "--imgsz: here it is --size HxW"),
        ("tune", "--batch-size", "it is a setting here: --set tune.batch_size=VALUE"),
        ("eval", "--dataset", "--dataset: here it is --data SPEC"),
    ],
)
def test_an_option_of_elsewhere_is_told_its_place(
    command: str, option: str, meant: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "m.onnx", option, "3"]) == 2
    assert meant in capfd.readouterr().err


def test_an_option_that_means_nothing_is_no_more_than_that(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["profile", "m.onnx", "--epochs", "3"]) == 2  # it trains nothing
    told = capfd.readouterr().err
    assert "No such option '--epochs'" in told
    assert "--set" not in told


@pytest.mark.parametrize(("said", "precision"), PRECISION_ALIASES.items())
def test_a_precision_goes_by_its_usual_names(said: str, precision: str) -> None:
    assert precision in PRECISIONS
    assert precision_name(said.upper()) == precision
    for given in (said, precision, int(said) if said.isdigit() else said):  # YAML reads a number
        assert gather(assignments=[f"tune.precision={given}"])["tune"]["precision"] == precision


def test_debug_and_quiet_may_stand_anywhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert in_front(["profile", "m", "--debug", "--top", "3"]) == [
        "--debug",
        "profile",
        "m",
        "--top",
        "3",
    ]
    assert in_front(["predict", "--", "--debug"]) == ["predict", "--", "--debug"]
    assert run(["profile", "none.onnx", "--quiet"]) == 2
    assert "none.onnx: there is no such file" in capfd.readouterr().err


def test_a_folder_without_its_reader_is_told_which_reads_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    segmentation(tmp_path / "set")
    assert run(["adapt", "--task", "seg", "--data", str(tmp_path / "set")]) == 2
    told = capfd.readouterr().err
    assert f"it looks like folder:{tmp_path / 'set'}; wanted NAME:PATH" in told
    (tmp_path / "none").mkdir()
    assert run(["adapt", "--task", "seg", "--data", str(tmp_path / "none")]) == 2
    assert "its layout is none that is known; wanted NAME:PATH" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["expand", "profile", "inspect"])
def test_a_seed_where_a_file_is_wanted_is_told_apart(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([command, "resnet18"]) == 2
    assert "write it first: fnac export resnet18 -o resnet18.onnx" in capfd.readouterr().err
    assert run([command, "resnet18.onnx"]) == 2
    assert "there is no such file" in capfd.readouterr().err


def test_a_pass_and_its_argument_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "m.onnx"), "-o", str(tmp_path / "n.onnx")]
    assert run(["run-pass", "widen-kernal", *words]) == 2
    assert "did you mean 'widen-kernel'?" in capfd.readouterr().err
    assert run(["run-pass", "widen-kernel{kernal=7}", *words]) == 2
    assert "did you mean 'kernel'?; arguments: kernel" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["adapt", "--task", "seg", "--set", "search.epochs=many"], "'many' was found; wanted a"),
        (["adapt", "--task", "det", "--data", "cocoo:x"], "did you mean 'coco'?"),
        (["tune", "bundled", "--set", "tune.epoch=3"], "did you mean 'epochs'?"),
        (["search", "none.onnx", "--set", "search.alpha_gradd=all"], "did you mean"),
        (["shrink", "none.onnx", "--data", "cocoo:x"], "unknown reader 'cocoo'"),
        (["emit", "none.onnx", "--set", "emit.fp16=perhaps"], "wanted true or false"),
    ],
)
def test_options_are_checked_before_torch_is_loaded(words: list[str], why: str) -> None:
    code = (
        "import sys, fnac.cli\n"
        f"assert fnac.cli.run({words!r}) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert why in done.stderr


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
