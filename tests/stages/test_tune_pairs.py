"""What cannot be trained in batches is refused by tune at its door, with the node."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fnac.errors import UnsupportedGraphError
from fnac.importer import ImportedModule, import_onnx
from fnac.stages.opening import pairs
from fnac.stages.opening.pairs import check_pair
from fnac.stages.tune import tune
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.segmentation import Segmentation
from tests.support.graphs import graph
from tests.support.super_networks import CLASSES, SquaresSource

OPSETS = (7, 11, 13, 18)
BODY = "{ c = Conv<pads=[1,1,1,1]>(image, w)\n"
FOLDS = {  # what folds the batch away -> the node that is named
    "columns": ("r = Reshape(c, columns) answers = Transpose<perm=[1,0]>(r) }", "r"),
    "concat": ("answers = Concat<axis=0>(c, c) }", "answers"),
    "softmax": ("answers = Softmax<axis=0>(c) }", "answers"),
}
KEEPS = {
    "rows": "t = Transpose<perm=[0,2,3,1]>(c) answers = Reshape(t, rows) }",
    "shuffle": """s = Reshape(c, split) t = Transpose<perm=[0,2,1,3,4]>(s)
        answers = Reshape(t, join) }""",
    "head": "p = GlobalAveragePool(c) answers = Flatten<axis=1>(p) }",
    "given back": "t = Transpose<perm=[1,0,2,3]>(c) answers = Transpose<perm=[1,0,2,3]>(t) }",
}


def network(rest: str) -> str:
    stored = {
        "rows": "int64[2] rows = {-1, 6}", "columns": "int64[2] columns = {6, -1}",
        "split": "int64[5] split = {1,2,3,32,32}", "join": "int64[4] join = {1,6,32,32}",
    }  # fmt: skip
    used = [text for name, text in stored.items() if f", {name})" in rest]
    return (
        f"(float[1,3,32,32] image) => (answers) <{', '.join(['float[6,3,3,3] w', *used])}>"
        + BODY
        + rest
    )


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("fold", FOLDS)
def test_what_folds_the_batch_is_named(fold: str, opset: int) -> None:
    rest, node = FOLDS[fold]
    made = graph(network(rest), opset=opset)
    with pytest.raises(UnsupportedGraphError) as told:
        check_pair(import_onnx(made.to_model()), made)
    assert str(told.value).startswith(f"{node} (")
    assert "several images at a time" in str(told.value)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kept", KEEPS)
def test_what_keeps_the_batch_passes(kept: str, opset: int) -> None:
    made = graph(network(KEEPS[kept]), opset=opset)
    check_pair(import_onnx(made.to_model()), made)


def test_one_number_for_all_images_is_named() -> None:
    made = graph(network("answers = ReduceMean<keepdims=0>(c) }"), opset=13)
    with pytest.raises(UnsupportedGraphError, match="one number for the whole batch"):
        check_pair(import_onnx(made.to_model()), made)


def test_tune_refuses_it_before_anything_else(tmp_path: Path) -> None:
    made = graph(network(FOLDS["columns"][0]), opset=13)
    model = made.save(tmp_path / "net.onnx")
    settings = TuneSettings(epochs=1, batch_size=2, workers=0, device="cpu", size=(32, 32))
    folder = tmp_path / "tune"
    with pytest.raises(UnsupportedGraphError, match=r"r \(Reshape\)"):
        tune(model, SquaresSource(), Segmentation(CLASSES), tmp_path / "o.onnx", folder, settings)
    assert not folder.exists()


@pytest.mark.parametrize(("share", "is_refused"), [(5e-6, False), (1e-3, True)])
def test_what_torch_rounds_otherwise_for_two_images_is_no_mixing(
    share: float, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that sums in another order differs by more than onnxruntime's noise says."""
    made = graph(network(KEEPS["rows"]), opset=13)
    answers = pairs._answers

    def other_kernel(module: ImportedModule, images: list[torch.Tensor]) -> list[torch.Tensor]:
        found = answers(module, images)
        return found if len(images[0]) == 1 else [one * (1 + share) for one in found]

    monkeypatch.setattr(pairs, "_answers", other_kernel)
    module = import_onnx(made.to_model())
    if not is_refused:
        check_pair(module, made)
        return
    with pytest.raises(UnsupportedGraphError, match="two images in one batch mix"):
        check_pair(module, made)
