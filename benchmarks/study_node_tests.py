"""ONNX's own tests of single operators through the importer: what is refused, and why.

    python benchmarks/study_node_tests.py [-o docs/evidence/node_tests.md]

Every test is run as it is, and where that fails once more with everything but its first input
stored, as weights, sizes and axes are in a network. Outputs are held to the recorded ones (relative
1e-3, absolute 1e-5; of float16 2e-3, of bfloat16 2e-2), shape and type equal. The table has one row
a reason.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from studies import write_table

from fnac.errors import FnacError
from fnac.importer import import_onnx

HEADER = ("reason", "tests", "names")
NO_CONVERTER = re.compile(r"operator (\S+) of domain '([^']*)'")
TYPES = (
    (
        re.compile(r"not implemented for 'UInt(16|32|64)'"),
        "torch computes with no uint16 to uint64",
    ),
    (re.compile(r"can't convert np.ndarray of type"), "torch has no tensors of this type"),
)
PLACE = re.compile(r"^\S+( \(\w+\))?: ")


def why_not(model: onnx.ModelProto, sets: Sequence[tuple[Any, Any]]) -> str | None:
    """Say why a test does not pass; None: it does."""
    for inputs, outputs in sets:
        said = _why_not(model, [_array(i) for i in inputs], [_array(o) for o in outputs])
        if said is not None:
            return said
    return None


def with_stored_inputs(
    model: onnx.ModelProto, sets: Sequence[tuple[Any, Any]]
) -> tuple[onnx.ModelProto, list[tuple[Any, Any]]] | None:
    """Return a test with all inputs but its first as initializers; None where it cannot be."""
    have = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in have]
    if len(sets) != 1 or len(names) < 2 or len(names) != len(sets[0][0]):
        return None
    if any(isinstance(value, list) for value in sets[0][0]):
        return None  # a sequence cannot be stored
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    (inputs, outputs) = sets[0]
    for name, value in zip(names[1:], inputs[1:], strict=True):
        stored.graph.initializer.append(numpy_helper.from_array(_array(value), name))
    kept = [value for value in model.graph.input if value.name not in names[1:]]
    del stored.graph.input[:]
    stored.graph.input.extend(kept)
    return stored, [(inputs[:1], outputs)]


def _why_not(model: onnx.ModelProto, inputs: list[Any], outputs: list[Any]) -> str | None:
    try:
        module = import_onnx(model)
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            results = module(*[_tensor(array) for array in inputs])
        flat = list(results) if isinstance(results, tuple) else [results]
        for ours, theirs in zip(flat, outputs, strict=True):
            _check(ours, theirs)
    except FnacError as error:
        return _reason(str(error))
    except Exception as error:  # whatever it ends in is what the table is for
        return _reason(f"{type(error).__name__}: {error}")
    return None


def _check(ours: torch.Tensor, theirs: np.ndarray) -> None:
    expected = _tensor(theirs)
    if ours.shape != expected.shape or ours.dtype != expected.dtype:
        raise AssertionError(f"{ours.dtype} {list(ours.shape)} for {expected.dtype}")
    relative = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(expected.dtype, 1e-3)
    if not torch.allclose(
        ours.double(), expected.double(), rtol=relative, atol=1e-5, equal_nan=True
    ):
        raise AssertionError("other numbers")


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if isinstance(value, list) else np.asarray(value)


def _tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":  # numpy has it from a package that torch does not know
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, copy=True))


def _reason(words: str) -> str:
    told = NO_CONVERTER.search(words)
    if told:
        where = "" if told[2] in ("", "ai.onnx") else f" ({told[2]})"
        return f"no converter: {told[1]}{where}"
    for pattern, why in TYPES:
        if pattern.search(words):
            return why
    text = PLACE.sub("", " ".join(words.split()))
    text = re.sub(r"input '[^']*' is", "an input is", text)
    return text.split("; ")[0].split(" Call using")[0][:140].replace("|", "/")


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    refused: dict[str, list[str]] = defaultdict(list)
    count = 0
    for case in sorted(load_model_tests(kind="node"), key=lambda case: case.name):
        count += 1
        said = why_not(case.model, case.data_sets)
        again = with_stored_inputs(case.model, case.data_sets) if said is not None else None
        if again is not None and why_not(*again) is None:
            said = None
        if said is not None:
            refused[said].append(case.name.removeprefix("test_"))
    rows = sorted(refused.items(), key=lambda row: (-len(row[1]), row[0]))
    write_table(HEADER, ((why, str(len(n)), ", ".join(n)) for why, n in rows), given.output)
    print(f"{count - sum(map(len, refused.values()))} of {count} pass")


if __name__ == "__main__":
    main()
