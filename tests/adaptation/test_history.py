"""What a file says of its history is heeded, and each stage names the command that goes on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from fnac.adaptation import history
from fnac.adaptation.history import tell_next, tell_unsearched, tell_untuned
from fnac.cli import run

M = Path("runs/my run/m.onnx")


def test_a_super_network_that_was_never_searched_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tell_unsearched(M, {"role": "super", "search": {"steps": 3}})
    tell_unsearched(M, {"role": "seed"})
    assert caplog.text == ""
    tell_unsearched(M, {"role": "super"})
    assert "was never searched: its alphas say nothing" in caplog.text
    assert "fnac search 'runs/my run/m.onnx' --data SPEC" in caplog.text


def test_a_target_that_was_never_tuned_is_told(caplog: pytest.LogCaptureFixture) -> None:
    for manifest in ({"role": "seed"}, {"arch": ["k3e6"], "tune": {}}, {"arch": ["k3"], "heal": 1}):
        tell_untuned(M, manifest)
    assert caplog.text == ""
    tell_untuned(M, {"role": "model", "arch": ["k3e6"]})
    assert "was derived and never tuned" in caplog.text


def test_the_next_command_can_be_pasted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tell_next("derive", M, "--budget", "0.9x")
    assert "next: fnac derive 'runs/my run/m.onnx' --budget 0.9x" in caplog.text


def test_the_stages_by_hand_name_one_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = {}
    head = ["--size", "32x32", "--task", "seg", "--classes", "3"]
    for words in (
        ["export", "bundled", "-o", "seed.onnx"],
        ["expand", "seed.onnx", *head, "--no-verify"],
        ["derive", "super.onnx"],
        ["emit", "target.onnx", "--no-verify"],
    ):
        assert run(words) == 0
        said[words[0]] = capfd.readouterr().err
    assert "next: fnac adapt seed.onnx --task TASK --data SPEC" in said["export"]
    assert "next: fnac search super.onnx --data SPEC" in said["expand"]
    assert "super.onnx was never searched" in said["derive"]
    assert "next: fnac tune target.onnx --data SPEC" in said["derive"]
    assert "target.onnx was derived and never tuned" in said["emit"]
    assert "next: fnac eval model.onnx --data SPEC" in said["emit"]
    assert run(["derive", "super.onnx", "--arch", "seed", "--json"]) == 0
    told = capfd.readouterr()
    assert "never searched" not in told.err
    assert "next:" not in told.err  # who asks for JSON is a program
    assert json.loads(told.out)["output"] == "target.onnx"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["eval", "m.onnx"], "does not read section expand; it reads adapt, eval, task"),
        (["profile", "m.onnx"], "does not read section expand; it reads profile"),
        (["run-pass", "clean", "m.onnx", "-o", "n.onnx"], "it has no settings"),
        (["search", "m.onnx"], "it reads adapt, search, task"),
    ],
)
def test_settings_that_a_command_does_not_read_are_refused(
    words: list[str], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--set", "expand.mean=[0.5,0.5,0.5]"]) == 2
    assert why in capfd.readouterr().err
    file = tmp_path / "all.yaml"
    file.write_text("expand: {space: auto}\n")  # a file may be of several commands
    run([*words, "--config", str(file)])
    assert "does not read" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "adaptation", "command"),
    [
        (["adapt", "--task", "seg"], True, "fnac adapt --resume -o 'a run'"),
        ([], True, "fnac adapt --resume -o 'a run'"),
        (
            ["tune", "m.onnx", "-o", "other", "--data", "folder:x"],
            False,
            "fnac tune m.onnx --data folder:x --resume -o 'a run'",
        ),
        (["study", "s.yaml", "-o", "all"], True, "fnac study s.yaml -o all --resume"),
        (["--quiet", "study", "s.yaml", "--resume"], True, "fnac --quiet study s.yaml --resume"),
        ([], False, "interrupted; what it did so far is in a run"),  # from Python: no command
    ],
)
def test_an_interrupted_run_says_how_it_goes_on(
    words: list[str], adaptation: bool, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    with history.working_on(words):
        history.tell_continue(Path("a run"), adaptation)
    assert caplog.text.rstrip().endswith(command)
