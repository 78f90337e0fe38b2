"""Loops: what does not change inside a loop is computed before it, vectors run along one axis, folds keep accumulators.

A root is an expression with the way it will be needed inside a vector loop: VALUE as a vector, ADDRESS as the scalar
address of lane 0 unless lanes lie apart anyhow, CONDITION as a scalar if it is the same in all lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..kernel.ir import F32, Accumulator, Axis, Expr, FoldSpec
from . import encode
from .encode import Code
from .lanes import Lanes, loop_lane
from .lower import nodes_of
from .scalar import wasm_type
from .vector import Vectors

VALUE, ADDRESS, CONDITION = "value", "address", "condition"
Root = tuple[Expr, str]
_Need = tuple[Expr, bool]  # (expression, as a vector)
Bound = int | Callable[[], object]  # a constant, or code that pushes it
Range = tuple[Bound, Bound] | tuple[Bound, Bound, int]  # start, stop; and what is left over is as if it were so long

LIGHT = 24  # nodes of an element up to which blocks are computed one after the other
_STAGE = 6  # operations of one block before the next has its turn


class Nests(Vectors):
    """Emits loop nests over expressions."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.sibling_folds: dict[tuple[Axis, ...], list[Expr]] = {}
        self.nans: dict[int, int] = {}  # vector of a "min" or "max" -> the lanes that have seen a NaN

    def plan(self, nodes: Sequence[Expr]) -> None:
        """Learns about all expressions that will be emitted: how often each is used, which folds share a loop."""
        self.count_uses(nodes)
        for x in nodes:
            if x.op == "fold":
                self.sibling_folds.setdefault(x.attr.axes, []).append(x)

    # -- loops -------------------------------------------------------------------------------------------------------

    def nest(
        self,
        axes: Sequence[Axis],
        roots: Sequence[Root],
        body: Callable[[], None],
        lane: Axis | None = None,
        unroll: int = 1,
        bounds: dict[Axis, Range] | None = None,
    ) -> None:
        """Loops over the axes, outermost first; `lane` runs in vectors of `unroll` blocks.

        `bounds` gives (start, stop) for axes that do not run over their whole extent; starts are multiples of 4.
        """
        if not axes:
            body()
            return
        axis, rest = axes[0], axes[1:]
        start, stop, *length = (bounds or {}).get(axis, (0, self.extent(axis)))

        def inside() -> None:
            self.nest(rest, roots, body, lane, unroll, bounds)

        if axis is lane:
            self.hoist(roots)  # folds that are the same in all lanes, once for whole vectors and the rest
            self._vector_loop(axis, start, stop, roots, inside if rest else body, unroll, *length)
        else:
            self.hoist(roots)
            self._loop(axis, start, stop, inside)

    def extent(self, axis: Axis) -> Bound:
        """The extent of an axis, as a number or a uniform."""
        if isinstance(axis.extent, int):
            return axis.extent
        size = self.sizes[axis.extent]
        return lambda: self.code.get(size)

    def push(self, bound: Bound) -> None:
        """Pushes a bound."""
        self.code.i32(bound) if isinstance(bound, int) else bound()

    def _loop(self, axis: Axis, start: Bound, stop: Bound, inside: Callable[[], None]) -> None:
        mark = self.enter()
        i = self.local(encode.I32)
        self.push(start)
        self.code.set(i)
        self._rounds(
            axis, i, stop, 1, inside, certain=isinstance(start, int) and isinstance(stop, int) and start < stop
        )
        self.leave(mark)

    def _rounds(self, axis: Axis, i: int, stop: Bound, step: int, inside: Callable[[], None], certain: bool) -> None:
        """while i + step <= stop: inside(); i += step. `certain`: the first round happens."""
        code = self.code
        mark = self.enter()
        self.remember(self.axes, axis, i)
        if step > 1 and not isinstance(stop, int):  # the last start that still has `step` to go
            last = self.local(encode.I32)
            self.push(stop)
            code.i32(step - 1).op("i32.sub").set(last)
            limit: Bound = lambda: code.get(last)  # noqa: E731
        else:
            limit = stop - (step - 1) if isinstance(stop, int) else stop
        code.block()
        if not certain:
            code.get(i)
            self.push(limit)
            code.op("i32.ge_s").br_if(0)
        code.loop()
        body = self.enter()
        inside()
        self.leave(body)
        code.get(i).i32(step).op("i32.add").tee(i)
        self.push(limit)
        code.op("i32.lt_s").br_if(0)
        code.end()
        code.end()
        self.leave(mark)

    def _vector_loop(
        self, axis: Axis, start: Bound, stop: Bound, roots: Sequence[Root], body: Callable[[], None], unroll: int,
        length: int | None = None,
    ) -> None:
        mark = self.enter()
        i = self.local(encode.I32)
        self.push(start)
        self.code.set(i)
        fixed = isinstance(start, int) and isinstance(stop, int)
        known = stop - start if isinstance(start, int) and isinstance(stop, int) else length
        outer = self.lane
        lanes = self.lane_of(axis)
        for blocks in dict.fromkeys((unroll, 1)):
            if known is None or known >= 4 * blocks:
                self.lane, self.parts = lanes, blocks
                scope = self.enter()
                self.hoist(roots)
                self._rounds(axis, i, stop, 4 * blocks, body, certain=fixed and blocks == unroll)
                self.leave(scope)
                if known is not None:
                    known %= 4 * blocks
        self.lane, self.parts = outer, 1
        if known is None or known:
            scope = self.enter()
            self.hoist(roots)
            self._rounds(axis, i, stop, 1, body, certain=fixed)
            self.leave(scope)
        self.leave(mark)

    def lane_of(self, axis: Axis) -> Lanes:
        """What is known about the lanes of an axis (remembered per function)."""
        found = self._lanes.get(axis)
        if found is None:
            found = self._lanes[axis] = Lanes(axis)
        return found

    @property
    def _lanes(self) -> dict[Axis, Lanes]:
        return self.__dict__.setdefault("_known_lanes", {})

    def interleave(self, values: Sequence[Expr]) -> None:
        """Computes long values of all blocks side by side. A processor looks ahead some hundred instructions: where
        one block has that many, each waiting for the one before, the blocks after it would begin too late.
        """
        bound = self.axes.keys()
        nodes = [x for x in nodes_of(values) if x.dtype == F32 and self.lane.stride(x) is None and x.axes <= bound]
        if len(nodes) <= LIGHT:
            return
        for x in nodes:
            if x.op not in ("out", "acc") and (self.uses.get(x, 0) > 1 or self.heights.get(x, 0) % _STAGE == 0):
                for part in range(self.parts):
                    self.vector_local(x, part)

    # -- hoisting ----------------------------------------------------------------------------------------------------

    def hoist(self, roots: Sequence[Root]) -> None:
        """Computes, here, the largest parts of the roots that depend only on axes of loops around this point.

        Constant vectors are among them: today's V8 makes one in six instructions wherever it is written.
        """
        bound = self.axes.keys()
        found: list[_Need] = []
        seen: set[_Need] = set()
        stack = [(x, self._as_vector(x, kind)) for x, kind in reversed(roots)]
        while stack:
            item = stack.pop()
            if item in seen:
                continue
            seen.add(item)
            x, as_vector = item
            if not as_vector and (x.op == "const" or x in self.scalars):
                continue
            if x.axes <= bound and x.op != "acc":
                if x.op != "fold" and (as_vector or (x.args and x.op != "out")):
                    found.append(item)
                elif x.op in ("fold", "out"):
                    found.append((x, False))
                continue
            stack.extend(reversed(self._operands(x, as_vector)))
        for x, as_vector in found:
            self._precompute(x, as_vector)

    def _as_vector(self, x: Expr, kind: str) -> bool:
        if self.lane is None or kind == VALUE:
            return self.lane is not None
        stride = self.lane.stride(x)
        return stride is None if kind == ADDRESS else stride != 0

    def _operands(self, x: Expr, as_vector: bool) -> list[_Need]:
        """The operands of a node, each in the way that the node needs it."""
        if not as_vector or self.lane.stride(x) == 0:
            return [(a, False) for a in x.args]
        if x.dtype == "i32" and self.lane.stride(x) is not None:
            return [(a, False) for a in x.args]
        if x.op == "mem":
            gathered = self.lane.stride(x.args[0]) is None
            return [(x.args[0], gathered)] + [(a, self.lane.stride(a) != 0) for a in x.args[1:]]
        if x.op in ("shl", "shr"):
            return [(x.args[0], True), (x.args[1], self.lane.stride(x.args[1]) != 0)]
        return [(a, True) for a in x.args]

    def _precompute(self, x: Expr, as_vector: bool) -> None:
        if x.op == "fold":
            if x not in self.folds:
                self.fold(x)
        elif x.op == "out" and not as_vector:
            self.fold_of(x)
        elif not as_vector:
            self.scalar_local(x)
        elif self.lane.stride(x) == 0:
            self.vector_local(x, 0)
        else:
            for part in range(self.parts):
                self.vector_local(x, part)

    # -- folds -------------------------------------------------------------------------------------------------------

    def fold(self, x: Expr) -> None:
        """Emits the loop of a fold, together with those folds that can share it."""
        climbing, self.climbing = self.climbing, False
        self._emit_fold(x)
        self.climbing = climbing

    def _emit_fold(self, x: Expr) -> None:
        group = [x]
        spec: FoldSpec = x.attr
        if not _custom(x):
            for other in self.sibling_folds.get(spec.axes, ()):
                if other is not x and other.axes == x.axes and other not in self.folds and not _custom(other):
                    group.append(other)
        varying = self.lane is not None and any(self.lane.stride(f) != 0 for f in group)
        if varying:
            self._vector_fold(group)
            return
        values = [v for f in group for v in f.args[len(f.attr.accumulators) :]]
        inner = None if _custom(x) else loop_lane(spec.axes, values, may_reorder=True)
        outer = self.lane, self.parts
        self.lane, self.parts = None, 1
        if inner is None:
            self._scalar_fold(group, values)
        else:
            self._lane_fold(group, values, inner)
        self.lane, self.parts = outer

    def _scalar_fold(self, group: list[Expr], values: list[Expr]) -> None:
        for f in group:
            self.remember(self.folds, f, self._accumulators(f, lambda a, init: self._initial(a.dtype, init)))

        def body() -> None:
            for f in group:
                self._update(f, self.folds[f], None)

        mark = self.enter()
        self.nest(group[0].attr.axes, [(v, VALUE) for v in values], body)
        self.leave(mark)

    def _vector_fold(self, group: list[Expr]) -> None:
        """A fold inside a vector loop: each lane has accumulators of its own."""
        for f in group:
            self.remember(
                self.folds,
                f,
                self._accumulators(f, lambda a, init: [self._initial_vector(init, p) for p in range(self.parts)]),
            )
        values = [v for f in group for v in f.args[len(f.attr.accumulators) :]]

        def body() -> None:
            if self.parts > 1:
                self.interleave(values)
            for f in group:
                self._update(f, self.folds[f], self.parts)

        mark = self.enter()
        pairs = [pair for f in group for pair in zip(f.attr.accumulators, self.folds[f], strict=True)]
        for a, vectors in pairs:
            for local in vectors:
                self._watch_nan(a, [local])
        self.nest(group[0].attr.axes, [(v, VALUE) for v in values], body)
        for _, vectors in pairs:
            self._finish(vectors)
        self.leave(mark)

    def _lane_fold(self, group: list[Expr], values: list[Expr], inner: Axis) -> None:
        """A fold whose own loop is vectorised: several vector accumulators, reduced at the end."""
        parts = 4 if len(values) <= 2 else 2
        if isinstance(inner.extent, int) and inner.extent < 4 * parts:
            parts = 1
        code = self.code
        for f in group:
            self.remember(self.folds, f, self._accumulators(f, lambda a, init: self._initial(a.dtype, init)))
        mark = self.enter()
        wide: dict[Expr, list[list[int]]] = {}
        for f in group:
            neutral = f.args[0].ir.neutral
            wide[f] = []
            for a in f.attr.accumulators:
                start = neutral(a)
                locals_ = [self.local(encode.V128) for _ in range(parts)]
                for local in locals_:
                    self.lane = self.lane_of(inner)
                    self.vector(start, 0)
                    code.set(local)
                self.lane = None
                self._watch_nan(a, locals_)
                wide[f].append(locals_)

        def body() -> None:
            if self.lane is not None and self.parts > 1:
                self.interleave(values)
            for f in group:
                self._update(
                    f, self.folds[f] if self.lane is None else wide[f], None if self.lane is None else self.parts
                )

        axes = [a for a in group[0].attr.axes if a is not inner] + [inner]
        self.nest(axes, [(v, VALUE) for v in values], body, lane=inner, unroll=parts)
        for f in group:
            for a, scalar, vectors in zip(f.attr.accumulators, self.folds[f], wide[f], strict=True):
                self._finish(vectors)
                self._gather_parts(a.combine, a.dtype, vectors)
                self.reduce_lanes(vectors[0], scalar, a.combine, a.dtype)
        self.leave(mark)

    def _watch_nan(self, a: Accumulator, vectors: list[int]) -> None:
        """Gives vectors that hold smallest or largest floats a local that remembers NaN."""
        if a.combine in ("min", "max") and a.dtype == F32:
            nan = self.local(encode.V128)
            self.code.v128(bytes(16)).set(nan)
            self.nans.update(dict.fromkeys(vectors, nan))

    def _finish(self, vectors: list[int]) -> None:
        """Ends the vectors of an accumulator: a NaN that smallest or largest values left out comes back."""
        for local in vectors:
            nan = self.nans.pop(local, None)
            if nan is not None:
                self.code.get(local).get(nan).op("v128.or").set(local)

    def _gather_parts(self, kind: str, dtype: str, vectors: list[int]) -> None:
        while len(vectors) > 1:
            half = len(vectors) // 2
            for a, b in zip(vectors[:half], vectors[half:], strict=True):
                self.code.get(a).get(b)
                self.combine_vectors(kind, dtype)
                self.code.set(a)
            vectors = vectors[:half]

    def _accumulators(self, f: Expr, make: Callable[..., object]) -> list[Any]:
        return [make(a, init) for a, init in zip(f.attr.accumulators, f.args, strict=False)]

    def _initial(self, dtype: str, init: Expr) -> int:
        local = self.local(wasm_type(dtype))
        self.scalar(init)
        self.code.set(local)
        return local

    def _initial_vector(self, init: Expr, part: int) -> int:
        local = self.local(encode.V128)
        self.vector(init, part)
        self.code.set(local)
        return local

    def _update(self, f: Expr, accumulators: list[Any], parts: int | None) -> None:
        """One round of a fold; `parts` is None for scalars."""
        code, spec = self.code, f.attr
        values = f.args[len(spec.accumulators) :]
        if _custom(f):
            self._update_custom(f, accumulators, values, parts)
            return
        for a, local, value in zip(spec.accumulators, accumulators, values, strict=True):
            if parts is None:
                code.get(local)
                self.scalar(value)
                self.combine(a.combine, a.dtype)
                code.set(local)
                continue
            for part in range(parts):
                if a.combine in ("min", "max") and a.dtype == F32:
                    self._extreme(a.combine, local, part, self.vector_local(value, part))
                    continue
                code.get(local[part])
                self.vector(value, part)
                self.combine_vectors(a.combine, a.dtype)
                code.set(local[part])

    def _extreme(self, combine: str, vectors: list[int], part: int, value: int) -> None:
        """The smaller or larger, NaN left out, and a note of every NaN: f32x4.max takes V8 twice as long."""
        code = self.code
        nan = self.nans[vectors[part]]
        code.get(vectors[part]).get(value).op("f32x4.pmin" if combine == "min" else "f32x4.pmax").set(vectors[part])
        code.get(nan).get(value).get(value).op("f32x4.ne").op("v128.or").set(nan)

    def _update_custom(self, f: Expr, accumulators: list[Any], values: Sequence[Expr], parts: int | None) -> None:
        """All new values are computed from the old accumulators, then assigned together."""
        code = self.code
        mark = self.enter()
        for acc in _carried(f):
            local = accumulators[acc.attr[1]]
            if parts is None:
                self.remember(self.scalars, acc, local)
            else:
                for part in range(parts):
                    self.remember(self.vectors, (acc, part), local[part])
        new: list[tuple[int, int]] = []
        for a, local, value in zip(f.attr.accumulators, accumulators, values, strict=True):
            if parts is None:
                fresh = self.local(wasm_type(a.dtype))
                self.scalar(value)
                code.set(fresh)
                new.append((local, fresh))
            else:
                for part in range(parts):
                    fresh = self.local(encode.V128)
                    self.vector(value, part)
                    code.set(fresh)
                    new.append((local[part], fresh))
        for old, fresh in new:
            code.get(fresh).set(old)
        self.leave(mark)


def _custom(f: Expr) -> bool:
    return any(a.combine == "custom" for a in f.attr.accumulators)


def _carried(f: Expr) -> list[Expr]:
    """The accumulators of this fold that its values read, not those of folds inside or around it."""
    own = {(f.attr.level, tuple(a.dtype for a in f.attr.accumulators), tuple(a.extent for a in f.attr.axes))}
    found: dict[Expr, None] = {}
    stack = list(f.args[len(f.attr.accumulators) :])
    seen = set()
    while stack:
        x = stack.pop()
        if x in seen:
            continue
        seen.add(x)
        if x.op == "acc" and x.attr[0] in own:
            found[x] = None
        stack.extend(x.args)
    return list(found)
