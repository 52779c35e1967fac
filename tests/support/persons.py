"""Small data sets of persons on disk, in the formats of MPII and COCO keypoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fnac.data.sets.joints import COCO


def write_picture(path: Path, height: int = 60, width: int = 80) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3))
    Image.fromarray(values.astype(np.uint8)).save(path)


def mpii_person(number: int, **changes: Any) -> dict[str, Any]:
    """A person whose joints stand at (11 + i, 21 + i), counted from 1; joint 2 is not labelled."""
    places = [[11.0 + i, 21.0 + i] for i in range(16)]
    person = {
        "image": f"p{number}.png",
        "center": [31.0, 26.0],
        "scale": 0.2,
        "joints": places,
        "joints_vis": [int(i != 2) for i in range(16)],
    }
    return {**person, **changes}


def write_mpii(root: Path, persons: Sequence[dict[str, Any]], split: str = "train") -> Path:
    for person in persons:
        if not (root / "images" / person["image"]).exists():
            write_picture(root / "images" / person["image"])
    (root / "annot").mkdir(exist_ok=True)
    path = root / "annot" / f"{split}.json"
    path.write_text(json.dumps(list(persons)))
    return path


def coco_person(number: int, joints: int = 17, **changes: Any) -> dict[str, Any]:
    """A person whose joints stand at (10 + i, 20 + i), all visible."""
    flat = [value for i in range(joints) for value in (10 + i, 20 + i, 2)]
    person = {
        "id": 100 + number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [5, 10, 30, 40],
        "area": 700.0,
        "keypoints": flat,
    }
    return {**person, **changes}


def write_coco(
    root: Path,
    persons: Sequence[dict[str, Any]],
    split: str = "train",
    names: Sequence[str] | None = None,
) -> Path:
    """Write ``persons`` of images 0, 1, ... with the joints ``names`` (default COCO's 17)."""
    category = {"id": 1, "name": "person", "keypoints": list(names or COCO.names), "skeleton": []}
    ids = sorted({p["image_id"] for p in persons})
    images = [{"id": i, "file_name": f"p{i}.png", "width": 80, "height": 60} for i in ids]
    for image in images:
        write_picture(root / "images" / split / str(image["file_name"]))
    path = root / "annotations" / f"person_keypoints_{split}.json"
    path.parent.mkdir(exist_ok=True)
    content = {"images": images, "annotations": list(persons), "categories": [category]}
    path.write_text(json.dumps(content))
    return path
