"""``eval``: the metric of a network on a split, measured on the file in onnxruntime, or in torch.

Both do the same: every picture is resized to the evaluation size (``EvalTransform``: bilinear with
antialias; the mask nearest), the network's logits are resized to it where they are smaller, and
arg-max and mask are compared there. All pixels of the split go into one confusion matrix.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from torch import Tensor, nn

from fnac.data.loader import EpochLoader
from fnac.data.source import IGNORE, Dataset, DataSource
from fnac.data.transforms import IMAGENET_MEAN, IMAGENET_STD, EvalTransform, Triple
from fnac.errors import DataError, UnsupportedGraphError, UsageError
from fnac.progress import StepProgress
from fnac.tasks.mean_iou import MeanIoU
from fnac.tasks.segmentation import fit_logits

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called after each batch with the pictures done and the pictures in all."""

_SESSION_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel",
        "NoSuchFile", "NotImplemented", "RuntimeException",
    )
)  # fmt: skip


@dataclass(frozen=True)
class EvalResult:
    """What was measured: ``value`` in percent over ``images`` pictures at ``size`` (H, W)."""

    metric: str
    value: float
    images: int
    size: tuple[int, int]
    split: str
    runtime: str
    per_class: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what ``fnac eval --json`` prints."""
        return {
            "metric": self.metric,
            "value": self.value,
            "images": self.images,
            "size": list(self.size),
            "split": self.split,
            "runtime": self.runtime,
            "per_class": dict(self.per_class),
        }


def evaluate_onnx(
    path: Path | str,
    source: DataSource,
    split: str = "val",
    size: tuple[int, int] | None = None,
    *,
    batch_size: int = 1,
    limit: int | None = None,
    device: str = "auto",
    threads: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    shown: bool = True,
) -> EvalResult:
    """Measure the file at ``path`` on a split of ``source`` in onnxruntime.

    size: evaluation size (H, W); default: the file's fixed input size, else its manifest's.
    batch_size: used where the file's batch is symbolic. limit: only the first pictures.
    device: ``auto`` (CUDA where there is one), ``cuda`` or ``cpu``; threads: onnxruntime's
    intra-op threads, 0 = its choice. shown: a bar on a terminal's stderr, plain lines elsewhere
    where it takes long.

    The file may put out logits (N, C, h, w) or class ids (N, H, W) or (N, 1, H, W). Raises
    UnsupportedGraphError for a file that cannot be run or puts out something else, UsageError
    where it does not fit the data set or the size, DataError where there is nothing to count.
    """
    network = OnnxNetwork(Path(path), device=device, threads=threads)
    size = network.evaluation_size(size)
    mean, std, color = preprocessing(network.manifest)
    return _evaluate(
        network,
        source.split(split),
        EvalTransform(size, mean, std, color),
        source.classes,
        batch_size=network.fixed_batch or batch_size,
        limit=limit,
        workers=workers,
        progress=progress,
        shown=shown,
        where=str(path),
        result=("onnxruntime", split),
    )


def evaluate_module(
    module: nn.Module,
    source: DataSource,
    split: str = "val",
    size: tuple[int, int] | None = None,
    *,
    mean: Triple = IMAGENET_MEAN,
    std: Triple = IMAGENET_STD,
    color: str = "RGB",
    manifest: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    workers: int = 1,
    dataset: Dataset | None = None,
    progress: Progress | None = None,
    shown: bool = False,
) -> EvalResult:
    """Measure a torch module as ``evaluate_onnx`` measures a file; its mode is put back after.

    ``manifest`` gives size and preprocessing where they are not given; ``dataset`` stands in for
    ``source.split(split)`` (a cached one). In a distributed run each rank measures all of it.
    """
    if manifest is not None:
        mean, std, color = preprocessing(manifest)
    size = size or manifest_size(manifest or {})
    if size is None:
        raise UsageError("evaluation size: found none; wanted (height, width), or a manifest")
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    training = module.training
    module.eval()

    def predict(images: Tensor) -> Tensor:
        outputs = module(images.to(device, non_blocking=True))
        return outputs[0] if isinstance(outputs, (tuple, list)) else outputs

    try:
        with torch.inference_mode():
            return _evaluate(
                predict,
                source.split(split) if dataset is None else dataset,
                EvalTransform(size, mean, std, color),
                source.classes,
                batch_size=batch_size,
                limit=limit,
                workers=workers,
                progress=progress,
                shown=shown,
                where="network",
                result=("torch", split),
            )
    finally:
        module.train(training)


def predict_first(
    path: Path, dataset: Dataset, count: int, size: tuple[int, int] | None = None
) -> list[Tensor]:
    """Return the class ids (H, W) that an ONNX file gives the first ``count`` pictures."""
    network = OnnxNetwork(path)
    at = network.evaluation_size(size)
    transform = EvalTransform(at, *preprocessing(network.manifest))
    labels = []
    for index in range(min(count, len(dataset))):
        output = network(transform(*dataset[index])[0].unsqueeze(0))
        classes = output.shape[1] if output.is_floating_point() else IGNORE
        labels.append(_class_ids(output, at, classes, str(path))[0])
    return labels


class OnnxNetwork:
    """An ONNX file in an onnxruntime session: tensors in, first output out."""

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        if not path.is_file():
            raise UnsupportedGraphError(f"{path}: no such file; wanted an ONNX file")
        self.path = path
        self.session = open_session(path, device, threads)
        self.manifest = _read_manifest(self.session)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            found = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise UnsupportedGraphError(
                f"{path}: inputs {found}; wanted one picture input (N, 3, H, W)"
            )
        self._input = inputs[0]
        self._dtype = np.float16 if "float16" in inputs[0].type else np.float32

    @property
    def fixed_batch(self) -> int | None:
        """The batch the file insists on, or None."""
        first = self._input.shape[0]
        return first if isinstance(first, int) and first > 0 else None

    def evaluation_size(self, asked: tuple[int, int] | None) -> tuple[int, int]:
        """Return (H, W): what was asked, else the fixed input size, else the manifest's.

        Raises UsageError where the file has a fixed size and another was asked, or none is known.
        """
        dims = [d if isinstance(d, int) and d > 0 else None for d in self._input.shape[2:]]
        if asked is not None:
            if any(d is not None and d != a for d, a in zip(dims, asked, strict=True)):
                raise UsageError(
                    f"--size {asked[0]}x{asked[1]}: {self.path} takes {dims[0]}x{dims[1]} only; "
                    "leave --size away"
                )
            return asked
        if dims[0] is not None and dims[1] is not None:
            return dims[0], dims[1]
        size = manifest_size(self.manifest)
        if size is None:
            raise UsageError(
                f"{self.path}: neither a fixed input size nor one in its manifest; say --size HxW"
            )
        return size

    def __call__(self, images: Tensor) -> Tensor:
        """Run float32 (n, 3, H, W); a batch shorter than the file's fixed one is filled up."""
        count = images.shape[0]
        batch = images.numpy().astype(self._dtype, copy=False)
        if self.fixed_batch is not None and count < self.fixed_batch:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self.fixed_batch - count, axis=0)])
        try:
            output = self.session.run(None, {self._input.name: batch})[0]
        except _SESSION_ERRORS as error:
            raise UnsupportedGraphError(
                f"{self.path}: does not run on input {batch.shape} ({_first_line(error)})"
            ) from error
        return torch.from_numpy(np.ascontiguousarray(output[:count]))


