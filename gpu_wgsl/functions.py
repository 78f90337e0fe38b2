"""The hyperbolic tangent for graphics kernels, which spend much of their time in it.

`kernel/mathlib.py` takes it from an exponential: rounding, shifts and bit casts, fifty operations. A software adapter
does those lane by lane. A rational minimax fit (Lawson iteration, relative error) has nothing but multiplications,
additions and one division, at up to seven of the smallest steps from the right result instead of four.
"""

from __future__ import annotations

from collections.abc import Callable

from ..kernel import mathlib
from ..kernel.ir import Builder, Expr
from ..kernel.mathlib import clamp, polynomial

__all__ = ["FUNCTIONS"]

# f(x) = x top(x^2) / bottom(x^2) up to the limit, from where it is 1
_TANH_LIMIT = 9.0
_TANH_TOP = (0.9999999796284391, 0.13380981115348475, 0.003495534492884378, 2.0608184064874006e-05,
             1.3353412140598355e-08)
_TANH_BOTTOM = (1.0, 0.46714296773717817, 0.025876779923696448, 0.00032855462519585103, 7.776046756808275e-07)


def tanh(ir: Builder, x: Expr) -> Expr:
    """The hyperbolic tangent"""
    near = clamp(x, -_TANH_LIMIT, _TANH_LIMIT)
    square = near * near
    return clamp(near * polynomial(square, _TANH_TOP) / polynomial(square, _TANH_BOTTOM), -1.0, 1.0)


FUNCTIONS: dict[str, Callable[..., Expr]] = mathlib.FUNCTIONS | {"tanh": tanh}
