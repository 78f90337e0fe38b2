"""Times a square matrix product in each family on an open device, and compares the results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from ..device import Device, Feed, Launch, Layout, Span
from ..kernel.ir import F32, Axis, Buffer, Builder, Kernel, Store
from ..program import format as fmt
from .emit import Options, emit
from .launch import Emitted
from .schedule import FAMILIES

__all__ = ["FAMILIES", "MEASURED", "fastest", "times"]

MEASURED = {name: FAMILIES[name] for name in ("direct", "shared")}
RUNS, ROUNDS = 4, 3
CLOSE = 1e-3                # of sums of `size` products of numbers below 1


def fastest(device: Device, size: int = 1024) -> str:
    """The family that is fastest for products of this size; never one that gives other results than the first."""
    found = times(device, size)
    return min(found, key=lambda name: found[name])


def times(device: Device, size: int, families: Mapping[str, Options] = MEASURED) -> dict[str, float]:
    """Seconds of one product of `size` x `size` matrices in each family that agrees with the first; nothing stays."""
    rng = np.random.default_rng(0)
    given = [rng.uniform(-1, 1, size * size).astype(np.float32) for _ in range(2)]
    spans = [Span(device.allocate(4 * size * size), 0, 4 * size * size) for _ in range(3)]
    found: dict[str, float] = {}
    expected: np.ndarray[Any, Any] | None = None
    try:
        for name, options in families.items():
            seconds, result = _time(device, emit(_product(size), options, [size * size] * 3), spans, given)
            expected = result if expected is None else expected
            if np.abs(result - expected).max() <= CLOSE:
                found[name] = seconds
    finally:
        for span in spans:
            device.release(span.buffer)
    return found


def _time(device: Device, emitted: Emitted, spans: list[Span],
          given: list[np.ndarray[Any, Any]]) -> tuple[float, np.ndarray[Any, Any]]:
    program = _program(emitted)
    launches = [Launch(program.steps[0], tuple(int(g) for g in emitted.grid), [], [])]  # type: ignore[call-overload]
    loaded = device.load(program)
    bound = device.bind(loaded, Layout(spans, launches))
    words, size = np.zeros(0, np.uint32), spans[2].size
    try:
        device.run(bound, words, [Feed(i, a) for i, a in enumerate(given)], ())
        result = device.download(spans[2].buffer, 0, size).view(np.float32)
        best = float("inf")
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(RUNS):
                device.run(bound, words, (), ())
            device.download(spans[2].buffer, 0, 4)
            best = min(best, (time.perf_counter() - start) / RUNS)
    finally:
        device.unbind(bound)
        device.unload(loaded)
    return best, result


def _program(emitted: Emitted) -> fmt.Program:
    code = emitted.code.encode()
    places = (fmt.Place.INPUT, fmt.Place.INPUT, fmt.Place.OUTPUT)
    return fmt.Program(fmt.Target.WGSL, kernels=[fmt.Kernel("product", emitted.entry, code, sha256(code).digest(), 3)],
                       regions=[fmt.Region(place, 0, fmt.DType.F32) for place in places],
                       steps=[fmt.Step(kernel=0, regions=[0, 1, 2], writes=4)])


def _product(size: int) -> Kernel:
    ir = Builder()
    axes = (Axis("m", size), Axis("n", size))
    m, n = map(ir.axis, axes)
    value = ir.sum([size], lambda k: ir.load(0, F32, m * size + k) * ir.load(1, F32, k * size + n))
    buffers = (Buffer("a", F32), Buffer("b", F32), Buffer("c", F32, True))
    return Kernel("product", axes, (Store(2, m * size + n, value),), buffers)
