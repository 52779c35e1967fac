"""Loggers of others as watchers, where they are installed: TensorBoard, W&B, MLflow."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from fnac.errors import UsageError

from .watcher import Figures, Training, Watcher

PROJECT = "fnac"
SERVICES = ("tensorboard", "wandb", "mlflow")
"""Names in the setting ``loggers``; each is the name of its package."""


class TensorBoard(Watcher):
    """Writes ``FOLDER/tensorboard``; look at it with ``tensorboard --logdir runs``."""

    def begin(self, training: Training) -> None:
        """Open the writer; a resumed run's points after its checkpoint are replaced."""
        module = importlib.import_module("torch.utils.tensorboard")
        self.writer: Any = module.SummaryWriter(
            str(training.folder / "tensorboard"), purge_step=training.first + 1
        )

    def row(self, training: Training, figures: Figures) -> None:
        """Write every figure under the name of the stage."""
        for name, value in numbers(figures).items():
            self.writer.add_scalar(f"{training.stage}/{name}", value, figures["step"])

    def end(self, training: Training) -> None:
        """Close the writer."""
        self.writer.close()


class WandB(Watcher):
    """One run of the project ``fnac`` a training, named after its folder."""

    def begin(self, training: Training) -> None:
        """Start the run with the stage's settings."""
        self.run: Any = importlib.import_module("wandb").init(
            project=PROJECT,
            name=_name(training),
            dir=str(training.folder),
            config=dict(training.settings),
            reinit=True,
        )
        self.exit_code = 0

    def row(self, training: Training, figures: Figures) -> None:
        """Log every figure."""
        self.run.log(numbers(figures), step=int(figures["step"]))

    def stopped(self, training: Training, error: BaseException) -> None:
        """Remember that the run did not reach its end."""
        self.exit_code = 1

    def end(self, training: Training) -> None:
        """Finish the run, as failed where it was stopped."""
        self.run.finish(exit_code=self.exit_code)


class MLflow(Watcher):
    """One run of the experiment ``fnac`` a training, named after its folder."""

    def begin(self, training: Training) -> None:
        """Start the run with the stage's settings."""
        self.mlflow: Any = importlib.import_module("mlflow")
        self.mlflow.set_experiment(PROJECT)
        self.mlflow.start_run(run_name=_name(training))
        self.mlflow.log_params(dict(training.settings))
        self.status = "FINISHED"

    def row(self, training: Training, figures: Figures) -> None:
        """Log every figure; names may hold no ``@``."""
        told = {name.replace("@", "-at-"): value for name, value in numbers(figures).items()}
        self.mlflow.log_metrics(told, step=int(figures["step"]))

    def stopped(self, training: Training, error: BaseException) -> None:
        """Remember whether the run was interrupted or failed."""
        self.status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"

    def end(self, training: Training) -> None:
        """End the run, with its status."""
        self.mlflow.end_run(status=self.status)


KINDS: dict[str, type[Watcher]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def check_services(names: Sequence[str]) -> None:
    """Raise UsageError where a logger is not installed; before anything is trained."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            extra = (
                "pip install -e '.[tensorboard]'"
                if name == "tensorboard"
                else f"pip install {name}"
            )
            raise UsageError(f"loggers {name}: it is not installed; {extra}")


def open_services(names: Sequence[str]) -> list[Watcher]:
    """Return the watchers of these names."""
    return [KINDS[name]() for name in names]


def numbers(figures: Figures) -> dict[str, float]:
    """Return what of a row is a figure: no step, no text."""
    return {
        name: float(value)
        for name, value in figures.items()
        if name != "step" and not isinstance(value, str) and value is not None
    }


def _name(training: Training) -> str:
    return f"{training.folder.parent.name}-{training.stage}"
