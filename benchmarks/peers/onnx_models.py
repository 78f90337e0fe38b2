"""The workloads as ONNX models for onnxruntime-web, written without the onnx package: the format is plain protobuf.

Images lie as ONNX wants them (NCHW); a network that takes an image of the page (NHWC) begins with a transpose.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..programs import Missing
from ..workloads import NORM_EPSILON, Workload

OPSET = 17
FLOAT, INT64 = 1, 7             # TensorProto.DataType


def varint(value: int) -> bytes:
    """A protobuf varint; negative numbers in two's complement of 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def number(field: int, value: int) -> bytes:
    """An integer field."""
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    """A length-delimited field: text, bytes or a message."""
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def tensor(name: str, array: np.ndarray) -> bytes:
    """TensorProto."""
    kind = INT64 if array.dtype == np.int64 else FLOAT
    dims = b"".join(number(1, d) for d in array.shape)
    return dims + number(2, kind) + block(8, name) + block(9, np.ascontiguousarray(array).tobytes())


def attribute(name: str, value: Any) -> bytes:
    """AttributeProto of an int, a float, a text, or a list of ints."""
    head = block(1, name)
    if isinstance(value, str):
        return head + block(4, value) + number(20, 3)
    if isinstance(value, float):
        return head + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, int):
        return head + number(3, value) + number(20, 2)
    return head + b"".join(number(8, v) for v in value) + number(20, 7)


def port(name: str, shape: Sequence[int]) -> bytes:
    """ValueInfoProto of float32."""
    dims = b"".join(block(1, number(1, d)) for d in shape)
    return block(1, name) + block(2, block(1, number(1, FLOAT) + block(2, dims)))


class Model:
    """Nodes in order, and the numbers they hold."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self.count = 0

    def constant(self, array: np.ndarray) -> str:
        """An initializer."""
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(tensor(name, array))
        return name

    def add(self, kind: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        """A node with one result."""
        self.count += 1
        name = result or f"t{self.count}"
        made = b"".join(block(1, i) for i in inputs) + block(2, name) + block(4, kind)
        self.nodes.append(made + b"".join(block(5, attribute(k, v)) for k, v in attributes.items()))
        return name

    def write(self, inputs: Sequence[tuple[str, Sequence[int]]], output: tuple[str, Sequence[int]]) -> bytes:
        """ModelProto."""
        graph = b"".join(block(1, n) for n in self.nodes) + block(2, "main")
        graph += b"".join(block(5, c) for c in self.constants)
        graph += b"".join(block(11, port(*i)) for i in inputs) + block(12, port(*output))
        return number(1, 8) + block(8, block(1, "") + number(2, OPSET)) + block(7, graph)


def make_model(w: Workload) -> bytes:
    """The model of a workload; operands of expressions are its inputs. Raises Missing for what ONNX cannot do."""
    if w.kind in ("train", "adam"):
        raise Missing("onnxruntime-web runs inference only")
    if w.options.get("eager"):
        raise Missing("onnxruntime-web has no eager mode")
    model = Model()
    if w.kind == "infer":
        shape = _mobilenet(model, w)
        return model.write([(a.name, a.shape) for a in w.inputs], ("result", shape))
    shape = _expression(model, w)
    return model.write([(a.name, given_shape(w, a.name, a.shape)) for a in w.params], ("result", shape))


def given_shape(w: Workload, name: str, shape: Sequence[int]) -> Sequence[int]:
    """How an operand lies: images as NCHW, filters [h, w, in, out] as [out, in, h, w]."""
    if "depthwise" not in w.options:
        return shape
    order = (0, 3, 1, 2) if name == "a" else (2, 3, 0, 1) if w.options["depthwise"] else (3, 2, 0, 1)
    return [shape[axis] for axis in order]


def _expression(m: Model, w: Workload) -> Sequence[int]:
    names = [a.name for a in w.params]
    first = w.params[0].shape
    if w.name.startswith("matmul"):
        m.add("MatMul", *names, result="result")
        return first
    if w.name.startswith("conv") or w.name == "depthwise":
        return _convolution(m, w)
    if w.name.startswith("sum"):
        m.add("ReduceSum", names[0], m.constant(np.array([int(w.name[-1])])), keepdims=0, result="result")
        return (first[0],)
    if w.name.startswith("softmax"):
        m.add("Softmax", names[0], axis=int(w.name[-1]), result="result")
        return first
    if w.name == "layernorm1":
        m.add("LayerNormalization", *names, axis=1, epsilon=NORM_EPSILON, result="result")
        return first
    if w.name == "layernorm0":
        turned = m.add("Transpose", names[0], perm=[1, 0])
        scaled = m.add("LayerNormalization", turned, *names[1:], axis=1, epsilon=NORM_EPSILON)
        m.add("Transpose", scaled, perm=[1, 0], result="result")
        return first
    if w.name == "adds":
        t = "a"
        for i in range(w.options["count"]):
            t = m.add("Add", t, "b", result="result" if i == w.options["count"] - 1 else None)
        return first
    _chain(m, w.name)
    return first


def _chain(m: Model, name: str) -> None:
    scaled = m.add("Add", m.add("Mul", "a", "b"), "c")        # the operands are x, a, b, c in this order
    if name == "chain4":
        m.add("Sub", m.add("Mul", m.add("Relu", scaled), "d"), m.add("Tanh", "a"), result="result")
        return
    t = m.add("Sub", m.add("Mul", m.add("Tanh", scaled), "d"), "a")
    t = m.add("Sqrt", m.add("Add", m.add("Abs", t), m.constant(np.ones(1, np.float32))))
    m.add("Relu", m.add("Mul", m.add("Exp", m.add("Neg", t)), "a"), result="result")


def _convolution(m: Model, w: Workload) -> Sequence[int]:
    (batch, height, width, channels), filters = w.params[0].shape, w.params[1].shape
    depthwise, stride = w.options["depthwise"], w.options["stride"]
    out = channels if depthwise else filters[3]
    m.add("Conv", "a", "b", auto_pad="SAME_UPPER", strides=[stride, stride], group=channels if depthwise else 1,
          result="result")
    return batch, out, -(-height // stride), -(-width // stride)


def _mobilenet(m: Model, w: Workload) -> Sequence[int]:
    arrays = {a.name: a.values() for a in w.params}

    def conv(t: str, name: str, stride: int, depthwise: bool) -> str:
        kernel, scale = arrays[f"{name}/kernel"], arrays[f"{name}/scale"]
        folded = kernel * (scale[:, None] if depthwise else scale)
        kernel = m.constant(np.ascontiguousarray(folded.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))))
        made = m.add("Conv", t, kernel, m.constant(arrays[f"{name}/shift"]), auto_pad="SAME_UPPER",
                     strides=[stride, stride], group=arrays[f"{name}/kernel"].shape[2] if depthwise else 1)
        return m.add("Clip", made, low, high)

    low, high = m.constant(np.array(0, np.float32)), m.constant(np.array(6, np.float32))
    t = conv(m.add("Transpose", "x", perm=[0, 3, 1, 2]), "stem", 2, False)
    for i, (_, _, stride) in enumerate(w.options["blocks"]):
        t = conv(conv(t, f"depthwise{i}", stride, True), f"pointwise{i}", 1, False)
    pooled = m.add("Flatten", m.add("GlobalAveragePool", t))
    logits = m.add("Gemm", pooled, m.constant(arrays["classes/kernel"]), m.constant(arrays["classes/bias"]))
    m.add("Softmax", logits, axis=1, result="result")
    return 1, 1000