def preprocessing(manifest: Mapping[str, Any]) -> tuple[Triple, Triple, str]:
    """Return mean, std (on pixels / 255) and colour order; ImageNet's where the file says none."""
    stated = manifest.get("preprocessing")
    if not stated:
        logger.warning("no preprocessing in the file: ImageNet's mean and std are used")
        return IMAGENET_MEAN, IMAGENET_STD, "RGB"
    mean, std = tuple(stated["mean"]), tuple(stated["std"])
    return mean, std, str(stated.get("color", "RGB"))


def manifest_size(manifest: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the manifest's (H, W), or None."""
    size = manifest.get("size")
    return (int(size[0]), int(size[1])) if size else None


def _evaluate(
    predict: Callable[[Tensor], Tensor],
    dataset: Dataset,
    transform: EvalTransform,
    classes: list[str],
    *,
    batch_size: int,
    limit: int | None,
    workers: int,
    progress: Progress | None,
    shown: bool,
    where: str,
    result: tuple[str, str],
) -> EvalResult:
    runtime, split = result
    images = len(dataset) if limit is None else min(limit, len(dataset))
    if images < 1:
        cut = "" if limit is None else f", limited to {limit}"
        raise DataError(
            f"eval: split '{split}' has {len(dataset)} pictures{cut}; wanted at least 1 to measure"
        )
    loader = EpochLoader(
        dataset, transform, batch_size, workers=workers, shuffle=False, drop_last=False
    )
    steps = -(-images // batch_size)
    metric = MeanIoU(len(classes))
    done = 0
    with StepProgress("eval", images, unit="picture", brief=True, shown=shown) as shows:
        for inputs, masks in _no_more_than(loader.iterate(0, steps), images):
            labels = _class_ids(predict(inputs), transform.size, len(classes), where)
            metric.update(labels.cpu(), masks)
            done += len(inputs)
            shows.advance(done)
            if progress is not None:
                progress(done, images)
    value = metric.compute()
    if math.isnan(value):
        raise DataError(
            f"eval: in {images} pictures of split '{split}' every pixel is {IGNORE} (not counted); "
            "wanted at least one of a class"
        )
    per_class = dict(zip(classes, metric.per_class(), strict=True))
    return EvalResult(metric.name, value, images, transform.size, split, runtime, per_class)


def _no_more_than(
    batches: Iterator[tuple[Tensor, Tensor]], images: int
) -> Iterator[tuple[Tensor, Tensor]]:
    for inputs, masks in batches:
        yield inputs[:images], masks[:images]
        images -= len(inputs)


def _class_ids(output: Tensor, size: tuple[int, int], classes: int, where: str) -> Tensor:
    """Turn what a network puts out into class ids (N, H, W) at the evaluation size."""
    if output.is_floating_point() and output.ndim == 4:
        if output.shape[1] != classes:
            raise UsageError(
                f"{where}: {output.shape[1]} classes; the data set has {classes}; "
                "use the data set it was made for"
            )
        return fit_logits(output.float(), size).argmax(dim=1)
    labels = output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output
    if output.is_floating_point() or labels.ndim != 3 or tuple(labels.shape[1:]) != size:
        raise UnsupportedGraphError(
            f"{where}: output {tuple(output.shape)} {output.dtype}; wanted logits "
            f"(N, {classes}, h, w) or class ids (N, {size[0]}, {size[1]})"
        )
    highest = int(labels.max())
    if highest >= classes:
        raise UsageError(
            f"{where}: predicts class {highest}; the data set has {classes} (0..{classes - 1}); "
            "use the data set it was made for"
        )
    return labels.long()


def open_session(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """Load a file on ``device`` (auto, cuda, cpu), errors only in the log; threads 0 = its choice.

    Raises UnsupportedGraphError where onnxruntime refuses the file, UsageError for ``cuda``
    without a CUDA device; where CUDA then fails it runs on the CPU, and a warning says so once.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    providers: list[Any] = ["CPUExecutionProvider"]
    offered = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device != "cpu" and offered and torch.cuda.is_available():
        onnxruntime.preload_dlls()
        # TF32 would move logits by 1e-3; the number must be the same as on a CPU.
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    elif device == "cuda":
        raise UsageError("--device cuda: onnxruntime sees no CUDA device; wanted one, or cpu")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _SESSION_ERRORS as error:
        raise UnsupportedGraphError(
            f"{path}: onnxruntime cannot load it ({_first_line(error)}); wanted an ONNX network"
        ) from error
    if len(providers) > len(session.get_providers()):
        logger.warning("onnxruntime could not use CUDA for %s: it runs on the CPU", path.name)
    return session


def _read_manifest(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get("fnac")
    if not text:
        return {}
    try:
        manifest = json.loads(text)
    except json.JSONDecodeError:
        logger.warning("the file's fnac manifest is not JSON: it is left aside")
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
