"""SimpleBaseline for human pose: three transposed convolutions, then one heatmap per joint."""

from __future__ import annotations

from torch import Tensor, nn

from .layers import start_normal

WIDTH = 256
STEPS = 3


class SimpleBaselineHead(nn.Module):
    """(N, in_channels, H/32, W/32) features -> heatmaps (N, joints, H/4, W/4).

    Weights start N(0, 0.001) as in the paper's code.
    """

    def __init__(self, in_channels: int, joints: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in range(STEPS):
            inputs = in_channels if step == 0 else WIDTH
            layers += [
                nn.ConvTranspose2d(inputs, WIDTH, 4, 2, 1, bias=False),
                nn.BatchNorm2d(WIDTH),
                nn.ReLU(),
            ]
        self.enlarge = nn.Sequential(*layers)
        self.heatmaps = nn.Conv2d(WIDTH, joints, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                start_normal(part, 0.001)

    def forward(self, features: Tensor) -> Tensor:
        """Return the heatmaps."""
        heatmaps: Tensor = self.heatmaps(self.enlarge(features))
        return heatmaps
