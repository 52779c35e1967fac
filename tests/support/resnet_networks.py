"""Small networks of ResNet's blocks as ONNX text, filled with integers."""

from __future__ import annotations

from collections.abc import Sequence

from fnac.passes.graph import Graph
from tests.support.graphs import graph
from tests.support.mbconv_networks import ACTS, Stage, Text, _legal


def resnet_network(
    stages: Sequence[Stage] = ((8, 2, 1), (16, 2, 2)),
    *,
    kind: str = "basic",
    groups: int = 1,
    kernel: int = 3,
    bn: bool = True,
    bias: bool = False,
    act: str = "relu6",
    stride_on: str = "spatial",
    pooled_shortcut: bool = False,
    after: bool = True,
    squeeze: str = "",
    size: int = 16,
) -> Graph:
    """Return a stem of 8 channels and ``stages`` of (width, blocks, stride).

    A bottleneck has half its width inside, and its stride on the convolution ``stride_on``
    (``spatial`` or ``reduce``). ``groups`` are those of the searched convolution. Where input and
    output differ the shortcut is a 1x1 convolution, behind a 2x2 average pool if
    ``pooled_shortcut``. Squeeze-excitation stands behind the spatial convolution (``squeeze`` =
    ``inside``) or behind the last (``last``). Without ``after``, no activation follows the add.
    Numbers are small integers, and ``relu6`` keeps them small behind every block.
    """
    t = Text(bn, act, bias)
    if act == "relu6":
        t.stored += ["float low", "float high"]
        t.values |= {"low": 0.0, "high": 6.0}

    def gated(name: str, x: str, width: int) -> str:
        t.stored += [f"float[2,{width},1,1] {name}.sq", f"float[{width},2,1,1] {name}.exc"]
        t.lines += [
            f"{name}.mean = GlobalAveragePool({x})",
            f"{name}.s = Conv({name}.mean, {name}.sq)",
            f"{name}.r = Relu({name}.s)",
            f"{name}.e = Conv({name}.r, {name}.exc)",
            f"{name}.gate = HardSigmoid<alpha=0.25>({name}.e)",
            f"{name}.gated = Mul({x}, {name}.gate)",
        ]
        return f"{name}.gated"

    def window(k: int, stride: int = 1) -> str:
        return f"pads=[{','.join([str((k - 1) // 2)] * 4)}], strides=[{stride},{stride}]"

    x = t.conv("stem", "x", (8, 3, 3, 3), window(3, 2))
    width, number, side = 8, 0, size // 2
    for out, blocks, stride in stages:
        for i in range(blocks):
            name, entry, step = f"b{number}", x, stride if i == 0 else 1
            number += 1
            side //= step
            if kind == "basic":
                shape = (out, width // groups, kernel, kernel)
                x = t.conv(f"{name}.c1", x, shape, window(kernel, step), group=groups)
                x = t.conv(f"{name}.c2", x, (out, out, 3, 3), window(3), act=False)
            else:
                inner = out // 2
                first = step if stride_on == "reduce" else 1
                x = t.conv(f"{name}.c1", x, (inner, width, 1, 1), window(1, first))
                shape = (inner, inner // groups, kernel, kernel)
                x = t.conv(f"{name}.c2", x, shape, window(kernel, step // first), group=groups)
                if squeeze == "inside":
                    x = gated(name, x, inner)
                x = t.conv(f"{name}.c3", x, (out, inner, 1, 1), window(1), act=False)
            if squeeze == "last":
                x = gated(name, x, out)
            if step != 1 or out != width:
                before = entry
                if pooled_shortcut and step > 1:
                    t.lines.append(
                        f"{name}.pool = AveragePool<kernel_shape=[2,2], strides=[2,2]>({before})"
                    )
                    before, step = f"{name}.pool", 1
                entry = t.conv(
                    f"{name}.down", before, (out, width, 1, 1), window(1, step), act=False
                )
            t.lines.append(f"{name}.add = Add({x}, {entry})")
            x = f"{name}.add"
            if after:
                t.lines.append(f"{name}.out = {ACTS[act].format(x)}")
                x = f"{name}.out"
            width = out
    body = (
        f"(float[N,3,{size},{size}] x) => (float[N,{width},{side},{side}] {x}) "
        f"<{', '.join(t.stored)}> {{ {' '.join(t.lines)} }}"
    )
    return graph(_legal(body), opset=18, values={_legal(k): v for k, v in t.values.items()})
