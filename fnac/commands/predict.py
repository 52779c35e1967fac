"""`predict`: run a network on your own images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnac.commands.common import Answer, examples, printed
from fnac.commands.options import mean_options, model_argument, size_option
from fnac.commands.types import TaskType, UserPath

if TYPE_CHECKING:
    from fnac.stages.deployment.predict import Predictor

logger = logging.getLogger(__name__)


@click.command(
    epilog=examples(
        "fnac predict runs/seg/model.onnx photo.jpg",
        "fnac predict model.onnx photos/ -o seen/ --json",
    )
)
@model_argument
@click.argument("images", metavar="IMAGE|FOLDER|PATTERN...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=UserPath(file_okay=False),
    help="Folder for images with the predictions drawn on them (seg: also masks of class ids).",
)
@click.option("--task", type=TaskType(), help="Needed if the file does not state it.")
@size_option
@mean_options
@click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="X0,Y0,X1,Y1",
    help="pose: a person; may be repeated.  [default: the whole image is one]",
)
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read.")
@printed
def predict(
    model: Path,
    images: tuple[str, ...],
    out: Path | None,
    task: str | None,
    size: tuple[int, int] | None,
    mean: str | None,
    std: str | None,
    boxes: tuple[str, ...],
    skip_bad: bool,
) -> Answer:
    """Run MODEL on images: labels, boxes, keypoints or classes, in pixels of the images.

    fnac prepares images as the file says. No data set is needed.
    """
    from fnac.errors import DataError
    from fnac.stages.deployment.predict import Predictor, find_images

    paths = find_images(images)
    persons = [_corners(text) for text in boxes] or None
    predictor = Predictor(model, task=task, size=size, mean=mean, std=std)
    answered: list[dict[str, Any]] = []
    lines: list[str] = []
    for path in paths:
        try:
            entry, words = _answer(predictor, path, persons, out, len(answered))
        except DataError as error:
            if not skip_bad:
                raise
            logger.warning("%s; it is left out", error)
            continue
        answered.append(entry)
        lines.append(f"{path}: {words}")
    if not answered:
        raise DataError("no image could be read; wanted at least one")
    if out is not None:
        lines.append(f"{len(answered)} drawn in {out}")
    told = {"model": str(model), "task": predictor.task.name, "pictures": answered}
    return Answer(told, "\n".join(lines))


def _answer(
    predictor: Predictor,
    path: Path,
    persons: Sequence[Sequence[float]] | None,
    out: Path | None,
    number: int,
) -> tuple[dict[str, Any], str]:
    """Return the entry of one image and its line; draw the answer into ``out``."""
    from fnac.data.files import read_image
    from fnac.tasks.answers import Labels
    from fnac.tasks.panels import file_name, write_png

    picture = read_image(path)
    answer = predictor(picture, persons)
    entry: dict[str, Any] = {"path": str(path), "size": list(picture.shape[:2])}
    entry |= answer.as_json()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        name = file_name(f"{number:04d}-{path.stem}")
        write_png(out / f"{name}.png", answer.draw(picture))
        entry["drawn"] = str(out / f"{name}.png")
        if isinstance(answer, Labels):
            write_png(out / f"{name}.mask.png", answer.mask())
            entry["mask"] = str(out / f"{name}.mask.png")
    return entry, answer.in_words()


def _corners(text: str) -> list[float]:
    from fnac.errors import UsageError

    try:
        corners = [float(edge) for edge in text.split(",")]
    except ValueError:
        corners = []
    if len(corners) != 4:
        raise UsageError(f"--box {text}: wanted X0,Y0,X1,Y1, e.g. 10,20,110,220")
    return corners


COMMANDS = [predict]
