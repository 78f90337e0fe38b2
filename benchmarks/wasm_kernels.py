"""Emitted WebAssembly kernels against the peak of the machine: python benchmarks/wasm_kernels.py [name ...]

The same bytes run in wasmtime and, if it is there, in Node (V8). The peak is a loop of independent multiplications and
additions without memory, measured between the kernels, because other work on the machine moves it: read the ratios.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tideflow.kernel.ir import F32, Axis, Buffer, Builder, Expr, Kernel, Store
from tideflow.wasm import encode
from tideflow.wasm.emit import emit_module, workspace
from tideflow.wasm.encode import Code, f32_bytes

SECONDS = 0.5  # per kernel and engine; the best run counts
CHAINS, ROUNDS = 14, 20000        # 14 sums and a factor: what fits in 16 registers; 12 reach 0.87 of it


def peak_module() -> bytes:
    """run(): CHAINS independent chains of multiply and add, ROUNDS times four lanes."""
    code = Code(3)
    factor = code.local(encode.V128)
    sums = [code.local(encode.V128) for _ in range(CHAINS)]
    code.v128(f32_bytes(0.999) * 4).set(factor).i32(ROUNDS).set(1).loop()
    for s in sums:
        code.get(s).get(factor).op("f32x4.mul").get(factor).op("f32x4.add").set(s)
    code.get(1).i32(1).op("i32.sub").tee(1).br_if(0).end()
    code.get(0).get(sums[0])
    for s in sums[1:]:
        code.get(s).op("f32x4.add")
    code.memory("v128.store").get(2)
    return encode.module([(3, True, code.body())], ("run", 0))


def axes_of(ir: Builder, *extents: int) -> tuple[tuple[Axis, ...], list[Expr]]:
    """Axes and their values."""
    axes = tuple(ir.new_axis(e) for e in extents)
    return axes, [ir.axis(a) for a in axes]


def buffers(count: int, outputs: int) -> tuple[Buffer, ...]:
    """f32 bindings, the last of them written."""
    return tuple(Buffer(f"b{i}", F32, i >= count - outputs) for i in range(count))


def matmul(m: int, k: int, n: int) -> tuple[Kernel, list[int], float]:
    """a kernel, the elements of its buffers, its operations"""
    ir = Builder()
    axes, (i, j) = axes_of(ir, m, n)
    total = ir.sum([k], lambda at: ir.load(0, F32, i * k + at) * ir.load(1, F32, at * n + j))
    return Kernel("matmul", axes, (Store(2, i * n + j, total),), buffers(3, 1)), [m * k, k * n, m * n], 2.0 * m * k * n


def conv(kind: str, batch: int, size: int, c: int, o: int) -> tuple[Kernel, list[int], float]:
    """3x3, padding SAME: "forward", "filter" or "input" gradient."""
    ir = Builder()
    image, out, filters = batch * size * size * c, batch * size * size * o, 9 * c * o

    def patch(n: Expr, y: Expr, x: Expr, channel: Expr, channels: int) -> Expr:
        with ir.guard((y >= 0) & (y < size) & (x >= 0) & (x < size)):
            return ir.load(0, F32, ((n * size + y) * size + x) * channels + channel)

    def weight(kh: Expr, kw: Expr, i: Expr, p: Expr) -> Expr:
        return ir.load(1, F32, ((kh * 3 + kw) * c + i) * o + p)

    if kind == "forward":
        axes, (n, y, x, p) = axes_of(ir, batch, size, size, o)
        total = ir.sum([3, 3, c], lambda kh, kw, i: patch(n, y + kh - 1, x + kw - 1, i, c) * weight(kh, kw, i, p))
        store, sizes = Store(2, ((n * size + y) * size + x) * o + p, total), [image, filters, out]
    elif kind == "filter":
        axes, (kh, kw, i, p) = axes_of(ir, 3, 3, c, o)
        total = ir.sum(
            [batch, size, size],
            lambda n, y, x: (
                patch(n, y + kh - 1, x + kw - 1, i, c) * ir.load(1, F32, ((n * size + y) * size + x) * o + p)
            ),
        )
        store, sizes = Store(2, ((kh * 3 + kw) * c + i) * o + p, total), [image, out, filters]
    else:
        axes, (n, y, x, i) = axes_of(ir, batch, size, size, c)
        total = ir.sum([3, 3, o], lambda kh, kw, p: patch(n, y + 1 - kh, x + 1 - kw, p, o) * weight(kh, kw, i, p))
        store, sizes = Store(2, ((n * size + y) * size + x) * c + i, total), [out, filters, image]
    return Kernel(f"conv {kind}", axes, (store,), buffers(3, 1)), sizes, 2.0 * batch * size * size * 9 * c * o


def elementwise(n: int) -> tuple[Kernel, list[int], float]:
    """relu(x * a + b) * c - tanh(x)"""
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    x, a, b, c = (ir.load(k, F32, i) for k in range(4))
    value = ir.call("max", x * a + b, 0.0) * c - ir.call("tanh", x)
    return Kernel("elementwise", axes, (Store(4, i, value),), buffers(5, 1)), [n] * 5, 0.0


def softmax(rows: int, columns: int) -> tuple[Kernel, list[int], float]:
    """over each row"""
    ir = Builder()
    axes, (r,) = axes_of(ir, rows)
    loop = ir.new_axis(columns)
    top = ir.reduce("max", [columns], lambda j: ir.load(0, F32, r * columns + j))
    total = ir.sum([columns], lambda j: ir.call("exp", ir.load(0, F32, r * columns + j) - top))
    at = r * columns + ir.axis(loop)
    store = Store(1, at, ir.call("exp", ir.load(0, F32, at) - top) / total, None, (loop,))
    return Kernel("softmax", axes, (store,), buffers(2, 1)), [rows * columns] * 2, 0.0


def column_sums(rows: int, columns: int) -> tuple[Kernel, list[int], float]:
    """the sum over the rows"""
    ir = Builder()
    axes, (c,) = axes_of(ir, columns)
    total = ir.sum([rows], lambda r: ir.load(0, F32, r * columns + c))
    return Kernel("column sums", axes, (Store(1, c, total),), buffers(2, 1)), [rows * columns, columns], 0.0


CASES: dict[str, Callable[[], tuple[Kernel, list[int], float]]] = {
    "matmul 256": lambda: matmul(256, 256, 256),
    "matmul 512": lambda: matmul(512, 512, 512),
    "matmul 128x784x256": lambda: matmul(128, 784, 256),
    "matmul 1x784x256": lambda: matmul(1, 784, 256),
    "matmul 128x64x10": lambda: matmul(128, 64, 10),
    "conv 32x28x28x32->64": lambda: conv("forward", 32, 28, 32, 64),
    "conv filter gradient": lambda: conv("filter", 32, 28, 32, 64),
    "conv input gradient": lambda: conv("input", 32, 28, 32, 64),
    "conv 32x8x8x1->32": lambda: conv("forward", 32, 8, 1, 32),
    "relu(x*a+b)*c-tanh(x) 1M": lambda: elementwise(1 << 20),
    "softmax 1024x1024": lambda: softmax(1024, 1024),
    "column sums 25088x32": lambda: column_sums(25088, 32),
}

NODE = """
const fs = require("fs"), [folder, seconds] = process.argv.slice(1);
const cases = JSON.parse(fs.readFileSync(folder + "/cases.json"));
const best = (f, s) => { let b = 1e9, t0 = performance.now(), n = 0;
  do { const t = performance.now(); f(); b = Math.min(b, performance.now() - t); n++; }
  while (performance.now() - t0 < s * 1e3 || n < 3);
  return b; };
