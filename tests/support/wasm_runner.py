"""Runs kernels of the IR as WebAssembly through wasmtime, and compares with the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import wasmtime
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import Builder, Expr, Kernel, Scalar, Store, store_roots, walk
from tideflow.shapes import Dim, evaluate
from tideflow.wasm.emit import StepCode, emit_module, workspace

_SENTINEL = np.uint32(0xABCDEF12)


@cache
def engine() -> wasmtime.Engine:
    """One engine for all tests."""
    return wasmtime.Engine()


def close(name: str, axes: Sequence[Any], stores: Sequence[Store], buffers: Sequence[Any]) -> Kernel:
    """A kernel from its parts; sizes and scalars are collected from the expressions."""
    sizes: dict[Dim, None] = {}
    scalars: dict[Scalar, None] = {}
    for axis in [*axes, *(a for s in stores for a in s.loops)]:
        if isinstance(axis.extent, Dim):
            sizes[axis.extent] = None
    for x in walk(store_roots(list(stores))):
        if x.op == "size":
            sizes[x.attr] = None
        elif x.op == "scalar":
            scalars[x.attr[0]] = None
        elif x.op == "fold":
            sizes |= {a.extent: None for a in x.attr.axes if isinstance(a.extent, Dim)}
    return Kernel(name, tuple(axes), tuple(stores), tuple(buffers), tuple(sizes), tuple(scalars))


def words_of(kernel: Kernel, symbols: Mapping[str, int], scalars: Mapping[Any, Any]) -> np.ndarray:
    """The words of a step: sizes, then scalars."""
    parts = [np.array([evaluate(s, dict(symbols))], np.uint32) for s in kernel.sizes]
    for s in kernel.scalars:
        dtype = {"f32": np.float32, "i32": np.int32, "u32": np.uint32}[s.dtype]
        parts.append(np.atleast_1d(np.array(scalars[s.key], dtype)).view(np.uint32))
    return np.concatenate(parts) if parts else np.zeros(0, np.uint32)


class Instance:
    """A program of one or several kernels in a memory of its own; every region ends at a guard of sentinel words."""

    def __init__(
        self,
        kernels: Sequence[Kernel],
        arrays: Sequence[Sequence[np.ndarray]],
        symbols: Mapping[str, int] | None = None,
        scalars: Mapping[Any, Any] | None = None,
    ) -> None:
        symbols, scalars = symbols or {}, scalars or {}
        steps, regions, words, self.places = [], [], [], []
        at = 4096
        self.kernels = kernels
        for i, (kernel, buffers) in enumerate(zip(kernels, arrays, strict=True)):
            sizes = [a.nbytes for a in buffers]
            scratch = evaluate(workspace(kernel), dict(symbols))
            numbers = []
            self.places.append([])
            for n in sizes + ([scratch] if not isinstance(workspace(kernel), int) or workspace(kernel) else []):
                numbers.append(len(regions))
                regions.append(at)
                self.places[-1].append((at, n))
                at += (n + 64 + 255) // 256 * 256
            steps.append(StepCode(i, tuple(numbers)))
            words.append(words_of(kernel, symbols, scalars))
        self.table = at
        table = np.concatenate([np.array(regions, np.uint32), *words]) if regions else np.zeros(1, np.uint32)
        at += 4 * table.size
        self.bytes = emit_module(kernels, steps, len(regions))
        self.store = wasmtime.Store(engine())
        self.memory = wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(at // 65536 + 1, None)))
        self.instance = wasmtime.Instance(self.store, wasmtime.Module(engine(), self.bytes), [self.memory])
        self.memory.write(self.store, table.tobytes(), self.table)
        for places, buffers in zip(self.places, arrays, strict=True):
            for (start, _), a in zip(places, buffers, strict=False):
                self.memory.write(self.store, np.ascontiguousarray(a).tobytes(), start)
            for start, n in places:
                self.memory.write(self.store, np.full(16, _SENTINEL).tobytes(), start + n)

    def run(self, first: int = 0, last: int | None = None) -> int:
        """Calls `run`."""
        return self.instance.exports(self.store)["run"](
            self.store, self.table, first, len(self.kernels) if last is None else last
        )

    def read(self, kernel: int, buffer: int, like: np.ndarray) -> np.ndarray:
        """What a buffer holds now."""
        start, n = self.places[kernel][buffer]
        return np.frombuffer(bytes(self.memory.read(self.store, start, start + n)), like.dtype).reshape(like.shape)

    def check_guards(self) -> None:
        """Nothing may be written past the end of a region."""
        for places in self.places:
            for start, n in places:
                guard = np.frombuffer(bytes(self.memory.read(self.store, start + n, start + n + 64)), np.uint32)
                assert (guard == _SENTINEL).all(), f"written past the end of a region of {n} bytes"


def run_wasm(
    kernel: Kernel,
    arrays: Sequence[np.ndarray],
    symbols: Mapping[str, int] | None = None,
    scalars: Mapping[Any, Any] | None = None,
) -> list[np.ndarray]:
    """The buffers after the kernel ran as WebAssembly."""
    program = Instance([kernel], [arrays], symbols, scalars)
    assert program.run() == 1
    program.check_guards()
    return [program.read(0, i, a) for i, a in enumerate(arrays)]


def check(
    kernel: Kernel,
    arrays: Sequence[np.ndarray],
    symbols: Mapping[str, int] | None = None,
    scalars: Mapping[Any, Any] | None = None,
    rtol: float = 2e-6,
    atol: float = 1e-6,
) -> None:
    """Emitted code and interpreter agree on every buffer."""
    expected = [a.copy() for a in arrays]
    run_kernel(kernel, expected, symbols, scalars)
    actual = run_wasm(kernel, arrays, symbols, scalars)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        if e.dtype == np.float32:
            np.testing.assert_allclose(a, e, rtol=rtol, atol=atol, err_msg=f"{kernel.name}: buffer {i}")
        else:
            np.testing.assert_array_equal(a, e, err_msg=f"{kernel.name}: buffer {i}")


def axes_of(ir: Builder, *extents: Any) -> tuple[list[Any], list[Expr]]:
    """Axes and their values."""
    axes = [ir.new_axis(e) for e in extents]
    return axes, [ir.axis(a) for a in axes]
