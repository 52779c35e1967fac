"""What an ONNX model must be before a graph is made of it; each refusal is one sentence."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import onnx

from .errors import UnsupportedGraphError

MANIFEST_KEY = "fnac"
MANIFEST_VERSION = 1
OPSETS = range(1, 28)


def check_model(model: onnx.ModelProto) -> None:
    """Raise UnsupportedGraphError, naming the node, unless fnac can hold ``model``.

    Looked at: a graph with outputs, a known operator set, known operators, no custom domains, every
    tensor computed once and before anybody asks for it somewhere.
    """
    if not model.HasField("graph") or not model.graph.node:
        raise UnsupportedGraphError(
            "the file holds no graph; it is empty, truncated or not an ONNX model"
        )
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx"))
    if opset is None:
        raise UnsupportedGraphError("the model names no version of the default operator set")
    if opset not in OPSETS:
        raise UnsupportedGraphError(
            f"operator set {opset} was found; {OPSETS.start} to {OPSETS.stop - 1} are supported"
        )
    local = {(f.domain, f.name) for f in model.functions}
    made: set[str] = {t.name for t in model.graph.initializer}
    if len(made) < len(model.graph.initializer):
        name = next(n for n, c in Counter(t.name for t in model.graph.initializer).items() if c > 1)
        raise UnsupportedGraphError(f"{name}: two initializers have this name")
    made |= {t.values.name for t in model.graph.sparse_initializer}
    made |= {v.name for v in model.graph.input}
    written: set[str] = set()
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx"):
            if not onnx.defs.has(node.op_type) or not _known(node.op_type, opset):
                raise UnsupportedGraphError(
                    f"{_label(node)}: operator {node.op_type} is not in operator set {opset} of "
                    "ONNX; replace it, or export the network with standard operators"
                )
        elif (node.domain, node.op_type) not in local:
            raise UnsupportedGraphError(
                f"{_label(node)}: operator {node.op_type} of the custom domain {node.domain!r}; "
                "only standard ONNX operators are supported"
            )
        for name in node.output:
            if name and (name in written or name in made):
                raise UnsupportedGraphError(f"{_label(node)}: a second tensor named {name!r}")
            written.add(name)
    known = made | written
    for node in model.graph.node:
        for name in node.input:
            if name and name not in known:
                raise UnsupportedGraphError(
                    f"{_label(node)}: its input {name!r} is computed nowhere in the graph"
                )
    for output in model.graph.output:
        if output.name not in known:
            raise UnsupportedGraphError(f"output {output.name!r} is computed nowhere in the graph")
    if not model.graph.output:
        raise UnsupportedGraphError("the graph has no outputs")


def _known(op: str, opset: int) -> bool:
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated or schema.since_version < opset


def read_manifest(stored: str) -> dict[str, Any]:
    """Read the manifest's JSON, without its version; raises UnsupportedGraphError."""
    try:
        manifest = json.loads(stored)
    except json.JSONDecodeError as error:
        raise UnsupportedGraphError(
            f"the manifest (metadata {MANIFEST_KEY!r}) is not JSON: {error}; "
            "remove that entry or build the file again"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("version") != MANIFEST_VERSION:
        found = manifest.get("version") if isinstance(manifest, dict) else type(manifest).__name__
        raise UnsupportedGraphError(
            f"the manifest is of version {found!r}; this fnac reads version {MANIFEST_VERSION}"
        )
    del manifest["version"]
    return manifest


def _label(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def one_line(error: BaseException) -> str:
    """Return an error's words on one line, 300 characters at most."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
