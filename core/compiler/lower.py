"""Values as kernel expressions: loads of what is placed, the ops' lowerings of everything else."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType
from ..errors import UnimplementedError
from ..graph.ir import Value
from ..kernel.ir import BOOL, I32, U32, Builder, Expr, View, walk
from ..shapes import Size

# integers narrower or wider than 32 bits are i32 on a device: inputs are range-checked and narrowed at upload
KERNEL_DTYPES = {
    "float32": "f32",
    "int32": "i32",
    "uint32": "u32",
    "bool": BOOL,
    "int64": I32,
    "int16": I32,
    "int8": I32,
    "uint8": I32,
    "uint16": I32,
}
WIDE_OPS = frozenset(
    {
        "reshape",
        "transpose",
        "broadcast_to",
        "cast",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "select",
        "argmax",
        "argmin",
        "gather",
        "one_hot",
        "concat",
        "slice",
        "strided_slice",
        "pad",
        "reverse",
        "identity",
        "full",
        "dimension",
        "sparse_softmax_cross_entropy",
        "sparse_softmax_cross_entropy_grad",
        "scatter_add",
        "unsorted_segment_sum",
        "stop_gradient",
    }
)


def kernel_dtype(dtype: DType) -> str:
    """The type that kernels compute with. Raises UnimplementedError for a type that stays on the host."""
    found = KERNEL_DTYPES.get(dtype.name)
    if found is None:
        raise UnimplementedError(
            f"{dtype.name} values cannot be computed on a device; cast to float32 or int32, or run on the CPU"
        )
    return found


# give elements of their inputs (or 0, or 1): they never leave the range of a narrow integer
KEEPING_OPS = frozenset(
    {
        "reshape",
        "transpose",
        "broadcast_to",
        "select",
        "gather",
        "one_hot",
        "concat",
        "slice",
        "strided_slice",
        "pad",
        "reverse",
        "identity",
        "stop_gradient",
        "maximum",
        "minimum",
        "reduce_max",
        "reduce_min",
    }
)


class Lowering:
    """Expressions of values in one Builder. `placed` says which values are loaded."""

    def __init__(self, ir: Builder, placed: Container[Value]) -> None:
        self.ir = ir
        self.placed = placed
        self.memo: dict[Any, Expr] = {}

    def element(self, value: Value, at: tuple[Expr, ...]) -> Expr:
        """The expression of one element."""
        guard = tuple(self.ir.guards)
        key = (value, at, guard)
        found = self.memo.get(key)
        if found is None:
            found = self._element(value, at)
            if guard and not vanishes(found):  # a load is 0 there by itself, what is computed need not be
                for valid in guard:
                    found = self.ir.select(valid, found, self.ir.const(0, found.dtype))
            self.memo[key] = found
        return found

    def view(self, value: Value | None) -> View | None:
        """A value for an op's lowering."""
        if value is None:
            return None
        words = None
        if value.state is not None and value.state.host_owned:
            words = lambda i: self.ir.scalar(value.state, U32, i, _words(value))  # noqa: E731
        return View(
            value.sizes,
            kernel_dtype(value.dtype) if words is None else U32,
            lambda at: self.element(value, tuple(at)),
            words,
        )

    def _element(self, value: Value, at: tuple[Expr, ...]) -> Expr:
        if value in self.placed:
            return self.load(value, at)
        if value.node is not None:
            return self._computed(value, at)
        if value.constant is not None and value.dtype.name == "int64" and not fits_32_bits(value.constant):
            raise UnimplementedError(
                f"an int64 constant of {value.constant.min()} to {value.constant.max()} has no place in a device's "
                "32-bit integers; use a smaller one, or run on the CPU"
            )
        if value.constant is not None and is_uniform(value.constant):
            return self.ir.const(value.constant.reshape(-1)[0].item(), kernel_dtype(value.dtype))
        if value.state is not None and value.state.host_owned:
            word = self.ir.scalar(value.state, U32, 0, _words(value))
            return self.ir.bitcast(word, I32) if value.dtype.is_integer else word
        if value.sizes == () and value.constant is None and value.state is None:
            dtype = kernel_dtype(value.dtype)
            word = self.ir.scalar(value, U32 if dtype == BOOL else dtype)
            return self.ir.cast(word, BOOL) if dtype == BOOL else word
        return self.load(value, at)

    def load(self, value: Value, at: Sequence[Expr]) -> Expr:
        """The element read from the value's own memory."""
        dtype = kernel_dtype(value.dtype)
        loaded = self.ir.load(value, U32 if dtype == BOOL else dtype, self.flat(value.sizes, at))
        return self.ir.cast(loaded, BOOL) if dtype == BOOL else loaded

    def flat(self, sizes: Sequence[Size], at: Sequence[Expr]) -> Expr:
        """The row-major position of an element."""
        index = self.ir.const(0)
        for size, i in zip(sizes, at, strict=True):
            index = index * self.ir.size(size) + i
        return index

    def _computed(self, value: Value, at: tuple[Expr, ...]) -> Expr:
        node = value.node
        assert node is not None
        wide = [
            v
            for v in (*node.inputs, *node.outputs)
            if v is not None and v.dtype.name == "int64" and v.constant is None and v.state is None
        ]
        if wide and node.op.name not in WIDE_OPS:
            raise UnimplementedError(
                f"op {node.op.name} of int64 values cannot run on a device ({node.where or 'traced code'}); cast to "
                "int32, or run on the CPU"
            )
        kernel_dtype(value.dtype)
        if node.op.kind == "elementwise":
            exprs = [self._broadcast(v, value.sizes, at) for v in node.inputs if v is not None]
            made = node.op.lower(self.ir, *exprs, **node.attrs)
            made = made[value.index] if isinstance(made, tuple) else made
        else:
            views = [self.view(v) for v in node.inputs]
            extra = {"output": value.index} if len(node.outputs) > 1 else {}
            made = node.op.lower(self.ir, at, *views, **node.attrs, **extra)
        wanted = kernel_dtype(value.dtype)
        made = made if made.dtype == wanted else self.ir.cast(made, wanted)
        return self._wrapped(made, value.dtype) if node.op.name not in KEEPING_OPS else made

    def _wrapped(self, x: Expr, dtype: DType) -> Expr:
        """An i32 as an integer of fewer bits would have it."""
        if not dtype.is_integer or dtype.size >= 4:
            return x
        ir, bits = self.ir, 8 * dtype.size
        low = x & ir.const((1 << bits) - 1)
        sign = ir.const(1 << (bits - 1))
        return (low ^ sign) - sign if dtype.name.startswith("int") else low

    def _broadcast(self, value: Value, sizes: Sequence[Size], at: tuple[Expr, ...]) -> Expr:
        extra = len(sizes) - len(value.sizes)
        zero = self.ir.const(0)
        index = tuple(
            zero if v == 1 and s != 1 else i for v, s, i in zip(value.sizes, sizes[extra:], at[extra:], strict=True)
        )
        return self.element(value, index)


