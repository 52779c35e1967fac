"""Sets of operators, each with what its members have in common: one vocabulary for all passes."""

from __future__ import annotations

CONVOLUTIONS = ("Conv", "ConvTranspose")
LAYERS = (*CONVOLUTIONS, "Gemm", "MatMul")  # linear, with a weight; costs are made of them
TAKES_BATCHNORM = (*CONVOLUTIONS, "Gemm")  # weight and bias of each output channel can be scaled

WINDOW_POOLS = ("MaxPool", "AveragePool", "LpPool")
PADS_BY_WINDOW = ("Conv", "MaxPool", "AveragePool")  # of images, with padding of their own
GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool")  # one number per channel, whatever the size
WINDOWED = ("Conv", *WINDOW_POOLS)  # slide a window: strides and pads make the output smaller
POOLS_TO_POINT = (*GLOBAL_POOLS, "ReduceMean")  # as exporters write a classifier's pooling
ENDS_FEATURES = (*POOLS_TO_POINT, "AveragePool")  # or a window as large as the image
IMAGE_MEANS = ("GlobalAveragePool", "ReduceMean")  # linear: a 1x1 layer may stand on either side
POOLS_VALUES = ("MaxPool", "AveragePool")  # a window of one leaves the value; LpPool its absolute
REDUCING = (*POOLS_TO_POINT, "ReduceMax")  # what comes out may be pooled features

RESIZES = ("Resize", "Upsample")
ENLARGING = (*RESIZES, "ConvTranspose", "DepthToSpace")  # features get larger: a decoder

# work on each value alone with no weight, so that they do not mind how many channels there are
ACTIVATIONS = ("Relu", "Clip", "HardSwish", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh")
# may activate a normalised layer: those with weights or of several nodes as well
ACTIVATES_LAYERS = (
    *ACTIVATIONS, "PRelu", "Selu", "Celu", "Mish", "Gelu", "Softplus", "Min", "Max", "Mul", "Swish",
)  # fmt: skip

GATES = ("HardSigmoid", "Sigmoid", "Softplus")  # x * gate(x): hard-swish, swish
SWISH_GATES = ("Sigmoid", "HardSigmoid", "Tanh")  # as exporters spell them behind BatchNorm

DRAWS = (  # come out another time as other numbers
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
    "Multinomial",
)  # fmt: skip
STATES_TYPE = {  # attribute that states the element type of the output
    "Cast": "to", "EyeLike": "dtype", "RandomNormal": "dtype", "RandomUniform": "dtype",
    "RandomNormalLike": "dtype", "RandomUniformLike": "dtype", "Bernoulli": "dtype",
}  # fmt: skip
FLOAT32_UNSTATED = ("RandomNormal", "RandomUniform")  # float32 if they state none; others: input's
LOOPS = ("Loop", "Scan")  # may run for ever
CONTROL_FLOW = (*LOOPS, "If")  # hold graphs of their own
READS_SIZE = ("Shape", "Size")  # do not read numbers, only how many there are
