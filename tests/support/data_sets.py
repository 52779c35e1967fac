"""Tiny data sets of every reader, and ways to spoil one of their files, from a seed number."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

SPLITS = ("train", "val")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, 10**400, 2**63, "", " ", "0", "1", "nan",
    "x" * 5000, "../../a", "a\0b", "\x1b[2K\n", "\ud800", [], [[]], {}, {"a": 1}, [1, 2, 3],
    ["1", "2", "3", "4"], [0, 0, 1e9, 1e9], "é", "e\u0301",
)  # fmt: skip
LINES = (
    "", " ", "\t", "#", "0 0 0 0 0", "-1 2 2 2 2", "nan nan nan nan nan", "a", "x" * 3000, "\0",
    "\ufeff0 .5 .5 .1 .1", "0,0.5,0.5,0.1,0.1", "é", "1e400 0 0 0 0", "0 1 2 3 4 5 6 7 8",
)  # fmt: skip


def image(number: int, mode: str = "RGB", size: int = 32) -> Image.Image:
    """Return noise with a bright square, of any mode."""
    pixels = np.random.default_rng(number).integers(0, 90, (size, size, 3), dtype=np.uint8)
    pixels[8:20, 8:20] = 220
    return Image.fromarray(pixels).convert(mode)


def _save(path: Path, picture: Image.Image, **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **more)


def segmentation(root: Path) -> str:
    """Masks of two classes; images of every format that is read."""
    suffixes = (".png", ".jpg", ".tif", ".bmp", ".webp", ".gif", ".ppm")
    exif = Image.Exif()
    exif[0x0112] = 6
    for split in SPLITS:
        for number, suffix in enumerate(suffixes):
            more: dict[str, Any] = {"exif": exif} if suffix in (".png", ".jpg", ".webp") else {}
            _save(root / "images" / split / f"{number}{suffix}", image(number), **more)
            ids = np.zeros((32, 32), np.uint8)
            ids[8:20, 8:20] = 1
            mask = Image.fromarray(ids)
            _save(
                root / "masks" / split / f"{number}.png", mask.convert("P") if number % 2 else mask
            )
    (root / "classes.txt").write_text("ground\nthing\n")
    return f"folder:{root}"


def coloured(root: Path) -> str:
    """Masks by colour, with CVAT's file of colours, given as YAML."""
    segmentation(root)
    for path in root.glob("masks/*/*.png"):
        ids = np.array(Image.open(path))
        colours = np.array([(0, 0, 0), (200, 10, 10)], np.uint8)
        _save(path, Image.fromarray(colours[np.minimum(ids, 1)]))
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nground:0,0,0::\n"
                                       "thing:200,10,10::\n")  # fmt: skip
    (root / "data.yaml").write_text("reader: folder\npath: .\ncolours: labelmap.txt\n")
    return str(root / "data.yaml")


def classes(root: Path) -> str:
    """Folders of two classes, with pages, alpha, grey and CMYK among the images."""
    modes = ("RGB", "RGBA", "L", "P", "CMYK", "LA", "1", "I;16")
    for split in SPLITS:
        for place, name in enumerate(("cat", "dog")):
            for number, mode in enumerate(modes):
                suffix = ".tif" if mode == "CMYK" else ".png"
                made = image(place + number, "L" if mode == "I;16" else mode)
                made = made.convert("I;16") if mode == "I;16" else made
                _save(root / split / name / f"{number}{suffix}", made)
    return f"folder:{root}"


def coco(root: Path) -> str:
    """Two boxes an image, in COCO's format."""
    for split in SPLITS:
        for number in range(3):
            _save(root / split / f"{number}.jpg", image(number))
        content = {
            "images": [
                {"id": i, "file_name": f"{i}.jpg", "width": 32, "height": 32} for i in range(3)
            ],
            "annotations": [
                {"id": i, "image_id": i // 2, "category_id": i % 2 + 1, "bbox": [4, 4, 9, 12],
                 "area": 100, "iscrowd": 0}
                for i in range(6)
            ],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }  # fmt: skip
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return f"coco:{root}"


def keypoints(root: Path) -> str:
    """Four joints a person, in COCO's format."""
    names = ["left_hip", "right_hip", "nose", "left_knee"]
    for split in SPLITS:
        _save(root / split / "0.png", image(0))
        content = {
            "images": [{"id": 1, "file_name": "0.png", "width": 32, "height": 32}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 1, "bbox": [2, 2, 25, 25], "area": 400,
                 "iscrowd": 0, "keypoints": [5, 6, 2, 20, 6, 2, 12, 4, 1, 0, 0, 0]}
                for i in range(3)
            ],
            "categories": [
                {"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2], [2, 3]]}
            ],
        }  # fmt: skip
        path = root / "annotations" / f"person_keypoints_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return f"coco-keypoints:{root}"


