"""Box operators that follow detection networks."""

from __future__ import annotations

import torch
from torch import Tensor


def non_max_suppression(
    boxes: Tensor,
    scores: Tensor,
    limits: list[int] | None,
    overlaps: list[float] | None,
    thresholds: list[float] | None,
    centred: bool,
) -> Tensor:
    """Return (batch, class, box) of kept boxes, int64 (kept, 3) (ONNX NonMaxSuppression).

    ``boxes`` (N, B, 4) as y1, x1, y2, x2 of any diagonal, or centre x, y, width, height;
    ``scores`` (N, classes, B). A box goes when its IoU with a better one is above ``overlap``.
    """
    limit, overlap = limits[0] if limits else 0, overlaps[0] if overlaps else 0.0
    score = thresholds[0] if thresholds else None
    kept: list[list[int]] = []
    for n in range(boxes.shape[0]):
        corners = _corners(boxes[n].float(), centred)
        area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        for c in range(scores.shape[1]):
            order = torch.argsort(scores[n, c], descending=True, stable=True).tolist()
            if score is not None:
                order = [i for i in order if scores[n, c, i] > score]
            chosen: list[int] = []
            for i in order:
                if len(chosen) == limit:
                    break
                if not chosen or float(_iou(corners, area, i, chosen).max()) <= overlap:
                    chosen.append(i)
            kept += [[n, c, i] for i in chosen]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device).reshape(-1, 3)


def _corners(boxes: Tensor, centred: bool) -> Tensor:
    if centred:
        x, y, w, h = boxes.unbind(-1)
        return torch.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)


def _iou(corners: Tensor, area: Tensor, one: int, others: list[int]) -> Tensor:
    low = torch.maximum(corners[one, :2], corners[others, :2])
    high = torch.minimum(corners[one, 2:], corners[others, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    union = area[one] + area[others] - common
    return torch.where(union > 0, common / union, torch.zeros_like(common))
