"""The binding rules of WebGPU, once for everybody: compiler, readers and executors call these before any native API.

Each engine hides errors that another reports, so the rules are checked here and not where a driver happens to complain.
Twin: `js_bindings/runtime/bindings.js`. Models and programs are those of `program/format.py`, used by attribute only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..errors import ModelError

__all__ = ["ITEM_SIZES", "MAX_BINDINGS", "MAX_EXPANDED_STEPS", "MAX_WORDS", "check_bindings", "check_bound"]

MAX_BINDINGS = 8
MAX_WORDS = 64
MAX_EXPANDED_STEPS = 2**20
REGION_ALIGNMENT = 256

# bytes of one element by DType code; STRING has none
ITEM_SIZES = (4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1, 0)
_LOOP = 1


def check_bindings(model: Any, program: Any, where: str = "program") -> None:
    """Checks what can be known without sizes: counts, indices into the step, and that no byte is bound twice.

    Raises:
        ModelError: rule `P08-binding`.
    """
    regions = program.regions
    for number, step in enumerate(program.steps):
        if step.kind == _LOOP:
            continue
        at = f"{where}.steps[{number}]"
        bound = step.regions
        if len(bound) > MAX_BINDINGS:
            raise ModelError("P08-binding", at, f"binds {len(bound)} regions, at most {MAX_BINDINGS} are portable")
        if len(bound) != program.kernels[step.kernel].bindings:
            raise ModelError(
                "P08-binding",
                at,
                f"binds {len(bound)} regions, the kernel has {program.kernels[step.kernel].bindings} bindings",
            )
        if step.writes >> len(bound):
            raise ModelError("P08-binding", at, f"writes {step.writes:#x} names more than its {len(bound)} regions")
        taken = set(bound)
        if len(taken) != len(bound):
            raise ModelError("P08-binding", at, "binds a region twice: equal operands share one binding")
        for region in bound:
            parent = regions[region].parent
            while parent >= 0:
                if parent in taken:
                    raise ModelError(
                        "P08-binding", at, f"binds region {region} beside region {parent} that contains it"
                    )
                parent = regions[parent].parent
        words = len(step.uniforms) + sum(scalar_words(model, tensor) for tensor in step.scalars)
        if words > MAX_WORDS:
            raise ModelError(
                "P08-binding", at, f"has {words} words of uniforms and scalars, the slot holds {MAX_WORDS}"
            )


def scalar_words(model: Any, tensor: int) -> int:
    """How many u32 words a host-owned tensor takes in a uniform slot; more than fit if its shape is not constant."""
    item = model.tensors[tensor]
    count = 1
    for dim in item.shape:
        count *= model.dims[dim].a if model.dims[dim].op == 0 else MAX_WORDS + 1
    return count * (2 if ITEM_SIZES[item.dtype] == 8 else 1)


def check_bound(
    model: Any, program: Any, sizes: Sequence[int | None], where: str = "program", max_bytes: int | None = None
) -> int:
    """Checks a program for known sizes (the values of `model.dims`): at load for the extremes, then at each binding.

    Children lie inside their parents, tensors fit their regions, no step binds overlapping bytes, and memory and the
    number of steps are bounded. Returns the bytes of all root regions.

    Raises:
        ModelError: rules `P06-region`, `P08-binding`, `P09-budget`, `P13-unbound`.
    """
    for index in _dims_of(program):
        if sizes[index] is None:
            raise ModelError(
                "P13-unbound", where, f"uses dims[{index}], whose symbol occurs in no input shape of the signature"
            )
    starts: list[tuple[int, int]] = []  # (root, first byte inside it) of each region
    total = 0
    for number, region in enumerate(program.regions):
        at = f"{where}.regions[{number}]"
        size, offset = sizes[region.bytes], sizes[region.offset]
        if region.parent < 0:
            starts.append((number, 0))
            total += size
        else:
            root, start = starts[region.parent]
            if offset % REGION_ALIGNMENT or offset + size > sizes[program.regions[region.parent].bytes]:
                raise ModelError(
                    "P06-region",
                    at,
                    f"bytes {offset}..{offset + size} of its parent: not a multiple of 256, or "
                    f"outside its {sizes[program.regions[region.parent].bytes]} bytes",
                )
            starts.append((root, start + offset))
        if region.tensor >= 0:
            needed = ITEM_SIZES[region.storage]
            for dim in model.tensors[region.tensor].shape:
                needed *= sizes[dim] if sizes[dim] is not None else 0
            if needed > size:
                raise ModelError("P06-region", at, f"has {size} bytes, its tensor needs {needed}")
    if max_bytes is not None and total > max_bytes:
        raise ModelError("P09-budget", where, f"needs {total} bytes of memory, allowed are {max_bytes}")
    _check_overlap(program, sizes, starts, where)
    _check_steps(program, sizes, where)
    return total


def _dims_of(program: Any) -> set[int]:
    used = {d for region in program.regions for d in (region.bytes, region.offset)}
    for step in program.steps:
        used.update(step.grid, step.uniforms, (step.flops, step.count))
    return used


def _check_overlap(program: Any, sizes: Sequence[Any], starts: Sequence[tuple[int, int]], where: str) -> None:
    """No step binds two child regions that share a byte."""
    for number, step in enumerate(program.steps):
        children = [r for r in step.regions if program.regions[r].parent >= 0]
        if len(children) < 2:
            continue
        spans = sorted((*starts[r], starts[r][1] + max(sizes[program.regions[r].bytes], 1)) for r in children)
        for (root, _, end), (next_root, start, _) in pairwise(spans):
            if root == next_root and start < end:
                raise ModelError(
                    "P08-binding", f"{where}.steps[{number}]", f"binds byte {start} of region {root} twice"
                )


def _check_steps(program: Any, sizes: Sequence[Any], where: str) -> None:
    """The number of steps with every loop written out stays below 2^20."""
    total, index, repeats = 0, 0, [(len(program.steps), 1)]
    while index < len(program.steps):
        while index >= repeats[-1][0]:
            repeats.pop()
        times = repeats[-1][1]
        step = program.steps[index]
        if step.kind == _LOOP:
            repeats.append((index + 1 + step.body, times * sizes[step.count]))
        else:
            total += times
        if total > MAX_EXPANDED_STEPS:
            raise ModelError(
                "P09-budget", f"{where}.steps", f"more than {MAX_EXPANDED_STEPS} steps with loops written out"
            )
        index += 1
