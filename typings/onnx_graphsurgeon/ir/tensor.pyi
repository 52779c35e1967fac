from typing import Any

import onnx

class LazyValues:
    tensor: onnx.TensorProto
    shape: Any
    dtype: Any
    nbytes: int
    def __init__(self, tensor: onnx.TensorProto) -> None: ...

class SparseValues(LazyValues): ...
