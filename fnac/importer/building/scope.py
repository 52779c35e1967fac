"""One fx graph under construction, and how modules in it are named."""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

from .values import Value

_RESERVED = (
    frozenset(dir(fx.GraphModule))
    | frozenset(vars(nn.Module()))
    | frozenset(keyword.kwlist)
    | {"meta", "graph", "code", "self"}
)  # what a module has already, or what generated code cannot call it


class Scope:
    """One fx graph under construction and the modules it calls."""

    def __init__(self, prefix: str = "", stem: str = "") -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.prefix = prefix
        self.stem = stem
        self.values: dict[str, Value] = {}
        self.inputs: list[fx.Node] = []
        self.modules: dict[tuple[Any, ...], str] = {}
        self.attributes: dict[int, fx.Node] = {}
        self.shapes: dict[tuple[fx.Node, int], fx.Node] = {}
        self.emitted: dict[str, Value] = {}
        self.leaves: set[str] = set()
        self.branches: set[str] = set()

    def placeholder(self, name: str) -> fx.Node:
        """Add an input of the graph."""
        clean = re.sub(r"\W", "_", name)
        if not clean.isidentifier() or keyword.iskeyword(clean) or clean == "self":
            clean = f"input_{clean}"
        while any(clean == i.target for i in self.inputs):
            clean += "_"
        node = self.graph.placeholder(clean)
        self.inputs.append(node)
        return node

    def claim(self, like: str) -> str:
        """Return a free module path like ``like``: no leaf below or above another one."""
        parts = [component(p) for p in re.split(r"[./]", like) if p] or ["module"]
        path, flat, number = ".".join(parts), "_".join(parts), 1
        while not self._free(path):
            path = flat if number == 1 else f"{flat}_{number}"
            number += 1
        self.leaves.add(path)
        pieces = path.split(".")
        self.branches.update(".".join(pieces[:i]) for i in range(1, len(pieces)))
        return path

    def finish(self) -> None:
        """Drop unread nodes (every imported node is pure) and check the graph."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)
        self.graph.lint()

    def _free(self, path: str) -> bool:
        pieces = path.split(".")
        above = (".".join(pieces[:i]) for i in range(1, len(pieces)))
        return (
            path not in self.leaves
            and path not in self.branches
            and not any(a in self.leaves for a in above)
        )

    def add(self, path: str, part: nn.Module) -> None:
        """Register a module under a claimed path."""
        *folders, leaf = path.split(".")
        self._folder(folders).add_module(leaf, part)

    def hang(self, path: str, tensor: torch.Tensor) -> None:
        """Register a Parameter, or a constant as a non-persistent buffer."""
        *folders, leaf = path.split(".")
        folder = self._folder(folders)
        if isinstance(tensor, nn.Parameter):
            folder.register_parameter(leaf, tensor)
        else:
            folder.register_buffer(leaf, tensor, persistent=False)

    def _folder(self, names: Iterable[str]) -> nn.Module:
        folder = self.root
        for name in names:
            if name not in folder._modules:
                folder.add_module(name, nn.Module())
            folder = folder.get_submodule(name)
        return folder


def component(text: str) -> str:
    """Return a name that can be an attribute of a module."""
    clean = re.sub(r"\W", "_", text)
    return f"{clean}_" if clean in _RESERVED else clean


def from_scopes(name: str) -> str:
    """Return the path in a name by torch's older exporter.

    ``/features/features.1/conv/conv.0/conv.0.2/Clip`` -> ``features.1.conv.0.2``: each scope
    repeats the one before it.
    """
    scopes = [s for s in name.split("/") if s]
    if not name.startswith("/") or len(scopes) < 2:
        return name
    kept = [a for a, b in itertools.pairwise(scopes) if not b.startswith(a + ".")]
    return ".".join(kept)
