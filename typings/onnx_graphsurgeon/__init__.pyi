"""The part of onnx_graphsurgeon that fnac uses; the package ships no types of its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx

class Tensor:
    name: str
    inputs: list[Node]
    outputs: list[Node]
    shape: Any
    dtype: Any
    type: str
    def to_constant(self, values: np.ndarray[Any, Any]) -> Constant: ...
    def is_empty(self) -> bool: ...

class Variable(Tensor):
    def __init__(
        self,
        name: str,
        dtype: Any = ...,
        shape: Sequence[int | str | None] | None = ...,
        type: str = ...,
    ) -> None: ...
    @staticmethod
    def empty() -> Variable: ...

class Constant(Tensor):
    values: np.ndarray[Any, Any]
    data_location: int | None
    _values: Any
    _export_dtype: Any
    def __init__(
        self,
        name: str,
        values: Any,
        data_location: int | None = ...,
        export_dtype: Any = ...,
    ) -> None: ...

class Node:
    op: str
    name: str
    attrs: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]
    domain: str | None
    metadata: dict[str, str]  # added by fnac.passes.graph.Graph
    def __init__(
        self,
        op: str,
        name: str = ...,
        attrs: dict[str, Any] | None = ...,
        inputs: Sequence[Tensor] | None = ...,
        outputs: Sequence[Tensor] | None = ...,
        domain: str | None = ...,
    ) -> None: ...
    def subgraphs(self, recursive: bool = ...) -> Iterator[Graph]: ...

class Graph:
    name: str
    doc_string: str
    opset: int
    import_domains: Any
    nodes: list[Node]
    inputs: list[Any]
    outputs: list[Any]
    def __init__(
        self,
        nodes: Sequence[Node] | None = ...,
        inputs: Sequence[Tensor] | None = ...,
        outputs: Sequence[Tensor] | None = ...,
        name: str | None = ...,
        doc_string: str | None = ...,
        opset: int | None = ...,
        import_domains: Any = ...,
    ) -> None: ...
    def tensors(self, check_duplicates: bool = ...) -> dict[str, Tensor]: ...
    def cleanup(self) -> Graph: ...
    def toposort(self) -> Graph: ...
    def _foreign_tensors(self) -> dict[str, Tensor]: ...

def import_onnx(onnx_model: onnx.ModelProto) -> Graph: ...
def export_onnx(graph: Graph, do_type_check: bool = ...) -> onnx.ModelProto: ...
