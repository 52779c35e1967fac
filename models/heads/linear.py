"""A classifier: global mean, dropout, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """(N, in_channels, h, w) features -> logits (N, classes); weights start N(0, 0.01)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classify = nn.Linear(in_channels, num_classes)
        nn.init.normal_(self.classify.weight, 0, 0.01)
        nn.init.zeros_(self.classify.bias)

    def forward(self, last: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classify(self.dropout(torch.flatten(self.pool(last), 1)))
        return logits
