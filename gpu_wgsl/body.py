"""Kernel expressions to WGSL statements, in nested blocks.

Every expression has a home: the outermost block in which all axes it depends on are bound. It is written there once,
as a `let` when it is used more than once or used from a deeper block, else in place. Folds with the same loop that do
not need each other share one loop, so that the 64 sums of a register tile share their loads.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..kernel.ir import BOOL, F32, I32, U32, Axis, Buffer, Expr, FoldSpec, Store, store_roots, walk
from ..kernel.split import guess
from ..shapes import Size
from . import text
from .calls import call_text
from .lanes import LANES, at_lane, split_constant, split_lanes
from .quads import MARK, QUAD, TURN, Load, quad_sets, turn_sets, turned
from .skip import loop_end, skip_neutral

COMPONENTS = "xyzw"
DEEP = 48                                     # operands inside operands; parsers of WGSL refuse somewhat more


class Block:
    """Statements that run under the same loops. Stores go to `tail`, after everything that is computed here."""

    def __init__(self, parent: Block | None, axes: Sequence[Axis] = ()) -> None:
        self.parent = parent
        self.bound: frozenset[Axis] = (parent.bound if parent else frozenset()) | frozenset(axes)
        self.lines: list[str] = []
        self.tail: list[str] = []
        self.names: dict[Expr, str] = {}
        self.fours: dict[Load, str] = {}            # names of four neighbours that were loaded together,
        self.quads: dict[Load, str] = {}            # and of loads that a quad makes alike
        self.ends: list[str] = []               # of the loop of this block, beside the extent of its axis
        self.axes: dict[Axis, str] = {}
        self.folds: dict[Expr, list[str]] = {}
        self.arrays: dict[Expr, str] = {}               # that are picked from
        self.accumulators: dict[object, str] = {}
        self.homes: dict[frozenset[Axis], Block] = {}
        self.in_loop = parent is not None and parent.in_loop

    def home(self, axes: frozenset[Axis]) -> Block:
        """The outermost enclosing block that binds all these axes."""
        found = self.homes.get(axes)
        if found is None:
            outer = self.parent.home(axes) if self.parent and axes <= self.parent.bound else self
            found = self.homes[axes] = outer
        return found

    def find(self, table: str, key: object) -> str:
        """The name of an axis or an accumulator."""
        block: Block | None = self
        while block is not None:
            name = getattr(block, table).get(key)
            if name is not None:
                return str(name)
            block = block.parent
        raise KeyError(f"{key!r} is not bound here")


class Body:
    """Writes the statements of one kernel."""

    def __init__(self, stores: Sequence[Store], buffers: Sequence[Buffer], lane: Axis | None,
                 slots: dict[object, str], more: Sequence[Expr] = (), team: int = 0,
                 quads: tuple[Axis, frozenset[Axis]] | None = None) -> None:
        self.buffers, self.lane, self.slots = buffers, lane, slots
        self.team = team                # of so many invocations that share the loops of one point; 0: none
        self.pools: dict[str, str] = {}                 # workgroup memory of a team: dtype -> name
        self.stores, self.skips = skip_neutral(stores, _group_folds, lane)
        self.lanes = frozenset((lane,)) if lane else frozenset()
        self.helpers = text.Helpers()
        roots = [*store_roots(self.stores), *more]                  # `more`: what is asked for beside the stores
        picks = [x.args[:-1] for x in walk(roots) if x.op == "pick"]
        self.order = walk([*(x for row in zip(*picks, strict=True) for x in row), *roots])      # sums row by row
        self.uses = _count_uses(self.order, [*store_roots(self.stores), *more])
        self.depths = _depths(self.order)
        self.groups = _group_folds(self.order)
        self.split: dict[Expr, Expr | None] = {}
        self.parts: dict[Expr, tuple[Expr, int] | None] = {}
        self.wide = self._wide_buffers()
        self.turned = any(x.op == "turn" for x in self.order)
        self.sets = self._quad_sets(*quads) if quads else {}    # loads that a quad makes alike
        self.count = 0

    def fresh(self, prefix: str = "v") -> str:
        """A new name."""
        self.count += 1
        return f"{prefix}{self.count}"

    def vector(self, x: Expr) -> bool:
        """Whether the value is a vec4, one component per lane."""
        return self.lane is not None and self.lane in x.axes

    def quarter(self, index: Expr) -> Expr | None:
        """q if the index is 4 * q + lane."""
        if index not in self.split:
            self.split[index] = split_lanes(index, self.lane) if self.vector(index) else None  # type: ignore[arg-type]
        return self.split[index]

    def _wide_buffers(self) -> frozenset[int]:
        """Buffers of which every access is four aligned neighbours at once: they are bound as arrays of vec4."""
        wide = {b: True for b in range(len(self.buffers))}
        for s in self.stores:
            guarded = s.valid is not None and self.vector(s.valid)
            wide[s.buffer] = wide[s.buffer] and not guarded and self.quarter(s.index) is not None
        fours: dict[object, set[int]] = {}
        for x in self.order:
            if x.op == "load" and wide[x.attr] and not self._is_quad(x):
                for index, valid in self._elements(x):
                    part = self.part(index)
                    wide[x.attr] = wide[x.attr] and part is not None
                    if part is not None:
                        fours.setdefault((x.attr, part[0], valid), set()).add(part[1])
        for (buffer, _, _), found in fours.items():
            wide[buffer] = wide[buffer] and len(found) == LANES     # else the fourth may lie past the end of the buffer
        return frozenset(b for b, yes in wide.items() if yes)

    def _is_quad(self, x: Expr) -> bool:
        guarded = len(x.args) > 1 and self.vector(x.args[1])
        return self.vector(x) and not guarded and self.quarter(x.args[0]) is not None

    def _quad_sets(self, axis: Axis, bound: frozenset[Axis]) -> dict[Load, tuple[Load, ...]]:
        """Loads that the invocations of a quad, neighbours along `axis`, make alike, up to four together."""
        if any(axis in c.axes for conditions in self.skips.values() for c in conditions):
            return {}               # they would not all be there
        loads: list[Load] = []
        rows: list[Load] = []
        for x in self.order:
            if x.op == "load" and self._is_quad(x) and x.attr in self.wide:
                valid = x.args[1] if len(x.args) > 1 else None
                loads.append(Load(x.attr, self.quarter(x.args[0]), valid))         # type: ignore[arg-type]
            elif x.op == "load":
                for index, valid in self._elements(x):
                    load = Load(x.attr, index, valid)
                    load = self._four(load) if x.attr in self.wide else load
                    (rows if load.rows or turned(load.index) else loads).append(load)
        bound |= self.lanes
        return quad_sets(loads, axis, bound) | turn_sets(rows, axis, bound)

    def _elements(self, x: Expr) -> list[tuple[Expr, Expr | None]]:
        """Index and guard of each element that a load takes one by one."""
        index, valid = x.args[0], x.args[1] if len(x.args) > 1 else None
        if not self.vector(x):
            return [(index, valid)]
        lane = self.lane
        return [(at_lane(index, lane, i), None if valid is None else at_lane(valid, lane, i))      # type: ignore[arg-type]
                for i in range(LANES)]

    def part(self, index: Expr) -> tuple[Expr, int] | None:
        """q and c if the index is 4 * q + c."""
        if index not in self.parts:
            self.parts[index] = split_constant(index)
        return self.parts[index]

    # -- values ------------------------------------------------------------------------------------------------------

    def root(self, x: Expr, block: Block, *, named: bool = False) -> str:
        """`value` of what may be hundreds of operations deep: some on the way get names first."""
        if self.depths.get(x, 0) > DEEP:
            for y in walk([x]):
                if self.depths[y] % DEEP == 0 and y.args and y.dtype != "tuple" and y.axes - self.lanes <= block.bound:
                    self.value(y, block, named=True)
        return self.value(x, block, named=named)

    def value(self, x: Expr, block: Block, *, named: bool = False) -> str:
        """Text for the value of x inside `block`; with `named`, a name or a constant, whatever it takes."""
        op = x.op
        if op == "const":
            return text.constant(x.attr, x.dtype, self.helpers)
        if op == "axis":
            return "vec4<i32>(0i, 1i, 2i, 3i)" if x.attr is self.lane else block.find("axes", x.attr)
        if op == "turn":
            return f"({x.attr}i ^ {QUAD})" if x.attr else QUAD
        if op == "size":
            return self.slots[x.attr]
        if op == "scalar":
            return self.slots[x.attr]
        if op == "iteration":
            return self.slots[("iteration", x.attr)]
        if op == "acc":
            return block.find("accumulators", x.attr)
        home = block.home(x.axes - self.lanes)
        name = home.names.get(x)
        if name is not None:
            return name
        if op == "out":
            return self.fold(x.args[0], home)[int(x.attr)]
        written = self.compute(x, home)
        if home is block and not named and self.uses.get(x, 2) == 1:
            return written
        name = home.names[x] = self.fresh()
        home.lines.append(f"let {name} = {written};")
        return name

    def compute(self, x: Expr, block: Block) -> str:
        """The text of one node, its operands written before."""
        if x.op == "load":
            return self.load(x, block)
        if x.op == "pick":
            return self._pick(x, block)
        if x.op in ("min", "max") and x.dtype == F32 and any(a.op == "const" and a.attr == a.attr for a in x.args):
            return self._bound(x, block)
        if x.op == "mod" and x.dtype == I32:
            rest = self._rest(x, block)
            if rest:
                return rest
        operands = [(self.value(a, block), a.dtype, self.vector(a)) for a in x.args]
        vector = self.vector(x)
        if x.op == "select":
            (condition, _, by_lane), yes, no = operands
            arms = [text.spread(t, d, v, vector) for t, d, v in (no, yes)]
            if vector and not by_lane:
                condition = f"vec4<bool>({condition})"
            return f"select({arms[0]}, {arms[1]}, {condition})"
        if x.op == "cast":
            return text.cast(operands[0][0], x.args[0].dtype, x.dtype, vector)
        if x.op == "bitcast":
            return text.bitcast(operands[0][0], x.args[0].dtype, x.dtype, vector)
        if x.op == "call":
            return call_text(x.attr, [text.spread(t, d, v, vector) for t, d, v in operands], vector, self.helpers)
        return text.operation(x.op, x.dtype, operands, self.helpers)

    def _pick(self, x: Expr, block: Block) -> str:
        """One of several values, by number: they are put into an array where all of them are known."""
        *values, number = x.args
        home = block.home(frozenset().union(*(v.axes for v in values)) - self.lanes)
        name = home.arrays.get(x)
        if name is None:
            wide = self.vector(x)
            texts = [text.spread(self.root(v, home), v.dtype, self.vector(v), wide) for v in values]
            name = home.arrays[x] = self.fresh("t")
            home.lines.append(f"var {name}: array<{text.type_name(x.dtype, wide)}, {len(values)}>;")
            home.lines += [f"{name}[{i}] = {value};" for i, value in enumerate(texts)]
        return f"{name}[{self.value(number, block)}]"

    def _rest(self, x: Expr, block: Block) -> str | None:
        """The remainder from the quotient, where the kernel needs that too: one division instead of two."""
        a, b = x.args
        quotient = x.ir.nodes.get(("div", I32, x.args, None))
        if quotient is None or quotient not in self.depths or (b.op == "const" and b.attr & (b.attr - 1) == 0):
            return None
        whole = self.value(quotient, block, named=True)
        return f"({self.value(a, block, named=True)} - {whole} * {self.value(b, block)})"

    def _bound(self, x: Expr, block: Block) -> str:
        """Minimum or maximum with a constant: where the comparison is false, as it is for NaN, the operand stays."""
        a, b = x.args if x.args[1].op == "const" else reversed(x.args)
        vector = self.vector(x)
        value, limit = self.value(a, block, named=True), text.spread(self.value(b, block), F32, False, vector)
        return f"select({value}, {limit}, {value} {'<=' if x.op == 'max' else '>='} {limit})"

    def load(self, x: Expr, block: Block) -> str:
        """One element, or four: neighbours as one vec4, else one by one. 0 where the guard is false."""
        wide = x.attr in self.wide
        if wide and self._is_quad(x):
            valid = x.args[1] if len(x.args) > 1 else None
            load = Load(x.attr, self.quarter(x.args[0]), valid)                     # type: ignore[arg-type]
            return self._load_one(x, load, block, wide=True)
        loads = [Load(x.attr, index, valid) for index, valid in self._elements(x)]
        parts = [self._component(x, load, block) if wide else self._load_one(x, load, block) for load in loads]
        return f"{text.type_name(x.dtype, True)}({', '.join(parts)})" if len(parts) > 1 else parts[0]

    def _component(self, x: Expr, one: Load, block: Block) -> str:
        """One of four neighbours, which are loaded together."""
        four = self._four(one)
        home = block.home(four.axes - self.lanes)
        if four not in home.fours:
            written = self._load_one(x, four, home, wide=True)
            name = home.fours[four] = self.fresh()
            home.lines.append(f"let {name} = {written};")
        number = self.part(one.index)[1]  # type: ignore[index]
        if four.rows and four not in self.sets:
            return f"{home.fours[four]}[{number}i ^ {QUAD}]"
        return f"{home.fours[four]}.{COMPONENTS[number]}"

    def _four(self, one: Load) -> Load:
        """The load of all four neighbours of which an element is one."""
        quarter, _ = self.part(one.index)  # type: ignore[misc]
        return Load(one.buffer, quarter, one.valid, len(turned(one.index)) > len(turned(quarter)))

    def _load_one(self, x: Expr, load: Load, block: Block, wide: bool = False) -> str:
        valid = load.valid
        stored = self.buffers[x.attr].dtype
        stored = U32 if stored == BOOL else stored
        zero = text.type_name(x.dtype, wide) + "()"
        if valid is not None and valid.op == "const":
            if not valid.attr:
                return zero
            valid = None
        ok = None if valid is None else self.value(valid, block, named=True)
        load = load._replace(valid=valid)
        read = self._quad_name(load, block) or self._read(load, block)
        if x.dtype == BOOL:
            read = f"({read} != {text.type_name(stored, wide)}())"
        else:
            read = text.bitcast(read, stored, x.dtype, wide)
        return read if ok is None else f"select({zero}, {read}, {ok})"

    def _read(self, load: Load, block: Block) -> str:
        """An element of a buffer; the first one where the guard is false."""
        at, valid = self.value(load.index, block), load.valid
        return f"b{load.buffer}[{at if valid is None else f'select(0i, {at}, {self.value(valid, block, named=True)})'}]"

    def _quad_name(self, load: Load, block: Block) -> str | None:
        """The name of a load that quads make alike, written with the others at the first of them."""
        if load not in self.sets:
            return None
        home = block.home(load.axes - self.lanes)
        if load not in home.quads:
            reads = [(other, self._read(other, home)) for other in self.sets[load]]
            home.lines.append(f"{TURN if load.rows or turned(load.index) else MARK} {len(reads)}")
            for other, read in reads:
                home.quads[other] = self.fresh()
                home.lines.append(f"let {home.quads[other]} = {read};")
        return home.quads[load]

    # -- folds -------------------------------------------------------------------------------------------------------

    def fold(self, x: Expr, block: Block) -> list[str]:
        """The names of the results of a fold; writes its loop, with all folds that can share it, if need be."""
        home = block.home(x.axes - self.lanes)
        if x not in home.folds:
            members = [f for f in self.groups.get(x, [x])
                       if f.axes - self.lanes <= home.bound and home is block.home(f.axes - self.lanes)
                       and f not in home.folds
                       and self.skips.get(f) == self.skips.get(x)]
            self._write_loop(members, home)
        return home.folds[x]

    def _write_loop(self, members: list[Expr], home: Block) -> None:
        spec: FoldSpec = members[0].attr
        inits = [[self.root(a, home) for a in f.args[: len(f.attr.accumulators)]] for f in members]
        for f, starts in zip(members, inits, strict=True):
            home.folds[f] = []
            wide = self.vector(f)
            for a, start, x in zip(f.attr.accumulators, starts, f.args, strict=False):
                name = self.fresh("a")
                home.folds[f].append(name)
                start = text.spread(start, a.dtype, self.vector(x), wide)
                home.lines.append(f"var {name}: {text.type_name(a.dtype, wide)} = {start};")
        shared = self._shared_axis(spec.axes) if self.team and not home.in_loop else None
        blocks = self._nest(home, spec.axes)
        inner = blocks[-1]
        self._skip(self.skips.get(members[0], ()), inner)
        for f in members:
            self._accumulate(f, home.folds[f], inner)
        self._close(home.lines, blocks, shared)
        if shared is not None:
            home.lines += [line for f in members for line in self._gather(f, home.folds[f])]

    def _shared_axis(self, axes: Sequence[Axis]) -> Axis | None:
        """The loop whose iterations a team shares: the longest."""
        return max((a for a in axes if a.extent != 1), key=lambda a: guess(a.extent), default=None)

    def _gather(self, f: Expr, names: Sequence[str]) -> list[str]:
        """Combines what the invocations of a team have found; all of them go on with the result."""
        lines: list[str] = []
        for a, name in zip(f.attr.accumulators, names, strict=True):
            pool = self.pools.setdefault(a.dtype, f"pool_{a.dtype}")
            step = text.combine(f"{pool}[local]", a.combine, a.dtype, f"{pool}[local + half]", False, self.helpers)
            lines += [f"{pool}[local] = {name};", "workgroupBarrier();",
                      f"for (var half = {self.team // 2}u; half > 0u; half >>= 1u) {{",
                      f"  if (local < half) {{ {step} }}", "  workgroupBarrier();", "}",
                      f"{name} = {pool}[0];", "workgroupBarrier();"]
        return lines

    def _skip(self, conditions: Sequence[Expr], inner: Block) -> None:
        """Ends the outermost loop that knows a condition early, or goes on to its next iteration."""
        for c in conditions:
            block = inner.home(c.axes)
            (axis,) = block.axes
            end = loop_end(c, axis)
            if end is not None and block.parent is not None:
                block.ends.append(self.value(end, block.parent))
            else:
                block.lines.append(f"if (!{self.value(c, block)}) {{ continue; }}")

    def _nest(self, outer: Block, axes: Sequence[Axis]) -> list[Block]:
        blocks = []
        for axis in axes:
            outer = Block(outer, (axis,))
            outer.axes[axis] = self.fresh("r")
            outer.in_loop = True
            blocks.append(outer)
        return blocks

    def _close(self, lines: list[str], blocks: list[Block], shared: Axis | None = None) -> None:
        """Appends the loops to `lines`. A team shares the iterations of `shared`."""
        content: list[str] = []
        for block in reversed(blocks):
            (axis, name), = block.axes.items()
            content = [*block.lines, *content, *block.tail]
            if axis.extent != 1:
                end = self.extent(axis.extent)
                for limit in block.ends:
                    end = f"min({end}, {limit})"
                start, step = ("i32(local)", f" += {self.team}i") if axis is shared else ("0i", "++")
                head = f"for (var {name} = {start}; {name} < {end}; {name}{step}) {{"
                content = [head, *("  " + line for line in content), "}"]
        lines += content

    def extent(self, size: Size) -> str:
        """The text of a size as an i32."""
        return f"{size}i" if isinstance(size, int) else self.slots[size]

    def _accumulate(self, f: Expr, names: list[str], inner: Block) -> None:
        accumulators = f.attr.accumulators
        values = f.args[len(accumulators):]
        wide = self.vector(f)
        if not any(a.combine == "custom" for a in accumulators):
            for a, name, v in zip(accumulators, names, values, strict=True):
                value = self.root(v, inner)
                if a.combine != "sum" and a.combine != "prod":
                    value = text.spread(value, a.dtype, self.vector(v), wide)
                inner.lines.append(text.combine(name, a.combine, a.dtype, value, wide, self.helpers))
            return
        key = (f.attr.level, tuple(a.dtype for a in accumulators), tuple(a.extent for a in f.attr.axes))
        for i, name in enumerate(names):
            inner.accumulators[(key, i)] = name
        new = [text.spread(self.root(v, inner, named=True), a.dtype, self.vector(v), wide)
               for a, v in zip(accumulators, values, strict=True)]
        kept = [self.fresh() for _ in new] if any(n in names for n in new) else None
        if kept:                            # a value that is another accumulator: read all before writing any
            inner.lines += [f"let {k} = {n};" for k, n in zip(kept, new, strict=True)]
        for a, name, value in zip(accumulators, names, kept or new, strict=True):
            if a.combine == "custom":
                inner.lines.append(f"{name} = {value};")
            else:
                inner.lines.append(text.combine(name, a.combine, a.dtype, value, wide, self.helpers))

    # -- stores ------------------------------------------------------------------------------------------------------

    def write_stores(self, block: Block) -> None:
        """All stores: first the values at this level, so that nothing is stored before it is loaded; then the loops."""
        if self.team and not {s.buffer for s in self.stores}.isdisjoint(x.attr for x in self.order if x.op == "load"):
            block.tail.append("storageBarrier();")      # all have read the row before one overwrites it
        tails = [self._store(s, block) for s in self.stores if not s.loops]
        single = [line for lines in tails for line in lines]
        block.tail += ["if (local == 0u) {", *("  " + line for line in single), "}"] if self.team and single else single
        done: list[Store] = []
        for s in self.stores:
            if not s.loops or s in done:
                continue
            same = [t for t in self.stores if t.loops == s.loops and t not in done]
            done += same
            blocks = self._nest(block, s.loops)
            inner = [self._store(t, blocks[-1]) for t in same]
            blocks[-1].tail += [line for lines in inner for line in lines]
            self._close(block.tail, blocks, self._shared_axis(s.loops) if self.team else None)

    def _store(self, s: Store, block: Block) -> list[str]:
        value, vector = s.value, self.vector(s.value)
        name = self.root(value, block, named=value.op != "const")
        if self.lane is None or not (vector or self.vector(s.index) or (s.valid is not None and self.vector(s.valid))):
            return self._store_one(s, s.index, s.valid, name, block, False)
        if s.buffer in self.wide:
            name = text.spread(name, value.dtype, vector, True)
            return self._store_one(s, self.quarter(s.index), s.valid, name, block, True)  # type: ignore[arg-type]
        lines: list[str] = []
        for lane in range(LANES):
            at = at_lane(s.index, self.lane, lane)
            valid = None if s.valid is None else at_lane(s.valid, self.lane, lane)
            part = f"{name}.{COMPONENTS[lane]}" if vector else name
            lines += self._store_one(s, at, valid, part, block, False)
        return lines

    def _store_one(self, s: Store, index: Expr, valid: Expr | None, value: str, block: Block, wide: bool) -> list[str]:
        if valid is not None and valid.op == "const":
            if not valid.attr:
                return []
            valid = None
        stored = self.buffers[s.buffer].dtype
        stored = U32 if stored == BOOL else stored
        if s.value.dtype == BOOL:
            one, none = (text.type_name(stored, wide) + f"({d})" for d in ("1", "0"))
            value = f"select({none}, {one}, {value})"
        else:
            value = text.bitcast(value, s.value.dtype, stored, wide)
        statement = f"b{s.buffer}[{self.value(index, block)}] = {value};"
        return [statement] if valid is None else [f"if ({self.value(valid, block)}) {{ {statement} }}"]


def _depths(order: Sequence[Expr]) -> dict[Expr, int]:
    """How many operations lie above the leaves of each expression."""
    depths: dict[Expr, int] = {}
    for x in order:
        depths[x] = 1 + max((depths[a] for a in x.args), default=-1)
    return depths


def _count_uses(order: Sequence[Expr], roots: Sequence[Expr]) -> dict[Expr, int]:
    uses: dict[Expr, int] = {}
    for x in roots:
        uses[x] = uses.get(x, 0) + 1
    for x in order:
        for a in x.args:
            uses[a] = uses.get(a, 0) + 1
    return uses


def _group_folds(order: Sequence[Expr]) -> dict[Expr, list[Expr]]:
    """Folds that may share a loop: the same axes, at the same depth of folds that need folds."""
    depth: dict[Expr, int] = {}
    groups: dict[object, list[Expr]] = {}
    result: dict[Expr, list[Expr]] = {}
    for x in order:
        depth[x] = max((depth[a] for a in x.args), default=0)
        if x.op != "fold":
            continue
        depth[x] += 1
        custom = any(a.combine == "custom" for a in x.attr.accumulators)
        result[x] = [] if custom else groups.setdefault((x.attr.axes, depth[x]), [])
        result[x].append(x)
    return result
