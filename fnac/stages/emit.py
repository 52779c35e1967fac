"""``emit``: turn the finished network into the file to deploy.

Dropout goes, BN is folded, what only training or the exporter needed goes, answers come out (labels
for segmentation, boxes for detection, keypoints for pose), and every node carries its MAdds.
A profile lies beside the file and describes it: ``profile.json`` and ``profile.csv`` beside
``model.onnx``, ``NAME.profile.json`` and ``NAME.profile.csv`` beside ``NAME.onnx``. The ``paper``
figures in it are counted before BN is folded, since folding adds the biases that this convention
counts.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import logging
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.base import Pass
from fnac.passes.cost import Profile, profile
from fnac.passes.emit.attach_detections import AttachDetections
from fnac.passes.emit.attach_keypoints import AttachKeypoints
from fnac.passes.emit.attach_postprocess import AttachPostprocess
from fnac.passes.emit.clean import Clean
from fnac.passes.emit.convert_float16 import ConvertFloat16
from fnac.passes.emit.detector_answers import DetectorAnswers
from fnac.passes.emit.fold_batchnorm import FoldBatchNorm
from fnac.passes.emit.make_size_symbolic import MakeSizeSymbolic
from fnac.passes.emit.state_opset import StateOpset
from fnac.passes.emit.take_pixels import TakePixels
from fnac.passes.files import write_atomically
from fnac.passes.graph import Graph
from fnac.passes.graph.layout import image_axes, sides
from fnac.passes.graph.model_checks import OPSETS
from fnac.passes.manager import PassManager
from fnac.passes.normalize.drop_identity import DropIdentity
from fnac.passes.normalize.fold_shape_arithmetic import FoldShapeArithmetic
from fnac.passes.normalize.lift_constants import LiftConstants
from fnac.passes.normalize.raise_opset import RaiseOpset
from fnac.passes.running.run import check_runs
from fnac.passes.running.runner import Runner
from fnac.stages.deployment.kit import Costs, beside, has_contract, write_kit
from fnac.stages.opening.canonical import leave_training_mode
from fnac.stages.opening.half_range import check_half_range
from fnac.stages.opening.uncounted import tell_uncounted

ANY = 224  # pixels of a side that the network leaves open, to count at

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EmitSettings(DetectorAnswers):
    """How to emit. Fields are the options of ``fnac emit``.

    ``no_postprocess``  output raw logits, box deltas or heatmaps
    ``labels``          number type of the labels: ``int64`` or ``uint8``
    ``any_size``        free height and width, for images of other sizes than the network's
    ``fp16``            store and compute in float16; inputs and outputs stay float32
    ``int8``            quantize, calibrated on images of ``--data``
    ``calibration``     images that int8 is calibrated on
    ``size``            (H, W) the MAdds are counted at; None: the file's own
    ``preprocess``      ``inside``: the file takes uint8 (N, H, W, 3), RGB, and normalises itself;
                        ``outside``: float32 (N, 3, H, W), normalised as its contract says
    ``opset``           ONNX operator set that the file states; None: the lowest that it needs. IR
                        follows from it
    ``no_verify``       skip the proof after every pass
    """

    section: ClassVar[str] = "emit"

    no_postprocess: bool = False
    labels: str = "int64"
    any_size: bool = False
    fp16: bool = False
    int8: bool = False
    calibration: int = 100
    size: tuple[int, int] | None = None
    preprocess: Literal["outside", "inside"] = "outside"
    opset: int | None = None
    no_verify: bool = False

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.fp16 and self.int8:
            raise UsageError("--fp16 and --int8 were both given; wanted one precision")
        if self.labels not in ("int64", "uint8"):
            raise UsageError(f"labels={self.labels}; wanted int64 or uint8")
        if self.opset is not None and self.opset not in OPSETS:
            raise UsageError(
                f"--opset {self.opset}: wanted {OPSETS.start} to {OPSETS.stop - 1}, or none"
            )
        try:
            super().__post_init__()
        except ValueError as error:
            raise UsageError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class EmitResult:
    """The emitted file, its cost and how it was made.

    ``paper``   {"madds", "params"} in the paper's convention, before BN was folded
    ``ledger``  one entry a pass, as in ``ledger.json``
    """

    path: Path
    profile: Profile
    paper: dict[str, int]
    ledger: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return what ``profile.json`` holds."""
        return {**self.profile.as_json(), "paper": self.paper}


def pipeline(graph: Graph, settings: EmitSettings) -> list[Pass]:
    """Return the passes that finish ``graph``, in order."""
    passes: list[Pass] = [
        LiftConstants(),  # a weight behind Identity or Constant is a weight
        FoldShapeArithmetic(declared=not settings.any_size, weights=True),
        DropIdentity(),  # Dropout between a convolution and its BN would hide one from the other
        FoldBatchNorm(),
        Clean(),
    ]
    if settings.any_size:
        passes.append(MakeSizeSymbolic())
    halves: list[Pass] = [ConvertFloat16()] if settings.fp16 else []
    if settings.no_postprocess:
        return passes + halves
    match graph.manifest.get("task"):
        case "seg":  # float16 last: it casts whatever the outputs are by then
            return [*passes, AttachPostprocess(dtype=settings.labels), *halves]
        case "det":  # boxes stay in float32: in float16 a corner at 1000 is half a pixel off
            return [*passes, *halves, AttachDetections(**dataclasses.asdict(settings.answers()))]
        case "pose":  # pixels of the input as well
            return [*passes, *halves, AttachKeypoints()]
    return passes + halves


