"""What models and compiler each write down, since neither may import the other: it is the same."""

from __future__ import annotations

from fnac.models import onnx_version
from fnac.models.seeds import find
from fnac.passes.graph import contract, inference
from fnac.passes.normalize.raise_opset import RaiseOpset


def test_preprocessing_of_imagenet() -> None:
    assert (find.IMAGENET_MEAN, find.IMAGENET_STD) == (
        contract.IMAGENET_MEAN,
        contract.IMAGENET_STD,
    )


def test_the_onnx_that_is_written() -> None:
    assert onnx_version.IR_VERSION == inference.IR_VERSION
    assert RaiseOpset().to == onnx_version.OPSET