const load = (name, pages) => { const memory = new WebAssembly.Memory({ initial: pages });
  const module = new WebAssembly.Module(fs.readFileSync(`${folder}/${name}.wasm`));
  return [memory, new WebAssembly.Instance(module, { env: { memory } }).exports.run]; };
(async () => { const [, peak] = load("peak", 1), results = [];
  for (const c of cases) { const [memory, run] = load(c.file, c.pages);
    new Uint8Array(memory.buffer).set(fs.readFileSync(`${folder}/${c.file}.mem`), 0);
    for (let i = 0; i < 3; i++) { run(c.table, 0, 1); peak(0, 0, 0); await new Promise((r) => setTimeout(r, 20)); }
    const p = best(() => peak(0, 0, 0), 0.1), t = best(() => run(c.table, 0, 1), +seconds);
    results.push([t, Math.min(p, best(() => peak(0, 0, 0), 0.1))]); }
  console.log(JSON.stringify(results)); })();
"""


def best_of(function: Callable[[], object], seconds: float) -> float:
    """Milliseconds of the fastest call."""
    least, start, runs = 1e9, time.perf_counter(), 0
    while runs < 3 or time.perf_counter() - start < seconds:
        t = time.perf_counter()
        function()
        least, runs = min(least, time.perf_counter() - t), runs + 1
    return least * 1e3


def prepare(kernel: Kernel, elements: list[int]) -> tuple[bytes, bytes, int, float]:
    """The module, the initial memory, the address of the table, the milliseconds that emission took."""
    rng = np.random.default_rng(0)
    scratch = workspace(kernel)
    assert isinstance(scratch, int)
    sizes = [4 * n for n in elements] + ([scratch] if scratch else [])
    regions, at = [], 1024
    for size in sizes:
        regions.append(at)
        at += (size + 255) // 256 * 256
    memory = np.zeros((at + 4 * len(regions) + 65536) // 65536 * 65536, np.uint8)
    for start, n in zip(regions, elements, strict=False):
        memory[start : start + 4 * n] = rng.standard_normal(n).astype(np.float32).view(np.uint8)
    memory[at : at + 4 * len(regions)] = np.array(regions, np.uint32).view(np.uint8)
    step = [(0, list(range(len(regions))))]
    emission = best_of(lambda: emit_module([kernel], step, len(regions)), 0.05)
    return emit_module([kernel], step, len(regions)), memory.tobytes(), at, emission


def in_wasmtime(module: bytes, memory: bytes, table: int) -> tuple[float, float]:
    """Milliseconds of the kernel and of the peak loop."""
    import wasmtime

    store = wasmtime.Store()
    space = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(len(memory) // 65536, None)))
    space.write(store, memory, 0)

    def run_of(code: bytes) -> Callable[[int, int, int], object]:
        function = wasmtime.Instance(store, wasmtime.Module(store.engine, code), [space]).exports(store)["run"]
        return lambda *args: function(store, *args)

    run, peak = run_of(module), run_of(peak_module())
    before = best_of(lambda: peak(0, 0, 0), 0.1)
    taken = best_of(lambda: run(table, 0, 1), SECONDS)
    return taken, min(before, best_of(lambda: peak(0, 0, 0), 0.1))


def main(chosen: list[str]) -> None:
    """Measures and prints a table."""
    names = [n for n in CASES if not chosen or any(c in n for c in chosen)]
    rows, cases = [], []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "peak.wasm").write_bytes(peak_module())
        for i, name in enumerate(names):
            kernel, elements, flops = CASES[name]()
            module, memory, table, emission = prepare(kernel, elements)
            (Path(folder) / f"{i}.wasm").write_bytes(module)
            (Path(folder) / f"{i}.mem").write_bytes(memory)
            cases.append({"file": str(i), "table": table, "pages": len(memory) // 65536})
            rows.append((name, flops, len(module), emission, in_wasmtime(module, memory, table)))
        (Path(folder) / "cases.json").write_text(json.dumps(cases))
        node = shutil.which("node")
        measured = [None] * len(rows)
        if node:
            command = [node, "-e", NODE, folder, str(SECONDS)]
            measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{'kernel':28} {'bytes':>6} {'emit ms':>8} | {'wasmtime ms':>11} {'GF/s':>6} {'of peak':>8} | ", end="")
    print(f"{'node ms':>11} {'GF/s':>6} {'of peak':>8}")
    for (name, flops, size, emission, native), v8 in zip(rows, measured, strict=True):
        print(f"{name:28} {size:6} {emission:8.2f} | {describe(native, flops)} | {describe(v8, flops)}")


def describe(times: tuple[float, float] | None, flops: float) -> str:
    """Milliseconds, and where it counts, the speed and its ratio to the peak."""
    if times is None:
        return "not found"
    if not flops:
        return f"{times[0]:11.3f} {'':6} {'':8}"
    speed, peak = flops / times[0] / 1e6, 8.0 * CHAINS * ROUNDS / times[1] / 1e6
    return f"{times[0]:11.3f} {speed:6.1f} {speed / peak:8.2f}"


if __name__ == "__main__":
    main(sys.argv[1:])
