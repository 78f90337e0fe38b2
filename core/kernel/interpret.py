"""Runs a kernel with numpy, whole axes at a time: the reference that emitted code is compared with.

Every axis is one dimension of the arrays, so broadcasting does the loops. f32 results of functions are those of
float64, rounded; sums are numpy's. Where a kernel is large, the first axis is done in slices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..shapes import evaluate
from .ir import BOOL, F32, I32, U32, Axis, Expr, Kernel, Store, store_roots, walk

__all__ = ["run_kernel"]

_DTYPES = {F32: np.float32, I32: np.int32, U32: np.uint32, BOOL: np.bool_}
_SLICE = 1 << 22  # elements computed at once, at most, where the first axis can be sliced


def run_kernel(
    kernel: Kernel,
    arrays: Sequence[np.ndarray],
    symbols: Mapping[str, int] | None = None,
    scalars: Mapping[Any, Any] | None = None,
) -> None:
    """Runs the kernel in place on one flat-able array per buffer.

    `symbols` gives the values of symbolic sizes by name, `scalars` by key of Scalar: a number, or a sequence of its
    words.
    """
    with np.errstate(all="ignore"):
        flat = [a.reshape(-1) for a in arrays]
        for a, original in zip(flat, arrays, strict=True):
            if not np.shares_memory(a, original) and original.size:
                raise ValueError(
                    "run_kernel: buffers must be contiguous arrays, received one that is not. "
                    "Pass np.ascontiguousarray(x)."
                )
        extents = {a: evaluate(a.extent, dict(symbols or {})) for a in _all_axes(kernel)}
        total = math.prod(extents.values())
        first = extents[kernel.axes[0]] if kernel.axes else 1
        step = max(1, first * _SLICE // max(total, 1))
        for start in range(0, first, step):
            _Run(kernel, flat, dict(symbols or {}), scalars or {}, extents, start, min(first, start + step)).stores()


def _adds(store: Store) -> bool:
    """Whether a store in a loop reads what it has stored before."""
    return bool(store.loops) and any(
        x.op == "load" and x.attr == store.buffer and x.axes & frozenset(store.loops) and x.args[0] is store.index
        and any(n.op == "load" for n in walk([x.args[0]]))
        for x in walk([store.value])
    )


def _all_axes(kernel: Kernel) -> list[Axis]:
    found = dict.fromkeys(kernel.axes)
    for store in kernel.stores:
        found |= dict.fromkeys(store.loops)
    for x in walk(store_roots(list(kernel.stores))):
        if x.op == "fold":
            found |= dict.fromkeys(x.attr.axes)
    return list(found)


class _Run:
    """One slice of a kernel. An array has one dimension per axis of the kernel, of length 1 where it does not vary."""

    def __init__(
        self,
        kernel: Kernel,
        arrays: list[np.ndarray],
        symbols: dict[str, int],
        scalars: Mapping[Any, Any],
        extents: dict[Axis, int],
        start: int,
        stop: int,
    ) -> None:
        self.kernel, self.arrays, self.symbols, self.scalars, self.extents = kernel, arrays, symbols, scalars, extents
        self.dimension = {a: i for i, a in enumerate(extents)}
        self.rank = max(1, len(extents))
        self.known: dict[Expr, Any] = {}
        for a, n in extents.items():
            values = np.arange(start, stop) if kernel.axes and a is kernel.axes[0] else np.arange(n)
            self.known_axis = getattr(self, "known_axis", {})
            self.known_axis[a] = self._along(a, values.astype(np.int32))

    def _along(self, axis: Axis, values: np.ndarray) -> np.ndarray:
        shape = [1] * self.rank
        shape[self.dimension[axis]] = len(values)
        return values.reshape(shape)

    def _full(self, value: Any, dtype: str) -> np.ndarray:
        if dtype == U32:
            value = int(value) & 0xFFFFFFFF
        return np.full([1] * self.rank, value, _DTYPES[dtype])

    # -- stores ------------------------------------------------------------------------------------------------------

    def stores(self) -> None:
        """All values first, then all writes; one after another where a store adds to what is there."""
        if any(_adds(s) for s in self.kernel.stores):
            for s in self.kernel.stores:
                self._store_in_order(s)
            return
        ready = [self._prepare(s) for s in self.kernel.stores]
        for store, (index, value, valid) in zip(self.kernel.stores, ready, strict=True):
            self._write(store, index, value, valid)

    def _store_in_order(self, store: Store) -> None:
        """Each iteration of the store's loops sees what those before have stored."""
        whole = dict(self.known_axis)
        for place in itertools.product(*(range(self.extents[a]) for a in store.loops)):
            self.known = {}
            for a, i in zip(store.loops, place, strict=True):
                self.known_axis[a] = self._along(a, np.array([i], np.int32))
            self._write(store, *self._prepare(store))
        self.known_axis, self.known = whole, {}

    def _write(self, store: Store, index: np.ndarray, value: np.ndarray, valid: np.ndarray) -> None:
        target = self.arrays[store.buffer]
        chosen = index[valid]
        if chosen.size and (chosen.min() < 0 or chosen.max() >= target.size):
            raise IndexError(
                f"kernel {self.kernel.name!r} stores outside buffer {store.buffer}, of {target.size} elements"
            )
        target[chosen] = value[valid].astype(target.dtype)

    def _prepare(self, store: Store) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index, value = self.eval(store.index), self.eval(store.value)
        valid = self._full(True, BOOL) if store.valid is None else self.eval(store.valid)
        shape = [1] * self.rank
        for a in (*self.kernel.axes, *store.loops):
            shape[self.dimension[a]] = self.known_axis[a].size
        return tuple(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape))) for x in (index, value, valid))  # type: ignore[return-value]

    # -- expressions -------------------------------------------------------------------------------------------------

    def eval(self, x: Expr) -> np.ndarray:
        """The values of x over the axes it depends on."""
        found = self.known.get(x)
        if found is None:
            for node in walk([x]):  # operands first: no recursion, however long a chain is
                if node not in self.known and not (node.op == "acc" or self._inside_custom(node)):
                    self.known[node] = self._node(node)
            found = self.known.get(x)
            if found is None:
                found = self._node(x)
        return found

    def _inside_custom(self, x: Expr) -> bool:
        """Whether x reads an accumulator of a fold that is still to come."""
        return any(n.op == "acc" and n not in self.known for n in _reachable(x))

    def _node(self, x: Expr) -> Any:
        if x.op == "const":
            return self._full(x.attr, x.dtype)
        if x.op == "axis":
            return self.known_axis[x.attr]
        if x.op == "size":
            return self._full(evaluate(x.attr, self.symbols), I32)
        if x.op == "scalar":
            scalar, word = x.attr
            return self._full(np.ravel(self.scalars[scalar.key])[word], x.dtype)
        if x.op == "iteration":
            return self._full(self.scalars["iterations"][x.attr], I32)
        if x.op == "load":
            return self._load(x)
        if x.op == "fold":
            return self._fold(x)
        args = [self.eval(a) for a in x.args]
        if x.op == "out":
            return args[0][x.attr]
        if x.op == "select":
            return np.where(*args)
        if x.op == "cast":
            return cast(args[0], x.args[0].dtype, x.dtype)
        if x.op == "bitcast":
            return np.ascontiguousarray(args[0]).view(_DTYPES[x.dtype])
        if x.op == "call":
            return _CALLS[x.attr](*(a.astype(np.float64) for a in args)).astype(np.float32)
        return _OPS[x.op](*args).astype(_DTYPES[x.dtype], copy=False)

    def _load(self, x: Expr) -> np.ndarray:
        index = self.eval(x.args[0])
        source = self.arrays[x.attr]
        valid = self.eval(x.args[1]) if len(x.args) > 1 else None
        if valid is not None:
            index, valid = np.broadcast_arrays(index, valid)
            index = np.where(valid, index, 0)
        if index.size and (index.min() < 0 or index.max() >= source.size) and (valid is None or valid.any()):
            raise IndexError(
                f"kernel {self.kernel.name!r} loads outside buffer {x.attr}, which has {source.size} elements"
            )
        values = source[index] if source.size else np.zeros(index.shape, source.dtype)
        values = values != 0 if x.dtype == BOOL else values.view(_DTYPES[x.dtype])
        return values if valid is None else np.where(valid, values, values.dtype.type(0))

    def _fold(self, x: Expr) -> list[np.ndarray]:
        spec = x.attr
        count = len(spec.accumulators)
        if any(a.combine == "custom" for a in spec.accumulators):
            return self._custom_fold(x)
        dims = tuple(self.dimension[a] for a in spec.axes)
        results = []
        for accumulator, value in zip(spec.accumulators, x.args[count:], strict=True):
            values = self.eval(value)
            shape = list(values.shape)
            for a in spec.axes:
                shape[self.dimension[a]] = self.extents[a]
            values = np.broadcast_to(values, shape)
            initial = np.ravel(self.eval(x.args[len(results)]))[0]
            ufunc = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}[accumulator.combine]
            dtype = _DTYPES[accumulator.dtype]
            results.append(ufunc.reduce(values, axis=dims, keepdims=True, dtype=dtype, initial=initial).astype(dtype))
        return results

    def _custom_fold(self, x: Expr) -> list[np.ndarray]:
        """Iteration by iteration, vectorised over everything else."""
        spec = x.attr
        count = len(spec.accumulators)
        current = [self.eval(a) for a in x.args[:count]]
        values = x.args[count:]
        inside = _reachable_all(values)
        key = (spec.level, tuple(a.dtype for a in spec.accumulators), tuple(a.extent for a in spec.axes))
        carried = [n for n in inside if n.op == "acc" and n.attr[0] == key]
        moving = [
            n
            for n in inside
            if not n.axes.isdisjoint(spec.axes) or n.op == "acc" or any(m.op == "acc" for m in _reachable(n))
        ]
        saved = {a: self.known_axis[a] for a in spec.axes}
        before = {n: self.known[n] for n in moving if n in self.known}
        for at in np.ndindex(*(self.extents[a] for a in spec.axes)):
            for n in moving:
                self.known.pop(n, None)
            for a, i in zip(spec.axes, at, strict=True):
                self.known_axis[a] = self._along(a, np.array([i], np.int32))
            for n in carried:
                self.known[n] = current[n.attr[1]]
            current = [self.eval(v) for v in values]
        for n in moving:
            self.known.pop(n, None)
        self.known |= {n: v for n, v in before.items() if n.op != "acc"}
        self.known_axis |= saved
        return current