def as_emitted(graph: Graph, settings: EmitSettings) -> Graph:
    """Return a copy that the passes of ``emit`` have finished, unproven: what to time.

    It keeps its size and stays in float32 where int8 is asked for, which needs images.
    """
    finished = graph.copy()
    settings = dataclasses.replace(settings, any_size=False)
    PassManager(verify=False).run(pipeline(finished, settings), finished)
    return finished


def emit(
    model: Path,
    out: Path,
    settings: EmitSettings,
    *,
    images: np.ndarray | None = None,
    dump: Path | None = None,
    named: str | None = None,
    kit: bool = True,
    loaded: Graph | None = None,
) -> EmitResult:
    """Emit ``model`` as ``out``, with its profile and deployment files.

    images  (N, C, H, W) float32, preprocessed: what int8 is calibrated on
    dump    folder that gets the graph after each pass
    named   the name that the file will have in the end; what lies beside is named after it
    kit     write contract, example and model card, where the network has a task
    loaded  what ``model`` holds, where it is loaded already; it is changed

    Raises UsageError for int8 without images, and what the passes raise.
    """
    if settings.int8 and images is None:
        raise UsageError("--int8 needs --data SPEC: images to calibrate on")
    graph = Graph.load(model) if loaded is None else loaded
    graph.check_finite()
    manager = PassManager(verify=not settings.no_verify, dump=dump)
    if manager.verify:
        _check_it_runs(graph, model, manager.runner)
    leave_training_mode(graph, manager)
    size = _counted_at(graph, settings)
    before = profile(graph, size, "paper")
    for one in pipeline(graph, settings):
        if isinstance(one, ConvertFloat16) and manager.verify:
            check_half_range(graph, manager.runner, model)
        manager.run([one], graph)
    for entry in manager.ledger:
        if entry.name == MakeSizeSymbolic.name and entry.report.left:
            reason = next(iter(entry.report.left.values()))
            raise UnsupportedGraphError(f"{model}: any_size: {reason}; emit it without any_size")
        if entry.name == ConvertFloat16.name and entry.report.left:
            reason = next(iter(entry.report.left.values()))
            raise UnsupportedGraphError(f"{model}: fp16: {reason}; emit it without --fp16")
    graph.manifest["role"] = "model"
    if settings.int8:
        assert images is not None
        from fnac.stages.deployment.quantize import quantize

        graph = quantize(graph, images[: settings.calibration])
    if settings.preprocess == "inside":
        _take_pixels(graph, manager, model)
    _state_opset(graph, manager, settings.opset, model)
    counted = profile(graph, size)
    tell_uncounted(graph)
    for node, cost in zip(graph.nodes, counted.nodes, strict=True):
        node.metadata["fnac.madds"] = str(cost.madds)
    graph.save(out)
    result = EmitResult(
        path=out,
        profile=counted,
        paper={"madds": before.madds, "params": before.params},
        ledger=[entry.as_json() for entry in manager.ledger],
    )
    write_profile(result, out.with_name(named or out.name))
    if kit and has_contract(graph):
        write_kit(out, Costs(counted.madds, counted.params), named=named)
    return result


def _counted_at(graph: Graph, settings: EmitSettings) -> tuple[int, int] | None:
    """Return the size that MAdds are counted at; None: the network takes no images."""
    size = settings.size or graph.image_size()
    if size is not None:
        return size
    for tensor in graph.inputs:
        axes = image_axes(tensor)
        if axes is not None:
            free = [d if isinstance(d, int) else ANY for d in sides(tensor.shape, axes)]
            logger.info(
                "the network takes images of any size: its MAdds are counted at %dx%d; "
                "emit.size is another size to count at",
                *free,
            )
            return free[0], free[1]
    return None


def _take_pixels(graph: Graph, manager: PassManager, where: Path) -> None:
    manager.run([TakePixels()], graph)
    left = manager.ledger[-1].report.left
    if left:
        raise UnsupportedGraphError(
            f"{where}: --preprocess inside: {next(iter(left.values()))}; emit it without"
        )


def _state_opset(graph: Graph, manager: PassManager, opset: int | None, where: Path) -> None:
    """State the lowest operator set that the file needs, or ``opset``."""
    raising = [RaiseOpset(opset)] if opset is not None else []
    manager.run([*raising, StateOpset(opset)], graph)
    for entry in manager.ledger[-1 - len(raising) :]:
        if opset is not None and entry.report.left:
            why = next(iter(entry.report.left.values()))
            raise UsageError(f"{where}: --opset {opset}: {why}; leave --opset out")


def _check_it_runs(graph: Graph, where: Path, runner: Runner) -> None:
    try:
        check_runs(graph, runner)
    except UnsupportedGraphError as error:
        raise UnsupportedGraphError(f"{where}: {error}") from error


def write_profile(result: EmitResult, model: Path) -> None:
    """Write the profile of the emitted file, which will be called ``model``."""
    text = json.dumps(result.as_json(), indent=1) + "\n"
    write_atomically(beside(model, "profile.json"), text.encode())
    table = io.StringIO()
    columns = ["name", "op", "part", "madds", "params", "output_shape", "activation_bytes"]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    for node in result.profile.nodes:
        row = dataclasses.asdict(node)
        row["output_shape"] = "x".join(str(side) for side in node.output_shape)
        writer.writerow(row)
    write_atomically(beside(model, "profile.csv"), table.getvalue().encode())
