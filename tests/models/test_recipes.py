"""Every recipe of the paper dry-runs on a tiny data set in its genuine layout and costs what the
paper's tables say. Slow: large networks.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.adaptation.plan import Plan
from fnac.adaptation.settings import one_task, recipe_for
from fnac.cli import run
from fnac.models.recipes import load_recipe
from fnac.tasks.settings import DetectionSettings

# FNA++ Tables II, IV, VI, VIII, X: parameters and MAdds (paper's convention) of seed and head
PAPER = {
    "cityscapes-deeplabv3-mobilenetv2": (2_567_507, 24_521_711_616),
    "coco-retinanet-mobilenetv2": (11_488_244, 133_053_449_976),
    "coco-ssdlite-mobilenetv2": (4_322_988, 808_218_304),
    "mpii-simplebaseline-mobilenetv2": (5_225_232, 6_086_057_984),
    "coco-retinanet-resnet18": (21_410_100, 160_279_078_904),
    "coco-retinanet-resnet50": (37_968_692, 202_840_385_528),
    "coco-retinanet-fbnetc": (12_645_876, 134_174_961_464),
    "coco-retinanet-proxyless": (12_065_932, 133_422_227_576),
    "cityscapes-deeplabv3plus-mobilenetv2": (1_811_712 + 4_003_827, None),
    "cityscapes-deeplabv3plus-mobilenetv2-os8": (1_811_712 + 4_003_827, None),
}
PICTURES = 6


def picture(path: Path, height: int, width: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def cityscapes(root: Path) -> str:
    for split in ("train", "val"):
        for i in range(PICTURES):
            name = f"aachen_{i:06d}_000019"
            picture(root / f"leftImg8bit/{split}/aachen/{name}_leftImg8bit.png", 64, 128, i)
            mask = root / f"gtFine/{split}/aachen/{name}_gtFine_labelIds.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            ids = np.random.default_rng(i).integers(7, 34, (64, 128), dtype=np.uint8)
            Image.fromarray(ids).save(mask)
    return f"cityscapes:{root}"


def coco(root: Path) -> str:
    names = [{"id": i + 1, "name": f"thing{i}"} for i in range(80)]
    for split in ("train2017", "val2017"):
        images, boxes = [], []
        for i in range(PICTURES):
            file = f"{i + 1:012d}.jpg"
            picture(root / split / file, 96, 128, i)
            images.append({"id": i + 1, "file_name": file, "height": 96, "width": 128})
            box = [10.0 + i, 12.0, 50.0, 60.0]
            boxes.append(
                {
                    "id": i + 1,
                    "image_id": i + 1,
                    "category_id": 1 + 7 * i,
                    "bbox": box,
                    "area": 3000.0,
                    "iscrowd": 0,
                }
            )
        content = {"images": images, "annotations": boxes, "categories": names}
        file = root / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return f"coco:{root}"


def mpii(root: Path) -> str:
    for split in ("train", "valid"):
        people = []
        for i in range(PICTURES):
            file = f"{split}{i}.jpg"
            picture(root / "images" / file, 120, 120, i)
            joints = [[20.0 + 5 * k, 25.0 + 5 * k] for k in range(16)]
            people.append(
                {
                    "image": file,
                    "center": [60.0, 60.0],
                    "scale": 0.5,
                    "joints": joints,
                    "joints_vis": [1] * 16,
                }
            )
        file = root / "annot" / f"{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(people))
    return f"mpii:{root}"


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_is_of_one_piece(name: str) -> None:
    recipe = recipe_for(name, seed=None, task=None, data="coco:/nowhere")
    assert recipe is not None
    recipe.setdefault("adapt", {})["task"] = one_task(None, recipe, recipe, name)
    plan = Plan.of(recipe)
    assert plan.adapt.task == load_recipe(name)["expand"]["task"]
    # what tuning validates and what is measured at the end are one figure
    assert plan.tune.size == plan.eval.size
    # the paper's fixed lambda goes with its choice: the argmax of every layer
    fixed = plan.search.lambda_ is not None
    assert fixed == (plan.adapt.budget == "none")
    assert fixed == (not name.startswith("cityscapes"))
    if isinstance(plan.task, DetectionSettings):
        assert plan.task.answers() == plan.emit.answers()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_dry_runs_and_costs_what_the_paper_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    make = {"cityscapes": cityscapes, "coco": coco, "mpii": mpii}[name.split("-")[0]]
    words = (
        "adapt",
        "--recipe",
        name,
        "--data",
        make(tmp_path),
        "--dry-run",
        "--no-verify",
        "--json",
    )
    assert run([*words, "--set", "export.weights=none"]) == 0
    found = json.loads(capfd.readouterr().out)
    params, madds = PAPER[name]
    assert found["seed"]["params"] == params
    assert madds is None or found["seed"]["madds_paper"] == madds
    assert found["data"] == {"train": PICTURES, "val": PICTURES}
    space = found["space"]
    assert space["least"] < space["seed"] < space["most"]
    assert space["fixed"] + space["seed"] == found["seed"]["madds"]
    if name == "coco-retinanet-mobilenetv2":  # FNA++'s search space at 800x1088
        figures = [space[key] / 1e9 for key in ("seed", "mean", "least", "most")]
        assert figures == pytest.approx([4.485062, 4.867125, 0.898253, 8.391581], abs=5e-7)
    assert found["steps"]["search_s"] > 0
    assert found["steps"]["tune_s"] > 0
