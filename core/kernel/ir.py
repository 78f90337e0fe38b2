"""The kernel IR: a kernel is parallel axes and stores; what is stored are expressions, in which folds are the loops.

An expression (`Expr`) is an immutable node, interned by its `Builder`: equal expressions of one kernel are one object,
so sharing is what common subexpressions are. Integer expressions carry bounds, by which division and remainder
simplify.

    leaf     const, axis, size (a uniform, i32), scalar (a host-owned word), load, acc (an accumulator inside its fold),
             iteration (of a program's loop around the kernel)
    compute  OPS below; select; call of a mathlib function; cast, bitcast
    loops    fold -> out(fold, i): sequential axes and a tuple of accumulators, reduced together

Integers are i32 and wrap; `div` and `mod` take operands that are not negative (indices). u32 arithmetic wraps.
Emitters hoist what does not depend on an axis out of its loop, and may unroll any parallel axis: the meaning is the
stores.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..shapes import Dim, Size

F32, I32, U32, BOOL = "f32", "i32", "u32", "bool"
_PACKED = struct.Struct("<f")
_NO_AXES: frozenset[Any] = frozenset()

# name -> (number of operands, dtype of the result: "same" as the first operand, or a fixed one)
OPS: dict[str, tuple[int, str]] = {
    "add": (2, "same"),
    "sub": (2, "same"),
    "mul": (2, "same"),
    "truediv": (2, "same"),  # truediv: f32 only
    "div": (2, "same"),
    "mod": (2, "same"),  # integers that are not negative
    "quot": (2, "same"),
    "rem": (2, "same"),  # integers, truncated as in C; the divisor is not 0
    "min": (2, "same"),
    "max": (2, "same"),  # f32: NaN if either operand is NaN
    "neg": (1, "same"),
    "abs": (1, "same"),
    "sign": (1, "same"),
    "lt": (2, BOOL),
    "le": (2, BOOL),
    "gt": (2, BOOL),
    "ge": (2, BOOL),
    "eq": (2, BOOL),
    "ne": (2, BOOL),  # IEEE: NaN != NaN
    "and": (2, "same"),
    "or": (2, "same"),
    "xor": (2, "same"),
    "not": (1, "same"),  # bool, or bits of an integer
    "shl": (2, "same"),
    "shr": (2, "same"),  # u32: logical; i32: arithmetic
    "mulhi": (2, "same"),  # u32: the high 32 bits of the 64-bit product
    "isnan": (1, BOOL),
    "sqrt": (1, "same"),
    "rsqrt": (1, "same"),
    "floor": (1, "same"),
    "ceil": (1, "same"),
    "trunc": (1, "same"),
    "round": (1, "same"),  # halves to even
    "fma": (3, "same"),  # a * b + c, fused or not as the target likes
}
# mathlib functions, f32 -> f32, by `call`: accuracy is stated in mathlib.py; all return NaN for NaN
CALLS = (
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "cosh",
    "asin",
    "acos",
    "atan",
    "asinh",
    "acosh",
    "atanh",
    "erf",
    "erfc",
    "pow",
    "atan2",
    "sigmoid",
)
COMBINE = ("sum", "prod", "min", "max", "custom")


@dataclass(frozen=True, eq=False)
class Axis:
    """A loop variable over 0 .. extent-1. `name` is unique among the axes of a kernel that can be live together."""

    name: str
    extent: Size

    def __repr__(self) -> str:
        return f"{self.name}<{self.extent}"


@dataclass(frozen=True)
class Accumulator:
    """One component of a fold. `combine`: "sum", "prod", "min", "max" reduce `value` into it; "custom" replaces it by
    `value`,
    which may read the accumulators of the same fold as they were before this iteration (`Builder.acc`)."""

    combine: str
    dtype: str


class Expr:
    """One node. `op` names it, `args` are Exprs, `attr` is what else identifies it. Made by `Builder` only.

    attr by op: const value | axis Axis | size Dim | iteration depth | scalar (name, word) | load buffer number |
    acc (level, index) | fold FoldSpec | out index | call name | cast and bitcast: none, the dtype tells.
    args by op: load (index[, valid]) | fold (inits..., values...) | out (fold,) | select (condition, yes, no).
    A load with `valid` gives 0 where valid is false, and does not touch memory outside the buffer there.
    """

    __slots__ = ("args", "attr", "axes", "dtype", "hi", "ir", "lo", "number", "op")

    def __init__(
        self,
        ir: Builder,
        op: str,
        dtype: str,
        args: tuple[Expr, ...],
        attr: Any,
        lo: int | None,
        hi: int | None,
        axes: frozenset[Axis],
        number: int,
    ) -> None:
        self.ir, self.op, self.dtype, self.args, self.attr = ir, op, dtype, args, attr
        self.lo, self.hi = lo, hi  # bounds of an integer; None: not known
        self.axes = axes  # the axes that the value depends on
        self.number = number  # order of creation: operands come first

    def __add__(self, other: Any) -> Expr:
        return self.ir.binary("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return self.ir.binary("add", self.ir.lift(other, self.dtype), self)

    def __sub__(self, other: Any) -> Expr:
        return self.ir.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return self.ir.binary("sub", self.ir.lift(other, self.dtype), self)

    def __mul__(self, other: Any) -> Expr:
        return self.ir.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return self.ir.binary("mul", self.ir.lift(other, self.dtype), self)

    def __truediv__(self, other: Any) -> Expr:
        return self.ir.binary("truediv", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return self.ir.binary("truediv", self.ir.lift(other, self.dtype), self)

    def __floordiv__(self, other: Any) -> Expr:
        return self.ir.binary("div", self, other)

    def __mod__(self, other: Any) -> Expr:
        return self.ir.binary("mod", self, other)

    def __neg__(self) -> Expr:
        return self.ir.unary("neg", self)

    def __and__(self, other: Any) -> Expr:
        return self.ir.binary("and", self, other)

    def __or__(self, other: Any) -> Expr:
        return self.ir.binary("or", self, other)

    def __xor__(self, other: Any) -> Expr:
        return self.ir.binary("xor", self, other)

    def __lshift__(self, other: Any) -> Expr:
        return self.ir.binary("shl", self, other)

    def __rshift__(self, other: Any) -> Expr:
        return self.ir.binary("shr", self, other)

    def __invert__(self) -> Expr:
        return self.ir.unary("not", self)

    def __lt__(self, other: Any) -> Expr:
        return self.ir.binary("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return self.ir.binary("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return self.ir.binary("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return self.ir.binary("ge", self, other)

    def eq(self, other: Any) -> Expr:
        """self == other as an expression (== itself compares identity, so that nodes can be keys)."""
        return self.ir.binary("eq", self, other)

    def ne(self, other: Any) -> Expr:
        """self != other as an expression."""
        return self.ir.binary("ne", self, other)

    def __repr__(self) -> str:
        return show(self)


@dataclass(frozen=True)
class FoldSpec:
    """The loop of a fold: its axes, outermost first, and its accumulators. `level` is 1 + that of any fold inside
    it.
    """

    axes: tuple[Axis, ...]
    accumulators: tuple[Accumulator, ...]
    level: int


@dataclass(frozen=True)
class Buffer:
    """A storage binding: f32, i32 or u32 elements (bool is stored as u32 0 or 1)."""

    name: str
    dtype: str
    written: bool = False


@dataclass(frozen=True)
class Scalar:
    """Words of a host-owned tensor, delivered with the uniforms. `key` says which tensor; each word is one u32 slot."""

    key: Any
    dtype: str  # of one word: f32, i32, u32
    words: int = 1


@dataclass(frozen=True)
class Store:
    """buffer[index] = value, for every point of the kernel's axes and then of `loops` (sequential, innermost last),
    where `valid`.
    """

    buffer: int
    index: Expr
    value: Expr
    valid: Expr | None = None
    loops: tuple[Axis, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """Parallel `axes` (outermost first, in any order or at once) and the stores made at each point.

    No element is stored by two points, and an element that is both loaded and stored is loaded only at the point that
    stores it. One point may store an element several times: in the order of the stores, and in loops in their order.
    `sizes` are the Dims that occur in it, in the order of the uniform slot; then come the words of `scalars`.
    """

    name: str
    axes: tuple[Axis, ...]
    stores: tuple[Store, ...]
    buffers: tuple[Buffer, ...]
    sizes: tuple[Dim, ...] = ()
    scalars: tuple[Scalar, ...] = ()
    flops: Size = 0


@dataclass
class View:
    """A value seen from inside a kernel: `at(indices)` gives the expression of one element, loaded or computed."""

    shape: tuple[Size, ...]
    dtype: str
    read: Callable[[tuple[Expr, ...]], Expr]
    scalar_word: Callable[[int], Expr] | None = None  # host-owned: word i of the tensor

    def at(self, *indices: Any) -> Expr:
        """The element at these indices, one per axis."""
        if len(indices) != len(self.shape):
            raise TypeError(f"view of shape {self.shape} read with {len(indices)} indices")
        return self.read(indices)


@dataclass
class Builder:
    """Makes and interns the expressions of one kernel."""

    nodes: dict[Any, Expr] = field(default_factory=dict)
    guards: list[Expr] = field(default_factory=list)
    _names: int = 0

    # -- leaves --------------------------------------------------------------------------------------------------------

    def const(self, value: Any, dtype: str | None = None) -> Expr:
        """A constant; the dtype of a Python int is i32, of a float f32, of a bool bool. f32 values are rounded to
        f32 first.
        """
        if dtype is None:
            dtype = BOOL if isinstance(value, bool | np.bool_) else I32 if isinstance(value, int | np.integer) else F32
        if dtype == F32:
            key = f32_key(value)
            return self._make("const", F32, (), _PACKED.unpack(key)[0], None, None, _NO_AXES, key)
        value = bool(value) if dtype == BOOL else int(value)
        if dtype == U32:
            value &= 0xFFFFFFFF
        return self._make("const", dtype, (), value, int(value), int(value), _NO_AXES)

    def lift(self, value: Any, dtype: str) -> Expr:
        """An Expr as it is; a Python number as a constant of `dtype`; a Dim as a size."""
        if isinstance(value, Expr):
            return value
        if isinstance(value, Dim):
            return self.size(value)
        return self.const(value, dtype)

    def new_axis(self, extent: Size, prefix: str = "i") -> Axis:
        """A fresh axis."""
        self._names += 1
        return Axis(f"{prefix}{self._names}", extent)

    def axis(self, axis: Axis) -> Expr:
        """The value of an axis, i32, 0 .. extent-1."""
        if axis.extent == 1:
            return self.const(0)
        hi = axis.extent - 1 if isinstance(axis.extent, int) else None
        return self._make("axis", I32, (), axis, 0, hi, frozenset((axis,)))

    def size(self, size: Size) -> Expr:
        """A size as an i32: a constant, or a uniform bound when the program runs."""
        if isinstance(size, int):
            return self.const(size)
        return self._make("size", I32, (), size, 0, None, frozenset())

    def scalar(self, key: Any, dtype: str, word: int = 0, words: int = 1) -> Expr:
        """A word of a host-owned tensor."""
        return self._make("scalar", dtype, (), (Scalar(key, dtype, words), word), None, None, frozenset())

    def iteration(self, depth: int) -> Expr:
        """The number of the iteration of the program's loop around the kernel, i32; depth 0 is the outermost loop."""
        return self._make("iteration", I32, (), depth, 0, None, frozenset())

    def load(self, buffer: Any, dtype: str, index: Expr) -> Expr:
        """buffer[index]; under `guard`, 0 where the guard is false. `buffer` is any key until the kernel is closed."""
        valid = None
        for g in self.guards:
            valid = g if valid is None else self.binary("and", valid, g)
        if valid is not None and valid.op == "const":
            if not valid.attr:
                return self.const(0, dtype)
            valid = None
        args = (index,) if valid is None else (index, valid)
        return self._make("load", dtype, args, buffer, None, None, _axes(args))

    @contextmanager
    def guard(self, valid: Expr) -> Iterator[None]:
        """Loads made inside give 0 where `valid` is false, whatever their index."""
        self.guards.append(valid)
        try:
            yield
        finally:
            self.guards.pop()

    # -- computing -----------------------------------------------------------------------------------------------------

    def unary(self, op: str, x: Expr) -> Expr:
        """One of OPS with one operand."""
        if x.op == "const" and op in ("neg", "not", "abs") and x.dtype != F32:
            value = {"neg": lambda v: -v, "not": lambda v: (not v) if x.dtype == BOOL else ~v, "abs": abs}[op](x.attr)
            return self.const(value, x.dtype)
        if op == "neg" and x.op == "const":
            return self.const(-x.attr, F32)
        if op == "not" and x.op == "not":
            return x.args[0]
        if op == "neg" and x.dtype == I32:
            return self.binary("mul", x, self.const(-1))
        dtype = OPS[op][1]
        return self._make(op, x.dtype if dtype == "same" else dtype, (x,), None, None, None, x.axes)

    def binary(self, op: str, a: Any, b: Any) -> Expr:
        """One of OPS with two operands of one dtype; a Python number takes the dtype of the other operand."""
        a = self.lift(a, b.dtype if isinstance(b, Expr) else F32)
        b = self.lift(b, a.dtype)
        if a.dtype != b.dtype:
            raise TypeError(f"kernel IR: {op} of {a.dtype} and {b.dtype}; cast one of them")
        if a.dtype == I32 or a.dtype == BOOL:
            done = _index.simplify(self, op, a, b)
            if done is not None:
                return done
        elif a.dtype == U32 and a.op == b.op == "const":
            value = _fold_u32(op, a.attr, b.attr)
            if value is not None:
                return self.const(value, U32 if OPS[op][1] == "same" else BOOL)
        elif a.dtype == F32:
            if op == "mul" and (_is(a, 1.0) or _is(b, 1.0)):
                return b if _is(a, 1.0) else a
            if op in ("sub", "truediv") and _is(b, 0.0 if op == "sub" else 1.0):
                return a
        dtype = OPS[op][1]
        lo, hi = _index.bounds(op, a, b)
        return self._make(op, a.dtype if dtype == "same" else dtype, (a, b), None, lo, hi, both_axes(a, b))

    def call(self, name: str, *args: Any) -> Expr:
        """A function of mathlib (CALLS) or one of OPS by name; "clamp"(x, lo, hi) is min(max(x, lo), hi)."""
        if name == "clamp":
            return self.binary("min", self.binary("max", args[0], args[1]), args[2])
        first = next(a for a in args if isinstance(a, Expr))
        exprs = tuple(self.lift(a, first.dtype) for a in args)
        if name in OPS:
            if len(exprs) == 1:
                return self.unary(name, exprs[0])
            if len(exprs) == 2:
                return self.binary(name, *exprs)
            return self._make(name, exprs[0].dtype, exprs, None, None, None, _axes(exprs))
        if name not in CALLS:
            raise ValueError(f"kernel IR: no function {name!r}; known: {', '.join(CALLS)}")
        return self._make("call", F32, exprs, name, None, None, _axes(exprs))

    def select(self, condition: Expr, yes: Any, no: Any) -> Expr:
        """`yes` where `condition`, else `no`; both are computed."""
        yes = self.lift(yes, no.dtype if isinstance(no, Expr) else F32)
        no = self.lift(no, yes.dtype)
        if condition.op == "const":
            return yes if condition.attr else no
        if yes is no:
            return yes
        lo = None if yes.lo is None or no.lo is None else min(yes.lo, no.lo)
        hi = None if yes.hi is None or no.hi is None else max(yes.hi, no.hi)
        args = (condition, yes, no)
        return self._make("select", yes.dtype, args, None, lo, hi, _axes(args))

    def cast(self, x: Expr, dtype: str) -> Expr:
        """The value as another dtype: f32 -> integer truncates (saturating or not as the target does), bool -> 0 or
        1, number -> bool is x != 0.
        """
        if x.dtype == dtype:
            return x
        if dtype == BOOL:
            return self.binary("ne", x, self.const(0, x.dtype))
        if x.op == "const" and not (x.dtype == F32 and not np.isfinite(x.attr)):
            return self.const(int(x.attr) if dtype != F32 else float(x.attr), dtype)
        lo, hi = (x.lo, x.hi) if x.dtype != F32 and dtype == I32 else (None, None)
        if x.dtype == BOOL and dtype != F32:
            lo, hi = 0, 1
        return self._make("cast", dtype, (x,), None, lo, hi, x.axes)

    def bitcast(self, x: Expr, dtype: str) -> Expr:
        """The same 32 bits as another dtype."""
        return x if x.dtype == dtype else self._make("bitcast", dtype, (x,), None, None, None, x.axes)

    def keep_nan(self, x: Expr, result: Expr) -> Expr:
        """`result`, but x itself where x is NaN."""
        return self.select(self.unary("isnan", x), x, result)

    # -- folds ---------------------------------------------------------------------------------------------------------

    def reduce(self, combine: str, extents: Sequence[Size], value: Callable[..., Expr]) -> Expr:
        """Reduces `value(*indices)` over all indices below `extents` by "sum", "prod", "min" or "max"."""
        return self.fold(extents, lambda *at: ((combine, value(*at)),))[0]

    def sum(self, extents: Sequence[Size], value: Callable[..., Expr]) -> Expr:
        """The sum of `value(*indices)` over all indices below `extents`."""
        return self.reduce("sum", extents, value)

    def fold(
        self,
        extents: Sequence[Size],
        body: Callable[..., Sequence[tuple[str, Expr]]],
        inits: Sequence[Expr] | None = None,
    ) -> tuple[Expr, ...]:
        """Several reductions in one loop. `body(*indices)` returns (combine, value) pairs and gives one result each.

        With `inits`, `body(*indices, *accumulators)` returns ("custom", new value) pairs that start from them;
        iterations run in order, last axis fastest. Without, each starts from the neutral element (min, max:
        +-infinity, or the integer's extreme).
        """
        temporary = tuple(self.new_axis(e, "t") for e in extents)
        at = [self.axis(a) for a in temporary]
        carried: list[Expr] = []
        if inits is not None:
            mark = self._names
            carried = [
                self._make("acc", x.dtype, (), (("t", mark), i), None, None, frozenset(temporary))
                for i, x in enumerate(inits)
            ]
        pairs = list(body(*at, *carried))
        accumulators = tuple(Accumulator(combine, value.dtype) for combine, value in pairs)
        values = [value for _, value in pairs]
        starts = list(inits) if inits is not None else [self.neutral(a) for a in accumulators]
        level = 1 + max((_fold_level(v) for v in values), default=0)
        axes = tuple(self._fold_axis(level, i, e) for i, e in enumerate(extents))
        swap: dict[Expr, Expr] = {old: self.axis(new) for old, new in zip(at, axes, strict=True) if old.op == "axis"}
        key = (level, tuple(a.dtype for a in accumulators), tuple(extents)) if inits is not None else None
        for i, c in enumerate(carried):
            swap[c] = self._make("acc", c.dtype, (), (key, i), None, None, frozenset(axes))
        values = rewrite(values, swap)
        spec = FoldSpec(axes, accumulators, level)
        args = (*starts, *values)
        free = _axes(args) - frozenset(axes)
        loop = self._make("fold", "tuple", args, spec, None, None, free, (axes, accumulators, key))
        return tuple(self._make("out", a.dtype, (loop,), i, None, None, free) for i, a in enumerate(accumulators))

    def neutral(self, accumulator: Accumulator) -> Expr:
        """What an accumulator starts from."""
        extremes: dict[str, tuple[Any, Any]] = {
            F32: (-np.inf, np.inf),
            I32: (-(2**31), 2**31 - 1),
            U32: (0, 2**32 - 1),
            BOOL: (False, True),
        }
        low, high = extremes[accumulator.dtype]
        value = {"sum": 0, "prod": 1, "max": low, "min": high}[accumulator.combine]
        return self.const(value, accumulator.dtype)

    def _fold_axis(self, level: int, position: int, extent: Size) -> Axis:
        key = ("fold axis", level, position, extent)
        found = self.nodes.get(key)
        if found is None:
            found = self.nodes[key] = Axis(
                f"r{level}_{position}_{str(extent) if isinstance(extent, int) else len(self.nodes)}", extent
            )  # type: ignore[assignment]
        return found  # type: ignore[return-value]

    # -- interning -----------------------------------------------------------------------------------------------------

    def _make(
        self,
        op: str,
        dtype: str,
        args: tuple[Expr, ...],
        attr: Any,
        lo: int | None,
        hi: int | None,
        axes: frozenset[Axis],
        key: Any = None,
    ) -> Expr:
        identity = (op, dtype, args, attr if key is None else key)
        found = self.nodes.get(identity)
        if found is None:
            found = self.nodes[identity] = Expr(self, op, dtype, args, attr, lo, hi, axes, len(self.nodes))
        return found


