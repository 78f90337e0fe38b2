"""What is measured: names, sizes, data, and how much arithmetic and memory traffic one step needs at the least.

Every contender builds the same computation from the same description; `reference.json` says what must come out.
Kinds: "compute" runs an expression on operands that lie on the device; "train" takes a batch from the host, does one
Adam step and gives the loss; "infer" takes one input from the host; "adam" updates parameters with a given gradient.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from .data import Array

MEGA = 1 << 20
LEARNING_RATE = 1e-3
EPSILON = 1e-7
NORM_EPSILON = 1e-3
CHECKED_STEPS = 10


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    `params`: operands or initial weights. `inputs`: what a step takes from the host. `flops`, `bytes`: of one step,
    the least that the mathematics needs (0: not stated). `options`: what a builder needs to know beside shapes.
    """

    name: str
    kind: str
    title: str
    params: tuple[Array, ...] = ()
    inputs: tuple[Array, ...] = ()
    flops: float = 0.0
    bytes: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 90.0           # a contender that needs longer to get ready is given up
    huge: bool = False              # contenders take turns alone, and the page for visitors leaves it out

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "kind": self.kind, "title": self.title, "flops": self.flops, "bytes": self.bytes,
                "params": [a.describe() for a in self.params], "inputs": [a.describe() for a in self.inputs],
                "options": self.options, "seconds": self.seconds, "huge": self.huge,
                "learningRate": LEARNING_RATE, "epsilon": EPSILON, "normEpsilon": NORM_EPSILON,
                "checkedSteps": CHECKED_STEPS}


