"""The digest by which a resumed run tells its networks from others."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from fnac.passes.graph import Graph


def network_digest(graph: Graph) -> str:
    """Return a digest of a network: stored values and their names, nodes, manifest."""
    digest = hashlib.sha256()
    for constant in graph.constants():
        values = np.ascontiguousarray(constant.values)
        digest.update(f"{constant.name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    structure = graph.to_model().graph
    structure.ClearField("initializer")
    structure.ClearField("value_info")
    digest.update(structure.SerializeToString(deterministic=True))
    digest.update(json.dumps(graph.manifest, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