def rewrite(exprs: Sequence[Expr], swap: dict[Expr, Expr]) -> list[Expr]:
    """The expressions with some nodes exchanged, rebuilt (and simplified) by their builder. Bound axes are never in
    `swap`.
    """
    if not swap:
        return list(exprs)
    done = dict(swap)
    # what does not depend on the axes that are exchanged stays; other nodes may hide their axes inside a fold
    plain = all(x.op == "axis" or x.op == "acc" for x in swap)
    axes = frozenset().union(*(x.axes for x in swap)) if plain else _NO_AXES

    stack = list(reversed(exprs))
    while stack:                                # without recursion: an expression may be hundreds of nodes deep
        x = stack[-1]
        if x not in done:
            if not x.args or (plain and axes.isdisjoint(x.axes)):
                done[x] = x
            else:
                missing = [a for a in x.args if a not in done]
                if missing:
                    missing.reverse()
                    stack += missing
                    continue
                args = tuple([done[a] for a in x.args])
                done[x] = x if args == x.args else rebuild(x, args)
        stack.pop()
    return [done[x] for x in exprs]


def rebuild(x: Expr, args: tuple[Expr, ...]) -> Expr:
    """The same node over other operands."""
    ir = x.ir
    if x.op == "select":
        return ir.select(*args)
    if x.op == "cast":
        return ir.cast(args[0], x.dtype)
    if x.op == "bitcast":
        return ir.bitcast(args[0], x.dtype)
    if x.op == "call":
        return ir.call(x.attr, *args)
    if x.op == "out":
        return ir._make("out", x.dtype, args, x.attr, None, None, args[0].axes)
    if x.op == "fold":
        spec: FoldSpec = x.attr
        custom = any(a.combine == "custom" for a in spec.accumulators)
        key = (
            (spec.level, tuple(a.dtype for a in spec.accumulators), tuple(a.extent for a in spec.axes))
            if custom
            else None
        )
        return ir._make(
            "fold",
            "tuple",
            args,
            spec,
            None,
            None,
            _axes(args) - frozenset(spec.axes),
            (spec.axes, spec.accumulators, key),
        )
    if x.op == "load":
        return ir._make("load", x.dtype, args, x.attr, None, None, _axes(args))
    if len(args) == 1:
        return ir.unary(x.op, args[0])
    if len(args) == 2:
        return ir.binary(x.op, *args)
    return ir._make(x.op, x.dtype, args, x.attr, None, None, _axes(args))