def _words(value: Value) -> int:
    """32-bit words of a host-owned tensor."""
    elements = int(np.prod(value.sizes)) if value.sizes else 1
    return elements * (2 if value.dtype.size == 8 else 1)


def fits_32_bits(array: np.ndarray[Any, Any]) -> bool:
    """Whether all elements of an integer array are i32 values."""
    return not array.size or (int(array.min()) >= -(2**31) and int(array.max()) < 2**31)


def is_uniform(array: np.ndarray[Any, Any]) -> bool:
    """Whether all elements have the same bits: such a constant needs no memory."""
    if array.size == 0:
        return False
    flat = array.reshape(-1)
    return array.size == 1 or (
        array.dtype.kind != "O" and bool((flat.view(np.uint8).reshape(array.size, -1) == flat[:1].view(np.uint8)).all())
    )


_FINITE = frozenset(
    {
        "load",
        "const",
        "axis",
        "size",
        "add",
        "sub",
        "mul",
        "neg",
        "abs",
        "min",
        "max",
        "select",
        "cast",
        "sign",
        "lt",
        "le",
        "gt",
        "ge",
        "eq",
        "ne",
        "and",
        "or",
        "not",
    }
)


def vanishes(x: Expr) -> bool:
    """Whether an expression is certainly 0 where every guarded load in it gives 0."""
    if x.op == "load":
        return len(x.args) == 2
    if x.op == "const":
        return bool(x.attr == 0)
    if x.op == "mul":
        return any(vanishes(a) for a in x.args) and all(n.op in _FINITE and _is_finite(n) for n in walk(list(x.args)))
    if x.op in ("add", "sub", "min", "max"):
        return all(vanishes(a) for a in x.args)
    if x.op == "select":
        return all(vanishes(a) for a in x.args[1:])
    return (
        x.op in ("neg", "abs", "sign", "cast", "sqrt", "ne")
        and vanishes(x.args[0])
        and (x.op != "ne" or vanishes(x.args[1]))
    )


def _is_finite(x: Expr) -> bool:
    return x.op != "const" or bool(np.isfinite(x.attr))
