"""Small networks of MBConv blocks as ONNX text, filled with integers."""

from __future__ import annotations

from collections.abc import Sequence

from fnac.passes.graph import Graph
from tests.support.graphs import graph

ACTS = {"relu": "Relu({0})", "relu6": "Clip({0}, low, high)", "hswish": "HardSwish({0})"}

Stage = tuple[int, int, int]  # width, blocks, stride


class Text:
    """ONNX text as it is written, line by line."""

    def __init__(self, bn: bool, act: str, bias: bool) -> None:
        self.bn, self.act, self.bias = bn, act, bias
        self.stored: list[str] = []
        self.lines: list[str] = []
        self.values: dict[str, object] = {}

    def conv(
        self,
        name: str,
        x: str,
        shape: Sequence[int],
        attributes: str = "",
        *,
        group: int = 1,
        act: bool = True,
        bias: bool | None = None,
    ) -> str:
        """Write a convolution, its BN and activation; return the last tensor."""
        self.stored.append(f"float[{','.join(map(str, shape))}] {name}.weight")
        arguments = f"{x}, {name}.weight"
        if self.bias if bias is None else bias:
            self.stored.append(f"float[{shape[0]}] {name}.bias")
            arguments += f", {name}.bias"
        k = shape[-1]
        all_attributes = ", ".join(
            part for part in (f"group={group}, kernel_shape=[{k},{k}]", attributes) if part
        )
        self.lines.append(f"{name} = Conv<{all_attributes}>({arguments})")
        out = name
        if self.bn:
            parts = [f"{name}.{part}" for part in ("gamma", "beta", "mean", "var")]
            self.stored += [f"float[{shape[0]}] {part}" for part in parts]
            self.values[parts[3]] = 1.0
            self.lines.append(
                f"{name}.bn = BatchNormalization<epsilon=0.0>({name}, {', '.join(parts)})"
            )
            out = f"{name}.bn"
        if act:
            self.lines.append(f"{name}.act = {ACTS[self.act].format(out)}")
            out = f"{name}.act"
        return out


def mbconv_network(
    stages: Sequence[Stage] = ((6, 2, 2), (8, 1, 1)),
    *,
    expansion: int = 2,
    kernel: int = 3,
    bn: bool = True,
    act: str = "relu6",
    bias: bool = False,
    same: bool = False,
    classifier: bool = True,
    size: int = 16,
    opset: int = 18,
    plain_tail: bool = False,
    plain: Sequence[int] = (),
) -> Graph:
    """Return stem, an e1 block of 4 channels, ``stages`` of (width, blocks, stride), classifier.

    Stride 2 is padded as TF's SAME ([0, 0, 1, 1] for 3x3) if ``same``. Every number is a small
    integer: batch normalisations have variance 1 and epsilon 0. With ``plain_tail`` the blocks
    behind the first of a stage have no expansion (FBNet-C has such); ``plain`` names more of them
    by number, counted from 1.
    """
    t = Text(bn, act, bias)
    if act == "relu6":
        t.stored += ["float low", "float high"]
        t.values |= {"low": 0.0, "high": 6.0}

    def window(k: int, stride: int) -> str:
        after = (k - 1) // 2
        before = after - 1 if same and stride == 2 else after
        pads = f"{before},{before},{after},{after}"
        return f"pads=[{pads}], strides=[{stride},{stride}]"

    x = t.conv("stem", "x", (4, 3, 3, 3), window(3, 2))
    x = t.conv("b0.dw", x, (4, 1, 3, 3), window(3, 1), group=4)
    x = t.conv("b0.pw", x, (4, 4, 1, 1), act=False)
    width, number = 4, 0
    for out, blocks, stride in stages:
        for i in range(blocks):
            number += 1
            name, entry, step = f"b{number}", x, stride if i == 0 else 1
            expands = (i == 0 or not plain_tail) and number not in plain
            hidden = width * expansion if expands else width
            if expands:
                x = t.conv(f"{name}.ex", x, (hidden, width, 1, 1))
            shape = (hidden, 1, kernel, kernel)
            x = t.conv(f"{name}.dw", x, shape, window(kernel, step), group=hidden)
            x = t.conv(f"{name}.pw", x, (out, hidden, 1, 1), act=False)
            if step == 1 and out == width:
                t.lines.append(f"{name}.add = Add({entry}, {x})")
                x = f"{name}.add"
            width = out
    shape = f"N, {width}, h, w"
    if classifier:
        x = t.conv("last", x, (10, width, 1, 1))
        t.lines.append(f"pool = GlobalAveragePool({x})")
        t.lines.append("flat = Flatten(pool)")
        t.stored += ["float[5,10] fc.weight", "float[5] fc.bias"]
        t.lines.append("logits = Gemm<transB=1>(flat, fc.weight, fc.bias)")
        x, shape = "logits", "N, 5"
    body = (
        f"(float[N,3,{size},{size}] x) => (float[{shape}] {x}) "
        f"<{', '.join(t.stored)}> {{ {' '.join(t.lines)} }}"
    )
    return graph(_legal(body), opset=opset, values={_legal(k): v for k, v in t.values.items()})


def _legal(text: str) -> str:
    """Spell dots of names as underscores, as ONNX text wants them; numbers keep theirs."""
    import re

    return re.sub(r"(?<=[A-Za-z0-9_])\.(?=[a-z])", "_", text)


def same_graph(a: Graph, b: Graph) -> bool:
    """Say whether two graphs are equal to the bit: nodes, names, weights, interface, in order."""
    left, right = (g.to_model().graph.SerializeToString(deterministic=True) for g in (a, b))
    return bool(left == right)


def left_alone(window: str, split: str = "") -> str:
    """Say why a convolution outside of all blocks is left, as find_blocks does."""
    if window == "1x1":
        return f"{window} convolution{split}: no window to grow, and others read its channels"
    return f"{window} convolution{split}: not part of a residual or inverted-residual block"
