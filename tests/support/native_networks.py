"""Backbones under heads as plain torch modules: what exported networks must compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fnac.models.heads.export import build_head
from fnac.models.heads.kinds import HEADS
from fnac.models.seeds.mbconv import MBConv, MBConvNet
from fnac.models.seeds.resnet import ResNet
from fnac.passes.graph import Graph


class Headed(nn.Module):
    """Image (N, 3, H, W) -> the head's outputs; backbone weights keep their names."""

    def __init__(self, net: nn.Module, head: str, classes: int, output_stride: int = 32) -> None:
        super().__init__()
        self.net = net
        self.kind = HEADS[head]
        with torch.no_grad():
            probe = taps(net.eval(), torch.zeros(1, 3, 64, 64))
        channels = {name: int(tensor.shape[1]) for name, tensor in probe.items()}
        self.head = build_head(head, channels, classes, output_stride)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = taps(self.net, image)
        inputs = [found[name] for name in self.kind.taps]
        made = self.head(*inputs, image) if self.kind.image else self.head(*inputs)
        return made if isinstance(made, tuple) else (made,)


def taps(net: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Return every tensor a head may read, from the module's own stages."""
    if isinstance(net, ResNet):
        x = net.maxpool(net.relu(net.bn1(net.conv1(image))))
        found = {}
        for number in range(1, 5):
            x = net.get_submodule(f"layer{number}")(x)
            found[f"c{number + 1}"] = x
        found |= {"expansion": found["c4"], "features": x, "last": x}
    else:
        assert isinstance(net, MBConvNet)
        found = _mbconv_taps(net, image)
    return found


def _mbconv_taps(net: MBConvNet, image: Tensor) -> dict[str, Tensor]:
    x, found, stride, index = net.features[0](image), {}, 2, 1
    for stage in net.table.stages:
        for position, _ in enumerate(stage.parse()):
            block = net.features[index]
            assert isinstance(block, MBConv)
            if position == 0 and stage.stride > 1:
                found[f"c{len(bin(stride)) - 3}"] = x
                if stride == 16:
                    found["expansion"] = block.conv[0](x)
                stride *= stage.stride
            x, index = block(x), index + 1
    found |= {"c5": x, "features": x}
    found["last"] = net.features[index](x) if index < len(net.features) else x
    return found


def load(net: nn.Module, graph: Graph) -> None:
    """Take the weights of an exported graph by name; a head's are called ``head.<layer>``."""
    stored = {c.name: torch.tensor(c.values) for c in graph.constants()}
    own = net.state_dict()
    state = {}
    for name, value in own.items():
        given = name.removeprefix("net.")
        if given in stored:
            state[name] = stored[given]
        else:
            assert name.endswith("num_batches_tracked"), name
            state[name] = value
    net.load_state_dict(state)
