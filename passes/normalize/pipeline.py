"""The canonical form that every later pass relies on, and the rules that produce it, in order.

After ``normalize``

* constants are initializers, weights are floats, no node computes what is known beforehand;
* the operator set is at least 18: Clip, Pad, Split, Squeeze and reductions take inputs;
* no Identity, or cast, reshape, pad or transpose that does nothing;
* a bounded activation is Relu, or Clip with stored scalar bounds;
* padding is in ``pads`` of the Conv or pooling itself; a whole map is pooled by GlobalAveragePool;
* the batch is a symbol, and classifiers are Flatten and Gemm;

each as far as the reports of the rules have no ``Left``, with the reason, about it.
"""

from __future__ import annotations

from ..base import Pass
from .dequantize_weights import DequantizeWeights
from .drop_identity import DropIdentity
from .drop_zero_bias import DropZeroBias
from .fold_shape_arithmetic import FoldShapeArithmetic
from .lift_constants import LiftConstants
from .make_batch_symbolic import MakeBatchSymbolic
from .merge_pad import MergePad
from .raise_opset import RaiseOpset
from .resolve_auto_pad import ResolveAutoPad
from .unify_clip import UnifyClip
from .unify_linear import UnifyLinear
from .unify_pooling import UnifyPooling

PIPELINE: tuple[Pass, ...] = (
    RaiseOpset(),  # first: every other rule is then written for one spelling
    LiftConstants(),  # the converter leaves Constant nodes; all rules look for initializers
    DequantizeWeights(),  # before anything that asks whether a weight is stored
    MakeBatchSymbolic(),  # before shapes are folded: a batch of 1 must not become a constant
    FoldShapeArithmetic(),  # uncovers Reshapes, Pads and biases that are in truth constant
    DropIdentity(dropout=False),  # so that neighbours are neighbours for the rules below
    DropZeroBias(),
    UnifyClip(),
    ResolveAutoPad(),  # before merging: only explicit padding can grow
    MergePad(),  # after unify-clip: it asks whether an activation can be negative
    UnifyLinear(),
    UnifyPooling(),  # after merge-pad: what is padded by a node of its own is padded
)
