"""Kernels of the kinds that the compiler makes, with data, for the tests of the WGSL emitter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from tideflow.kernel.ir import BOOL, F32, I32, U32, Axis, Buffer, Builder, Kernel, Scalar, Store
from tideflow.shapes import Dim, Size, symbol

RNG = np.random.default_rng(7)
BATCH = symbol("batch", 1, 1024)


@dataclass
class Sample:
    """A kernel with data. `exact`: results must be bit-equal."""

    name: str
    kernel: Kernel
    arrays: list[np.ndarray]
    symbols: dict[str, int] = field(default_factory=dict)
    scalars: dict = field(default_factory=dict)
    exact: bool = False

    def __str__(self) -> str:
        return self.name


def floats(*shape: int) -> np.ndarray:
    """Random f32 values."""
    return RNG.standard_normal(shape).astype(np.float32).reshape(-1)


def kernel(
    name: str,
    extents: list[Size],
    dtypes: str,
    body: Callable[..., list],
    loops: list[Size] | None = None,
    sizes=(),
    scalars=(),
) -> Kernel:
    """A kernel from body(ir, at...) -> [(buffer, index, value[, valid])]. `dtypes`: a letter per buffer, f i u b."""
    ir = Builder()
    axes = tuple(Axis(f"p{i}", e) for i, e in enumerate(extents))
    inner = tuple(Axis(f"l{i}", e) for i, e in enumerate(loops or []))
    stores = tuple(
        Store(s[0], ir.lift(s[1], I32), s[2], s[3] if len(s) > 3 else None, inner)
        for s in body(ir, *[ir.axis(a) for a in axes + inner])
    )
    written = {s.buffer for s in stores}
    names = {"f": F32, "i": I32, "u": U32, "b": BOOL}
    buffers = tuple(Buffer(f"x{i}", names[d], i in written) for i, d in enumerate(dtypes))
    return Kernel(name, axes, stores, buffers, tuple(sizes), tuple(scalars))


def elementwise() -> Iterator[Sample]:
    """Maps, broadcasts and movement."""

    def fused(ir, i):
        x, y = ir.load(0, F32, i), ir.load(1, F32, i)
        return [(2, i, ir.call("max", x * y + 1.5, ir.const(0.0))), (3, i, x - y)]

    for n in (1, 7, 64, 1000, 4096):
        yield Sample(f"fused_{n}", kernel("fused", [n], "ffff", fused), [floats(n), floats(n), floats(n), floats(n)])
    for batch in (1, 5):
        n: Size = BATCH * 12
        yield Sample(
            f"fused_symbolic_{batch}",
            kernel("fused", [n], "ffff", fused, sizes=[n]),
            [floats(batch * 12) for _ in range(4)],
            {"batch": batch},
        )
        yield Sample(
            f"fused_symbolic_odd_{batch}",
            kernel("fused", [BATCH * 3], "ffff", fused, sizes=[BATCH * 3]),
            [floats(batch * 3) for _ in range(4)],
            {"batch": batch},
        )

    yield Sample(
        "bias_flat",
        kernel("bias", [96], "fff", lambda ir, i: [(2, i, ir.load(0, F32, i) + ir.load(1, F32, i % 12))]),
        [floats(96), floats(12), floats(96)],
    )
    yield Sample(
        "bias_flat_odd",
        kernel("bias", [320], "fff", lambda ir, i: [(2, i, ir.load(0, F32, i) + ir.load(1, F32, i % 10))]),
        [floats(320), floats(10), floats(320)],
    )
    yield Sample(
        "transpose",
        kernel("t", [12, 20], "ff", lambda ir, i, j: [(1, i * 20 + j, ir.load(0, F32, j * 12 + i))]),
        [floats(240), floats(240)],
    )

    def pad(ir, i, j):
        ok = (i >= 1) & (i < 4) & (j >= 2) & (j < 6)
        with ir.guard(ok):
            return [(1, i * 8 + j, ir.load(0, F32, (i - 1) * 4 + (j - 2)))]

    yield Sample("pad", kernel("pad", [5, 8], "ff", pad), [floats(12), floats(40)], exact=True)
    yield Sample(
        "inplace",
        kernel(
            "inplace",
            [100],
            "fff",
            lambda ir, i: [(0, i, ir.load(0, F32, i) * 0.5 + ir.load(1, F32, i)), (2, i, ir.load(0, F32, i) + 1.0)],
        ),
        [floats(100), floats(100), floats(100)],
    )
    yield Sample(
        "gather",
        kernel("gather", [6, 8], "fif", lambda ir, i, j: [(2, i * 8 + j, ir.load(0, F32, ir.load(1, I32, i) * 8 + j))]),
        [floats(80), np.array([3, 1, 9, 0, 2, 2], np.int32), floats(48)],
        exact=True,
    )

    def adam(ir, i):
        rate, step = ir.scalar("rate", F32), ir.cast(ir.scalar("step", U32, 1, 2), F32)
        g = ir.load(1, F32, i)
        m = ir.load(2, F32, i) * 0.9 + g * 0.1
        v = ir.load(3, F32, i) * 0.999 + g * g * 0.001
        return [(2, i, m), (3, i, v), (0, i, ir.load(0, F32, i) - rate * m / (ir.call("sqrt", v) + 1e-7 * step))]

    yield Sample(
        "adam",
        kernel("adam", [256], "ffff", adam, scalars=[Scalar("rate", F32), Scalar("step", U32, 2)]),
        [floats(256), floats(256), floats(256), np.abs(floats(256))],
        scalars={"rate": 0.01, "step": np.array([0, 3], np.uint32)},
    )


def integers() -> Iterator[Sample]:
    """Integer, bool and bit operations."""
    a = np.array([0, 1, -1, 2**31 - 1, -(2**31), 12345, -98765, 7], np.int32)
    b = np.array([3, -7, 2, 5, 10, -11, 13, 1], np.int32)

    def ints(ir, i):
        x, y = ir.load(0, I32, i), ir.load(1, I32, i)
        return [
            (2, i, ir.binary("quot", x, y)),
            (3, i, ir.binary("rem", x, y)),
            (4, i, (x >> 3) ^ (y << 2)),
            (5, i, ir.select(x < y, ir.unary("sign", x), ir.unary("abs", y)) + ir.const(-(2**31))),
        ]

    yield Sample("ints", kernel("ints", [8], "iiiiii", ints), [a, b, *[a.copy() for _ in range(4)]], exact=True)
    u = RNG.integers(0, 2**32, 16, dtype=np.uint32)
    w = RNG.integers(0, 2**32, 16, dtype=np.uint32)

    def bits(ir, i):
        x, y = ir.load(0, U32, i), ir.load(1, U32, i)
        one = ir.bitcast((x & 0x7FFFFF) | 0x3F800000, F32) - 1.0
        return [(2, i, ir.binary("mulhi", x, y)), (3, i, (x >> 7) ^ ~y), (4, i, one), (5, i, x * y + (x << 5))]

    yield Sample("bits", kernel("bits", [16], "uuuufu", bits), [u, w, u, u, floats(16), u], exact=True)

    def bools(ir, i):
        x, y = ir.load(0, F32, i), ir.load(1, BOOL, i)
        return [
            (2, i, (x > 0.0) & y),
            (3, i, ~y | (x <= -1.0)),
            (4, i, ir.cast(y ^ (x > 0.5), F32)),
            (5, i, ir.cast(ir.cast(x * 10.0, I32), F32)),
        ]

    for n in (12, 13):
        yield Sample(
            f"bools_{n}",
            kernel("bools", [n], "fbbbff", bools),
            [floats(n), RNG.integers(0, 2, n).astype(np.uint32), *[np.zeros(n, np.uint32)] * 2, floats(n), floats(n)],
            exact=True,
        )
    yield Sample(
        "iota",
        kernel(
            "iota",
            [10, 4],
            "if",
            lambda ir, i, j: [(0, i * 4 + j, i * 100 + j), (1, i * 4 + j, ir.cast(ir.binary("eq", i, j), F32))],
        ),
        [np.zeros(40, np.int32), floats(40)],
        exact=True,
    )


def special() -> Iterator[Sample]:
    """NaN, infinities, zeros."""
    nan, inf = np.nan, np.inf
    x = np.array([nan, inf, -inf, 0, -0.0, 1, -1, 3.4e38, 1e-37, 0.5, 1.5, 2.5, -2.5, 1e10, -0.3, nan], np.float32)
    y = np.array([1, nan, inf, -0.0, 0, nan, -inf, 3.4e38, 2, 0.5, -1.5, 2.5, 7, nan, inf, nan], np.float32)

    def compare(ir, i):
        a, b = ir.load(0, F32, i), ir.load(1, F32, i)
        bits = ir.const(0)
        for n, op in enumerate(("lt", "le", "gt", "ge", "eq", "ne")):
            bits = bits + ir.cast(ir.binary(op, a, b), I32) * (1 << n)
        bits = bits + ir.cast(ir.unary("isnan", a), I32) * 64
        return [
            (2, i, ir.binary("min", a, b)),
            (3, i, ir.binary("max", a, b)),
            (4, i, bits),
            (5, i, ir.call("max", a, ir.const(0.0))),
        ]

    def round_(ir, i):
        a = ir.load(0, F32, i)
        return [
            (1, i, ir.unary("floor", a)),
            (2, i, ir.unary("round", a)),
            (3, i, ir.unary("sign", a)),
            (4, i, ir.unary("trunc", a)),
            (5, i, ir.unary("ceil", a)),
        ]

    def constants(ir, i):
        a = ir.load(0, F32, i)
        return [
            (1, i, ir.select(a > 0.0, ir.const(np.inf), ir.const(np.nan))),
            (2, i, ir.const(0.1) + ir.const(-0.0)),
            (3, i, ir.const(1e-45)),
            (4, i, ir.const(3.4028234e38)),
        ]

    for n in (16, 15):
        a, b = x[:n].copy(), y[:n].copy()
        out = [np.zeros(n, np.float32) for _ in range(4)]
        yield Sample(
            f"compare_{n}",
            kernel("compare", [n], "ffffif", compare),
            [a, b, out[0], out[1], np.zeros(n, np.int32), out[2]],
            exact=True,
        )
        yield Sample(f"round_{n}", kernel("round", [n], "ffffff", round_), [a, *out, out[0]], exact=True)
        yield Sample(f"constants_{n}", kernel("constants", [n], "fffff", constants), [a, *out])


def matmul(m: Size, n: int, k: int) -> Kernel:
    """A matrix product with bias and relu: a, b, bias, result."""

    def body(ir, i, j):
        out = ir.sum([k], lambda r: ir.load(0, F32, i * k + r) * ir.load(1, F32, r * n + j))
        return [(3, i * n + j, ir.call("max", out + ir.load(2, F32, j), ir.const(0.0)))]

    return kernel("matmul", [m, n], "ffff", body, sizes=[m] if isinstance(m, Dim) else [])


def residual(m: int, n: int, k: int) -> Kernel:
    """A matrix product added to what it replaces, and a function of both: a, b, the sum in place, tanh of it."""

    def body(ir, i, j):
        at = i * n + j
        out = ir.sum([k], lambda r: ir.load(0, F32, i * k + r) * ir.load(1, F32, r * n + j)) + ir.load(2, F32, at)
        return [(2, at, out), (3, at, ir.call("tanh", out))]

    return kernel("residual", [m, n], "ffff", body)


def folds() -> Iterator[Sample]:
    """Reductions, contractions, row kernels and custom folds."""
    yield Sample(
        "row_sum",
        kernel("sum", [6], "ff", lambda ir, i: [(1, i, ir.sum([50], lambda k: ir.load(0, F32, i * 50 + k)))]),
        [floats(300), floats(6)],
    )
    yield Sample(
        "column_sum",
        kernel(
            "sum",
            [64],
            "ff",
            lambda ir, j: [(1, j, ir.sum([BATCH], lambda k: ir.load(0, F32, k * 64 + j)))],
            sizes=[BATCH],
        ),
        [floats(9 * 64), floats(64)],
        {"batch": 9},
    )
    yield Sample(
        "all_sum",
        kernel(
            "sum",
            [],
            "ff",
            lambda ir: [(1, ir.const(0), ir.sum([7, 9], lambda a, b: ir.load(0, F32, a * 9 + b)) * 0.5)],
        ),
        [floats(63), floats(1)],
    )
    yield Sample(
        "extremes",
        kernel(
            "ext",
            [8],
            "fff",
            lambda ir, i: [
                (1, i, ir.reduce("max", [20], lambda k: ir.load(0, F32, i * 20 + k))),
                (2, i, ir.reduce("min", [20], lambda k: ir.load(0, F32, i * 20 + k))),
            ],
        ),
        [floats(160), floats(8), floats(8)],
    )

    def softmax(ir, row, j):
        def x(k):
            return ir.load(0, F32, row * 10 + k)

        top = ir.reduce("max", [10], x)
        total = ir.sum([10], lambda k: ir.call("exp", x(k) - top))
        return [(1, row * 10 + j, ir.call("exp", x(j) - top) / total)]

    yield Sample(
        "softmax",
        kernel("softmax", [BATCH], "ff", softmax, [10], sizes=[BATCH]),
        [floats(50), floats(50)],
        {"batch": 5},
    )

    def argmax(ir, row):
        best, at = ir.fold(
            [BATCH],
            lambda k, value, index: (
                ("custom", ir.binary("max", ir.load(0, F32, row * 13 + k), value)),
                ("custom", ir.select(ir.load(0, F32, row * 13 + k) > value, k, index)),
            ),
            [ir.const(-np.inf), ir.const(0)],
        )
        return [(1, row, at), (2, row, best)]

    yield Sample(
        "argmax",
        kernel("argmax", [4], "fif", argmax, sizes=[BATCH]),
        [floats(52), np.zeros(4, np.int32), floats(4)],
        {"batch": 13},
    )

    for m in (23, 64):
        yield Sample(f"residual_{m}", residual(m, 32, 6), [floats(m, 6), floats(6, 32), floats(m, 32), floats(m, 32)])
    for m, n, k in ((64, 64, 16), (5, 10, 8), (33, 20, 7), (128, 10, 4)):
        yield Sample(f"matmul_{m}_{n}_{k}", matmul(m, n, k), [floats(m, k), floats(k, n), floats(n), floats(m, n)])
    for m in (1, 20):
        yield Sample(
            f"matmul_symbolic_{m}",
            matmul(BATCH, 32, 6),
            [floats(m, 6), floats(6, 32), floats(32), floats(m, 32)],
            {"batch": m},
        )

    def conv(ir, n, y, x, c):
        def tap(ky, kx, ci):
            iy, ix = y + ky - 1, x + kx - 1
            with ir.guard((iy >= 0) & (iy < 7) & (ix >= 0) & (ix < 9)):
                image = ir.load(0, F32, ((n * 7 + iy) * 9 + ix) * 3 + ci)
            return image * ir.load(1, F32, ((ky * 3 + kx) * 3 + ci) * 8 + c)

        return [(2, ((n * 7 + y) * 9 + x) * 8 + c, ir.sum([3, 3, 3], tap) + ir.load(3, F32, c))]

    yield Sample(
        "conv",
        kernel("conv", [BATCH, 7, 9, 8], "ffff", conv, sizes=[BATCH]),
        [floats(2 * 63 * 3), floats(9 * 24), floats(2 * 63 * 8), floats(8)],
        {"batch": 2},
    )

    def filter_gradient(ir, i, j):
        dw = ir.sum([BATCH], lambda k: ir.load(0, F32, k * 20 + i) * ir.load(1, F32, k * 12 + j))
        db = ir.sum([BATCH], lambda k: ir.load(1, F32, k * 12 + j))
        return [(2, i * 12 + j, dw), (3, j, db, ir.binary("eq", i, ir.const(0)))]

    yield Sample(
        "dw_db",
        kernel("dw", [20, 12], "ffff", filter_gradient, sizes=[BATCH]),
        [floats(60), floats(36), floats(240), floats(12)],
        {"batch": 3},
    )

    def filter_row(ir, j, ci, co):
        def pixel(y, x):
            column = x + j - 1
            with ir.guard((column >= 0) & (column < 6)):
                image = ir.load(0, F32, (y * 6 + column) * 8 + ci)
            return image * ir.load(1, F32, (y * 6 + x) * 16 + co)

        return [(2, (j * 8 + ci) * 16 + co, ir.sum([BATCH, 6], pixel))]

    yield Sample(
        "filter_row",
        kernel("dw", [3, 8, 16], "fff", filter_row, sizes=[BATCH]),
        [floats(5 * 48), floats(5 * 96), floats(3 * 128)],
        {"batch": 5},
    )


def all_samples() -> list[Sample]:
    """Every sample."""
    return [s for make in (elementwise, integers, special, folds, masked, wide, windows) for s in make()]


def windows() -> Iterator[Sample]:
    """Pixels that share what they read of their window: the first of the largest takes what comes from above."""
    for rows, columns, channels in ((8, 12, 4), (9, 6, 3)):
        down, across = (3 if rows % 2 else 2), 2
        height, width = rows // down, columns // across

        def grad(ir, n, y, x, c, shape=(rows, columns, channels), size=(down, across)):
            (rows, columns, channels), (down, across) = shape, size
            height, width = rows // down, columns // across
            window = ((n * height + y // down) * width + x // across) * channels + c

            def pixel(i, j):
                return ((n * rows + y // down * down + i) * columns + x // across * across + j) * channels + c

            high = ir.load(1, F32, window)

            def number(i, j):
                return [("min", ir.select(ir.load(0, F32, pixel(i, j)) < high, ir.const(99), i * across + j))]

            (first,) = ir.fold([down, across], number)
            here = (y % down) * across + x % across
            taken = ir.select(first.eq(here), ir.load(2, F32, window), ir.const(0.0))
            return [(3, ((n * rows + y) * columns + x) * channels + c, taken)]

        x = np.round(floats(2, rows, columns, channels) * 4)
        high = x.reshape(2, height, down, width, across, channels).max((2, 4))
        arrays = [x.ravel(), high.ravel(), floats(high.size), floats(x.size)]
        made = kernel("windows", [BATCH, rows, columns, channels], "ffff", grad, sizes=[BATCH])
        yield Sample(f"windows_{rows}_{columns}", made, arrays, {"batch": 2})

    def doubled(ir, n, x):
        return [(1, n * 64 + x, ir.sum([4], lambda k: ir.load(0, F32, (n * 2 + k // 2) * 64 + x)))]

    made = kernel("doubled", [BATCH, 64], "ff", doubled, sizes=[BATCH])
    yield Sample("doubled", made, [floats(256), floats(128)], {"batch": 2})


def wide() -> Iterator[Sample]:
    """Large enough that a workgroup is a square of tiles; and axes that join, wholly or in part."""
    for m, n, k in ((136, 256, 5), (100, 256, 3), (64, 160, 9)):
        yield Sample(f"square_{m}_{n}_{k}", matmul(m, n, k), [floats(m, k), floats(k, n), floats(n), floats(m, n)])
    for m in (3, 300):
        arrays = [floats(m, 4), floats(4, 320), floats(320), floats(m, 320)]
        yield Sample(f"square_symbolic_{m}", matmul(BATCH, 320, 4), arrays, {"batch": m})

    def pointwise(ir, n, y, x, c):
        at = (n * 5 + y) * 6 + x
        out = ir.sum([7], lambda k: ir.load(0, F32, at * 7 + k) * ir.load(1, F32, k * 8 + c))
        return [(2, at * 8 + c, out), (3, at * 8 + c, ir.cast(y, F32))]

    def swapped(ir, n, y, x, c):
        at = ((n * 4 + y) * 3 + x) * 8 + c
        return [(2, at, ir.load(0, F32, at) + ir.load(1, F32, ((n * 3 + x) * 4 + y) * 8 + c))]

    batch = [floats(2 * 30 * 7), floats(56), floats(2 * 30 * 8), floats(2 * 30 * 8)]
    yield Sample("pointwise", kernel("p", [BATCH, 5, 6, 8], "ffff", pointwise, sizes=[BATCH]), batch, {"batch": 2})
    three = [floats(288), floats(288), floats(288)]
    yield Sample("swapped", kernel("s", [BATCH, 4, 3, 8], "fff", swapped, sizes=[BATCH]), three, {"batch": 3})

    def batched(ir, b, i, j):
        out = ir.sum([6], lambda k: ir.load(0, F32, (b * 9 + i) * 6 + k) * ir.load(1, F32, (b * 12 + j) * 6 + k))
        return [(2, (b * 9 + i) * 12 + j, out)]

    def gradients(ir, c, o):
        """Of strided filters; the operands depend on k through a guard, a window and a select."""

        def tap(n, y, x):
            with ir.guard(x * 2 + c % 3 < 9):
                image = ir.load(0, F32, (n * 5 + y) * 9 + x * 2 + c % 3)
            upstream = ir.load(1, F32, ((n * 5 + y) * 5 + x) * 6 + o)
            return image * ir.select(upstream > 0.0, upstream, ir.const(0.25))

        return [(2, c * 6 + o, ir.sum([BATCH, 5, 5], tap))]

    data = [floats(3 * 45), floats(3 * 150), floats(54)]
    yield Sample("gradients", kernel("g", [9, 6], "fff", gradients, sizes=[BATCH]), data, {"batch": 3})

    def transposed(ir, i, j):
        return [(2, j * 520 + i, ir.sum([11], lambda k: ir.load(0, F32, k * 520 + i) * ir.load(1, F32, j * 11 + k)))]

    large = [floats(520 * 11), floats(513 * 11), floats(520 * 513)]
    yield Sample("transposed", kernel("t", [520, 513], "fff", transposed), large)
    yield Sample("batched", kernel("b", [5, 9, 12], "fff", batched), [floats(270), floats(360), floats(540)])


def masked() -> Iterator[Sample]:
    """Folds of which iterations are skipped: triangles, in all directions."""

    def triangle(ir, row, j):
        return [
            (1, row * 8 + j, ir.sum([8], lambda k: ir.select(k <= j, ir.load(0, F32, row * 8 + k), ir.const(0.0)))),
            (
                2,
                row * 8 + j,
                ir.sum(
                    [8, 3],
                    lambda k, m: ir.select(
                        j <= k, ir.load(0, F32, row * 8 + k) * ir.load(0, F32, m * 8 + j), ir.const(0.0)
                    ),
                ),
            ),
        ]

    yield Sample("triangle", kernel("triangle", [6, 8], "fff", triangle), [floats(48), floats(48), floats(48)])

    def shifted(ir, row, j):
        return [
            (
                1,
                row * 8 + j,
                ir.sum(
                    [40, 3],
                    lambda k, m: (
                        ir.select(k + row <= j + m, ir.load(0, F32, (k + m) % 48), ir.const(0.0))
                        * ir.load(0, F32, row * 8 + j)
                    ),
                ),
            )
        ]

    yield Sample("shifted", kernel("shifted", [6, 8], "ff", shifted), [floats(48), floats(48)])
