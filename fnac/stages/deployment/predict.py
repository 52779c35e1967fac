"""``predict``: run a network on your own images; only the file is needed.

An image is prepared and the outputs are read by the task, as in ``eval``, under the contract that
the file states, so that both come to the same answers.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fnac.data.class_files import Colour
from fnac.data.files import read_image
from fnac.data.folders import images_below
from fnac.data.preprocessing import Stated, state_preprocessing, tell_assumed
from fnac.data.sets.joints import PCK, JointSet
from fnac.data.sets.persons import PADDING, window_rows
from fnac.data.source import Dataset, Sample
from fnac.data.transforms.persons import inverse, move_points, split_truth, window_matrix
from fnac.errors import DataError, UnsupportedGraphError, UsageError
from fnac.passes.graph.contract import Contract
from fnac.stages.opening.onnx_network import OnnxNetwork
from fnac.tasks import TASKS, make_task
from fnac.tasks.answers import Answer, Boxes, Classes, Labels, Picture, Skeletons
from fnac.tasks.base import Outputs, Size
from fnac.tasks.classification import Classification
from fnac.tasks.detection.evaluation import unstacked
from fnac.tasks.detection.task import Detection
from fnac.tasks.pose.task import Pose
from fnac.tasks.segmentation import Segmentation, class_ids

logger = logging.getLogger(__name__)

Box = Sequence[float]
"""x0, y0, x1, y1 of a person, in pixels of the image."""


@dataclass(frozen=True)
class _Named:
    """A stand-in for a data set: names and colours of a network's classes, or its joints."""

    classes: list[str]
    joints: JointSet
    colours: Mapping[int, Colour]
    name: str = "the file"
    splits: tuple[str, ...] = ()

    def split(self, name: str) -> Dataset:
        raise DataError("a file alone has no samples")

    def check(self, splits: Sequence[str] | None = None) -> None:
        return None