def walk(roots: Sequence[Expr]) -> list[Expr]:
    """Every node reachable from the roots, operands first, each once."""
    seen: dict[Expr, None] = {}
    stack = list(reversed(roots))
    while stack:
        x = stack[-1]
        if x not in seen:
            missing = [a for a in x.args if a not in seen]
            if missing:
                missing.reverse()
                stack += missing
                continue
            seen[x] = None
        stack.pop()
    return list(seen)


def store_roots(stores: Sequence[Store]) -> list[Expr]:
    """All expressions that stores hold."""
    return [x for s in stores for x in (s.index, s.value, s.valid) if x is not None]


def show(x: Expr) -> str:
    """One line of text, for people."""
    if x.op == "const":
        return f"{x.attr!r}{'u' if x.dtype == U32 else ''}"
    if x.op == "axis":
        return str(x.attr.name)
    if x.op == "size":
        return str(x.attr)
    if x.op == "scalar":
        return f"scalar[{x.attr[0].key}.{x.attr[1]}]"
    if x.op == "acc":
        return f"acc{x.attr[1]}"
    if x.op == "iteration":
        return f"n{x.attr}"
    inner = ", ".join(show(a) for a in x.args)
    if x.op == "load":
        return f"load({x.attr}; {inner})"
    if x.op == "fold":
        return f"fold[{','.join(map(repr, x.attr.axes))}: {' '.join(a.combine for a in x.attr.accumulators)}]({inner})"
    if x.op == "out":
        return f"{show(x.args[0])}.{x.attr}"
    return f"{x.attr if x.op == 'call' else x.op}({inner})"


