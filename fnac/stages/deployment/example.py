"""Run a network that fnac emitted on an image; needs only numpy, onnxruntime and Pillow.

    python example.py image.jpg              says what is seen
    python example.py image.jpg seen.png     and draws it

Everything that it knows of the network it reads in the contract, the JSON file beside it.
"""  # made by fnac

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

CONTRACT = "model.json"
SHOWN_SCORE = 0.3


def main() -> None:
    """Read the command line: an image, and where to draw what is seen."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python {sys.argv[0]} IMAGE [DRAWN.png]")
    answer = run(Path(sys.argv[1]))
    for line in in_words(answer):
        print(line)
    if len(sys.argv) == 3:
        draw(open_image(Path(sys.argv[1])), answer).save(sys.argv[2])


def run(path: Path, folder: Path | None = None) -> dict[str, Any]:
    """Return what the network says of an image, in the image's own pixels."""
    folder = folder or Path(__file__).resolve().parent
    contract = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(
        str(folder / contract["model"]), providers=["CPUExecutionProvider"]
    )
    image = open_image(path)
    fed = prepare(image, contract["input"])
    names = [output["name"] for output in contract["outputs"]]
    outputs = session.run(names, {contract["input"]["name"]: fed})
    return read(dict(zip(names, outputs, strict=True)), image, contract)


def open_image(path: Path) -> Image.Image:
    """Return the image as a viewer shows it, RGB."""
    with Image.open(path) as file:
        return ImageOps.exif_transpose(file).convert("RGB")


def prepare(image: Image.Image, description: dict[str, Any]) -> np.ndarray:
    """Bring an image to the network's size, values and layout; a batch of one."""
    pixels = fit(image, description)
    if description["dtype"] == "uint8":
        values = pixels
    else:
        low, high = description["range"]
        mean, std = (np.array(description[key], np.float64) for key in ("mean", "std"))
        scale = ((high - low) / (255 * std)).astype(np.float32)
        shift = ((low - mean) / std).astype(np.float32)
        ordered = pixels[..., ::-1] if description["color"] == "BGR" else pixels
        values = (ordered.astype(np.float32) * scale + shift).astype(description["dtype"])
    if description["resize"] in ("letterbox", "sides"):
        values = filled_up(values, description)
    return np.ascontiguousarray(
        values[None] if description["layout"] == "NHWC" else values.transpose(2, 0, 1)[None]
    )


def fit(image: Image.Image, description: dict[str, Any]) -> np.ndarray:
    """Resize an image as the contract says; uint8 (h, w, 3), not filled up yet."""
    if description["resize"] == "window":
        return person(image, description)
    if description["resize"] == "crop":
        height, width = description["size"]
        columns = max(1, min(image.width, round(image.height * width / height)))
        rows = max(1, min(image.height, round(image.width * height / width)))
        left, top = (image.width - columns) // 2, (image.height - rows) // 2
        image = image.crop((left, top, left + columns, top + rows))
    rows, columns = scaled(image, description)
    return np.array(image.resize((columns, rows), Image.Resampling.BILINEAR))


def scaled(image: Image.Image, description: dict[str, Any]) -> tuple[int, int]:
    """Return (rows, columns) that the image is resized to."""
    height, width = description["size"]
    if description["resize"] == "letterbox":
        factor = min(height / image.height, width / image.width)
    elif description["resize"] == "sides":
        short, long = sorted(description["sides"])
        factor = min(short / min(image.size), long / max(image.size))
    else:
        return height, width
    return max(1, round(image.height * factor)), max(1, round(image.width * factor))


