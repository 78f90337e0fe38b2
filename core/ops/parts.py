"""Large numpy kernels in parts, for as many threads as help.

The caller takes part after part from a list; threads that wait for work take some too if the machine has a core for
them. Nobody waits for a part that has not begun, so a busy machine loses next to nothing: threads that meet at
barriers, like those of BLAS, are ten times slower there than one. What the parts are depends on sizes alone: the bits
of a result do not depend on the number of threads.

Parts must not run much Python: they share the interpreter's lock, which numpy lets go of while it computes.
Nobody asks how busy the machine is: beside other work two threads get more of the cores than one, which outweighs the
wait for a part that another thread has begun.
TIDEFLOW_THREADS (or OMP_NUM_THREADS, OPENBLAS_NUM_THREADS) says how many threads to use; 1: none but the caller's.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import allocate_lock
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from .silence import IGNORE, enter, leave

__all__ = ["ENVIRONMENT", "blocks", "by_rows", "quiet", "run_parts", "spread", "threads"]

ENVIRONMENT = ("TIDEFLOW_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
MOST = 8                    # threads: more wait for the interpreter's lock
PARTS = 8                   # of an elementwise kernel at most
SPREAD = 1 << 18            # elements from which a dear elementwise kernel is done in parts: about a third of a ms
CHEAP = 4                   # times as many, for what an instruction does

Array = Any
Part = tuple[Any, ...]      # a function and its arguments


class _Job:
    """Parts that are left, and how to learn that the last of them is done."""

    __slots__ = ("done", "ended", "error", "parts", "total")

    def __init__(self, parts: list[Part]) -> None:
        self.parts, self.total, self.error = parts, len(parts), None
        self.done, self.ended = count(1), allocate_lock()
        self.ended.acquire()

    def work(self) -> None:
        """Runs parts until none is left to begin."""
        while self.parts:
            try:
                function, *arguments = self.parts.pop()
            except IndexError:                      # another thread was quicker
                return
            try:
                function(*arguments)
            except BaseException as error:
                self.error = error
            finally:
                if next(self.done) == self.total:
                    self.ended.release()


class _Worker:
    """A thread that sleeps until there is a job."""

    def __init__(self) -> None:
        self.job: _Job | None = None
        self.wake = allocate_lock()
        self.wake.acquire()
        threading.Thread(target=self.run, name="tideflow-parts", daemon=True).start()

    def run(self) -> None:
        """For the life of the process."""
        np.seterr(all="ignore")                     # of this thread alone
        while True:
            self.wake.acquire()
            job, self.job = self.job, None
            if job is not None:
                job.work()
                del job                             # its arrays


_workers: list[_Worker] = []
_count = 0


def threads() -> int:
    """How many threads compute, the caller's included: the cores that this process may use, at most 8."""
    global _count
    if not _count:
        asked = [os.environ.get(name, "") for name in ENVIRONMENT]
        numbers = [int(text) for text in asked if text.isdigit() and int(text)]
        if sys.platform == "emscripten":            # no threads, whatever the environment says
            _count = 1
        elif numbers:
            _count = numbers[0]
        else:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            _count = min(cores, MOST)
    return _count


def run_parts(parts: Sequence[Part]) -> None:
    """Runs every part, a function and its arguments, in any order and on any thread; returns when all are done.

    No part warns of infinities and NaN. Raises what a part raised.
    """
    token = enter(IGNORE)                           # as on the other threads
    try:
        if len(parts) < 2 or threads() == 1:
            for function, *arguments in parts:
                function(*arguments)
        else:
            _share(parts)
    finally:
        leave(token)


def _share(parts: Sequence[Part]) -> None:
    """Runs the parts on this thread and on those that sleep."""
    wanted = min(threads(), len(parts)) - 1
    while len(_workers) < wanted:
        try:
            _workers.append(_Worker())
        except RuntimeError:                        # the system gives no more threads
            break
    job = _Job(list(reversed(parts)))               # they are taken from the end
    for worker in _workers[:wanted]:
        worker.job = job
        try:
            worker.wake.release()
        except RuntimeError:                        # told so already: it finds this job
            pass
    job.work()
    job.ended.acquire()
    error, job.error = job.error, None
    try:
        if error is not None:
            raise error
    finally:
        del error, job                              # else the error, which knows this frame, would keep all arrays


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of `size` that cover `total`, the last one shorter."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def spread(function: Callable[..., Any], dtype: Any, *arrays: Array) -> Array | None:
    """`function(*arrays)` of a ufunc, in parts; None where the arrays do not divide well.

    One of the arrays must have the shape of the result, whose element type is `dtype`.
    """
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    full = [a.shape == shape and a.flags.c_contiguous for a in arrays]
    if not any(full):
        return None
    out = np.empty(shape, dtype)
    flat = out
    if all(whole or a.size == 1 for whole, a in zip(full, arrays, strict=True)):
        arrays, flat = tuple([a.reshape(-1) for a in arrays]), out.reshape(-1)
    elif shape[0] < PARTS:
        return None
    step = -(-len(flat) // (PARTS if out.size >= PARTS * SPREAD else PARTS // 2))
    step += -step % 16 if flat.ndim == 1 else 0     # whole lines of the cache
    along = [a.ndim == flat.ndim and len(a) == len(flat) for a in arrays]
    run_parts([
        (_into, flat[part], function, *[a[part] if cut else a for a, cut in zip(arrays, along, strict=True)])
        for part in blocks(len(flat), step)
    ])
    return out


def by_rows(function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)`, of the shape and dtype of x and each row (along the first axis) by itself; many rows in parts."""
    if x.size < SPREAD or len(x) < PARTS or threads() == 1:
        return function(x)
    out = np.empty(x.shape, x.dtype)
    run_parts([(_assign, out[rows], function, x[rows]) for rows in blocks(len(x), -(-len(x) // PARTS))])
    return out


def _assign(out: Array, function: Callable[[Array], Array], x: Array) -> None:
    out[...] = function(x)


def _into(out: Array, function: Callable[..., Any], *arrays: Array) -> None:
    function(*arrays, out=out)


_ufunc = np.ufunc
_CHEAP = frozenset({
    np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.negative, np.absolute, np.square, np.equal,
    np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not,
    np.isnan, np.isinf, np.isfinite, np.floor, np.ceil, np.rint, np.sign,
})


def quiet(function: Callable[..., Any], *arrays: Any) -> np.ndarray[Any, Any]:
    """The array that a numpy function gives, without warnings: infinities and NaN are silent in TensorFlow."""
    token = enter(IGNORE)
    try:
        large = function.__class__ is _ufunc and arrays[0].size >= SPREAD
        made = _large(function, arrays) if large else function(*arrays)
    finally:
        leave(token)
    return made if made.__class__ is np.ndarray else np.asarray(made)  # type: ignore[no-any-return]


def _large(function: Any, arrays: tuple[Any, ...]) -> Any:
    """An elementwise function of many elements, in parts where that may pay."""
    made = None
    if threads() > 1 and (function not in _CHEAP or arrays[0].size >= CHEAP * SPREAD):
        dtype = function.resolve_dtypes((*[a.dtype for a in arrays], None))[-1]
        made = spread(function, dtype, *arrays)
    return function(*arrays) if made is None else made


def _forget() -> None:
    """In a child process there are no threads but the one that forked."""
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
