"""Every pass by its name on the command line; modules are imported on demand."""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from typing import Any

from .base import Pass
from .errors import PipelineError
from .names import did_you_mean

# name -> module:attribute; the attribute is a Pass class, or a tuple of passes (a pipeline)
PASSES: dict[str, str] = {
    "attach-detections": "emit.attach_detections:AttachDetections",
    "attach-head": "heads.attach_head:AttachHead",
    "attach-keypoints": "emit.attach_keypoints:AttachKeypoints",
    "attach-postprocess": "emit.attach_postprocess:AttachPostprocess",
    "choose": "super_network.choose:Choose",
    "clean": "emit.clean:Clean",
    "convert-float16": "emit.convert_float16:ConvertFloat16",
    "convert-float32": "prepare.convert_float32:ConvertFloat32",
    "cut-classifier": "heads.cut_classifier:CutClassifier",
    "dequantize-weights": "normalize.dequantize_weights:DequantizeWeights",
    "drop-identity": "normalize.drop_identity:DropIdentity",
    "drop-zero-bias": "normalize.drop_zero_bias:DropZeroBias",
    "fold-batchnorm": "emit.fold_batchnorm:FoldBatchNorm",
    "fold-shape-arithmetic": "normalize.fold_shape_arithmetic:FoldShapeArithmetic",
    "follow-sizes": "prepare.follow_sizes:FollowSizes",
    "group-conv": "grow.group_conv:GroupConv",
    "grow-depth": "grow.grow_depth:GrowDepth",
    "grow-width": "grow.grow_width:GrowWidth",
    "lift-constants": "normalize.lift_constants:LiftConstants",
    "make-batch-symbolic": "normalize.make_batch_symbolic:MakeBatchSymbolic",
    "make-size-symbolic": "emit.make_size_symbolic:MakeSizeSymbolic",
    "make-channels-first": "prepare.make_channels_first:MakeChannelsFirst",
    "merge-pad": "normalize.merge_pad:MergePad",
    "mix": "super_network.mix:Mix",
    "narrow-hidden": "shrink.narrow_hidden:NarrowHidden",
    "normalize": "normalize.pipeline:PIPELINE",
    "open-activations": "prepare.open_activations:OpenActivations",
    "raise-opset": "normalize.raise_opset:RaiseOpset",
    "randomize": "grow.randomize:Randomize",
    "replace-classes": "heads.replace_classes:ReplaceClasses",
    "resolve-auto-pad": "normalize.resolve_auto_pad:ResolveAutoPad",
    "restore-batchnorm": "prepare.restore_batchnorm:RestoreBatchNorm",
    "set-output-stride": "heads.set_output_stride:SetOutputStride",
    "state-opset": "emit.state_opset:StateOpset",
    "store-weights": "prepare.store_weights:StoreWeights",
    "take-pixels": "emit.take_pixels:TakePixels",
    "take-floats": "prepare.take_floats:TakeFloats",
    "unify-clip": "normalize.unify_clip:UnifyClip",
    "unify-linear": "normalize.unify_linear:UnifyLinear",
    "unify-pooling": "normalize.unify_pooling:UnifyPooling",
    "use-stored-statistics": "prepare.use_stored_statistics:UseStoredStatistics",
    "widen-kernel": "grow.widen_kernel:WidenKernel",
}

_ITEM = re.compile(r"\s*([a-z0-9-]+)\s*(?:\{([^{}]*)\})?\s*")


def resolve(name: str) -> type[Pass] | tuple[Pass, ...]:
    """Return the pass class (or pipeline of passes) called ``name``.

    Raises PipelineError listing the known names.
    """
    if name not in PASSES:
        raise PipelineError(
            f"no pass is called {name!r}{did_you_mean(name, PASSES)}; known: "
            f"{', '.join(sorted(PASSES))}"
        )
    module, attribute = PASSES[name].split(":")
    kind: type[Pass] | tuple[Pass, ...] = getattr(
        importlib.import_module(f".{module}", __package__), attribute
    )
    return kind


def parse_pipeline(text: str) -> list[Pass]:
    """Read ``name,name{argument=value,...}`` into passes, in order.

    Raises PipelineError saying what is wrong and what is known.
    """
    passes: list[Pass] = []
    position = 0
    while position < len(text):
        match = _ITEM.match(text, position)
        end = match.end() if match else position
        if not match or (end < len(text) and text[end] != ","):
            raise PipelineError(
                f"pipeline {text!r}: cannot read {text[position:]!r}; "
                "write name,name{argument=value}"
            )
        name, arguments = match.groups()
        kind = resolve(name)
        if isinstance(kind, tuple):
            if arguments:
                raise PipelineError(f"{name}: takes no arguments; it stands for several passes")
            passes.extend(kind)
        else:
            passes.append(make(kind, arguments or ""))
        position = end + 1
    if not passes:
        raise PipelineError("the pipeline is empty; write name,name{argument=value}")
    return passes


def make(kind: type[Pass], arguments: str) -> Pass:
    """Build a pass from ``key=value,key=value``; lists are written ``3+5+7``."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    types = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in arguments.split(","))):
        key, equals, value = item.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or key not in fields:
            known = ", ".join(fields) or "none"
            raise PipelineError(
                f"{kind.name}: no argument {item!r}{did_you_mean(key, fields)}; arguments: {known}"
            )
        values[key] = _convert(kind.name, key, value.strip(), types[key])
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"{kind.name}: {error}") from error


def _convert(owner: str, key: str, value: str, hint: Any) -> Any:
    options = [t for t in (typing.get_args(hint) or (hint,)) if t is not type(None)]
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_convert(owner, key, part, inner) for part in value.split("+") if part)
    for kind in options:
        if typing.get_origin(kind) is tuple:
            return _convert(owner, key, value, kind)
        if kind is bool and value.lower() in ("true", "false", "yes", "no", "1", "0"):
            return value.lower() in ("true", "yes", "1")
        if kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
        if kind is str:
            return value
    names = " or ".join(getattr(t, "__name__", str(t)) for t in options)
    raise PipelineError(f"{owner}: {key}={value!r} was given; wanted {names}")
