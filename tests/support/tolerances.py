"""How far a device may be from numpy: one table for all differential tests of ops.

A difference is allowed up to `absolute + relative * |expected|`. Integers and bools are equal or wrong. A sample may
ask for a multiple (`case(..., tolerance=10)`) where its values make the op ill-conditioned; an entry below is for an op
as such.
"""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """Of floats."""

    relative: float
    absolute: float
    because: str = ""


DEFAULT = {
    "interpreter": Tolerance(5e-5, 5e-6),
    "wasm": Tolerance(5e-5, 5e-6),
    "wgsl": Tolerance(5e-5, 5e-6),
}
BY_OP: dict[tuple[str, str], Tolerance] = {}


def tolerance(op: str, dtype: str, backend: str, factor: float = 1.0) -> Tolerance:
    """What is allowed for an output of a dtype."""
    if not dtype.startswith("float"):
        return Tolerance(0.0, 0.0)
    found = BY_OP.get((op, backend), DEFAULT[backend])
    return Tolerance(found.relative * factor, found.absolute * factor, found.because)