def filled_up(values: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """Lay (h, w, 3) top left into the input's size; around it: the contract's colour, or 0."""
    height, width = description["size"]
    if description["resize"] == "sides":  # whatever the image gives, in steps of 32 pixels
        height, width = (-(-side // 32) * 32 for side in values.shape[:2])
    whole = np.zeros((height, width, 3), values.dtype)
    if description["dtype"] == "uint8":
        whole[:] = np.array(description["pad"], np.uint8)
    whole[: values.shape[0], : values.shape[1]] = values
    return whole


def person(image: Image.Image, description: dict[str, Any]) -> np.ndarray:
    """Let the whole image, taken as one person, fill the input; its shape stays."""
    height, width = description["size"]
    step = max(image.width / width, image.height / height)
    left, top = image.width / 2 - step * width / 2, image.height / 2 - step * height / 2
    block = max(1, int(step))
    small = image.reduce(block) if block > 1 else image
    span = description["range"][1] - description["range"][0]
    mean = [255 * (value - description["range"][0]) / span for value in description["mean"]]
    pad = description.get("pad", mean)
    pad = pad[::-1] if description["color"] == "BGR" else pad
    turned = small.transform(
        (width, height),
        Image.Transform.AFFINE,
        (step / block, 0, left / block, 0, step / block, top / block),
        resample=Image.Resampling.BILINEAR,
        fillcolor=tuple(round(value) for value in pad),
    )
    return np.array(turned)


def read(
    outputs: dict[str, np.ndarray], image: Image.Image, contract: dict[str, Any]
) -> dict[str, Any]:
    """Turn outputs into labels, boxes, keypoints or classes, in the image's own pixels."""
    if "labels" in outputs and "boxes" in outputs:
        return {"boxes": read_boxes(outputs, image, contract)}
    if "labels" in outputs:
        ids = outputs["labels"][0].astype(np.int64)
        rows = (2 * np.arange(image.height) + 1) * ids.shape[0] // (2 * image.height)
        columns = (2 * np.arange(image.width) + 1) * ids.shape[1] // (2 * image.width)
        seen = {"labels": ids[rows][:, columns], "names": contract["classes"]}
        return {**seen, "colours": contract.get("colours", [])}
    if "keypoints" in outputs:
        return {"keypoints": read_keypoints(outputs, image, contract), "limbs": contract["limbs"]}
    if contract["task"] == "cls":
        logits = next(iter(outputs.values()))[0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:5]
        return {
            "classes": [
                {"id": int(i), "name": name_of(i, contract["classes"]), "probability": shares[i]}
                for i in best
            ]
        }
    return {"outputs": {name: values.shape for name, values in outputs.items()}}


def read_boxes(
    outputs: dict[str, np.ndarray], image: Image.Image, contract: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the boxes, best first."""
    rows, columns = scaled(image, contract["input"])
    scale = np.array([image.width / columns, image.height / rows] * 2, np.float32)
    edges = np.array([image.width, image.height] * 2, np.float32)
    boxes = []
    for box, score, label in zip(*(outputs[n][0] for n in ("boxes", "scores", "labels"))):
        if label >= 0:
            corners = np.clip(box * scale, 0, edges)
            name = name_of(label, contract["classes"])
            entry = {"box": [float(edge) for edge in corners], "score": float(score)}
            boxes.append({**entry, "id": int(label), "name": name})
    return boxes


def read_keypoints(
    outputs: dict[str, np.ndarray], image: Image.Image, contract: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the joints of the person that the image is taken for."""
    height, width = contract["input"]["size"]
    step = max(image.width / width, image.height / height)
    middle, centre = np.array([width, height]) / 2, np.array(image.size) / 2
    places = (outputs["keypoints"][0].astype(np.float64) + 0.5 - middle) * step + centre - 0.5
    return [
        {"name": name_of(i, contract["joints"]), "x": x, "y": y, "score": float(score)}
        for i, ((x, y), score) in enumerate(zip(places, outputs["scores"][0], strict=True))
    ]


def name_of(index: int, names: list[str] | None) -> str:
    """Return the name of a class or joint, or its number if there are no names."""
    return names[index] if names else str(index)


def in_words(answer: dict[str, Any]) -> list[str]:
    """Return what was seen, one thing a line."""
    if "boxes" in answer:
        likely = [one for one in answer["boxes"] if one["score"] >= SHOWN_SCORE]
        return [
            f"{one['score']:.2f} {one['name']} at {[round(edge) for edge in one['box']]}"
            for one in likely
        ] or [f"no box scores {SHOWN_SCORE} or more"]
    if "labels" in answer:
        counts = np.bincount(answer["labels"].ravel())
        return [
            f"{counts[i] / answer['labels'].size:6.1%} {name_of(i, answer['names'])}"
            for i in np.argsort(-counts, kind="stable")
            if counts[i]
        ]
    if "keypoints" in answer:
        return [
            f"{one['score']:.2f} {one['name']} at {one['x']:.1f}, {one['y']:.1f}"
            for one in answer["keypoints"]
        ]
    if "classes" in answer:
        return [f"{one['probability']:6.1%} {one['name']}" for one in answer["classes"]]
    return [f"{name}: {shape}" for name, shape in answer["outputs"].items()]


def draw(image: Image.Image, answer: dict[str, Any]) -> Image.Image:
    """Draw what was seen on the image."""
    picture = image.copy()
    pen = ImageDraw.Draw(picture)
    if "labels" in answer:
        colours = np.array([colour_of(i) for i in range(256)], np.uint8)
        for i, own in enumerate(answer["colours"]):
            colours[i] = own
        painted = Image.fromarray(colours[answer["labels"] % 256])
        return Image.blend(picture, painted, 0.5)
    for one in answer.get("boxes", []):
        if one["score"] >= SHOWN_SCORE:
            pen.rectangle(one["box"], outline=colour_of(one["id"]), width=2)
            pen.text(one["box"][:2], f"{one['name']} {one['score']:.2f}", fill="white")
    joints = [(one["x"] + 0.5, one["y"] + 0.5) for one in answer.get("keypoints", [])]
    for a, b in answer.get("limbs", []):
        pen.line([joints[a], joints[b]], fill="yellow", width=2)
    for x, y in joints:
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill="red")
    for row, one in enumerate(answer.get("classes", [])):
        pen.text((4, 4 + 12 * row), f"{one['probability']:.1%} {one['name']}", fill="white")
    return picture


def colour_of(index: int) -> tuple[int, int, int]:
    """Return a colour for a class; neighbouring ids differ clearly."""
    wheel = [(index * step + 60) % 256 for step in (97, 53, 29)]
    return wheel[0], wheel[1], wheel[2]


if __name__ == "__main__":
    main()
