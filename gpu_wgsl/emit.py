"""Kernel IR to WGSL: one kernel, one compute shader.

Bindings: the kernel's buffers in order, all `read_write` (a region may be loaded and stored in one dispatch), then the
uniform `Slot` if there are sizes or scalars. Names are positions, so that equal kernels give equal text and share one
pipeline. The work is `points` of the scheduled axes, numbered from the workgroup and the lane; grids above 65,535 fold
into y.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..kernel.ir import Axis, Kernel, store_roots, walk
from ..kernel.split import guess
from ..shapes import Dim, Size, ceil_div
from .body import Block, Body
from .cost import flops
from .launch import Emitted, Slots, arguments, bindings, grid_of, group_number
from .quads import DECLARED, may_turn, quad_axis, settled
from .schedule import SIDE, Options, Plan, schedule
from .shared import emit_shared
from .windows import by_windows

__all__ = ["Emitted", "Options", "emit"]

MAX_PARTS = 64
MAX_WINDOW = 9               # pixels that an invocation takes at once
WINDOWS = 8                  # times as many as invocations of a contraction, which have more to do


def emit(kernel: Kernel, options: Options | None = None, lengths: Sequence[int | None] = ()) -> Emitted:
    """Writes the shader of a kernel. `lengths`: how many elements its buffers have, None or nothing where not known.

    A buffer of known length is declared with it: the browser's check of every index is then against a constant, while
    a software adapter divides for the length of any other, lane by lane.
    """
    options = options or Options()
    work = flops(kernel)
    parts = min(-(-guess(work) // options.max_flops), MAX_PARTS) or 1
    made = emit_shared(kernel, options.smallest, parts, work, lengths) if options.shared else None
    if made is not None:
        return made
    pixels = min(MAX_WINDOW, options.max_tile)
    plan = schedule(by_windows(kernel, pixels, WINDOWS * options.min_invocations), options)
    sizes = _sizes(kernel, plan)
    slots = Slots(kernel, sizes, parts)
    names, unpacked = slots.unpacked()
    team = plan.workgroup if plan.team else 0
    quads = _quads(plan)
    stores = plan.stores if quads and may_turn(plan.stores, quads[0]) else settled(plan.stores)
    body = Body(stores, kernel.buffers, plan.lane, names, team=team, quads=quads)
    groups = ceil_div(ceil_div(plan.points, 1 if plan.team else plan.workgroup * plan.elements), parts)
    lines = _main(body, plan, parts)
    written = [bindings(kernel, body.wide, lengths), slots.declared, DECLARED * body.turned, body.helpers.text()]
    written += [f"var<workgroup> {n}: array<{d}, {plan.workgroup}>;\n" for d, n in body.pools.items()]
    written.append(f"@compute @workgroup_size({plan.workgroup})\nfn main({arguments(groups, parts)}) {{\n")
    written += [f"  {line}\n" for line in (*unpacked, *_position(plan, groups, parts), *lines)]
    written.append("}\n")
    return Emitted("".join(written), "main", grid_of(groups), sizes, kernel.scalars, parts, ceil_div(work, parts))


def _quads(plan: Plan) -> tuple[Axis, frozenset[Axis]] | None:
    """The axis along which four neighbouring invocations differ, if they differ in one, and the axes of the points."""
    axis = quad_axis(plan.axes, plan.square)
    plain = not plan.team and plan.elements == 1 and plan.workgroup % 4 == 0
    return (axis, frozenset(plan.axes)) if plain and axis is not None else None


def _sizes(kernel: Kernel, plan: Plan) -> tuple[Dim, ...]:
    """The sizes of the kernel, then those that the schedule adds."""
    found: dict[Dim, None] = dict.fromkeys(kernel.sizes)
    loops: list[Axis] = [*plan.axes, *(a for s in plan.stores for a in s.loops)]
    for axis in plan.square or ():
        blocks = ceil_div(axis.extent, SIDE)
        if isinstance(blocks, Dim):
            found.setdefault(blocks)
    for x in walk(store_roots(plan.stores)):
        if x.op == "size":
            found.setdefault(x.attr)
        elif x.op == "fold":
            loops += x.attr.axes
    for axis in loops:
        if isinstance(axis.extent, Dim):
            found.setdefault(axis.extent)
    return tuple(found)


def _position(plan: Plan, groups: Size, parts: int) -> list[str]:
    """The number of the first point of this invocation."""
    if plan.team:
        return [f"let first = i32({group_number(groups, parts)});"]
    if parts == 1 and isinstance(groups, int) and groups == 1:
        return ["let first = i32(local);"]
    scale = plan.workgroup * plan.elements
    return [f"let first = i32({group_number(groups, parts)} * {scale}u + local);"]


def _main(body: Body, plan: Plan, parts: int) -> list[str]:
    """The statements after `first`: what is the same for all points, then the points."""
    outer = Block(None)
    inner = Block(outer, plan.axes)
    decode = _decode(body, plan, inner)
    body.write_stores(inner)
    content = [*decode, *inner.lines, *inner.tail]
    lines = _points(body, plan)
    exact = _exact(plan, parts)
    if plan.elements == 1:
        end = [] if exact else ["if (p >= points) { return; }"]
        return [*lines, "let p = first;", *end, *outer.lines, *content]
    end = [] if exact else ["if (p >= points) { break; }"]
    head = f"for (var e = 0i; e < {plan.elements}i; e++) {{"
    loop = (f"let p = first + e * {plan.workgroup}i;", *end, *content)
    return [*lines, *outer.lines, head, *("  " + line for line in loop), "}"]


def _exact(plan: Plan, parts: int) -> bool:
    """Whether the grid has as many invocations as there are points."""
    if not isinstance(plan.points, int):
        return False
    groups, rest = divmod(plan.points, 1 if plan.team else plan.workgroup * plan.elements)
    return rest == 0 and prod(grid_of(ceil_div(groups, parts))) * parts == groups  # type: ignore[arg-type]


def _points(body: Body, plan: Plan) -> list[str]:
    square = plan.square or ()
    factors = [_blocks(body, a) + f" * {SIDE}i" if a in square else body.extent(a.extent) for a in plan.axes] or ["1i"]
    if isinstance(plan.points, int):
        factors = [f"{plan.points}i"]
    return [f"let points = {' * '.join(factors)};"]


def _blocks(body: Body, axis: Axis) -> str:
    """How many times SIDE an axis has points, rounded up."""
    return body.extent(ceil_div(axis.extent, SIDE))


def _decode(body: Body, plan: Plan, block: Block) -> list[str]:
    """Axis values from the number of the point, the last axis fastest."""
    if plan.square is not None:
        return _decode_square(body, plan, block)
    lines: list[str] = []
    rest = "p"
    for number, axis in reversed(list(enumerate(plan.axes))):
        name = block.axes[axis] = f"i{number}"
        if number == 0:
            lines.append(f"let {name} = {rest};")
            break
        lines += _divmod(name, f"q{number}", rest, body.extent(axis.extent))
        rest = f"q{number}"
    return lines


def _divmod(rest: str, quotient: str, value: str, by: str) -> list[str]:
    """Two statements: remainder and quotient of a value that is not negative. Software adapters divide lane by lane."""
    known = by.rstrip("i")
    if known.isdigit() and int(known) & (int(known) - 1) == 0 and int(known):
        shift = int(known).bit_length() - 1
        return [f"let {rest} = {value} & {int(known) - 1}i;", f"let {quotient} = {value} >> {shift}u;"]
    return [f"let {quotient} = {value} / {by};", f"let {rest} = {value} - {quotient} * {by};"]


def _decode_square(body: Body, plan: Plan, block: Block) -> list[str]:
    """The same where a workgroup is SIDE x SIDE points of two axes; points past the end of these return."""
    down, across = plan.square  # type: ignore[misc]
    lines = ["let square = p >> 6u;"]
    rest = "square"
    for number, axis in reversed(list(enumerate(plan.axes))):
        name, extent = f"i{number}", body.extent(axis.extent)
        block.axes[axis] = name
        if axis is not down and axis is not across:
            lines += _divmod(name, f"q{number}", rest, extent)
        else:
            within = f"((p >> 3u) & {SIDE - 1}i)" if axis is down else f"(p & {SIDE - 1}i)"
            lines += _divmod(f"g{number}", f"q{number}", rest, _blocks(body, axis))
            lines.append(f"let {name} = g{number} * {SIDE}i + {within};")
            if not isinstance(axis.extent, int) or axis.extent % SIDE:
                lines.append(f"if ({name} >= {extent}) {{ return; }}")
        rest = f"q{number}"
    return lines