class Predictor:
    """A network that predicts on images, with input as its file says."""

    def __init__(
        self,
        path: Path,
        *,
        task: str | None = None,
        size: Size | None = None,
        mean: Stated | None = None,
        std: Stated | None = None,
        device: str = "auto",
    ) -> None:
        """Open a file; give ``task``, ``size``, ``mean`` and ``std`` if it does not state them.

        Raises UsageError where neither says the task, UnsupportedGraphError for a super network or
        a file that onnxruntime does not take.
        """
        self.network = OnnxNetwork(path, device=device)
        self.manifest = self.network.manifest
        if self.manifest.get("role") == "super":
            raise UnsupportedGraphError(
                f"{path}: it is a super network; derive a network first (fnac derive)"
            )
        contract = Contract.read(self.manifest)
        name = contract.task or task
        if name is None:
            raise UsageError(f"{path}: it does not say its task; add --task ({', '.join(TASKS)})")
        if task is not None and task != name:
            raise UsageError(f"--task {task}: {path} is for {name}; leave --task out")
        state_preprocessing(self.manifest, mean, std)
        tell_assumed(self.manifest)
        self.size = self.network.evaluation_size(size)
        names = contract.classes or self._numbered(name)
        joints = JointSet(tuple(names), contract.limbs, PCK, mirror=contract.mirrored)
        colours = dict(enumerate(contract.colours))
        self.task = make_task(name, _Named(list(names), joints, colours), self.manifest)

    def __call__(self, image: Picture, boxes: Sequence[Box] | None = None) -> Answer:
        """Predict on image uint8 (H, W, 3), RGB.

        boxes  pose: one for each person; without them the whole image is one person
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UsageError(f"an image {image.shape} of {image.dtype}; wanted uint8 (H, W, 3)")
        if boxes is not None and not isinstance(self.task, Pose):
            raise UsageError(f"boxes of persons are for pose; the network is for {self.task.name}")
        picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        size = (int(image.shape[0]), int(image.shape[1]))
        match self.task:
            case Segmentation() as task:
                outputs = self._run((picture, torch.zeros(size, dtype=torch.uint8)))
                ids = class_ids(outputs, self.size, task.num_classes, str(self.network.path))
                return Labels(_to_size(ids[0], size), task.names, task.colours())
            case Detection() as task:
                outputs = self._run((picture, torch.zeros((0, 5))))
                detections = unstacked(outputs, task.fit(self.size, self.manifest), [size])[0]
                return Boxes(detections.boxes, detections.scores, detections.labels, task.names)
            case Classification() as task:
                outputs = self._run((picture, torch.tensor(0)))
                logits = task.logits(outputs, str(self.network.path))[0]
                return Classes(logits.softmax(0).numpy(), task.names)
            case Pose() as task:
                return self._persons(task, picture, boxes)
        raise UsageError(f"--task {self.task.name}: predict knows {', '.join(TASKS)}")

    def _run(self, sample: Sample) -> Outputs:
        transform = self.task.eval_transform(self.size, self.manifest)
        images, _ = self.task.collate([transform(*sample)])
        return self.task.predict(self.network, images)

    def _persons(self, task: Pose, picture: Tensor, boxes: Sequence[Box] | None) -> Skeletons:
        nothing = torch.zeros((task.count, 3))
        truths = [nothing]
        if boxes is not None:
            truths = [torch.cat([nothing, _window(box)]) for box in boxes]
        places, scores = [], []
        for truth in truths:
            outputs = self._run((picture, truth))
            joints, sure = task.decoded(outputs, self.size, str(self.network.path))
            rows = split_truth(picture, truth, task.count)[1].tolist()
            centre, window = (rows[0][0], rows[0][1]), (rows[1][0], rows[1][1])
            back = inverse(window_matrix(centre, window, self.size))
            places.append(move_points(joints[0].numpy(), back))
            scores.append(sure[0].numpy())
        shape = (len(places), task.count)
        return Skeletons(
            np.array(places).reshape(*shape, 2),
            np.array(scores, np.float32).reshape(shape),
            task.names,
            task.joints.limbs,
        )

    def _numbered(self, task: str) -> tuple[str, ...]:
        """Return numbers as names of classes that the file does not name; raises UsageError."""
        count = self.manifest.get("num_classes")
        shape = self.network.output_shapes[0]
        if count is None and task in ("seg", "pose", "cls") and len(shape) in (2, 4):
            count = shape[1]
        if not isinstance(count, int):
            raise UsageError(
                f"{self.network.path}: it does not say how many classes it tells apart; emit it "
                "from a network that fnac trained"
            )
        return tuple(f"{'joint' if task == 'pose' else 'class'} {i}" for i in range(count))


def find_images(given: Sequence[str]) -> list[Path]:
    """Return the image files that paths, folders and patterns (``*.jpg``) name, in their order.

    Raises UsageError for a path where nothing is, DataError for a folder without images.
    """
    paths: list[Path] = []
    for one in given:
        path = Path(one).expanduser()
        if path.is_dir():
            images = list(images_below(path))
            if not images:
                raise DataError(f"{path}: no image in it; wanted at least one")
            paths += images
        elif path.is_file():
            paths.append(path)
        else:
            matching = sorted(glob.glob(str(path), recursive=True))
            if not matching:
                raise UsageError(f"{one}: no such file or folder; wanted an image, a folder, *.jpg")
            paths += [Path(match) for match in matching if Path(match).is_file()]
    return list(dict.fromkeys(paths))


def as_picture(image: Any) -> Picture:
    """Return uint8 (H, W, 3), RGB, of a path, a Pillow image or such an array."""
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return np.asarray(image)


def _window(box: Box) -> Tensor:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    if x1 <= x0 or y1 <= y0:
        raise UsageError(f"box {x0:g},{y0:g},{x1:g},{y1:g}: wanted x1 > x0 and y1 > y0")
    centre = ((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2)
    return window_rows(centre, (PADDING * (x1 - x0), PADDING * (y1 - y0)))


def _to_size(labels: Tensor, size: Size) -> np.ndarray:
    """Return class ids (h, w) as int64 (H, W) of the image, nearest."""
    ids = labels.cpu().numpy().astype(np.int64)
    rows, columns = (
        (2 * np.arange(side) + 1) * own // (2 * side)
        for side, own in zip(size, ids.shape, strict=True)
    )
    nearest: np.ndarray = ids[rows][:, columns]
    return nearest
