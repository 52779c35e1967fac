"""An ONNX file as a callable on tensors, run by onnxruntime."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from fnac.data.preprocessing import manifest_size, state_pixels
from fnac.errors import FileNotThereError, UnsupportedGraphError, UsageError
from fnac.passes.graph import Graph
from fnac.passes.graph.model_checks import one_line

from .sessions import SESSION_ERRORS, open_session

logger = logging.getLogger(__name__)

FOLLOW_ARGMAX = ("Cast", "Squeeze", "Unsqueeze", "Identity", "Reshape")
"""Operators that may stand between an arg-max and the output."""
DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
"""Type of an input as onnxruntime spells it -> numpy's."""


class OnnxNetwork:
    """An ONNX file in an onnxruntime session: images in, named outputs out.

    with_scores  a file that ends in an arg-max also outputs, last, the scores that it chose from
    """

    def __init__(
        self, path: Path, *, device: str = "auto", threads: int = 0, with_scores: bool = False
    ) -> None:
        if not path.is_file():
            raise FileNotThereError(f"{path}: no such file; wanted an ONNX file")
        self.path = path
        self.session = open_session(path, device, threads)
        if with_scores and "int" in self.session.get_outputs()[0].type:
            self.session = _session_with_scores(path, device, threads) or self.session
        self.manifest = _read_manifest(self.session)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in DTYPES:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise UnsupportedGraphError(
                f"{path}: inputs {shapes}; wanted one input of images, (N, 3, H, W) or "
                "(N, H, W, 3), of floats or uint8"
            )
        self._input = inputs[0]
        self._dtype = DTYPES[inputs[0].type]
        self._channels_last = inputs[0].shape[3] == 3 and inputs[0].shape[1] != 3
        channels = inputs[0].shape[1]
        if isinstance(channels, int) and channels not in (0, 3) and not self._channels_last:
            raise UnsupportedGraphError(
                f"{path}: input {inputs[0].name} {inputs[0].shape} has {channels} "
                f"channel{'s' * (channels > 1)}; images have 3 (RGB); wanted (N, 3, H, W)"
            )
        if self._dtype == np.uint8:
            state_pixels(self.manifest)

    @property
    def fixed_batch(self) -> int | None:
        """The fixed batch size of the file, or None."""
        first = self._input.shape[0]
        return first if isinstance(first, int) and first > 0 else None

    @property
    def output_shapes(self) -> list[list[int | str | None]]:
        """The shapes of the outputs as the file states them."""
        return [list(output.shape) for output in self.session.get_outputs()]

    def evaluation_size(self, asked: tuple[int, int] | None) -> tuple[int, int]:
        """Return (H, W): the requested one, else the fixed input size, else the manifest's.

        Raises UsageError where the file has a fixed size and another was asked, or none is known.
        """
        shape = self._input.shape
        sides = shape[1:3] if self._channels_last else shape[2:]
        dims = [d if isinstance(d, int) and d > 0 else None for d in sides]
        if asked is not None:
            if any(d is not None and d != a for d, a in zip(dims, asked, strict=True)):
                raise UsageError(
                    f"--size {asked[0]}x{asked[1]}: {self.path} takes {dims[0]}x{dims[1]} only; "
                    "drop --size"
                )
            return asked
        if dims[0] is not None and dims[1] is not None:
            return dims[0], dims[1]
        size = manifest_size(self.manifest)
        if size is None:
            raise UsageError(
                f"{self.path}: neither a fixed input size nor one in its manifest; give --size HxW"
            )
        return size

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Run float32 (n, 3, H, W), prepared as the contract says.

        They are turned where the file takes (n, H, W, 3), and rounded where it takes pixels. A
        batch shorter than the file's fixed one is filled up. Raises UnsupportedGraphError where the
        file does not run, or answers NaN.
        """
        count = images.shape[0]
        batch = images.numpy()
        if self._channels_last:
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        if self._dtype == np.uint8:
            batch = np.rint(batch).clip(0, 255)
        batch = batch.astype(self._dtype, copy=False)
        if self.fixed_batch is not None and count < self.fixed_batch:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self.fixed_batch - count, axis=0)])
        try:
            outputs = self.session.run(None, {self._input.name: batch})
        except SESSION_ERRORS as error:
            raise UnsupportedGraphError(
                f"{self.path}: does not run on input {batch.shape} ({one_line(error)})"
            ) from error
        answers = {
            one.name: torch.from_numpy(np.ascontiguousarray(values[:count]))
            for one, values in zip(self.session.get_outputs(), outputs, strict=True)
        }
        for name, values in answers.items():
            if values.is_floating_point() and values.isnan().any():
                raise UnsupportedGraphError(
                    f"{self.path}: output {name} holds NaN; wanted numbers; its weights, "
                    "its float16 or the preprocessing (--mean, --std) may be to blame"
                )
        return answers


def _session_with_scores(
    path: Path, device: str, threads: int
) -> onnxruntime.InferenceSession | None:
    """Return a session with the scores as an extra output; None if no arg-max makes the first."""
    try:
        graph = Graph.load(path)
    except UnsupportedGraphError as error:
        logger.info("class ids are measured as %s puts them out (%s)", path.name, error)
        return None
    last = graph.producer(graph.outputs[0])
    while last is not None and last.op in FOLLOW_ARGMAX:
        last = graph.producer(last.inputs[0])
    if last is None or last.op != "ArgMax" or last.attrs.get("axis", 0) != 1:
        return None
    scores = last.inputs[0]
    if scores.dtype is None:
        graph.refresh_shapes()
    graph.put_outputs([*graph.outputs, scores])
    with tempfile.TemporaryDirectory() as folder:
        return open_session(graph.save(Path(folder) / path.name), device, threads)


def _read_manifest(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get("fnac")
    if not text:
        return {}
    try:
        manifest = json.loads(text)
    except json.JSONDecodeError:
        logger.warning("the file's fnac manifest is not JSON: it is ignored")
        return {}
    return manifest if isinstance(manifest, dict) else {}
