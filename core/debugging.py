"""tf.debugging: checks that raise where a value is wrong.

Inside a tf.function a check of values has no place to raise from a compiled program: it is left out, and says so once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .dtypes import as_dtype
from .eager.context import note_fallback
from .eager.tensor import convert_to_tensor
from .errors import InvalidArgumentError

__all__ = [
    "Assert",
    "assert_all_finite",
    "assert_equal",
    "assert_greater",
    "assert_greater_equal",
    "assert_integer",
    "assert_less",
    "assert_less_equal",
    "assert_near",
    "assert_negative",
    "assert_non_negative",
    "assert_non_positive",
    "assert_none_equal",
    "assert_positive",
    "assert_rank",
    "assert_rank_at_least",
    "assert_scalar",
    "assert_shapes",
    "assert_type",
    "check_numerics",
]


def _known(name: str, *tensors: Any) -> list[np.ndarray[Any, Any]] | None:
    """The values as arrays, or None (and a note) while a function is traced."""
    if all(hasattr(t, "host") for t in tensors):
        return [t.host() for t in tensors]
    note_fallback(f"tf.debugging.{name} inside a tf.function is not checked: compiled programs cannot raise. "
                  "Check the values before the call.")
    return None


def _compare(name: str, sign: str, holds: Callable[[Any, Any], Any], x: Any, y: Any, message: str | None) -> None:
    a = convert_to_tensor(x)
    b = convert_to_tensor(y, a.dtype) if not hasattr(y, "dtype") else convert_to_tensor(y)
    found = _known(name, a, b)
    if found is None:
        return
    good = np.asarray(holds(*found))
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        left, right = (np.broadcast_to(v, good.shape)[where] for v in found)
        raise InvalidArgumentError(f"{message or ''}\nCondition x {sign} y did not hold. First at position {where}: "
                                   f"x = {left}, y = {right}".lstrip())


def assert_equal(x: Any, y: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x == y everywhere."""
    _compare("assert_equal", "==", np.equal, x, y, message)


