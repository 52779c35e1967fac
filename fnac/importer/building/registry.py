"""Which function converts which operator: one small converter per (operator, since-version)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from fnac.passes.errors import UnsupportedGraphError

if TYPE_CHECKING:
    from .builder import Builder
    from .values import Node

Converter: TypeAlias = "Callable[[Builder, Node], Any]"

_CONVERTERS: dict[tuple[str, str], dict[int, Converter]] = {}


def converter(op: str, *since: int, domain: str = "") -> Callable[[Converter], Converter]:
    """Register a function as the converter of ``op`` from each of the versions ``since`` on.

    The function gets the builder and the decoded node and returns the node's output, or a tuple
    of them. It serves every operator-set version up to the next registered one.
    """

    def register(function: Converter) -> Converter:
        versions = _CONVERTERS.setdefault((domain, op), {})
        for version in since:
            if version in versions:
                raise ValueError(f"{op} version {version} has two converters")
            versions[version] = function
        return function

    return register


def find(op: str, domain: str, version: int, where: str) -> Converter:
    """Return the converter of the largest since-version that is at most ``version``.

    Raises UnsupportedGraphError naming operator, domain, version and node if there is none.
    """
    versions = _CONVERTERS.get((_plain(domain), op), {})
    fitting = [v for v in versions if v <= version]
    if not fitting:
        known = f"from version {min(versions)} on" if versions else "not supported"
        raise UnsupportedGraphError(
            f"{where}: operator {op} of domain {_plain(domain) or 'ai.onnx'!r}, "
            f"version {version}, is {known}; replace it, or export the network "
            "with standard operators"
        )
    return versions[max(fitting)]


def names() -> list[str]:
    """Return the standard operators that can be imported, sorted."""
    return sorted(op for domain, op in _CONVERTERS if not domain)


def unknown(nodes: Sequence[tuple[str, str, int]]) -> list[str]:
    """Return which of these (op, domain, version) lack a converter, as ``Op`` or ``domain.Op``."""
    missing = set()
    for op, domain, version in nodes:
        versions = _CONVERTERS.get((_plain(domain), op), {})
        if not any(v <= version for v in versions):
            missing.add(f"{domain}.{op}" if _plain(domain) else op)
    return sorted(missing)


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