def _axes(args: Sequence[Expr]) -> frozenset[Axis]:
    return _NO_AXES.union(*[a.axes for a in args])


def f32_key(value: float) -> bytes:
    """The bytes of an f32, by which -0.0 and NaN are values of their own; a value too large for one is infinite."""
    try:
        return _PACKED.pack(value)
    except OverflowError:
        return _PACKED.pack(math.copysign(math.inf, value))


def both_axes(a: Expr, b: Expr) -> frozenset[Axis]:
    """The axes that either depends on."""
    return a.axes if a.axes is b.axes or not b.axes else a.axes | b.axes


def _fold_level(x: Expr) -> int:
    return max((n.attr.level for n in walk([x]) if n.op == "fold"), default=0)


def _is(x: Expr, value: float) -> bool:
    return x.op == "const" and x.attr == value and not (value == 0.0 and np.signbit(x.attr))


def _fold_u32(op: str, a: int, b: int) -> int | bool | None:
    table: dict[str, Callable[[], int | bool]] = {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: a * b,
        "xor": lambda: a ^ b,
        "and": lambda: a & b,
        "or": lambda: a | b,
        "shl": lambda: a << (b & 31),
        "shr": lambda: a >> (b & 31),
        "mulhi": lambda: (a * b) >> 32,
        "eq": lambda: a == b,
        "ne": lambda: a != b,
        "lt": lambda: a < b,
    }
    return table[op]() if op in table else None


from . import index as _index  # noqa: E402  (index needs the classes above)