def assert_none_equal(x: Any, y: Any, summarize: Any = None, message: str | None = None,
                      name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x != y everywhere."""
    _compare("assert_none_equal", "!=", np.not_equal, x, y, message)


def assert_greater(x: Any, y: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x > y everywhere."""
    _compare("assert_greater", ">", np.greater, x, y, message)


def assert_greater_equal(x: Any, y: Any, message: str | None = None, summarize: Any = None,
                         name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x >= y everywhere."""
    _compare("assert_greater_equal", ">=", np.greater_equal, x, y, message)


def assert_less(x: Any, y: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x < y everywhere."""
    _compare("assert_less", "<", np.less, x, y, message)


def assert_less_equal(x: Any, y: Any, message: str | None = None, summarize: Any = None,
                      name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x <= y everywhere."""
    _compare("assert_less_equal", "<=", np.less_equal, x, y, message)


def assert_near(x: Any, y: Any, rtol: Any = None, atol: Any = None, message: str | None = None, summarize: Any = None,
                name: str | None = None) -> None:
    """Raises InvalidArgumentError unless |x - y| <= atol + rtol * |y| everywhere; both default to 10 epsilon."""
    small = 10 * np.finfo(convert_to_tensor(x).dtype.numpy).eps
    rtol, atol = small if rtol is None else float(rtol), small if atol is None else float(atol)
    _compare("assert_near", "~=", lambda a, b: np.abs(a - b) <= atol + rtol * np.abs(b), x, y, message)


def assert_positive(x: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x > 0 everywhere."""
    _compare("assert_positive", ">", np.greater, x, 0, message)


def assert_negative(x: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x < 0 everywhere."""
    _compare("assert_negative", "<", np.less, x, 0, message)


def assert_non_negative(x: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x >= 0 everywhere."""
    _compare("assert_non_negative", ">=", np.greater_equal, x, 0, message)


def assert_non_positive(x: Any, message: str | None = None, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError unless x <= 0 everywhere."""
    _compare("assert_non_positive", "<=", np.less_equal, x, 0, message)


def Assert(condition: Any, data: Any, summarize: Any = None, name: str | None = None) -> None:
    """Raises InvalidArgumentError with `data` unless the condition holds."""
    found = _known("Assert", convert_to_tensor(condition))
    if found is not None and not found[0].all():
        raise InvalidArgumentError(f"Expected {condition!r} to be true. Summarized data: {data!r}")


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Any:
    """The tensor, if it holds neither NaN nor infinity. Raises InvalidArgumentError otherwise, with the place."""
    x = convert_to_tensor(tensor)
    found = _known("check_numerics", x)
    if found is not None and not np.isfinite(found[0]).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(found[0]))[0])
        kinds = [kind for kind, test in (("Inf", np.isinf), ("NaN", np.isnan)) if test(found[0]).any()]
        raise InvalidArgumentError(f"{message} : Tensor had {' and '.join(kinds)} values, first at position {where}")
    return x


def assert_all_finite(x: Any, message: str, name: str | None = None) -> Any:
    """As check_numerics."""
    return check_numerics(x, message)


# -- what is known while tracing too -----------------------------------------------------------------------------------


def assert_rank(x: Any, rank: int, message: str | None = None, name: str | None = None) -> None:
    """Raises ValueError unless x has `rank` axes."""
    x = convert_to_tensor(x)
    if len(x.sizes) != int(rank):
        raise ValueError(f"{message or ''} Tensor must have rank {int(rank)}. Received rank {len(x.sizes)}, "
                         f"shape {x.shape}".lstrip())


def assert_rank_at_least(x: Any, rank: int, message: str | None = None, name: str | None = None) -> None:
    """Raises ValueError unless x has at least `rank` axes."""
    x = convert_to_tensor(x)
    if len(x.sizes) < int(rank):
        raise ValueError(f"{message or ''} Tensor must have rank at least {int(rank)}. Received rank {len(x.sizes)}, "
                         f"shape {x.shape}".lstrip())


def assert_scalar(tensor: Any, message: str | None = None, name: str | None = None) -> None:
    """Raises ValueError unless the tensor has no axes."""
    x = convert_to_tensor(tensor)
    if x.sizes:
        raise ValueError(f"{message or ''} Expected scalar shape, saw shape: {x.shape}.".lstrip())


def assert_type(tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None) -> None:
    """Raises TypeError unless the tensor has this dtype."""
    x = convert_to_tensor(tensor)
    if x.dtype is not as_dtype(tf_type):
        raise TypeError(f"{message or ''} tensor must be of type {as_dtype(tf_type)!r}; got {x.dtype!r}".lstrip())


def assert_integer(x: Any, message: str | None = None, name: str | None = None) -> None:
    """Raises TypeError unless x has an integer dtype."""
    x = convert_to_tensor(x)
    if not x.dtype.is_integer:
        raise TypeError(f"{message or ''} Expected an integer tensor, got {x.dtype!r}".lstrip())


def assert_shapes(shapes: Any, data: Any = None, summarize: Any = None, message: str | None = None,
                  name: str | None = None) -> None:
    """Raises ValueError unless the tensors have these shapes. A size is a number, None (any) or a name that stands for
    one size everywhere.

    >>> assert_shapes([([[1.0, 2.0]], (1, "width")), ([3.0, 4.0], ("width",))])
    """
    named: dict[str, Any] = {}
    for x, wanted in (shapes.items() if isinstance(shapes, dict) else shapes):
        sizes = convert_to_tensor(x).sizes
        if len(sizes) != len(wanted):
            raise ValueError(f"{message or ''} Specified rank {len(wanted)}, the tensor has shape {sizes}".lstrip())
        for axis, (size, want) in enumerate(zip(sizes, wanted, strict=True)):
            expected = named.setdefault(want, size) if isinstance(want, str) else want
            if expected is not None and isinstance(size, int) and size != expected:
                raise ValueError(f"{message or ''} Tensor dimension {axis} is {size}, expected {expected} "
                                 f"({want!r})".lstrip())
