"""The functions that graphics kernels spend most of their time in, as quotients of two short polynomials.

`kernel/mathlib.py` takes tanh and erf from an exponential: rounding, shifts and bit casts, fifty operations. A software
adapter does those lane by lane. A rational minimax fit (Lawson iteration, relative error) has nothing but
multiplications, additions and one division, at up to seven of the smallest steps from the right result instead of four.
"""

from __future__ import annotations

from collections.abc import Callable

from ..kernel import mathlib
from ..kernel.ir import Builder, Expr
from ..kernel.mathlib import polynomial

__all__ = ["FUNCTIONS", "MAX_ERROR"]

MAX_ERROR = mathlib.MAX_ERROR | {"tanh": 7.0, "erf": 8.0}          # ulp

# f(x) = x top(x^2) / bottom(x^2) up to the limit, from where it is 1
_TANH_LIMIT, _ERF_LIMIT = 9.0, 3.95
_TANH_TOP = (0.9999999796284391, 0.13380981115348475, 0.003495534492884378, 2.0608184064874006e-05,
             1.3353412140598355e-08)
_TANH_BOTTOM = (1.0, 0.46714296773717817, 0.025876779923696448, 0.00032855462519585103, 7.776046756808275e-07)
_ERF_TOP = (1.1283791439336683, 0.19154011558190723, 0.052873874615689945, 0.0038076628473636526,
            0.00028466663783990593, 2.025859478477167e-06)
_ERF_BOTTOM = (1.0, 0.5030806863804395, 0.11455520797966721, 0.0150540986096721, 0.0011705863172604728,
               3.783018726123467e-05)


def _clamp(x: Expr, limit: float) -> Expr:
    return x.ir.binary("min", x.ir.binary("max", x, -limit), limit)


def tanh(ir: Builder, x: Expr) -> Expr:
    """The hyperbolic tangent"""
    near = _clamp(x, _TANH_LIMIT)
    square = near * near
    return _clamp(near * polynomial(square, _TANH_TOP) / polynomial(square, _TANH_BOTTOM), 1.0)


def erf(ir: Builder, x: Expr) -> Expr:
    """The error function"""
    near = _clamp(x, _ERF_LIMIT)
    square = near * near
    return _clamp(near * polynomial(square, _ERF_TOP) / polynomial(square, _ERF_BOTTOM), 1.0)


FUNCTIONS: dict[str, Callable[..., Expr]] = mathlib.FUNCTIONS | {f.__name__: f for f in (tanh, erf)}
