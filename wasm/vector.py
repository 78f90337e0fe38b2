"""Four values at a time: expressions as SIMD128, along one lane axis.

A vector loop handles `parts` blocks of four lanes per turn. What is the same in all lanes is computed as a scalar and
spread; an address that grows by one element per lane is one load; anything else goes lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import Any

from ..kernel.ir import BOOL, F32, I32, U32, Expr
from . import encode
from .encode import f32_bytes, u32_bytes
from .lanes import power_of_two
from .lower import Target
from .scalar import STOREY, Values

_SIMPLE: dict[tuple[str, str], str] = {}
for _op in ("add", "sub", "mul"):
    _SIMPLE |= {(_op, F32): f"f32x4.{_op}", (_op, I32): f"i32x4.{_op}", (_op, U32): f"i32x4.{_op}"}
for _op in ("lt", "le", "gt", "ge"):
    _SIMPLE |= {
        (_op, F32): f"f32x4.{_op}",
        (_op, I32): f"i32x4.{_op}_s",
        (_op, U32): f"i32x4.{_op}_u",
        (_op, BOOL): f"i32x4.{_op}_u",
    }
for _op in ("eq", "ne"):
    _SIMPLE |= {(_op, F32): f"f32x4.{_op}"} | {(_op, d): f"i32x4.{_op}" for d in (I32, U32, BOOL)}
for _op in ("and", "or", "xor"):
    _SIMPLE |= {(_op, d): f"v128.{_op}" for d in (I32, U32, BOOL)}
for _op in ("min", "max"):
    _SIMPLE |= {
        (_op, F32): f"f32x4.{_op}",
        (_op, I32): f"i32x4.{_op}_s",
        (_op, U32): f"i32x4.{_op}_u",
        (_op, BOOL): "v128.and" if _op == "min" else "v128.or",
    }
_SIMPLE |= {
    ("truediv", F32): "f32x4.div",
    ("neg", F32): "f32x4.neg",
    ("neg", I32): "i32x4.neg",
    ("neg", U32): "i32x4.neg",
    ("abs", F32): "f32x4.abs",
    ("abs", I32): "i32x4.abs",
    ("sqrt", F32): "f32x4.sqrt",
    ("floor", F32): "f32x4.floor",
    ("ceil", F32): "f32x4.ceil",
    ("trunc", F32): "f32x4.trunc",
    ("round", F32): "f32x4.nearest",
    ("not", BOOL): "v128.not",
    ("not", I32): "v128.not",
    ("not", U32): "v128.not",
}
_SHIFT = {
    ("shl", I32): "i32x4.shl",
    ("shl", U32): "i32x4.shl",
    ("shr", I32): "i32x4.shr_s",
    ("shr", U32): "i32x4.shr_u",
}
_ONES, _ZEROS = b"\xff" * 16, bytes(16)


def spread(value: float | int, dtype: str) -> bytes:
    """A constant in all four lanes."""
    if dtype == BOOL:
        return _ONES if value else _ZEROS
    return (f32_bytes(value) if dtype == F32 else u32_bytes(int(value))) * 4


class _Known:
    """The expressions of which a local holds block `part`, or the scalar that is the same for all blocks."""

    def __init__(self, values: Vectors, part: int) -> None:
        self.scalars, self.vectors, self.part = values.scalars, values.vectors, part

    def __contains__(self, x: object) -> bool:
        return x in self.scalars or (x, self.part) in self.vectors


class Vectors(Values):
    """The vector side of evaluating expressions; `lane` is None outside vector loops."""

    lane: Any = None  # Lanes, inside a vector loop
    parts: int = 1

    def vector(self, x: Expr, part: int) -> None:
        """Pushes x for the lanes of block `part`."""
        if x.op == "const" and (x, 0) not in self.vectors:
            self.code.v128(spread(x.attr, x.dtype))
            return
        uniform = self.lane.stride(x) == 0
        key = (x, 0 if uniform else part)
        local = self.vectors.get(key)
        if local is not None:
            self.code.get(local)
            return
        if uniform:
            self._spread(x)
            return
        if self.landings and not self.climbing and self.heights.get(x, 0) > STOREY:
            self.climb(x, lambda n: self._ahead(n, part), _Known(self, part))
        self._vector(x, part)
        if self.uses.get(x, 0) > 1 and x.op != "out":
            self.keep_vector(x, part)

    def _ahead(self, x: Expr, part: int) -> None:
        stride = self.lane.stride(x)
        if stride == 0 or (stride is not None and x.dtype == I32):
            self.scalar_local(x)
        else:
            self.vector_local(x, part)

    def keep_vector(self, x: Expr, part: int) -> int:
        """Keeps the vector on the stack in a local as well."""
        local = self.local(encode.V128)
        self.code.tee(local)
        self.remember(self.vectors, (x, part), local)
        return local

    def vector_local(self, x: Expr, part: int) -> int:
        """A local of this scope that holds the vector."""
        key = (x, 0 if self.lane.stride(x) == 0 else part)
        local = self.vectors.get(key)
        if local is None:
            self.vector(x, part)
            local = self.vectors.get(key)
            if local is None:
                local = self.local(encode.V128)
                self.code.set(local)
                self.remember(self.vectors, key, local)
            else:
                self.code.op("drop")
        return local

    def _spread(self, x: Expr) -> None:
        code = self.code
        if (
            x.op == "mem"
            and len(x.args) == 1
            and x.dtype != BOOL
            and x not in self.scalars
            and self.uses.get(x, 0) <= 1
        ):
            self.scalar(x.args[0])
            code.memory("v128.load32_splat", x.attr[1])
            return
        if x.dtype == BOOL:
            code.i32(0)
            self.scalar(x)
            code.op("i32.sub")
        else:
            self.scalar(x)
        code.op("f32x4.splat" if x.dtype == F32 else "i32x4.splat")

    def _vector(self, x: Expr, part: int) -> None:
        op, code = x.op, self.code
        step = self.lane.stride(x) if x.dtype == I32 else None
        if step is not None:
            self.scalar(x)
            code.op("i32x4.splat")
            code.v128(pack("<4i", *(step * (4 * part + i) for i in range(4))))
            code.op("i32x4.add")
        elif op == "mem":
            self._load(x, part)
        elif op == "out":
            code.get(self.fold_of(x)[x.attr][part])
        elif op == "acc":
            code.get(self.vectors[x, part])
        elif op == "select":
            for a in (x.args[1], x.args[2], x.args[0]):
                self.vector(a, part)
            code.op("v128.bitselect")
        elif op == "cast":
            self.vector(x.args[0], part)
            self._vector_cast(x.args[0].dtype, x.dtype)
        elif op == "bitcast":
            self.vector(x.args[0], part)
        else:
            self._operation(op, x, part)

    def _operation(self, op: str, x: Expr, part: int) -> None:
        dtype, code = x.args[0].dtype, self.code
        if op in ("min", "max") and dtype == F32 and self._clamp(op, x, part):
            return
        name = _SIMPLE.get((op, dtype))
        if name is not None:
            for a in x.args:
                self.vector(a, part)
            code.op(name)
        elif op in ("shl", "shr") and self.lane.stride(x.args[1]) == 0:
            self.vector(x.args[0], part)
            self.scalar(x.args[1])
            code.op(_SHIFT[op, dtype])
        elif op in ("div", "mod") and power_of_two(x.args[1]):
            self.vector(x.args[0], part)
            by = x.args[1].attr
            if op == "div":
                code.i32(by.bit_length() - 1)
                code.op("i32x4.shr_u")
            else:
                code.v128(spread(by - 1, I32))
                code.op("v128.and")
        elif op in _SPECIAL:
            _SPECIAL[op](self, x, part)
        else:
            self._lane_by_lane(op, x, part)

    def _clamp(self, op: str, x: Expr, part: int) -> bool:
        """min or max of floats: pmin and pmax are one instruction, and keep a NaN in their first operand; one in the
        second, unless that is a constant, is put in.
        """
        a, b = x.args
        if a.op == "const":
            a, b = b, a
        if b.op == "const" and b.attr != b.attr:
            return False
        second = None if b.op == "const" else self.vector_local(b, part)
        self.vector(a, part)
        self.vector(b, part)
        self.code.op("f32x4.pmin" if op == "min" else "f32x4.pmax")
        if second is not None:
            self.code.get(second).get(second).op("f32x4.ne").op("v128.or")
        return True

    def _lane_by_lane(self, op: str, x: Expr, part: int) -> None:
        code = self.code
        locals_ = [self.vector_local(a, part) for a in x.args]
        result = "f32x4" if x.dtype == F32 else "i32x4"
        for i in range(4):
            for a, local in zip(x.args, locals_, strict=True):
                if a.op == "const":
                    self.scalar(a)
                else:
                    code.get(local)
                    code.lane("f32x4.extract_lane" if a.dtype == F32 else "i32x4.extract_lane", i)
            self.apply(op, x)
            if i == 0:
                code.op(f"{result}.splat")
            else:
                code.lane(f"{result}.replace_lane", i)

    def _vector_cast(self, old: str, new: str) -> None:
        code = self.code
        if old == BOOL:
            code.v128(spread(1.0 if new == F32 else 1, new))
            code.op("v128.and")
        elif new == F32:
            code.op("f32x4.convert_s" if old == I32 else "f32x4.convert_u")
        elif new == BOOL:
            code.v128(_ZEROS)
            code.op("f32x4.ne" if old == F32 else "i32x4.ne")
        elif old == F32:
            code.op("i32x4.trunc_sat_s" if new == I32 else "i32x4.trunc_sat_u")

    def combine_vectors(self, kind: str, dtype: str) -> None:
        """Reduces the two vectors on the stack as an accumulator does."""
        self.code.op(_SIMPLE[{"sum": "add", "prod": "mul"}.get(kind, kind), dtype])

    def reduce_lanes(self, vector: int, scalar: int, kind: str, dtype: str) -> None:
        """Reduces the four lanes of a local into a scalar local."""
        code = self.code
        for lanes in ((2, 3, 0, 1), (1, 0, 3, 2)):
            code.get(vector).get(vector).get(vector)
            code.shuffle(lanes)
            self.combine_vectors(kind, dtype)
            code.set(vector)
        code.get(scalar)
        code.get(vector)
        code.lane("f32x4.extract_lane" if dtype == F32 else "i32x4.extract_lane", 0)
        if dtype == BOOL:
            code.i32(1)
            code.op("i32.and")
        self.combine(kind, dtype)
        code.set(scalar)

    # -- memory ------------------------------------------------------------------------------------------------------

    def _load(self, x: Expr, part: int) -> None:
        code, lane = self.code, self.lane
        buffer, offset = x.attr
        address, valid = x.args[0], x.args[1] if len(x.args) > 1 else None
        step = lane.stride(address)
        if valid is None:
            if step == 4:
                self.scalar(address)
                code.memory("v128.load", offset + 16 * part)
            else:
                self._gather_apart(address, part, step, offset)
        elif lane.stride(valid) == 0 and step == 4:
            at = self.scalar_local(address)
            self.scalar(valid)
            code.if_(encode.V128)
            code.get(at).memory("v128.load", offset + 16 * part)
            code.else_().v128(_ZEROS).end()
        else:
            self._guarded(buffer, address, valid, part, step)
        if x.dtype == BOOL:
            code.v128(_ZEROS)
            code.op("i32x4.ne")

    def _guarded(self, buffer: int, address: Expr, valid: Expr, part: int, step: int | None) -> None:
        """A load whose condition differs by lane: plain where all lanes are valid, else lane by lane and masked."""
        code = self.code
        mask = self.vector_local(valid, part)
        push = self._lane_addresses(address, part, step)

        def guarded(i: int) -> None:
            push(i)
            code.get(self.bases[buffer])
            code.get(mask).lane("i32x4.extract_lane", i)
            code.op("select")

        if step is not None:
            code.get(mask).op("i32x4.all_true")
            code.if_(encode.V128)
            if step == 4:
                code.get(self.scalar_local(address)).memory("v128.load", 16 * part)
            else:
                self._gather_apart(address, part, step, 0)
            code.else_()
        inside = self.enter()
        self._gather(guarded, 0)
        code.get(mask).op("v128.and")
        self.leave(inside)
        if step is not None:
            code.end()

    def _gather_apart(self, address: Expr, part: int, step: int | None, offset: int) -> None:
        """Loads four lanes that lie `step` bytes apart, or anywhere. What lies behind the first needs no sum."""
        if step is None or step < 0:
            self._gather(self._lane_addresses(address, part, step), offset)
            return
        at = self.scalar_local(address)
        self._gather(lambda _: self.code.get(at), offset + 4 * step * part, step)

    def _gather(self, push: Callable[[int], object], offset: int, step: int = 0) -> None:
        for i in (3, 2, 1, 0):
            push(i)
        self.code.memory("v128.load32_zero", offset)
        for i in (1, 2, 3):
            self.code.memory("v128.load32_lane", offset + i * step, i)

    def _lane_addresses(self, address: Expr, part: int, step: int | None) -> Callable[[int], object]:
        """A function that pushes the address of one lane; what it needs is computed now."""
        code = self.code
        if step is None:
            vector = self.vector_local(address, part)
            return lambda i: (code.get(vector), code.lane("i32x4.extract_lane", i))[0]
        at = self.scalar_local(address)

        def push(i: int) -> None:
            code.get(at)
            if step * (4 * part + i):
                code.i32(step * (4 * part + i))
                code.op("i32.add")

        return push

    def store_vector(self, target: Target, values: int, part: int) -> None:
        """Stores the vector in local `values`, for the lanes of block `part`."""
        code, lane = self.code, self.lane
        step = lane.stride(target.address)
        valid = target.valid
        if valid is not None and lane.stride(valid) == 0:
            self.scalar_local(target.address) if step is not None else self.vector_local(target.address, part)
            self.scalar(valid)
            code.if_()
            inside = self.enter()
            self._store_lanes(target, values, part, step, None)
            self.leave(inside)
            code.end()
        else:
            mask = None if valid is None else self.vector_local(valid, part)
            self._store_lanes(target, values, part, step, mask)

    def _store_lanes(self, target: Target, values: int, part: int, step: int | None, mask: int | None) -> None:
        code = self.code
        if step == 4 and mask is None:
            self.scalar(target.address)
            code.get(values)
            code.memory("v128.store", target.offset + 16 * part)
            return
        push = self._lane_addresses(target.address, part, step)
        if step == 4:
            assert mask is not None
            code.get(mask).op("i32x4.all_true")
            code.if_()
            push(0)
            code.get(values).memory("v128.store", target.offset)
            code.else_()
        for i in range(4):
            if mask is not None:
                code.get(mask).lane("i32x4.extract_lane", i)
                code.if_()
            push(i)
            code.get(values)
            code.memory("v128.store32_lane", target.offset, i)
            if mask is not None:
                code.end()
        if step == 4:
            code.end()

    # -- operations made of several ----------------------------------------------------------------------------------

    def _sign_vector(self, x: Expr, part: int) -> None:
        code, dtype = self.code, x.args[0].dtype
        a = self.vector_local(x.args[0], part)
        if dtype == F32:  # x where it is neither above nor below 0: zeros and NaN
            code.v128(spread(1.0, F32))
            code.v128(spread(-1.0, F32)).get(a).get(a).v128(_ZEROS).op("f32x4.lt").op("v128.bitselect")
            code.get(a).v128(_ZEROS).op("f32x4.gt").op("v128.bitselect")
        elif dtype == I32:  # comparisons give -1
            code.get(a).v128(_ZEROS).op("i32x4.lt_s").get(a).v128(_ZEROS).op("i32x4.gt_s").op("i32x4.sub")
        else:
            code.get(a).v128(_ZEROS).op("i32x4.ne").v128(spread(1, U32)).op("v128.and")

    def _mulhi_vector(self, x: Expr, part: int) -> None:
        code = self.code
        a, b = (self.vector_local(operand, part) for operand in x.args)
        code.get(a).get(b).op("i64x2.extmul_low_u")
        code.get(a).get(b).op("i64x2.extmul_high_u")
        code.shuffle((1, 3, 5, 7))

    def _isnan_vector(self, x: Expr, part: int) -> None:
        a = self.vector_local(x.args[0], part)
        self.code.get(a).get(a).op("f32x4.ne")

    def _rsqrt_vector(self, x: Expr, part: int) -> None:
        self.code.v128(spread(1.0, F32))
        self.vector(x.args[0], part)
        self.code.op("f32x4.sqrt").op("f32x4.div")

    def _fma_vector(self, x: Expr, part: int) -> None:
        total = self.vector_local(x.args[2], part)
        self.vector(x.args[0], part)
        self.vector(x.args[1], part)
        if x.dtype == F32:
            self.code.multiply_add(total)
        else:
            self.code.op("i32x4.mul").get(total).op("i32x4.add")


_SPECIAL = {
    "sign": Vectors._sign_vector,
    "mulhi": Vectors._mulhi_vector,
    "isnan": Vectors._isnan_vector,
    "rsqrt": Vectors._rsqrt_vector,
    "fma": Vectors._fma_vector,
}
