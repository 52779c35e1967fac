"""Human pose, top-down: heatmaps of one person, PCKh, PCK or AP of OKS, skeletons drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fnac.data.batches import BatchSettings
from fnac.data.loader import keep_in_memory
from fnac.data.preprocessing import padding, preprocessing
from fnac.data.sets.joints import OKS_AP, PCKH, JointSet
from fnac.data.sets.persons import Person
from fnac.data.source import Dataset, DataSource, Sample, source_sample
from fnac.data.transforms.persons import (
    PersonTransform,
    crop_to_window,
    inverse,
    move_points,
    seen_radius,
    window_matrix,
)
from fnac.errors import DataError, TrainingError, UnsupportedGraphError, UsageError
from fnac.passes.graph.contract import PERSON_WINDOW, state_input

from ..base import Manifest, Outputs, Scores, Size, Task
from ..collapse import missing_finding
from ..network_check import check_count
from ..settings import PoseSettings
from .correct_joints import CorrectJoints
from .heatmaps import decode_heatmaps, gaussian_heatmaps, unmirror
from .keypoint_ap import KeypointAP
from .skeletons import LEFT, MIDDLE, RIGHT, draw_persons

HEATMAPS, KEYPOINTS, SCORES = "heatmaps", "keypoints", "scores"


def open_task(settings: PoseSettings, source: DataSource, manifest: Mapping[str, Any]) -> Pose:
    """Return the task on the joints of ``source``; UsageError if it has none."""
    joints = getattr(source, "joints", None)
    if not isinstance(joints, JointSet):
        raise UsageError(f"--task pose: {source.name} has no joints; wanted a data set of persons")
    return Pose(joints, settings)


@dataclass(frozen=True)
class Pose(Task):
    """The task ``pose`` on the K joints of a data set."""

    joints: JointSet
    settings: PoseSettings = field(default_factory=PoseSettings)
    name: str = "pose"
    output_names: tuple[str, ...] = (HEATMAPS,)

    @property
    def metric(self) -> str:
        """The data set's: ``PCKh@0.5``, ``PCK@0.2`` or ``AP``."""
        return self.joints.metric

    @property
    def count(self) -> int:
        """K, the number of joints."""
        return len(self.joints.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The joints."""
        return self.joints.names

    def describe(self, manifest: dict[str, Any]) -> None:
        """Write joints, limbs, mirror pairs and a person's window into a network's manifest."""
        super().describe(manifest)
        state_input(manifest, window=PERSON_WINDOW)
        manifest["limbs"] = [list(pair) for pair in self.joints.limbs]
        manifest["mirrored"] = [list(pair) for pair in self.joints.flip_pairs]

    def check_network(self, manifest: Manifest) -> None:
        """Raise UsageError if the network was made for another number of joints."""
        check_count(manifest, self.name, self.joints.names, "joints")

    # ------------------------------------------------------------------ samples

    def train_transform(self, batches: BatchSettings, manifest: Manifest) -> PersonTransform:
        """Return the crop around the person with random zoom, rotation, mirror and colour."""
        mean, std, color = preprocessing(manifest)
        return PersonTransform(
            batches.crop or batches.whole_size(manifest),
            tuple(self.joints.mirrored),
            mean,
            std,
            color,
            scale=batches.scale,
            rotation=batches.rotation,
            flip=batches.flip,
            colour=batches.colour,
        )

    def eval_transform(self, size: Size, manifest: Manifest) -> PersonTransform:
        """Return the crop around the person."""
        mirrored, pad = tuple(self.joints.mirrored), padding(manifest)
        return PersonTransform(size, mirrored, *preprocessing(manifest), pad=pad)

    def cached(
        self,
        dataset: Dataset,
        batches: BatchSettings,
        manifest: Manifest,
        *,
        measured: bool = False,
    ) -> Dataset:
        """Keep the part of each image that transforms can show in memory, if all of it fits."""
        size = batches.crop or batches.whole_size(manifest)
        zoom = batches.scale[0]

        def shrink(image: Tensor, truth: Tensor) -> Sample:
            return crop_to_window(image, truth, self.count, size, zoom)

        if not len(dataset):
            return dataset
        persons = [person for i in range(len(dataset)) if (person := _person(dataset, i))]
        sides = [2 * seen_radius(person.window, size, zoom) for person in persons]
        # at most a square about the person; a data set without windows: its first image
        largest = [3 * side**2 for side in sides] or [float(dataset[0][0].numel())]
        return keep_in_memory(dataset, int(np.mean(largest)), shrink)

    # ------------------------------------------------------------------ training

    def loss(self, outputs: Tensor | tuple[Tensor, ...], truths: Tensor, size: Size) -> Tensor:
        """Return half the mean squared error of the heatmaps; joints of weight 0 add nothing.

        outputs: heatmaps (N, K, h, w), any float type; truths: float32 (N, K, 3) in pixels of
        images of ``size`` (H, W). As SimpleBaseline's loss: the mean is over all joints, labelled
        or not. Raises TrainingError where the outputs are something else.
        """
        heatmaps = self._checked(outputs, len(truths))
        h, w = heatmaps.shape[-2:]
        truth, weights = gaussian_heatmaps(truths, (h, w), size, self.settings.sigma)
        squared = (heatmaps.float() - truth) ** 2
        return 0.5 * (squared * weights[..., None, None]).mean()

    def distillation(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        size: Size,
        temperature: float,
    ) -> Tensor:
        """Return half the mean squared difference of the heatmaps, the teacher's resized to fit.

        Heatmaps are no scores of classes: the temperature does not matter.
        """
        heatmaps = self._checked(outputs, None)
        original = self._checked(teacher, len(heatmaps)).float()
        if original.shape != heatmaps.shape:
            sides = heatmaps.shape[-2:]
            original = functional.interpolate(original, sides, mode="bilinear", align_corners=False)
        return 0.5 * functional.mse_loss(heatmaps.float(), original)

    def _checked(self, outputs: Tensor | tuple[Tensor, ...], count: int | None) -> Tensor:
        """Return heatmaps (count, K, h, w); TrainingError for anything else."""
        heatmaps = outputs if isinstance(outputs, Tensor) else outputs[0]
        shape = (len(heatmaps) if count is None else count, self.count)
        if heatmaps.ndim != 4 or heatmaps.shape[:2] != shape:
            raise TrainingError(
                f"network output: found {tuple(heatmaps.shape)}; wanted heatmaps ({shape[0]}, "
                f"{shape[1]}, height, width) for the {self.count} joints of this data set; attach "
                "a head with these joints (fnac expand --task pose --classes), and tune the "
                "target.onnx, not the emitted file"
            )
        return heatmaps

    # ------------------------------------------------------------------ measuring

    def predict(self, network: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
        """Run the network, with ``flip_test`` a second time on the mirrored images."""
        outputs = network(images)
        if not self.settings.flip_test:
            return outputs
        if KEYPOINTS in outputs:
            raise UsageError(
                "task.flip_test: this file outputs keypoints, and only heatmaps can be averaged; "
                "emit it with --no-postprocess, or drop flip_test"
            )
        mirrored = network(images.flip(-1))
        return {
            name: (heatmaps + unmirror(mirrored[name], self.joints.mirrored)) / 2
            for name, heatmaps in outputs.items()
        }

    def evaluation(
        self, dataset: Dataset, size: Size, manifest: Manifest, where: str = "network"
    ) -> PoseEvaluation:
        """Begin a measurement in the data set's metric."""
        return PoseEvaluation(self, dataset, size, where)

    def decoded(self, outputs: Outputs, size: Size, where: str) -> tuple[Tensor, Tensor]:
        """Return joints (N, K, 2) in pixels of the input and scores (N, K), on the CPU.

        Takes heatmaps (the first output) or the keypoints and scores of an emitted file; raises
        UsageError for another number of joints, UnsupportedGraphError for something else.
        """
        if KEYPOINTS in outputs and SCORES in outputs:
            joints, scores = outputs[KEYPOINTS].float().cpu(), outputs[SCORES].float().cpu()
        else:
            heatmaps = next(iter(outputs.values()))
            if heatmaps.ndim != 4 or not heatmaps.is_floating_point():
                raise UnsupportedGraphError(
                    f"{where}: output {tuple(heatmaps.shape)} {heatmaps.dtype}; wanted heatmaps "
                    f"(N, {self.count}, h, w), or {KEYPOINTS} (N, {self.count}, 2) and {SCORES}"
                )
            joints, scores = decode_heatmaps(heatmaps.float().cpu(), size)
        if joints.shape[1] != self.count:
            raise UsageError(
                f"{where}: {joints.shape[1]} joints; the data set has {self.count}; "
                "use the data set it was made for"
            )
        return joints, scores

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Return the sides of the body in the colours of their limbs."""
        return [("left", LEFT), ("right", RIGHT), ("middle", MIDDLE)]

    def picture(
        self, sample: Sample, output: Outputs, size: Size, manifest: Manifest
    ) -> Image.Image:
        """Lay the network's input, the true skeleton and the predicted one side by side."""
        plain = PersonTransform(
            size, tuple(self.joints.mirrored), preprocessing(manifest)[0], (1 / 255,) * 3
        )
        grey = torch.tensor(plain.mean)[:, None, None] * 255
        pixels, truth = plain(*sample)
        image = (pixels + grey).round().clamp(0, 255).byte()
        joints, _ = self.decoded(output, size, "model")
        return draw_persons(image, truth, joints[0], self.joints)


class PoseEvaluation:
    """Compares predicted joints with labelled ones, person by person."""

    def __init__(self, task: Pose, dataset: Dataset, size: Size, where: str) -> None:
        self._task, self._dataset, self._size, self._where = task, dataset, size, where
        joints = task.joints
        self._ap = KeypointAP(joints, _beside(dataset))
        self._correct = CorrectJoints(
            "PCK@0.2" if joints.metric == OKS_AP else joints.metric, joints.names,
            joints.not_counted,
        )  # fmt: skip

    def add(self, indices: Sequence[int], outputs: Outputs, truths: Tensor) -> None:
        """Add heatmaps (n, K, h, w), or keypoints and scores, of these samples."""
        joints, scores = self._task.decoded(outputs, self._size, self._where)
        places, truth = joints.numpy(), truths.cpu().numpy()
        if self._task.metric == OKS_AP:
            for i, index in enumerate(indices):
                person = self._known(index)
                back = inverse(window_matrix(person.centre, person.window, self._size))
                self._ap.add(person, move_points(places[i], back), scores[i].numpy())
        else:
            self._correct.add(places, truth, self._units(indices, truth))

    def compute(self) -> Scores:
        """Return the metric; DataError if no joint of any person was counted."""
        scores = self._ap.compute() if self._task.metric == OKS_AP else self._correct.compute()
        if np.isnan(scores.value):
            raise DataError(
                f"eval: no joint can be measured in {self._task.metric}: wanted labelled joints, "
                "and the head's size (PCKh) or both ends of the torso (PCK)"
            )
        counted = self._task.joints
        absent = [
            name
            for place, name in enumerate(counted.names)
            if scores.per_class.get(name, 0) is None and place not in counted.not_counted
        ]
        missing = missing_finding(absent, len(counted.names), "labelled joints")
        return dataclasses.replace(scores, findings=missing)

    def _units(self, indices: Sequence[int], truth: np.ndarray) -> np.ndarray:
        """Return the unit of each person in pixels of the input; nan if there is none."""
        joints = self._task.joints
        if joints.metric == PCKH:
            persons = [self._known(index) for index in indices]
            return np.array([_head_pixels(person, self._size) for person in persons])
        if joints.torso is None:
            raise DataError("eval: PCK@0.2 needs the joints left_shoulder and right_hip")
        a, b = joints.torso
        length = np.linalg.norm(truth[:, a, :2] - truth[:, b, :2], axis=-1)
        labelled = (truth[:, a, 2] > 0) & (truth[:, b, 2] > 0)
        return np.where(labelled, length, np.nan)

    def _known(self, index: int) -> Person:
        person = _person(self._dataset, index)
        if person is None:
            raise DataError(
                f"eval: sample {self._dataset.id(index)} does not say where its person is; "
                f"{self._task.metric} cannot be measured on this data set"
            )
        return person


def _person(dataset: Dataset, index: int) -> Person | None:
    """Return what is known about a sample's person; None if the data set has no windows."""
    innermost, place = source_sample(dataset, index)
    info = getattr(innermost, "info", None)
    person = info(place) if info is not None else None
    return person if isinstance(person, Person) else None


def _beside(dataset: Dataset) -> tuple[Person, ...]:
    """Return crowds and persons without joints of the data set that the samples come from."""
    innermost = source_sample(dataset, 0)[0] if len(dataset) else dataset
    return tuple(getattr(innermost, "ignored", ()))


def _head_pixels(person: Person, size: Size) -> float:
    """Return the head's size in pixels of an input of ``size``; nan if it is not known."""
    if person.head_size is None:
        return float("nan")
    factor = np.linalg.norm(window_matrix(person.centre, person.window, size)[:, 0])
    return float(person.head_size * factor)