def _reachable(x: Expr) -> list[Expr]:
    """Nodes under x that belong to the same iteration: what a custom fold carries inside itself does not count."""
    found: dict[Expr, None] = {}
    stack = [x]
    while stack:
        n = stack.pop()
        if n in found:
            continue
        found[n] = None
        if n.op == "fold" and any(a.combine == "custom" for a in n.attr.accumulators):
            key = (n.attr.level, tuple(a.dtype for a in n.attr.accumulators), tuple(a.extent for a in n.attr.axes))
            stack.extend(m for m in walk(n.args) if m.op == "acc" and m.attr[0] != key)
        else:
            stack.extend(n.args)
    return list(found)


def _reachable_all(values: Sequence[Expr]) -> list[Expr]:
    return walk(list(values))


def cast(x: np.ndarray, old: str, new: str) -> np.ndarray:
    """Converts as the IR does: truncating, saturating, NaN to 0."""
    if new == BOOL:
        return x != 0
    if old == F32 and new in (I32, U32):
        low, high = (-(2**31), 2**31 - 1) if new == I32 else (0, 2**32 - 1)
        wide = np.clip(np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0, posinf=high, neginf=low), low, high)
        return wide.astype(np.int64).astype(_DTYPES[new])
    return x.astype(_DTYPES[new])


