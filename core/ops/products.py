"""Matrix products on the host: each on one thread of BLAS, large ones in parts.

The threads of OpenBLAS wait for each other in loops. On a machine with other work that made products ten times slower
than one thread, and how many threads there were changed the bits of results.
"""

from __future__ import annotations

import ctypes
import os
import sys
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

import numpy as np

from .parts import blocks, run_parts

__all__ = ["alone", "product"]

BLAS_ALONE = 1 << 18        # multiplications up to which OpenBLAS takes one thread by itself
LARGE = 1 << 24             # multiplications that are worth parts: about half a millisecond
LARGEST = 1 << 28           # worth more of them
ROWS = 8                    # rows or columns that parts are multiples of

Array = Any


def _control() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How numpy's OpenBLAS is asked and told its number of threads; None: this numpy has another BLAS, or none."""
    if sys.platform == "emscripten":
        return None
    try:
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
    except (AttributeError, OSError, TypeError):
        return None
    for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_",
                 "openblas_{}_num_threads"):
        try:
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
        except AttributeError:
            continue
    return None


class _Alone:
    """`with alone:` BLAS uses one thread meanwhile. Blocks may nest and overlap in several threads."""

    def __init__(self) -> None:
        self._depth, self._before, self._lock = 0, 1, allocate_lock()
        self._control: Any = False                  # not looked for yet

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                if self._control is False:
                    self._control = _control()
                if self._control is not None:
                    get, tell = self._control
                    self._before = get()
                    if self._before > 1:
                        tell(1)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._before > 1:
                self._control[1](self._before)


alone = _Alone()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=alone.__init__)  # type: ignore[misc]   # its lock may be held by a lost thread


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b over the last two axes, as np.matmul. Both have at least two axes."""
    (rows, inner), columns = a.shape[-2:], b.shape[-1]
    each, work = rows * inner * columns, a.size * columns
    if each <= BLAS_ALONE and work < LARGE:
        return np.matmul(a, b, out)
    with alone:
        if work < LARGE or a.shape[:-2] != b.shape[:-2]:
            return np.matmul(a, b, out)
        if a.ndim == 2:
            return _of_matrices(a, b, out, work)
        out = np.empty((*a.shape[:-1], columns), a.dtype) if out is None else out
        size = -(-len(a) // _parts(work))
        run_parts([(np.matmul, a[i], b[i], out[i]) for i in blocks(len(a), size)])
        return out


def _parts(work: int) -> int:
    return 4 if work < LARGEST else 8


def _of_matrices(a: Array, b: Array, out: Array | None, work: int) -> Array:
    """One large product: parts of the longer side of the result."""
    rows, columns = len(a), b.shape[1]
    out = np.empty((rows, columns), a.dtype) if out is None else out
    size = -(-max(rows, columns) // _parts(work))
    size += -size % ROWS
    if rows >= columns:
        run_parts([(np.matmul, a[i], b, out[i]) for i in blocks(rows, size)])
    else:
        run_parts([(np.matmul, a, b[:, i], out[:, i]) for i in blocks(columns, size)])
    return out
