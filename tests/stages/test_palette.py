"""The colours of a data set's palette: in its sheet, in the file, and in what `predict` draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.data import open_data
from fnac.errors import UnsupportedGraphError
from fnac.overview.sample_sheet import sample_sheet
from fnac.passes.graph import Graph
from fnac.stages.deployment import example
from fnac.stages.deployment.predict import Predictor
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.opening.as_trained import state_training
from fnac.tasks import make_task
from fnac.tasks.answers import Labels
from fnac.tasks.overlay import OPACITY
from fnac.tasks.panels import palette
from tests.stages.test_predict import network

COLOURS = [(128, 64, 128), (0, 200, 40)]
GREY = 100


def data(folder: Path, colours: list[tuple[int, int, int]] | None) -> str:
    """Write grey images, road above and car below, with a palette in the masks or without."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "classes.txt").write_text("road\ncar\n")
    mask = np.zeros((32, 40), np.uint8)
    mask[16:] = 1
    for number in range(5):
        Image.new("RGB", (40, 32), (GREY,) * 3).save(folder / "images" / f"{number}.png")
        image = Image.fromarray(mask)
        if colours is not None:
            image = image.convert("P")
            image.putpalette([part for colour in colours for part in colour])
        image.save(folder / "masks" / f"{number}.png")
    return f"folder:{folder}"


def drawn(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    r, g, b = (round((1 - OPACITY) * GREY + OPACITY * part) for part in colour)
    return r, g, b


def emitted(folder: Path, spec: str) -> Path:
    source, graph = open_data(spec, "seg"), network("seg", 2)
    state_training(graph, make_task("seg", source, graph.manifest), mean="tf")
    graph.save(folder / "target.onnx")
    emit(folder / "target.onnx", folder / "model.onnx", EmitSettings())
    return folder / "model.onnx"


@pytest.mark.parametrize("own", [True, False])
def test_the_palette_goes_from_the_masks_into_every_drawing(tmp_path: Path, own: bool) -> None:
    spec = data(tmp_path / "data", COLOURS if own else None)
    model = emitted(tmp_path, spec)
    r, g = palette()[:2].tolist()
    colours = COLOURS if own else [tuple(r), tuple(g)]
    contract = json.loads((tmp_path / "model.json").read_text())
    assert contract.get("colours") == ([list(one) for one in COLOURS] if own else None)

    image = np.full((32, 40, 3), GREY, np.uint8)
    answer = Predictor(model)(image)
    assert isinstance(answer, Labels)
    picture = np.asarray(answer.draw(image))
    factor = picture.shape[1] // 40
    for row, column in ((0, 0), (31, 39), (16, 20)):
        label = int(answer.labels[row, column])
        assert tuple(picture[factor * row, factor * column]) == drawn(colours[label])

    sheet = sample_sheet(open_data(spec, "seg"), "seg", "train", 1)
    seen = {colour for _, colour in sheet.getcolors(1 << 16) or []}
    assert {drawn(one) for one in colours} <= seen


def test_the_example_draws_in_the_palette(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1))
    answer = {"labels": np.array([[0, 1]]), "names": ["road", "car"]}
    own = example.draw(image, {**answer, "colours": COLOURS})
    assert own.getpixel((1, 0)) == (0, 100, 20)
    assert example.draw(image, {**answer, "colours": []}).getpixel((1, 0)) != (0, 100, 20)


def test_colours_go_with_their_classes(tmp_path: Path) -> None:
    """A data set without a palette removes the colours of the one before."""
    graph = network("seg", 2)
    graph.manifest["colours"] = [[1, 2, 3], [4, 5, 6]]
    source = open_data(data(tmp_path / "data", None), "seg")
    make_task("seg", source, graph.manifest).describe(graph.manifest)
    assert "colours" not in graph.manifest


@pytest.mark.parametrize("stated", [[[1, 2]], [[1, 2, 256]], [1, 2, 3], "red"])
def test_colours_have_their_form(stated: object) -> None:
    graph = network("seg", 2)
    graph.manifest["colours"] = stated
    with pytest.raises(UnsupportedGraphError, match="colours is"):
        Graph.from_model(graph.to_model())
