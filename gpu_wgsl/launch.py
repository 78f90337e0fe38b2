"""What every shader has, whatever it computes: bindings, the uniform slot, the grid, the number of a workgroup."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..kernel.ir import BOOL, F32, I32, U32, Kernel, Scalar, store_roots, walk
from ..shapes import Dim, Size, ceil_div, smaller
from . import text
from .lanes import LANES

__all__ = ["Emitted", "Slots", "arguments", "bindings", "grid_of", "group_number", "is_folded"]

MAX_GROUPS = 65535
READ = {F32: "bitcast<f32>(slot.{})", I32: "bitcast<i32>(slot.{})", U32: "slot.{}", BOOL: "(slot.{} != 0u)"}


@dataclass(frozen=True)
class Emitted:
    """A shader and how to launch it. `grid` counts workgroups; the uniform slot: `sizes`, then words of `scalars`.

    With several `parts` it is launched once for each, their number the last of the sizes.
    """

    code: str
    entry: str
    grid: tuple[Size, ...]
    sizes: tuple[Dim, ...]
    scalars: tuple[Scalar, ...]
    parts: int = 1
    flops: Size = 0                 # of one launch

    def launches(self) -> list[tuple[Size, ...]]:
        """The sizes of each launch."""
        return [(*self.sizes, part) for part in range(self.parts)] if self.parts > 1 else [self.sizes]


class Slots:
    """The uniforms of a kernel: `declared` is WGSL, `texts` says how each size, scalar word and iteration is read."""

    def __init__(self, kernel: Kernel, sizes: Sequence[Dim], parts: int) -> None:
        self.texts: dict[object, str] = {}
        fields: list[str] = []

        def add(key: object, read: str) -> None:
            name = f"s{len(fields)}"
            fields.append(f"{name}: u32")
            self.texts[key] = read.format(f"{name}") if "{}" in read else read

        for size in sizes:
            add(size, "i32(slot.{})")
        if parts > 1:
            fields.append("part: u32")
        for scalar in kernel.scalars:
            for word in range(scalar.words):
                add((scalar, word), READ[scalar.dtype])
        first = len(kernel.buffers)
        self.declared = ""
        if fields:
            self.declared = (f"struct Slot {{ {', '.join(fields)} }}\n"
                             f"@group(0) @binding({first}) var<uniform> slot: Slot;\n")
        for depth in sorted({x.attr for x in walk(store_roots(kernel.stores)) if x.op == "iteration"}):
            self.texts[("iteration", depth)] = f"i32(iteration{depth})"
            self.declared += f"@group(0) @binding({first + 1 + depth}) var<uniform> iteration{depth}: u32;\n"

    def unpacked(self) -> tuple[dict[object, str], list[str]]:
        """A name for each value, and the statements that read them once."""
        names = {key: f"s{number}" for number, key in enumerate(self.texts)}
        return names, [f"let {names[key]} = {text};" for key, text in self.texts.items()]


def bindings(kernel: Kernel, wide_buffers: Collection[int], lengths: Sequence[int | None]) -> str:
    """The declarations of the buffers; those of `wide_buffers` are arrays of vec4."""
    lines = []
    for i, b in enumerate(kernel.buffers):
        wide = i in wide_buffers
        element = text.type_name(U32 if b.dtype == BOOL else b.dtype, wide)
        length = lengths[i] if i < len(lengths) else None
        whole, rest = divmod(length or 0, LANES if wide else 1)
        size = f", {whole}" if whole and not rest else ""
        lines.append(f"@group(0) @binding({i}) var<storage, read_write> b{i}: array<{element}{size}>;\n")
    return "".join(lines)


def is_folded(groups: Size) -> bool:
    """Whether the grid may need a second dimension."""
    return not isinstance(groups, int) or groups > MAX_GROUPS


def grid_of(groups: Size) -> tuple[Size, ...]:
    """The grid of so many workgroups; above 65,535 it folds into y, with up to one row too many."""
    if isinstance(groups, int):
        if groups <= MAX_GROUPS:
            return (groups,)
        y = -(-groups // MAX_GROUPS)
        return (-(-groups // y), y)
    return (smaller(groups, MAX_GROUPS), ceil_div(groups, MAX_GROUPS))


def arguments(groups: Size, parts: int) -> str:
    """The parameters of `main`."""
    arguments = "@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32"
    return arguments + (", @builtin(num_workgroups) groups: vec3<u32>" if is_folded(groups) or parts > 1 else "")


def group_number(groups: Size, parts: int) -> str:
    """The number of this workgroup, u32."""
    number = "group.y * groups.x + group.x" if is_folded(groups) else "group.x"
    if parts > 1:
        return f"({number} + slot.part * (groups.x * groups.y))"
    return f"({number})" if is_folded(groups) else number
