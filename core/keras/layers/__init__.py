"""tf.keras.layers."""

from .activation import ELU, LeakyReLU, ReLU, Softmax
from .core import Activation, Dense, Flatten, Identity, Input, InputLayer, Permute, Rescaling, Reshape
from .einsum_dense import EinsumDense
from .embedding import Embedding, Masking
from .layer import Layer
from .merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract, add, concatenate
from .multi_head_attention import MultiHeadAttention
from .normalization import BatchNormalization
from .operation import OpLayer
from .regularization import Dropout
from .row_normalization import GroupNormalization, LayerNormalization, RMSNormalization, UnitNormalization
from .spatial import AveragePooling2D, Conv2D, DepthwiseConv2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D

AvgPool2D, Convolution2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D = (
    AveragePooling2D,
    Conv2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "OpLayer",
    "Permute",
    "RMSNormalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
    "Subtract",
    "UnitNormalization",
    "add",
    "concatenate",
]
