"""Gemm, MatMul and Einsum."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Node
from ..runtime import elements
from .convolution import bias_of


@converter("Gemm", 1, 7, 11)
def gemm(builder: Builder, node: Node) -> Any:
    """Gemm -> nn.Linear when it is one (transB, alpha = beta = 1), else its formula."""
    a, b, c = node.inputs[0], node.inputs[1], bias_of(node, 2)
    assert a is not None
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    trans_a, trans_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    weight, bias = builder.trainable(b), builder.trainable(c)
    plain = trans_b and not trans_a and alpha == 1.0 and (c is None or beta == 1.0)
    one_row = (
        bias is not None and weight is not None and bias.tensor.shape == weight.tensor.shape[:1]
    )
    if plain and weight is not None and (c is None or one_row):
        rows, columns = weight.tensor.shape
        part = nn.Linear(columns, rows, bias=c is not None, device="meta")
        owns = {"weight": weight} | ({"bias": bias} if bias is not None else {})
        return builder.module(node, part, [a], owns)
    return builder.call(elements.gemm, a, b, c, alpha, beta, trans_a, trans_b)


@converter("MatMul", 1)
def matmul(builder: Builder, node: Node) -> Any:
    """MatMul; a stored matrix is a weight."""
    for value in node.inputs:
        builder.trainable(value)
    return builder.call(torch.matmul, node.inputs[0], node.inputs[1])


@converter("Einsum", 12)
def einsum(builder: Builder, node: Node) -> Any:
    """Einsum."""
    return builder.call(torch.einsum, node.get("equation"), *node.inputs)
