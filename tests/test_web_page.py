"""The browser's half of the kit, in node: images are fed as Pillow and the contract say."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fnac.stages.deployment import example

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "web" / "fnac.js"
PROGRAM = """
import { readFileSync } from "node:fs";
const { prepare, read } = await import(process.argv[2]);
const asked = JSON.parse(readFileSync(process.argv[3]));
const image = { ...asked.image, data: Uint8Array.from(asked.image.data) };
const { data, dims } = prepare(image, asked.contract.input);
const answer = asked.outputs ? read(asked.outputs, image, asked.contract) : null;
if (answer?.labels) answer.labels = Array.from(answer.labels);
console.log(JSON.stringify({ data: Array.from(data), dims, answer }));
"""
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")
INPUT: dict[str, Any] = {
    "name": "x", "dtype": "float32", "layout": "NCHW", "size": [24, 32], "color": "RGB",
    "range": [0, 1], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4],
}  # fmt: skip
PIXELS = {"dtype": "uint8", "layout": "NHWC", "range": [0, 255], "pad": [9, 8, 7]}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


def in_node(folder: Path, image: np.ndarray, contract: Any, outputs: Any = None) -> dict[str, Any]:
    asked = {
        "image": {
            "height": image.shape[0], "width": image.shape[1], "data": image.ravel().tolist(),
        },
        "contract": contract,
        "outputs": outputs,
    }  # fmt: skip
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "program.mjs").write_text(PROGRAM)
    module = folder / "fnac.mjs"
    module.write_text(SCRIPT.read_text())
    words = [str(NODE), str(folder / "program.mjs"), module.as_uri(), str(folder / "asked.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("size", [(50, 47), (13, 90), (24, 32)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop", "sides", "window"])
def test_an_image_is_fed_as_in_python(
    tmp_path: Path, resize: str, size: tuple[int, int], pixels: bool
) -> None:
    wanted = {**INPUT, "resize": resize, "sides": [24, 40], **(PIXELS if pixels else {})}
    image = picture(*size)
    found = in_node(tmp_path, image, {"input": wanted})
    right = example.prepare(Image.fromarray(image), wanted)
    assert found["dims"] == list(right.shape)
    off = np.abs(np.array(found["data"]).reshape(right.shape) - right)
    if resize == "window":  # Pillow's affine transform rounds in fixed point
        assert off.max() <= (1 if pixels else 1.01 / 255 / 0.2)
    else:
        assert off.max() <= (0 if pixels else 1e-6)


def test_blue_comes_first_where_the_contract_says_so(tmp_path: Path) -> None:
    wanted = {**INPUT, "resize": "stretch", "color": "BGR"}
    image = picture(24, 32)
    found = in_node(tmp_path, image, {"input": wanted})
    right = example.prepare(Image.fromarray(image), wanted)
    np.testing.assert_allclose(np.array(found["data"]).reshape(right.shape), right, atol=1e-6)


def test_answers_are_read_as_in_python(tmp_path: Path) -> None:
    image = picture(50, 47)
    rng = np.random.default_rng(0)
    cases: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = [
        ({"task": "seg", "classes": ["a", "b"]}, {"labels": rng.integers(0, 2, (1, 24, 32))}),
        (
            {"task": "det", "classes": ["a", "b"]},
            {
                "boxes": rng.uniform(0, 30, (1, 4, 4)).astype(np.float32),
                "scores": np.array([[0.9, 0.8, 0.7, 0]], np.float32),
                "labels": np.array([[1, 0, 1, -1]]),
            },
        ),
        (
            {"task": "pose", "joints": ["a", "b"], "limbs": [[0, 1]]},
            {
                "keypoints": rng.uniform(0, 24, (1, 2, 2)).astype(np.float32),
                "scores": np.array([[0.5, 0.25]], np.float32),
            },
        ),
        ({"task": "cls", "classes": ["a", "b"]}, {"logits": np.array([[1.0, 3.0]], np.float32)}),
    ]
    for contract, outputs in cases:
        resize = {"det": "letterbox", "pose": "window"}.get(contract["task"], "stretch")
        whole = {**contract, "input": {**INPUT, "resize": resize}}
        given = {
            name: {"data": values.ravel().tolist(), "dims": list(values.shape)}
            for name, values in outputs.items()
        }
        found = in_node(tmp_path, image, whole, given)["answer"]
        right = example.read(outputs, Image.fromarray(image), whole)
        if "labels" in right:
            assert found["labels"] == right["labels"].ravel().tolist()
            continue
        key = next(iter(right))
        for one, other in zip(found[key], right[key], strict=True):
            assert one["name"] == other["name"]
            for number in {"x", "y", "score", "probability", "box"} & other.keys():
                np.testing.assert_allclose(one[number], other[number], atol=1e-4)
