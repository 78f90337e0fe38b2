"""Matrix products on the host: each on one thread of BLAS, large ones in parts.

The threads of OpenBLAS wait for each other in loops. On a machine with other work that made products ten times slower
than one thread, and how many threads there were changed the bits of results.
Where BLAS cannot be told to use one thread, products are not done in parts: each part would start all threads of BLAS.
"""

from __future__ import annotations

import ctypes
import os
import sys
from _thread import allocate_lock
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
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
    for library in _libraries():
        for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_",
                     "openblas_{}_num_threads"):
            try:
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
            except AttributeError:
                continue
    return None


def _libraries() -> Iterator[ctypes.CDLL]:
    """Where numpy's BLAS may be found: numpy itself and, as Windows does not look further, the libraries beside it."""
    paths = [getattr(np._core._multiarray_umath, "__file__", None)]  # type: ignore[attr-defined]
    if sys.platform == "win32":
        paths += sorted(map(str, (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*.dll")))
    for path in paths:
        try:
            yield ctypes.CDLL(path)
        except (OSError, TypeError):
            continue


class _Alone:
    """`with alone:` BLAS uses one thread meanwhile. Blocks may nest and overlap in several threads."""

    def __init__(self) -> None:
        self._depth, self._before, self._lock = 0, 1, allocate_lock()
        self._control: Any = False                  # not looked for yet

    @property
    def works(self) -> bool:
        """Inside a block: whether BLAS does use one thread."""
        return self._control is not None

    def __enter__(self) -> None:
        with self._lock:
            depth = self._depth
            try:
                if not depth:
                    self._hold()
                self._depth = depth + 1
            except BaseException:                   # KeyboardInterrupt: there will be no __exit__
                self._depth = depth
                if not depth:
                    self._restore()
                raise

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            try:
                if self._depth == 1:
                    self._restore()
            finally:
                self._depth = max(0, self._depth - 1)  # 0 already: the block began before a fork

    def _hold(self) -> None:
        if self._control is False:
            self._control = _control()
        if self._control is not None:
            get, tell = self._control
            self._before = get()
            if self._before > 1:
                tell(1)

    def _restore(self) -> None:
        if self._before > 1:
            self._control[1](self._before)
            self._before = 1

    def forget(self) -> None:
        """In a child process the threads that were in blocks are gone, and one of them may have held the lock."""
        self._restore()
        self._depth, self._lock = 0, allocate_lock()


alone = _Alone()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=alone.forget)


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b over the last two axes, as np.matmul. Both have at least two axes."""
    (rows, inner), columns, leading = a.shape[-2:], b.shape[-1], a.shape[:-2]
    if leading != b.shape[:-2]:
        leading = np.broadcast_shapes(leading, b.shape[:-2])
    each = rows * inner * columns
    work = each * prod(leading)
    if each <= BLAS_ALONE and work < LARGE:
        return np.matmul(a, b, out)
    with alone:
        if work < LARGE or not alone.works:
            return np.matmul(a, b, out)
        out = np.empty((*leading, rows, columns), a.dtype) if out is None else out
        a, b = np.broadcast_to(a, (*leading, rows, inner)), np.broadcast_to(b, (*leading, inner, columns))
        (_of_matrices if prod(leading) == 1 else _of_stacks)(a, b, out, _parts(work))
        return out


def _parts(work: int) -> int:
    return 4 if work < LARGEST else 8


def _of_stacks(a: Array, b: Array, out: Array, parts: int) -> None:
    """Many products: parts of the longest of the leading axes."""
    leading = out.shape[:-2]
    axis = leading.index(max(leading))
    cuts = [(slice(None),) * axis + (part,) for part in blocks(leading[axis], -(-leading[axis] // parts))]
    run_parts([(np.matmul, a[cut], b[cut], out[cut]) for cut in cuts])


def _of_matrices(a: Array, b: Array, out: Array, parts: int) -> None:
    """One large product: parts of the longer side of the result."""
    rows, columns = out.shape[-2:]
    size = -(-max(rows, columns) // parts)
    size += -size % ROWS
    if rows >= columns:
        run_parts([(np.matmul, a[..., i, :], b, out[..., i, :]) for i in blocks(rows, size)])
    else:
        run_parts([(np.matmul, a, b[..., i], out[..., i]) for i in blocks(columns, size)])