def mpii(root: Path) -> str:
    """MPII's public JSON form, with head boxes in a MATLAB file."""
    (root / "annot").mkdir(parents=True)
    _save(root / "images" / "0.jpg", image(0))
    person = {
        "image": "0.jpg", "center": [16, 12], "scale": 0.1, "joints_vis": [1] * 16,
        "joints": [[4 + i, 5 + i] for i in range(16)],
    }  # fmt: skip
    for name in ("train", "valid"):
        (root / "annot" / f"{name}.json").write_text(json.dumps([person, person]))
    boxes = np.zeros((2, 2, 2)) + np.array([[[3.0]], [[12.0]]])
    scipy.io.savemat(root / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    return f"mpii:{root}"


def lsp(root: Path) -> str:
    """LSP's stock layout of six persons."""
    for number in range(6):
        _save(root / "images" / f"im{number:04d}.jpg", image(number))
    joints = np.random.default_rng(0).uniform(5, 25, (3, 14, 6))
    scipy.io.savemat(root / "joints.mat", {"joints": joints}, do_compression=True)
    return f"lsp:{root}"


def voc(root: Path) -> str:
    """VOC's detection layout."""
    home = root / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "ImageSets/Main"):
        (home / folder).mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        _save(home / "JPEGImages" / f"{number}.jpg", image(number))
        (home / "Annotations" / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.jpg</filename><size><width>32</width><height>32"
            "</height></size><object><name>car</name><difficult>0</difficult><bndbox><xmin>4</xmin>"
            "<ymin>5</ymin><xmax>20</xmax><ymax>22</ymax></bndbox></object></annotation>"
        )
        (home / "ImageSets/Main" / f"{split}.txt").write_text(f"{number}\n")
    return f"voc:{root}"


def yolo(root: Path) -> str:
    """YOLO's label folders, one object a polygon."""
    for split in SPLITS:
        _save(root / "images" / split / "0.jpg", image(0))
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / "0.txt").write_text(
            "0 0.5 0.5 0.25 0.5\n1 .1 .1 .4 .1 .4 .3 .1 .2\n"
        )
    (root / "data.yaml").write_text("nc: 2\nnames: [a, b]\n")
    return f"yolo:{root}"


SETS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "masks": ("seg", segmentation),
    "colours": ("seg", coloured),
    "classes": ("cls", classes),
    "coco": ("det", coco),
    "voc": ("det", voc),
    "yolo": ("det", yolo),
    "keypoints": ("pose", keypoints),
    "mpii": ("pose", mpii),
    "lsp": ("pose", lsp),
}
"""Name -> task, and what writes the data set and returns its SPEC."""


def spoil(data: bytes, suffix: str, r: random.Random) -> bytes:
    """Return a file's bytes after a damage that fits its kind, or any."""
    if suffix == ".json" and r.random() < 0.8:
        return _spoil_json(data, r)
    if suffix in (".txt", ".yaml", ".csv", ".xml") and r.random() < 0.6:
        lines = data.decode().splitlines() or [""]
        lines[r.randrange(len(lines))] = r.choice(LINES)
        coding = r.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
        return r.choice(["\n", "\r\n", "\r"]).join(lines).encode(coding, errors="replace")
    kind = r.randrange(4)
    if kind == 0:
        return data[: r.randrange(len(data) + 1)]
    if kind == 1:
        return bytes(r.randrange(256) for _ in range(r.choice([0, 1, 40, 4000])))
    spoilt = bytearray(data)
    for _ in range(r.choice([1, 2, 5, 30])):
        if spoilt:  # the front holds the headers
            span = len(spoilt) if kind == 2 else min(len(spoilt), 120)
            spoilt[r.randrange(span)] = r.randrange(256)
    return bytes(spoilt)


def _spoil_json(data: bytes, r: random.Random) -> bytes:
    content = json.loads(data)
    places = list(_places(content))
    for _ in range(r.choice([1, 1, 2, 4])):
        holder, key = r.choice(places)
        if isinstance(holder, dict) and r.random() < 0.2:
            holder.pop(key, None)
        elif not isinstance(holder, list) or key < len(holder):
            holder[key] = r.choice(ODD)
    buffer = io.StringIO()
    json.dump(content, buffer, ensure_ascii=r.random() < 0.5)
    return buffer.getvalue().encode(errors="surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
