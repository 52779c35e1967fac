"""From joints to heatmaps and back (SimpleBaseline), on tensors of any device.

Joints are in pixels of the network's input, (0, 0) the middle of its first pixel. A cell of a
heatmap covers stride x stride of them, so that joint = (cell + 0.5) * stride - 0.5. SimpleBaseline
puts joint = cell * stride, off by up to half a cell, and shifts mirrored heatmaps to make up for
it; here a mirror needs no shift. Unlike there, the gaussian's middle is not rounded to a cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

REFERENCE_CELLS = 64
"""Side of the heatmaps that ``sigma`` is given for; smaller ones get a smaller gaussian."""
REACH = 3.0
"""Where the gaussian is cut off, in sigmas."""
QUARTER = 0.25


def gaussian_heatmaps(
    joints: Tensor, cells: tuple[int, int], size: tuple[int, int], sigma: float
) -> tuple[Tensor, Tensor]:
    """Return the target heatmaps, float32 (N, K, h, w), and weights float32 (N, K), 0 or 1.

    joints: float32 (N, K, 3), x, y, visibility; cells: (h, w) of a heatmap; size: (H, W) of the
    input; sigma: in cells of a heatmap of 64 cells, here at least one cell (a narrower gaussian is
    a spike between cells). A joint that is not labelled, or so far outside that nothing of it is
    seen, weighs 0.
    """
    h, w = cells
    spread = max(1.0, sigma * min(h, w) / REFERENCE_CELLS)
    x = (joints[..., 0].float() + 0.5) * (w / size[1]) - 0.5
    y = (joints[..., 1].float() + 0.5) * (h / size[0]) - 0.5
    across, down = _bell(x, w, spread), _bell(y, h, spread)
    seen = (joints[..., 2] > 0) & (across.sum(-1) > 0) & (down.sum(-1) > 0)
    return down[..., :, None] * across[..., None, :], seen.float()


def decode_heatmaps(heatmaps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return joints (N, K, 2) in pixels of an input of ``size`` (H, W), and scores (N, K).

    The highest cell (the first of several), moved by a quarter of a cell towards the higher of its
    neighbours on each axis, unless it lies at the edge or they are equal. The score is its value.
    """
    h, w = heatmaps.shape[-2:]
    flat = heatmaps.flatten(2)
    best = flat.argmax(dim=2, keepdim=True)
    scores = flat.gather(2, best)[..., 0]
    column, row = best % w, best // w

    def shift(place: Tensor, last: int, step: int) -> Tensor:
        inside = (place > 0) & (place < last)
        on = step * inside.long()
        rise = flat.gather(2, best + on) - flat.gather(2, best - on)
        return QUARTER * torch.sign(rise)[..., 0]

    x = column[..., 0] + shift(column, w - 1, 1).float()
    y = row[..., 0] + shift(row, h - 1, w).float()
    scale = torch.tensor([size[1] / w, size[0] / h], device=heatmaps.device)
    return (torch.stack([x, y], dim=-1) + 0.5) * scale - 0.5, scores


def unmirror(heatmaps: Tensor, mirrored: Sequence[int]) -> Tensor:
    """Turn heatmaps (N, K, h, w) of mirrored images into those of the images; new."""
    return heatmaps.flip(-1)[:, list(mirrored)]


def _bell(middle: Tensor, cells: int, sigma: float) -> Tensor:
    """Return a gaussian of height 1 along one axis, (N, K, cells), cut off at ``REACH`` sigmas."""
    away = torch.arange(cells, device=middle.device, dtype=torch.float32) - middle[..., None]
    bell = torch.exp(-(away**2) / (2 * sigma**2))
    return torch.where(away.abs() <= REACH * sigma, bell, torch.zeros_like(bell))
