"""A backbone under a segmentation head, as one torch module."""

from __future__ import annotations

from torch import Tensor, nn

from .heads.export import build_head
from .mbconv import MBConvTable, backbone


class Segmenter(nn.Module):
    """Image (N, 3, H, W) -> logits (N, classes, H, W); backbone weights keep their names."""

    def __init__(
        self, table: MBConvTable, head: str, num_classes: int, output_stride: int = 16
    ) -> None:
        super().__init__()
        self.features = backbone(table, output_stride).features
        self.head = build_head(head, table.channels, num_classes, output_stride)

    def forward(self, image: Tensor) -> Tensor:
        """Segment a batch of normalized images."""
        return self.head(self.features(image), image)
