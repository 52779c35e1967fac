"""Any classifier of torchvision or timm as trainable ONNX, through torch's own exporter.

So are the segmentation networks of torchvision.

The module is exported in inference form without optimisation, which keeps every BN; what the
exporter computes from shapes is folded, weights are not, so that they keep their names in the
state_dict.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import nn

from ..errors import ModelError, WeightsError
from ..onnx_version import OPSET
from .weights import read_weights


@dataclass(frozen=True)
class LibraryNetwork:
    """A network in inference form, and how to prepare its images.

    ``size`` is (H, W) in pixels; ``mean`` and ``std`` are of RGB pixels in [0, 1]; ``licence``
    is what the library says about the weights.
    """

    name: str
    module: nn.Module
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str


def library_network(
    source: str,
    name: str,
    weights: str = "imagenet",
    classes: int | None = None,
    random_seed: int = 0,
) -> LibraryNetwork:
    """Build ``name`` of ``source`` with published weights, weights of a file, or random ones.

    Raises ModelError naming the extra that is missing or networks of similar names, WeightsError
    when the weights cannot be had.
    """
    build = _timm if source == "timm" else _torchvision
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constructors about their own defaults
        torch.manual_seed(random_seed)
        network = build(name, weights == "imagenet", classes)
    if weights not in ("imagenet", "none"):
        _load(network.module, Path(weights))
    network.module.eval()
    return network


def export_library_network(network: LibraryNetwork, size: tuple[int, int]) -> onnx.ModelProto:
    """Write the network as ONNX with a symbolic batch; input ``input``, output ``logits``.

    Raises ModelError when onnxscript is missing, torch cannot export the network, or the network
    is not one image in, one tensor out.
    """
    _require("onnxscript", "onnxscript")
    import onnxscript.optimizer

    image = torch.zeros(2, 3, *size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            output = network.module(image)
        except (AssertionError, RuntimeError, ValueError, TypeError) as error:
            # whatever the library's own checks of its input raise
            reason = str(error).strip().split("\n")[0]
            raise ModelError(
                f"{network.name}: it does not take images of {size[0]}x{size[1]} ({reason}); "
                "leave --size out, or give another"
            ) from error
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"{network.name}: it leaves {type(output).__name__}, not one tensor; wanted a "
                "classifier or a segmentation network"
            )
        try:
            with _quiet():
                program = torch.onnx.export(
                    network.module,
                    (image,),
                    dynamo=True,
                    optimize=False,
                    verbose=False,
                    opset_version=OPSET,
                    input_names=["input"],
                    output_names=["logits"],
                    dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().split("\n")[0]
            raise ModelError(f"{network.name}: torch cannot export it ({reason})") from error
    assert program is not None
    own = set(network.module.state_dict())

    def keep_weights(node: Any) -> bool | None:
        reads = any(value is not None and value.name in own for value in node.inputs)
        return False if reads and node.op_type != "Shape" else None

    for _ in range(2):  # what is folded first makes more foldable
        onnxscript.optimizer.fold_constants_ir(program.model, should_fold=keep_weights)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    return program.model_proto


class _OutAlone:
    """Makes a segmentation network return its scores instead of a mapping that holds them."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        maps = super().forward(picture)  # type: ignore[misc]
        return cast(torch.Tensor, maps["out"])


def _torchvision(name: str, pretrained: bool, classes: int | None) -> LibraryNetwork:
    import torchvision.models as zoo

    segmenters = zoo.list_models(module=zoo.segmentation)
    known = zoo.list_models(module=zoo) + segmenters
    if name not in known:
        if name in zoo.list_models():
            raise ModelError(
                f"torchvision:{name}: image classifiers and segmentation networks with float "
                "weights are exported, and it is neither; export the classifier that it is made "
                "from, and give it a head with --task"
            )
        raise ModelError(f"torchvision:{name}: {_similar(name, known)}")
    segments = name in segmenters
    if segments and pretrained and classes is not None:
        raise ModelError(
            f"torchvision:{name}: its published weights are of its own classes; export them, then "
            f"fnac expand --task seg --head own --classes {classes} re-initialises the last layer"
        )
    published = zoo.get_model_weights(name).DEFAULT
    try:
        weights = published if pretrained else None
        options: dict[str, Any] = {} if pretrained or classes is None else {"num_classes": classes}
        if segments and not pretrained:
            options["weights_backbone"] = None
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            module = zoo.get_model(name, weights=weights, progress=False, **options)
    except (OSError, RuntimeError) as error:
        raise _not_downloaded(f"torchvision:{name}", error) from error
    if segments:
        module.__class__ = type(type(module).__name__, (_OutAlone, type(module)), {})
    prepare = published.transforms()
    side = int((prepare.resize_size if segments else prepare.crop_size)[0])
    network = LibraryNetwork(
        f"torchvision:{name}",
        module,
        (side, side),
        tuple(prepare.mean),
        tuple(prepare.std),
        "BSD-3-Clause (torchvision)",
    )
    return _with_classes(network, classes) if pretrained else network


def _timm(name: str, pretrained: bool, classes: int | None) -> LibraryNetwork:
    _require("timm", "timm")
    import timm
    import timm.data

    if not timm.is_model(name):
        raise ModelError(f"timm:{name}: {_similar(name, timm.list_models())}")
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module: Any = timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError) as error:
        raise _not_downloaded(f"timm:{name}", error) from error
    config = timm.data.resolve_model_data_config(module)
    _, height, width = config["input_size"]
    licence = module.pretrained_cfg.get("license") or "unknown licence"
    return LibraryNetwork(
        f"timm:{name}",
        module,
        (int(height), int(width)),
        tuple(config["mean"]),
        tuple(config["std"]),
        f"{licence} (timm)",
    )


def _with_classes(network: LibraryNetwork, classes: int | None) -> LibraryNetwork:
    """Give a torchvision network with published weights a fresh last layer, if asked for."""
    if classes is None:
        return network
    linear = [(n, m) for n, m in network.module.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise ModelError(
            f"{network.name}: it does not end in a linear layer that could get {classes} "
            f"classes; --task cls --classes {classes} puts a classifier on its features"
        )
    name, old = linear[-1]
    owner, _, last = name.rpartition(".")
    fresh = nn.Linear(old.in_features, classes)
    setattr(network.module.get_submodule(owner), last, fresh)
    return network


def _load(module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(read_weights(path))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise WeightsError(f"{path}: does not fit the network: {' '.join(lines[:3])}") from error


def _require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ModelError(
            f"{package} is not installed; networks of timm and torchvision need it: "
            f"pip install -e '.[{extra}]' in the clone of fnac"
        )


def _similar(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 3)
    return "no such network" + (f"; similar: {', '.join(close)}" if close else "")


def _not_downloaded(name: str, error: Exception) -> WeightsError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return WeightsError(
        f"{name}: its weights could not be downloaded ({reason}); give a local copy with "
        "--weights FILE, or --weights none for a random start"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints and logs about torchvision's own operators."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch", "onnxscript")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
