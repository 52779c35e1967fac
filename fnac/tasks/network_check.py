"""Whether a network was made for the data set at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fnac.errors import UsageError


def check_count(
    manifest: Mapping[str, Any], task: str, names: Sequence[str], kind: str = "classes"
) -> None:
    """Raise UsageError when a network for ``task`` answers for another number of ``names``.

    kind: what they are, in the plural. A network without a head, or of another task, passes.
    """
    found = manifest.get("num_classes") if manifest.get("task") == task else None
    if found is not None and int(found) != len(names):
        raise UsageError(
            f"the network puts out {found} {kind}; the data set has {len(names)} "
            f"({', '.join(names[:4])}, ...); expand the seed for this data set"
        )
