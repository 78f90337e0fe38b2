"""A self-test of a GPU: a dozen kernels whose answers are known, as one model to run on the user's device.

Drivers differ: wrong tiles of a matrix product on one adapter, flushed NaN on another. `model()` goes to an executor,
`inputs()` are what to run its signature "selftest" with, `problems(outputs)` says in words which kernels were wrong;
`run(device)` does it all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from ..device import Device, Feed, Launch, Layout, Span
from ..kernel.interpret import run_kernel
from ..kernel.ir import F32, I32, U32, Axis, Buffer, Builder, Expr, Kernel, Store
from ..kernel.philox import philox4x32
from ..kernel.split import renumber
from ..program import format as fmt
from ..program.sizes import evaluate
from .emit import emit

__all__ = ["fingerprint", "inputs", "model", "names", "problems", "run"]

DTYPES = {F32: (fmt.DType.F32, np.float32), I32: (fmt.DType.I32, np.int32)}
INPUTS = ("numbers", "special", "words")


@dataclass(frozen=True)
class Case:
    """A kernel that reads the three inputs (buffers 0, 1, 2) and writes one output; its size, and how exact it is."""

    name: str
    extents: tuple[int, ...]
    dtype: str
    tolerance: float
    body: Callable[..., tuple[Expr, Expr]]
    loops: tuple[int, ...] = ()

    def kernel(self) -> Kernel:
        """The kernel."""
        ir = Builder()
        axes = tuple(Axis(f"p{i}", e) for i, e in enumerate(self.extents))
        loops = tuple(Axis(f"l{i}", e) for i, e in enumerate(self.loops))
        index, value = self.body(ir, *(ir.axis(a) for a in axes + loops))
        given = (Buffer("numbers", F32), Buffer("special", F32), Buffer("words", I32))
        stores = (Store(3, index, value, None, loops),)
        return Kernel(self.name, axes, stores, (*given, Buffer("out", self.dtype, True)))

    @property
    def size(self) -> int:
        """Elements of the output."""
        return int(np.prod(self.extents + self.loops))


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    """What to run the signature with."""
    number = np.arange(4096, dtype=np.int64)         # in Pyodide the default is int32
    numbers = np.sin(number * 0.7).astype(np.float32) * ((number % 17) / 8).astype(np.float32)
    nan, inf = np.nan, np.inf
    special = np.array([nan, inf, -inf, 0, -0.0, 1, -1, 3e38, -3e38, 0.5, 2.5, -2.5, 100, -100, 1e-30, nan], np.float32)
    words = ((number[:64] * 2654435761) % 2**32).astype(np.uint32).view(np.int32)
    return {"numbers": numbers, "special": special, "words": words}


def _number(ir: Builder, index: Expr) -> Expr:
    return ir.load(0, F32, index % 4096)


def _special(ir: Builder, index: Expr) -> Expr:
    return ir.load(1, F32, index % 16)


def _elementwise(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    x, y = _number(ir, i), _number(ir, i * 3 + 1)
    return i, ir.call("max", x * y - 0.25, ir.const(0.0)) + ir.select(x < y, x, y)


def _comparisons(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    a, b = _special(ir, i), _special(ir, i * 5 + 3)
    result = ir.cast(ir.unary("isnan", a), I32)
    for n, op in enumerate(("lt", "le", "eq", "ne")):
        result = result + ir.cast(ir.binary(op, a, b), I32) * (2 << n)
    return i, result


def _extremes(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    a, b = _special(ir, i), _special(ir, i * 3 + 1)
    return i, ir.select(i < 16, ir.binary("max", a, b), ir.binary("min", a, b))


def _functions(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    x = _number(ir, i)
    positive = x * x + 0.1
    y = ir.call("exp", x) + ir.call("log", positive) * ir.call("tanh", x) + ir.call("erf", x)
    return i, y + ir.call("sin", x * 3.0) + ir.call("sqrt", positive) + ir.call("pow", positive, x)


def _matmul(ir: Builder, m: Expr, n: Expr) -> tuple[Expr, Expr]:
    return m * 32 + n, ir.sum([40], lambda k: _number(ir, m * 40 + k) * _number(ir, k * 32 + n))


def _odd_matmul(ir: Builder, m: Expr, n: Expr) -> tuple[Expr, Expr]:
    return m * 13 + n, ir.sum([37], lambda k: _number(ir, k * 51 + m) * _number(ir, n * 37 + k))


def _convolution(ir: Builder, y: Expr, x: Expr, c: Expr) -> tuple[Expr, Expr]:
    def tap(ky: Expr, kx: Expr, ci: Expr) -> Expr:
        iy, ix = y + ky - 1, x + kx - 1
        with ir.guard((iy >= 0) & (iy < 8) & (ix >= 0) & (ix < 8)):
            image = ir.load(0, F32, (iy * 8 + ix) * 12 + ci)
        return image * _number(ir, ((ky * 3 + kx) * 12 + ci) * 8 + c)
    return (y * 8 + x) * 8 + c, ir.sum([3, 3, 12], tap)


def _softmax(ir: Builder, row: Expr, j: Expr) -> tuple[Expr, Expr]:
    def x(k: Expr) -> Expr:
        return _number(ir, row * 24 + k)
    top = ir.reduce("max", [24], x)
    return row * 24 + j, ir.call("exp", x(j) - top) / ir.sum([24], lambda k: ir.call("exp", x(k) - top))


def _reduction(ir: Builder, j: Expr) -> tuple[Expr, Expr]:
    mean = ir.sum([64], lambda k: _number(ir, k * 64 + j)) * (1 / 64)
    return j, ir.sum([64], lambda k: (_number(ir, k * 64 + j) - mean) * (_number(ir, k * 64 + j) - mean))


def _argmax(ir: Builder, row: Expr) -> tuple[Expr, Expr]:
    _, at = ir.fold([50], lambda k, best, index: (
        ("custom", ir.binary("max", _number(ir, row * 50 + k), best)),
        ("custom", ir.select(_number(ir, row * 50 + k) > best, k, index))), [ir.const(-np.inf), ir.const(0)])
    return row, at


def _philox(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    word = ir.bitcast(ir.load(2, I32, i % 64), U32)
    zero = ir.const(0, U32)
    block = philox4x32(ir, (ir.const(0x12345678, U32), word), (ir.cast(i, U32), zero, zero, zero))
    return i, ir.bitcast(block[0] ^ block[1] ^ block[2] ^ block[3], I32)


def _integers(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    a = ir.load(2, I32, i % 64)
    quotient, rest = ir.binary("quot", a, i + 3), ir.binary("rem", a, i + 3)
    return i, (quotient ^ (rest << 5)) + (a >> 7) + ir.cast(_number(ir, i) * 100.0, I32)


def _gather(ir: Builder, i: Expr) -> tuple[Expr, Expr]:
    return i, _number(ir, ir.load(2, I32, i % 64) & ir.const(4095))


CASES = (
    Case("elementwise", (1000,), F32, 1e-6, _elementwise), Case("comparisons", (64,), I32, 0, _comparisons),
    Case("extremes", (32,), F32, 0, _extremes), Case("functions", (512,), F32, 2e-5, _functions),
    Case("matmul", (64, 32), F32, 1e-5, _matmul), Case("odd_matmul", (51, 13), F32, 1e-5, _odd_matmul),
    Case("convolution", (8, 8, 8), F32, 1e-5, _convolution), Case("softmax", (16,), F32, 1e-5, _softmax, (24,)),
    Case("reduction", (64,), F32, 1e-5, _reduction), Case("argmax", (40,), I32, 0, _argmax),
    Case("philox", (64,), I32, 0, _philox), Case("integers", (64,), I32, 0, _integers),
    Case("gather", (64,), F32, 0, _gather),
)


def names() -> list[str]:
    """What is tested; the names of the outputs."""
    return [c.name for c in CASES]


def model() -> fmt.Model:
    """A model with one signature, "selftest", that runs every kernel."""
    given = inputs()
    dims: list[fmt.DimExpr] = [fmt.DimExpr(fmt.DimOp.CONST, 0)]

    def size(value: int) -> int:
        dims.append(fmt.DimExpr(fmt.DimOp.CONST, value))
        return len(dims) - 1

    dtypes = {"numbers": F32, "special": F32, "words": I32}
    every = [(n, given[n].size, dtypes[n], fmt.Place.INPUT) for n in INPUTS]
    every += [(c.name, c.size, c.dtype, fmt.Place.OUTPUT) for c in CASES]
    tensors = [fmt.Tensor(name, DTYPES[dtype][0], [size(count)]) for name, count, dtype, _ in every]
    regions = [fmt.Region(place, size(count * 4), DTYPES[dtype][0], tensor=i)
               for i, (_, count, dtype, place) in enumerate(every)]
    kernels, steps = [], []
    for number, case in enumerate(CASES):
        kernel, used = renumber(case.kernel())
        emitted = emit(kernel)
        code = emitted.code.encode()
        kernels.append(fmt.Kernel(case.name, emitted.entry, code, sha256(code).digest(), len(used)))
        bound = [u if u < len(INPUTS) else len(INPUTS) + number for u in used]
        grid = [size(int(g)) for g in emitted.grid]          # type: ignore[arg-type]
        steps.append(fmt.Step(kernel=number, regions=bound, grid=grid, writes=1 << (len(used) - 1)))
    ports = [fmt.Port(name, i) for i, (name, *_) in enumerate(every)]
    signature = fmt.Signature("selftest", programs=[0], inputs=ports[: len(INPUTS)], outputs=ports[len(INPUTS):])
    program = fmt.Program(fmt.Target.WGSL, kernels=kernels, regions=regions, steps=steps)
    return fmt.Model(dims=dims, tensors=tensors, programs=[program], signatures=[signature])


def problems(outputs: Mapping[str, Any]) -> list[str]:
    """One sentence for each kernel whose output is wrong; empty if the device can be trusted."""
    given = inputs()
    found = []
    for case in CASES:
        expected = np.zeros(case.size, DTYPES[case.dtype][1])
        run_kernel(case.kernel(), [*(given[n] for n in INPUTS), expected])
        actual = np.asarray(outputs[case.name]).reshape(-1)
        wrong = ~np.isclose(actual, expected, rtol=case.tolerance, atol=case.tolerance, equal_nan=True)
        if wrong.any():
            at = int(np.argmax(wrong))
            found.append(f"{case.name}: {int(wrong.sum())} of {wrong.size} values are wrong, for example "
                         f"[{at}] is {actual[at]}, expected {expected[at]}")
    return found


def fingerprint() -> str:
    """Stands for the kernels: a device that passed others is tested again."""
    return sha256(b"".join(k.hash for k in model().programs[0].kernels)).hexdigest()


def run(device: Device) -> list[str]:
    """Runs every kernel on an open device; what `problems` says. Nothing is left on the device."""
    made, given = model(), inputs()
    program, sizes = made.programs[0], evaluate(made.dims, {})
    spans = [Span(device.allocate(sizes[r.bytes]), 0, sizes[r.bytes]) for r in program.regions]
    launches = [Launch(step, tuple(sizes[g] for g in step.grid), [], []) for step in program.steps]
    loaded = device.load(program)
    bound = device.bind(loaded, Layout(spans, launches))
    try:
        feeds = [Feed(number, given[name]) for number, name in enumerate(INPUTS)]
        device.run(bound, np.zeros(0, np.uint32), feeds, ())
        outputs = {case.name: device.download(span.buffer, 0, span.size).view(DTYPES[case.dtype][1])
                   for case, span in zip(CASES, spans[len(INPUTS):], strict=True)}
    finally:
        device.unbind(bound)
        device.unload(loaded)
        for span in spans:
            device.release(span.buffer)
    return problems(outputs)
