"""One value at a time: expressions as scalar WebAssembly. Values that are used more than once live in locals.

`Values` knows what has been computed in which scope: leaving a scope (a loop, a condition) forgets what was computed
inside and gives its locals back.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from ..kernel.ir import BOOL, F32, I32, U32, Axis, Expr
from . import encode
from .encode import Code
from .lower import nodes_of

STOREY = 40  # how many operations of an expression are emitted by recursion at most
_WASM_TYPE = {F32: encode.F32, I32: encode.I32, U32: encode.I32, BOOL: encode.I32}

# (op, dtype of the operands) -> instruction
_SIMPLE: dict[tuple[str, str], str] = {}
for _op, _name in {"add": "add", "sub": "sub", "mul": "mul"}.items():
    _SIMPLE |= {(_op, F32): f"f32.{_name}", (_op, I32): f"i32.{_name}", (_op, U32): f"i32.{_name}"}
for _op in ("lt", "le", "gt", "ge"):
    _SIMPLE |= {
        (_op, F32): f"f32.{_op}",
        (_op, I32): f"i32.{_op}_s",
        (_op, U32): f"i32.{_op}_u",
        (_op, BOOL): f"i32.{_op}_u",
    }
for _op in ("eq", "ne"):
    _SIMPLE |= {(_op, F32): f"f32.{_op}"} | {(_op, d): f"i32.{_op}" for d in (I32, U32, BOOL)}
for _op in ("and", "or", "xor"):
    _SIMPLE |= {(_op, d): f"i32.{_op}" for d in (I32, U32, BOOL)}
_SIMPLE |= {
    ("truediv", F32): "f32.div",
    ("min", F32): "f32.min",
    ("max", F32): "f32.max",
    ("neg", F32): "f32.neg",
    ("abs", F32): "f32.abs",
    ("sqrt", F32): "f32.sqrt",
    ("floor", F32): "f32.floor",
    ("ceil", F32): "f32.ceil",
    ("trunc", F32): "f32.trunc",
    ("round", F32): "f32.nearest",
    ("shl", I32): "i32.shl",
    ("shl", U32): "i32.shl",
    ("shr", I32): "i32.shr_s",
    ("shr", U32): "i32.shr_u",
    ("min", BOOL): "i32.and",
    ("max", BOOL): "i32.or",
    ("not", BOOL): "i32.eqz",
}


def wasm_type(dtype: str) -> int:
    """The type of a local that holds a value of this dtype."""
    return _WASM_TYPE[dtype]


class Values:
    """The scopes of a function body, and the scalar side of evaluating expressions in them."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.bases: dict[int, int] = {}  # buffer number -> local
        self.sizes: dict[Any, int] = {}  # Dim -> local
        self.words: dict[Any, int] = {}  # (Scalar, word) -> local
        self.axes: dict[Axis, int] = {}  # axis -> local
        self.scalars: dict[Expr, int] = {}  # computed values
        self.vectors: dict[tuple[Expr, int], int] = {}  # computed vectors, by (value, block)
        self.folds: dict[Expr, list[Any]] = {}  # fold -> accumulators: a local, or one per block
        self.uses: dict[Expr, int] = {}
        self.heights: dict[Expr, int] = {}
        self.landings: set[Expr] = set()  # nodes of tall expressions that are computed ahead
        self.climbing = False
        self._log: list[tuple[dict[Any, Any], Any]] = []
        self._free: dict[int, list[int]] = {}

    # -- scopes ------------------------------------------------------------------------------------------------------

    def enter(self) -> int:
        """Begins a scope."""
        return len(self._log)

    def leave(self, mark: int) -> None:
        """Ends a scope: forgets its values and frees its locals."""
        while len(self._log) > mark:
            where, key = self._log.pop()
            if where is self._free:
                self._free.setdefault(self.code.types[key], []).append(key)
            else:
                del where[key]

    def remember(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        """Notes a value until the scope ends."""
        where[key] = value
        self._log.append((where, key))

    def local(self, type_: int) -> int:
        """A local of this scope."""
        free = self._free.get(type_)
        found = free.pop() if free else self.code.local(type_)
        self._log.append((self._free, found))
        return found

    def count_uses(self, nodes: Sequence[Expr]) -> None:
        """Counts how many nodes use each: a value used once needs no local. Operands come first in `nodes`."""
        uses = self.uses
        heights = self.heights
        for x in nodes:
            height = 0
            for a in x.args:
                uses[a] = uses.get(a, 0) + 1
                height = max(height, heights[a] + 1)
            heights[x] = height
            if height and height % STOREY == 0:
                self.landings.add(x)

    # -- scalars -----------------------------------------------------------------------------------------------------

    def scalar(self, x: Expr) -> None:
        """Pushes the value of x (of lane 0, inside a vector loop)."""
        if x.op == "const":
            self._const(x)
            return
        local = self.scalars.get(x)
        if local is not None:
            self.code.get(local)
            return
        if self.landings and not self.climbing and self.heights.get(x, 0) > STOREY:
            self.climb(x, self.scalar_local, self.scalars)
        self._compute(x)
        if x.args and x.op != "out" and self.uses.get(x, 0) > 1:
            self.keep_scalar(x)

    def climb(self, x: Expr, keep: Callable[[Expr], object], known: Container[Expr]) -> None:
        """Computes a tall expression from below, storey by storey, so that Python's recursion stays flat. What is
        `known` is in a local already, and so is not looked into.
        """
        self.climbing = True
        bound = self.axes.keys()
        for n in nodes_of(x.args, known):
            if n in self.landings and n.axes <= bound and n.op not in ("fold", "out", "acc"):
                keep(n)
        self.climbing = False

    def keep_scalar(self, x: Expr) -> int:
        """Keeps the value on the stack, which is that of x, in a local as well."""
        local = self.local(_WASM_TYPE[x.dtype])
        self.code.tee(local)
        self.remember(self.scalars, x, local)
        return local

    def scalar_local(self, x: Expr) -> int:
        """A local that holds x."""
        local = self.leaf_local(x)
        if local is None:
            self.scalar(x)
            local = self.scalars.get(x)
            if local is None:
                local = self.keep_scalar(x)
            self.code.op("drop")
        return local

    def leaf_local(self, x: Expr) -> int | None:
        """The local of a value that is in one already."""
        found = self.scalars.get(x)
        if found is not None:
            return found
        if x.op == "axis":
            return self.axes[x.attr]
        if x.op == "base":
            return self.bases[x.attr]
        if x.op == "size":
            return self.sizes[x.attr]
        return self.words[x.attr] if x.op == "scalar" else None

    def fold_of(self, out: Expr) -> list[Any]:
        """The accumulators of the fold that `out` reads; computes the fold if that has not been done."""
        found = self.folds.get(out.args[0])
        if found is None:
            self.fold(out.args[0])
            found = self.folds[out.args[0]]
        return found

    def fold(self, x: Expr) -> None:
        """Emits the loop of a fold (see nest.py)."""
        raise NotImplementedError

    def _const(self, x: Expr) -> None:
        if x.dtype == F32:
            self.code.f32(x.attr)
        else:
            self.code.i32(int(x.attr))

    def _compute(self, x: Expr) -> None:
        op, code = x.op, self.code
        local = self.leaf_local(x)
        if local is not None:
            code.get(local)
        elif op == "mem":
            self._mem(x)
        elif op == "out":
            code.get(self.fold_of(x)[x.attr])
        elif op == "select":
            self.scalar(x.args[1])
            self.scalar(x.args[2])
            self.scalar(x.args[0])
            code.op("select")
        elif op == "cast":
            self.scalar(x.args[0])
            self.cast(x.args[0].dtype, x.dtype)
        elif op == "bitcast":
            self.scalar(x.args[0])
            if F32 in (x.dtype, x.args[0].dtype):
                code.op("f32.reinterpret_i32" if x.dtype == F32 else "i32.reinterpret_f32")
        else:
            for a in x.args:
                self.scalar(a)
            self.apply(op, x)

    def _mem(self, x: Expr) -> None:
        code = self.code
        buffer, offset = x.attr
        load = "f32.load" if x.dtype == F32 else "i32.load"
        self.scalar(x.args[0])
        if len(x.args) == 1:
            code.memory(load, offset)
        else:  # where it is not valid, element 0 is read and dropped
            code.get(self.bases[buffer])
            valid = self.scalar_local(x.args[1])
            code.get(valid)
            code.op("select")
            code.memory(load, offset)
            code.f32(0.0) if x.dtype == F32 else code.i32(0)
            code.get(valid)
            code.op("select")
        if x.dtype == BOOL:
            code.i32(0)
            code.op("i32.ne")

    def cast(self, old: str, new: str) -> None:
        """Converts the scalar on the stack."""
        code = self.code
        if new == F32:
            code.op("f32.convert_i32_s" if old == I32 else "f32.convert_i32_u")
        elif new == BOOL:
            code.f32(0.0) if old == F32 else code.i32(0)
            code.op("f32.ne" if old == F32 else "i32.ne")
        elif old == F32:
            code.op("i32.trunc_sat_f32_s" if new == I32 else "i32.trunc_sat_f32_u")

    def apply(self, op: str, x: Expr) -> None:
        """Applies one of OPS to the operands on the stack."""
        dtype = x.args[0].dtype
        name = _SIMPLE.get((op, dtype))
        if name is not None:
            self.code.op(name)
        elif op in ("div", "mod", "quot", "rem"):
            self._divide(op, x.args[1], dtype)
        elif op in ("min", "max"):
            self._with_temporaries(2, dtype, lambda a, b: self._pick(op, dtype, a, b))
        else:
            _SPECIAL[op](self, dtype)

    def combine(self, kind: str, dtype: str) -> None:
        """Reduces the two scalars on the stack as an accumulator does."""
        op = {"sum": "add", "prod": "mul"}.get(kind, kind)
        name = _SIMPLE.get((op, dtype))
        if name is not None:
            self.code.op(name)
        else:
            self._with_temporaries(2, dtype, lambda a, b: self._pick(op, dtype, a, b))

    def _with_temporaries(self, count: int, dtype: str, then: Any) -> None:
        mark = self.enter()
        locals_ = [self.local(_WASM_TYPE[dtype]) for _ in range(count)]
        for local in reversed(locals_):
            self.code.set(local)
        then(*locals_)
        self.leave(mark)

    def _pick(self, op: str, dtype: str, a: int, b: int) -> None:
        for local in (a, b, a, b):
            self.code.get(local)
        self.code.op(f"i32.{'lt' if op == 'min' else 'gt'}_{'s' if dtype == I32 else 'u'}")
        self.code.op("select")

    def _divide(self, op: str, divisor: Expr, dtype: str) -> None:
        """Integer division that never traps: a divisor of 0 (an empty axis, hoisted) counts as 1."""
        code = self.code
        unsigned = op in ("div", "mod") or dtype == U32
        name = "i32." + ("div" if op in ("div", "quot") else "rem") + ("_u" if unsigned else "_s")
        if divisor.op == "const" and divisor.attr not in (0, -1):
            code.op(name)
            return

        def checked(a: int, b: int) -> None:
            code.get(b)
            code.get(b)
            code.op("i32.eqz")
            code.op("i32.or")
            code.set(b)
            if name != "i32.div_s":
                code.get(a).get(b).op(name)
                return
            code.i32(0).get(a).op("i32.sub")  # a / -1 = -a, also for the smallest integer
            code.get(a).i32(1).get(b).get(b).i32(-1).op("i32.eq").op("select").op(name)
            code.get(b).i32(-1).op("i32.eq").op("select")

        self._with_temporaries(2, dtype, checked)

    def _negate(self, dtype: str) -> None:
        self.code.i32(-1)
        self.code.op("i32.mul")

    def _not(self, dtype: str) -> None:
        self.code.i32(-1)
        self.code.op("i32.xor")

    def _abs(self, dtype: str) -> None:
        code = self.code

        def absolute(a: int) -> None:
            code.get(a).i32(0).get(a).op("i32.sub").get(a).i32(0).op("i32.ge_s").op("select")

        if dtype == I32:
            self._with_temporaries(1, dtype, absolute)

    def _sign(self, dtype: str) -> None:
        code = self.code

        def sign_f32(a: int) -> None:  # 1, -1, or x itself: zeros and NaN
            code.f32(1.0)
            code.f32(-1.0).get(a).get(a).f32(0.0).op("f32.lt").op("select")
            code.get(a).f32(0.0).op("f32.gt").op("select")

        def sign_i32(a: int) -> None:
            code.get(a).i32(0).op("i32.gt_s").get(a).i32(0).op("i32.lt_s").op("i32.sub")

        def sign_u32(a: int) -> None:
            code.get(a).i32(0).op("i32.ne")

        self._with_temporaries(1, dtype, {F32: sign_f32, I32: sign_i32, U32: sign_u32}[dtype])

    def _mulhi(self, dtype: str) -> None:
        code = self.code

        def high(a: int, b: int) -> None:
            code.get(a).op("i64.extend_i32_u").get(b).op("i64.extend_i32_u").op("i64.mul")
            code.out += b"\x42\x20"  # i64.const 32
            code.op("i64.shr_u").op("i32.wrap_i64")

        self._with_temporaries(2, dtype, high)

    def _isnan(self, dtype: str) -> None:
        self._with_temporaries(1, dtype, lambda a: (self.code.get(a), self.code.get(a), self.code.op("f32.ne")))

    def _rsqrt(self, dtype: str) -> None:
        code = self.code
        code.op("f32.sqrt")
        self._with_temporaries(1, dtype, lambda a: (code.f32(1.0), code.get(a), code.op("f32.div")))

    def _fma(self, dtype: str) -> None:
        code = self.code
        kind = "f32" if dtype == F32 else "i32"

        def multiply_add(a: int, b: int, c: int) -> None:
            code.get(a).get(b).op(f"{kind}.mul").get(c).op(f"{kind}.add")

        self._with_temporaries(3, dtype, multiply_add)


_SPECIAL = {
    "neg": Values._negate,
    "not": Values._not,
    "abs": Values._abs,
    "sign": Values._sign,
    "mulhi": Values._mulhi,
    "isnan": Values._isnan,
    "rsqrt": Values._rsqrt,
    "fma": Values._fma,
}
