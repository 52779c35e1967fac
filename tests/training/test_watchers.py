"""Callbacks of a training: they see the rows of its log, its beginning and its end."""

from __future__ import annotations

import contextlib
import csv
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from fnac.errors import UsageError
from fnac.passes.super_network.choose import choose
from fnac.stages.tune import tune
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.segmentation import Segmentation
from fnac.training.runtime import check_device
from fnac.training.watchers import Training, Watcher, Watchers, watched_by, watching
from fnac.training.watchers.services import MLflow, numbers
from tests.support.super_networks import CLASSES, SIZE, SquaresSource, tiny_super


class Notes(Watcher):
    """Writes down what it is told."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.told: list[tuple[str, Any]] = []

    def begin(self, training: Training) -> None:
        self.told.append(("begin", training))

    def row(self, training: Training, figures: Any) -> None:
        self.told.append(("row", dict(figures)))
        if figures["step"] == self.stop_at:
            raise KeyboardInterrupt

    def end(self, training: Training) -> None:
        self.told.append(("end", training))

    def rows(self) -> list[dict[str, Any]]:
        return [what for kind, what in self.told if kind == "row"]


def run(folder: Path, *, resume: bool = False, **more: Any) -> None:
    graph = tiny_super()
    choose(graph, ["k3e1", "k5e1", "skip"])
    settings = TuneSettings(
        epochs=2, batch_size=4, size=(SIZE, SIZE), scale=(1.0, 1.0), workers=0, device="cpu",
        checkpoint_every=2, log_every=2, **more,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    path, out = graph.save(folder / "m.onnx"), folder / "out.onnx"
    tune(
        path, SquaresSource(), Segmentation(CLASSES), out, folder / "tune", settings, resume=resume
    )


def test_a_watcher_sees_the_rows_of_the_log(tmp_path: Path) -> None:
    notes = Notes()
    with watched_by(notes):
        run(tmp_path / "run")
    with (tmp_path / "run" / "tune" / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    rows = notes.rows()
    assert [row["step"] for row in rows] == [int(row["step"]) for row in written]
    for row, line in zip(rows, written, strict=True):
        assert {k: f"{v:.8g}" for k, v in row.items()} == {k: v for k, v in line.items() if v}
    (kind, training), (last, _) = notes.told[0], notes.told[-1]
    assert (kind, last) == ("begin", "end")
    assert (training.stage, training.first) == ("tune", 0)
    assert training.total == rows[-1]["step"]
    assert training.settings["epochs"] == 2
    run(tmp_path / "alone")  # nobody looks any more
    assert notes.rows() == rows


def test_a_watcher_may_end_a_run_which_goes_on_later(tmp_path: Path) -> None:
    first = Notes(stop_at=3)
    with watched_by(first), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert first.told[-1][0] == "end"
    second = Notes()
    with watched_by(second):
        run(tmp_path / "run", resume=True)
    assert second.told[0][1].first == 2  # the checkpoint's
    assert second.rows()[0]["step"] == 3
    run(tmp_path / "whole")
    for name in ("out.onnx", "tune/metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class Broken(Notes):
    """Raises when a training begins, or when it ends."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def begin(self, training: Training) -> None:
        if self.place == "begin":
            raise OSError("no route")
        super().begin(training)

    def end(self, training: Training) -> None:
        super().end(training)
        if self.place == "end":
            raise OSError("no route")


@pytest.mark.parametrize("place", ["begin", "end"])
def test_who_began_is_told_of_the_end_even_if_another_raises(place: str) -> None:
    first, broken, last = Notes(), Broken(place), Notes()
    training = Training("tune", Path("tune"), 4, 0, {})
    with (
        pytest.raises(OSError, match="no route"),
        watching(Watchers(training, (first, broken, last))),
    ):
        pass
    assert [kind for kind, _ in first.told] == ["begin", "end"]
    assert [kind for kind, _ in last.told] == ([] if place == "begin" else ["begin", "end"])


def test_a_logger_that_is_not_there_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"tensorboard: it is not installed; pip install -e"):
        check_device(TuneSettings(loggers=("tensorboard",), device="cpu"))


def test_a_logger_gets_settings_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, Any]] = []
    service = types.ModuleType("wandb")
    running = types.SimpleNamespace(
        log=lambda figures, step: said.append(("log", (step, figures))),
        finish=lambda exit_code: said.append(("finish", exit_code)),
    )

    def init(**how: Any) -> Any:
        said.append(("init", how))
        return running

    service.init = init  # type: ignore[attr-defined]
    service.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "wandb", service)
    run(tmp_path / "mine", loggers=("wandb",))
    (first, how), last = said[0], said[-1]
    assert (first, last) == ("init", ("finish", 0))
    assert (how["project"], how["name"]) == ("fnac", "mine-tune")
    assert how["config"]["epochs"] == 2
    step, figures = said[1][1]
    assert step == 1
    assert {"loss", "lr", "head_lr", "epoch"} == figures.keys()


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "FINISHED"), (ValueError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_mlflow_is_told_how_a_run_ended(
    error: BaseException | None, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, said = types.ModuleType("mlflow"), list[str]()
    for name in ("set_experiment", "log_params"):
        setattr(service, name, lambda *_: None)
    service.start_run = lambda run_name: None  # type: ignore[attr-defined]
    service.end_run = lambda status: said.append(status)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", service)
    training = Training("tune", Path("tune"), 4, 0, {})
    with (
        contextlib.nullcontext() if error is None else pytest.raises(type(error)),
        watching(Watchers(training, (MLflow(),))),
    ):
        if error is not None:
            raise error
    assert said == [status]


def test_texts_and_the_step_are_no_figures() -> None:
    assert numbers({"step": 3, "phase": "warmup", "loss": 1, "lr": 0.5}) == {"loss": 1.0, "lr": 0.5}