def operands(*shapes: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> tuple[Array, ...]:
    """Arrays named a, b, c … of these shapes."""
    return tuple(Array("abcdef"[i], shape, 11 + i, low, high) for i, shape in enumerate(shapes))


def weight(name: str, shape: tuple[int, ...], seed: int, fan_in: int, fan_out: int) -> Array:
    """A kernel as Glorot would draw it."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return Array(name, shape, seed, -limit, limit)


def constant(name: str, size: int, value: float = 0.0) -> Array:
    """A bias or a scale."""
    return Array(name, (size,), 0, value, value)


def dense(name: str, rows: int, columns: int, seed: int) -> tuple[Array, ...]:
    """Kernel and bias."""
    return weight(f"{name}/kernel", (rows, columns), seed, rows, columns), constant(f"{name}/bias", columns)


def matmul(size: int) -> Workload:
    """A square product."""
    return Workload(f"matmul{size}", "compute", f"matmul {size}", operands((size, size), (size, size)),
                    flops=2.0 * size**3, bytes=12.0 * size**2)


def rows(name: str, title: str, passes: float = 8.0) -> Workload:
    """Something over [1024, 1024]: one read and, by default, one write of it."""
    return Workload(name, "compute", title, operands((1024, 1024), (1024,), (1024,)), bytes=passes * MEGA)


def conv(name: str, title: str, filters: tuple[int, int, int, int], stride: int = 1, depthwise: bool = False,
         channels: int = 32) -> Workload:
    """A convolution of 32 images of 28x28, padding SAME."""
    height, width, into, out = filters
    side = 28 // stride
    outputs = 32 * side * side * (channels if depthwise else out)
    flops = 2.0 * outputs * height * width * (1 if depthwise else into)
    return Workload(name, "compute", title,
                    (Array("a", (32, 28, 28, channels), 11), Array("b", filters, 12, -0.1, 0.1)), flops=flops,
                    bytes=4.0 * (32 * 28 * 28 * channels + outputs + math.prod(filters)),
                    options={"stride": stride, "depthwise": depthwise})


def mlp() -> Workload:
    """784-256-128-10."""
    return Workload(
        "mlp", "train", "train MLP 784-256-128-10, batch 128",
        (*dense("dense1", 784, 256, 21), *dense("dense2", 256, 128, 22), *dense("dense3", 128, 10, 23)),
        (Array("x", (128, 784), 31, 0.0, 1.0), Array("y", (128,), 32, 0.0, 10.0, "int32")),
        flops=2.0 * 128 * (2 * 784 * 256 + 3 * (256 * 128 + 128 * 10)))


def cnn() -> Workload:
    """conv16-pool-conv32-pool-dense."""
    one, two = 64 * 28 * 28 * 9 * 16, 64 * 14 * 14 * 9 * 16 * 32
    return Workload(
        "cnn", "train", "train CNN conv16-pool-conv32-pool-dense, 28x28, batch 64",
        (weight("conv1/kernel", (3, 3, 1, 16), 21, 9, 144), constant("conv1/bias", 16),
         weight("conv2/kernel", (3, 3, 16, 32), 22, 144, 288), constant("conv2/bias", 32),
         *dense("dense", 1568, 10, 23)),
        (Array("x", (64, 28, 28, 1), 31, 0.0, 1.0), Array("y", (64,), 32, 0.0, 10.0, "int32")),
        flops=2.0 * (2 * one + 3 * two + 3 * 64 * 1568 * 10))


def transformer() -> Workload:
    """One block, normalised after each half: 8 x 64 x 128, 4 heads, 256 hidden units, GELU by tanh, squared error."""
    width, hidden, tokens = 128, 256, 8 * 64
    heads = [dense(n, width, width, 21 + i) for i, n in enumerate(("query", "key", "value", "output"))]
    norms = [(constant(f"norm{i}/gamma", width, 1.0), constant(f"norm{i}/beta", width)) for i in (1, 2)]
    products = tokens * (4 * width * width + 2 * 64 * width + 2 * width * hidden)
    return Workload(
        "transformer", "train", "train transformer block, 8x64x128, 4 heads, ff 256",
        (*(a for pair in heads for a in pair), *norms[0], *dense("up", width, hidden, 25),
         *dense("down", hidden, width, 26), *norms[1]),
        (Array("x", (8, 64, width), 31), Array("y", (8, 64, width), 32)),
        flops=2.0 * 3 * products, options={"heads": 4})


def lstm() -> Workload:
    """LSTM(64) on [32, 50, 16], a dense layer on its last output."""
    return Workload(
        "lstm", "train", "train LSTM(64) on 32x50x16",
        (weight("lstm/kernel", (16, 256), 21, 16, 256), weight("lstm/recurrent", (64, 256), 22, 64, 256),
         Array("lstm/bias", (256,), 23, -0.1, 0.1), *dense("dense", 64, 10, 24)),
        (Array("x", (32, 50, 16), 31), Array("y", (32,), 32, 0.0, 10.0, "int32")),
        flops=2.0 * 32 * (50 * 256 * (2 * 16 + 3 * 64) + 3 * 64 * 10), options={"units": 64})


BLOCKS = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), *[(128, 128, 1)] * 5,
          (128, 256, 2), (256, 256, 1)]


def mobilenet() -> Workload:
    """MobileNet's layers at width 0.25: convolution, scale and shift (a batch norm), ReLU6; 1,000 classes."""
    def layer(name: str, shape: tuple[int, ...], channels: int, fan: int, seed: int) -> tuple[Array, ...]:
        limit = math.sqrt(6.0 / fan)
        return (Array(f"{name}/kernel", shape, seed, -limit, limit),
                Array(f"{name}/scale", (channels,), seed + 1, 0.9, 1.1),
                Array(f"{name}/shift", (channels,), seed + 2, -0.1, 0.1))

    params, side, work = [*layer("stem", (3, 3, 3, 8), 8, 27, 100)], 48, 48 * 48 * 27 * 8
    for i, (into, out, stride) in enumerate(BLOCKS):
        params += layer(f"depthwise{i}", (3, 3, into, 1), into, 9, 200 + 10 * i)
        params += layer(f"pointwise{i}", (1, 1, into, out), out, into, 400 + 10 * i)
        side = -(-side // stride)
        work += side * side * (9 * into + into * out)
    return Workload("mobilenet", "infer", "infer MobileNet-like 0.25, 96x96, batch 1",
                    (*params, *dense("classes", 256, 1000, 600)), (Array("x", (1, 96, 96, 3), 31),),
                    flops=2.0 * (work + 256 * 1000), options={"blocks": BLOCKS})


def adam(count: int, label: str) -> Workload:
    """The update alone: reads weight, gradient and two slots, writes three."""
    return Workload(f"adam{label}", "adam", f"Adam on {label} parameters",
                    (Array("w", (count,), 21), Array("g", (count,), 22, -0.01, 0.01)), bytes=28.0 * count,
                    huge=count > 4 * MEGA, seconds=180.0 if count > 4 * MEGA else 90.0)


CHAIN = (1024, 1024)
WORKLOADS: tuple[Workload, ...] = (
    matmul(256), matmul(512), matmul(1024),
    Workload("matmul64x64", "compute", "matmul 64x(64x64)", operands((64, 64, 64), (64, 64, 64)), flops=2.0 * 64**4,
             bytes=12.0 * 64**3),
    Workload("chain4", "compute", "relu(x*a+b)*c-tanh(x), 1M", operands(CHAIN, CHAIN, CHAIN, CHAIN), bytes=20.0 * MEGA),
    Workload("chain12", "compute", "12 operations in a chain, 1M", operands(CHAIN, CHAIN, CHAIN, CHAIN),
             bytes=20.0 * MEGA),
    rows("softmax1", "softmax of rows, 1024x1024"), rows("softmax0", "softmax of columns, 1024x1024"),
    rows("layernorm1", "layer norm of rows, 1024x1024"), rows("layernorm0", "layer norm of columns, 1024x1024"),
    rows("sum1", "sum of rows, 1024x1024", 4.0), rows("sum0", "sum of columns, 1024x1024", 4.0),
    conv("conv3x3", "conv2d 3x3, 32x28x28x32 to 64", (3, 3, 32, 64)),
    conv("conv1x1", "conv2d 1x1, 32x28x28x32 to 64", (1, 1, 32, 64)),
    conv("conv_stride2", "conv2d 3x3 stride 2, 32x28x28x32 to 64", (3, 3, 32, 64), stride=2),
    conv("depthwise", "depthwise 3x3, 32x28x28x64", (3, 3, 64, 1), depthwise=True, channels=64),
    mlp(), cnn(), transformer(), lstm(), mobilenet(),
    Workload("adds", "compute", "1,000 dependent tiny adds, compiled",
             (Array("a", (4,), 11), Array("b", (4,), 0, 2.0**-12, 2.0**-12)), options={"count": 1000}),
    Workload("adds_eager", "compute", "1,000 dependent tiny adds, eager",
             (Array("a", (4,), 11), Array("b", (4,), 0, 2.0**-12, 2.0**-12)), options={"count": 1000, "eager": True}),
    adam(250_000, "250k"), adam(25_000_000, "25M"),
)
BY_NAME = {w.name: w for w in WORKLOADS}
