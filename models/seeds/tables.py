"""The networks of the MBConv and ResNet families that seeds use, as data.

Sources: MobileNetV2 (torchvision), FBNet-C (FNA++ Table IX and timm's ``fbnetc_100``), Proxyless
(mobile) of mit-han-lab, ResNet-18 and -50 with the stride on the 3x3 (torchvision).
"""

from __future__ import annotations

from .mbconv import MBConvTable, Stage
from .resnet import ResNetTable

MOBILENETV2 = MBConvTable(
    name="mobilenetv2",
    stem=32,
    stages=(
        Stage("k3e1", 16, 1),
        Stage("k3e6 x2", 24, 2),
        Stage("k3e6 x3", 32, 2),
        Stage("k3e6 x4", 64, 2),
        Stage("k3e6 x3", 96, 1),
        Stage("k3e6 x3", 160, 2),
        Stage("k3e6", 320, 1),
    ),
    last=1280,
)

FBNETC = MBConvTable(
    name="fbnetc",
    stem=16,
    stages=(
        Stage("k3e1", 16, 1),
        Stage("k3e6 skip k3e1 k3e1", 24, 2),
        Stage("k5e6 k5e3 k5e6 k3e6", 32, 2),
        Stage("k5e6 k5e3 k5e6 k5e6", 64, 2),
        Stage("k5e6 x3 k5e3", 112, 1),
        Stage("k5e6 x4", 184, 2),
        Stage("k3e6", 352, 1),
    ),
    last=1984,
    activation="relu",
)

PROXYLESS = MBConvTable(
    name="proxyless",
    stem=32,
    stages=(
        Stage("k3e1", 16, 1),
        Stage("k5e3 k3e3 skip skip", 32, 2),
        Stage("k7e3 k3e3 k5e3 k5e3", 40, 2),
        Stage("k7e6 k5e3 x3", 80, 2),
        Stage("k5e6 k5e3 x3", 96, 1),
        Stage("k7e6 k7e6 k7e3 k7e3", 192, 2),
        Stage("k7e6", 320, 1),
    ),
    last=1280,
    epsilon=1e-3,
)

RESNET18 = ResNetTable("resnet18", "basic", depths=(2, 2, 2, 2))
RESNET50 = ResNetTable("resnet50", "bottleneck", depths=(3, 4, 6, 3))

TABLES: dict[str, MBConvTable | ResNetTable] = {
    table.name: table for table in (MOBILENETV2, RESNET18, RESNET50, FBNETC, PROXYLESS)
}
