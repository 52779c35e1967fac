"""Decode a detector's raw outputs to boxes, scores and labels in torch, as an emitted file does.

The same steps as ``passes/emit/attach_detections.py`` in the same order, so that both give the same
metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from fnac.passes.emit.anchors import LARGEST_LOG_SCALE, AnchorSpec
from fnac.passes.emit.detector_answers import DetectorAnswers


@dataclass(frozen=True)
class Detections:
    """The detections in one image, best first, n rows.

    boxes   float32 (n, 4), x0 y0 x1 y1
    scores  float32 (n,)
    labels  int64 (n,), class ids from 0
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def class_scores(logits: Tensor, spec: AnchorSpec) -> Tensor:
    """Return float32 scores (..., A, C) of the classes, without a background."""
    if spec.scores == "sigmoid":
        return logits.float().sigmoid()
    return logits.float().softmax(dim=-1)[..., 1:]


def decode_boxes(
    deltas: Tensor, anchors: Tensor, spec: AnchorSpec, size: tuple[int, int]
) -> Tensor:
    """Return boxes (..., A, 4) clipped to an image (H, W): ``passes.anchors.decode_boxes``."""
    scaled = deltas.float() * deltas.new_tensor(spec.box_std, dtype=torch.float32)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + sizes * 0.5
    middle = centres + scaled[..., :2] * sizes
    half = sizes * scaled[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp() * 0.5
    edge = sizes.new_tensor([size[1], size[0]] * 2)
    corners = torch.cat([middle - half, middle + half], dim=-1)
    return corners.clamp(min=0).minimum(edge)


def encode_boxes(boxes: Tensor, anchors: Tensor, spec: AnchorSpec) -> Tensor:
    """Return the deltas (..., 4) that decode to ``boxes``, both x0 y0 x1 y1, row by row."""
    sizes = anchors[..., 2:] - anchors[..., :2]
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / 2 / sizes
    deltas = torch.cat([shift, (sides / sizes).log()], dim=-1)
    return deltas / deltas.new_tensor(spec.box_std)


def detect(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    spec: AnchorSpec,
    size: tuple[int, int],
    answers: DetectorAnswers,
) -> list[Detections]:
    """Return the detections of each image of a batch.

    logits (N, A, C or 1 + C), deltas (N, A, 4), anchors float32 (A, 4), size (H, W) of the input.
    """
    scores = class_scores(logits, spec)
    best = scores.max(dim=-1).values
    order = best.topk(min(answers.candidates, best.shape[1]), dim=1).indices
    detections = []
    for number, rows in enumerate(order):
        boxes = decode_boxes(deltas[number, rows], anchors[rows], spec, size)
        place, label = (scores[number, rows] > answers.score).nonzero(as_tuple=True)
        score = scores[number, rows][place, label]
        kept = batched_nms(boxes[place], score, label, answers.iou)[: answers.detections]
        detections.append(Detections(boxes[place][kept], score[kept], label[kept]))
    return detections
