"""Losses of anchor detectors: matching of anchors to boxes, and the loss of each.

RetinaNet (Lin et al. 2017): focal loss on every anchor that is surely object or surely not,
smooth L1 on the objects, both divided by the number of object anchors of the batch. SSD (Liu et
al. 2016): cross entropy with a background class, three negatives for each positive, the hardest
ones. Everything is computed in float32; images without boxes have only negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.ops import box_iou, sigmoid_focal_loss

from fnac.passes.emit.anchors import AnchorSpec

from ..divergence import softened_binary_divergence, softened_divergence
from .decoding import class_scores, encode_boxes

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
RETINANET_BETA, SSD_BETA = 1 / 9, 1.0
OBJECT_IOU, BACKGROUND_IOU = 0.5, 0.4
SSD_IOU = 0.5
NEGATIVES = 3  # for each positive
BACKGROUND, NEITHER = -1, -2  # as torchvision's Matcher has them


def match_anchors(truths: Tensor, anchors: Tensor, scores: str) -> Tensor:
    """Return int64 (N, A): the row of ``truths`` matched to an anchor, -1 background, -2 neither.

    truths: float32 (N, M, 5), rows with class -1 are no boxes; anchors: float32 (A, 4).
    sigmoid: object from an overlap of 0.5, background below 0.4, and the best anchors of each box
    (RetinaNet); softmax: object from 0.5 and the best anchor of each box, all else background.
    """
    matcher = (
        Matcher(OBJECT_IOU, BACKGROUND_IOU, allow_low_quality_matches=True)
        if scores == "sigmoid"
        else SSDMatcher(SSD_IOU)
    )
    matches = torch.full((len(truths), len(anchors)), BACKGROUND, device=anchors.device)
    for row, boxes in zip(matches, truths, strict=True):
        overlap = box_iou(boxes[:, :4], anchors)
        # a box that no anchor touches would be the "best" match of all of them
        known = ((boxes[:, 4] >= 0) & (overlap.amax(dim=1) > 0)).nonzero().ravel()
        if len(known):
            matched = matcher(overlap[known])
            row.copy_(torch.where(matched >= 0, known[matched.clamp(min=0)], matched))
    return matches


def focal_losses(
    logits: Tensor, deltas: Tensor, truths: Tensor, anchors: Tensor, spec: AnchorSpec
) -> tuple[Tensor, Tensor]:
    """Return RetinaNet's loss of the classes and of the boxes (scalars).

    logits (N, A, C), deltas (N, A, 4) float32; truths (N, M, 5); anchors (A, 4).
    """
    matches = match_anchors(truths, anchors, "sigmoid")
    picture, anchor = (matches >= 0).nonzero(as_tuple=True)
    truth = truths[picture, matches[picture, anchor]]
    one_hot = torch.zeros_like(logits)
    one_hot[picture, anchor, truth[:, 4].long()] = 1
    count = max(1, len(picture))
    costs = sigmoid_focal_loss(logits, one_hot, FOCAL_ALPHA, FOCAL_GAMMA)
    classes = (costs * (matches != NEITHER)[..., None]).sum() / count
    return classes, _box_loss(
        deltas[picture, anchor], truth, anchors[anchor], spec, RETINANET_BETA
    ) / count


def mining_losses(
    logits: Tensor, deltas: Tensor, truths: Tensor, anchors: Tensor, spec: AnchorSpec
) -> tuple[Tensor, Tensor]:
    """Return SSD's loss of the classes and of the boxes (scalars).

    logits (N, A, 1 + C), class 0 is background; the rest as in :func:`focal_losses`.
    """
    matches = match_anchors(truths, anchors, "softmax")
    picture, anchor = (matches >= 0).nonzero(as_tuple=True)
    truth = truths[picture, matches[picture, anchor]]
    labels = torch.zeros_like(matches)
    labels[picture, anchor] = truth[:, 4].long() + 1
    costs = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    costs = costs.view_as(labels)
    positive = matches >= 0
    # rank of each negative among its image's, hardest first
    order = costs.detach().masked_fill(positive, -1).argsort(dim=1, descending=True)
    rank = order.argsort(dim=1)
    hard = (rank < NEGATIVES * positive.sum(dim=1, keepdim=True)) & ~positive
    count = max(1, len(picture))
    classes = (costs * (positive | hard)).sum() / count
    return classes, _box_loss(
        deltas[picture, anchor], truth, anchors[anchor], spec, SSD_BETA
    ) / count


def distilled_losses(
    student: tuple[Tensor, Tensor],
    original: tuple[Tensor, Tensor],
    spec: AnchorSpec,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Return a student's distance from its teacher on the same anchors: classes, boxes (scalars).

    student, original: class logits (N, A, C or 1 + C) and deltas (N, A, 4) of both networks.
    Scores are compared at every anchor; boxes as much as the teacher sees an object there. Both
    are divided by the objects that it sees, as the losses on labels are by the labelled ones.
    """
    (logits, deltas), (teacher, boxes) = student, original
    chances = class_scores(teacher, spec).amax(dim=-1)  # (N, A)
    objects = chances.sum().clamp(min=1)
    if spec.scores == "sigmoid":
        far = softened_binary_divergence(logits, teacher, temperature)
    else:
        far = softened_divergence(logits, teacher, temperature, axis=-1)
    beta = RETINANET_BETA if spec.scores == "sigmoid" else SSD_BETA
    off = functional.smooth_l1_loss(deltas.float(), boxes.float(), reduction="none", beta=beta)
    return far.sum() / objects, (off.sum(dim=-1) * chances).sum() / objects


def _box_loss(
    deltas: Tensor, truth: Tensor, anchors: Tensor, spec: AnchorSpec, beta: float
) -> Tensor:
    offsets = encode_boxes(truth[:, :4], anchors, spec)
    return functional.smooth_l1_loss(deltas, offsets, reduction="sum", beta=beta)