def _quot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    wide_a, wide_b = a.astype(np.int64), np.where(b == 0, 1, b).astype(np.int64)
    return np.sign(wide_a) * np.sign(wide_b) * (np.abs(wide_a) // np.abs(wide_b))


def _rem(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    wide_b = np.where(b == 0, 1, b).astype(np.int64)
    return a.astype(np.int64) - _quot(a, b) * wide_b


def _shift(a: np.ndarray, b: np.ndarray, op: Callable[..., np.ndarray]) -> np.ndarray:
    return op(a, (b & 31).astype(a.dtype))


def _sign(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, 1, np.where(x < 0, -1, x)) if x.dtype != np.uint32 else (x != 0)


_OPS: dict[str, Callable[..., np.ndarray]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "truediv": lambda a, b: a / b,
    "div": lambda a, b: a // np.where(b == 0, 1, b),
    "mod": lambda a, b: a % np.where(b == 0, 1, b),
    "quot": _quot,
    "rem": _rem,
    "min": np.minimum,
    "max": np.maximum,
    "neg": lambda a: (~a + a.dtype.type(1)) if a.dtype == np.uint32 else -a,
    "abs": np.abs,
    "sign": _sign,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": lambda a, b: _shift(a, b, np.left_shift),
    "shr": lambda a, b: _shift(a, b, np.right_shift),
    "mulhi": lambda a, b: (a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32),
    "isnan": np.isnan,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: np.float32(1) / np.sqrt(x),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.round,
    "fma": lambda a, b, c: a * b + c,
}
_CALLS: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
    "pow": np.power,
    "atan2": np.arctan2,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
}
