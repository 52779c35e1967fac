"""Training step of a re-imported network of torchvision against the native one, paired in one run.

usage: bench_importer_step.py [NETWORK] [--pairs 30] [--batch 8] [--size 128] [--device cpu]
       [--compile]

Both networks hold the same weights and step in turn, the first one of each pair alternating, so
that a drift of the machine hits both. Printed: the median steps and the median of the paired
ratios. Target: at most 1.05.
"""

from __future__ import annotations

import argparse
import copy
import io
import statistics
import time
import warnings

import onnx
import torch
import torchvision
from torch import Tensor, nn

from fnac.importer import import_onnx


def reimported(net: nn.Module, size: int) -> nn.Module:
    """Return the network after a way through ONNX, trainable (BN kept)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            copy.deepcopy(net),
            (torch.randn(2, 3, size, size),),
            buffer,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    return import_onnx(onnx.load_from_string(buffer.getvalue()))


def step_ms(net: nn.Module, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor) -> float:
    """Take one training step; return its milliseconds."""
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(images), labels).backward()
    optimizer.step()
    if images.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", nargs="?", default="mobilenet_v2")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile both networks")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    native = torchvision.models.get_model(arguments.network, weights=None).eval()
    for part in native.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # the exporter drops it; both networks must do the same work
    ours = reimported(native, arguments.size)
    pair: list[nn.Module] = [n.train().to(arguments.device) for n in (native, ours)]
    optimizers = [torch.optim.SGD(n.parameters(), 0.01, momentum=0.9) for n in pair]
    if arguments.compile:
        pair = [torch.compile(n) for n in pair]  # type: ignore[misc]
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    images = images.to(arguments.device)
    labels = torch.randint(0, 1000, (arguments.batch,), device=arguments.device)
    for _ in range(3):
        for net, optimizer in zip(pair, optimizers):
            step_ms(net, optimizer, images, labels)
    times: list[list[float]] = [[], []]
    for turn in range(arguments.pairs):
        for k in (0, 1) if turn % 2 == 0 else (1, 0):
            times[k].append(step_ms(pair[k], optimizers[k], images, labels))
    ratios = [b / a for a, b in zip(*times)]
    print(
        f"{arguments.device}, batch {arguments.batch}, {arguments.size}x{arguments.size}, "
        f"{arguments.pairs} pairs" + (", compiled" if arguments.compile else "")
    )
    print(f"native    {statistics.median(times[0]):8.2f} ms")
    print(f"imported  {statistics.median(times[1]):8.2f} ms")
    print(f"ratio     {statistics.median(ratios):8.4f} (median of pairs; target <= 1.05)")


if __name__ == "__main__":
    main()
