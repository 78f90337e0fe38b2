"""Marked multiply-adds become one instruction on engines that have it: the same length, and nothing else changes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import kernel_samples as samples
import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
import wasmtime
from tideflow.kernel.ir import F32, Buffer, Builder, Store
from tideflow.kernel.mathlib import MAX_ERROR
from tideflow.wasm import encode
from tideflow.wasm.encode import Code
from tideflow.wasm.fuse import PROBE, fused
from tideflow.wasm.tile import COLUMNS, REST, ROWS
from wasm_runner import Instance, axes_of, close, engine

MADD = b"\xfd\x85\x02"
SCRIPT = """
import fs from "node:fs";
const [runtime, from, to] = process.argv.slice(1);
WebAssembly.validate = () => true; // Node 20 has it behind a flag
const { fused } = await import(runtime);
fs.writeFileSync(to, fused(new Uint8Array(fs.readFileSync(from))));
"""


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def product(a, b):
    """The program of a matrix product."""
    (m, k), n = a.shape, b.shape[1]
    return Instance([samples.matmul(m, k, n)], [[a, b, np.zeros((m, n), np.float32)]])


def run_fused(program, like, buffer=2):
    """What the program computes with multiply-adds fused."""
    module = wasmtime.Module(engine(), fused(program.bytes))
    program.instance = wasmtime.Instance(program.store, module, [program.memory])
    program.run()
    return program.read(0, buffer, like)


def marked(local):
    """A module whose function multiplies, adds to a local and stores; with bytes that look alike in a constant."""
    code = Code(3)
    while len(code.types) <= local:
        code.local(encode.V128)
    code.get(0).v128(bytes(16)).v128(bytes(16)).multiply_add(local).memory("v128.store")
    code.get(0).v128(b"\xfd\xe6\x01\x20\x05\xfd\xe4\x02" * 2).memory("v128.store").get(2)
    return encode.module([(3, True, code.body())], ("run", 0))


def test_the_engine_of_the_tests_takes_the_probe():
    wasmtime.Module.validate(engine(), PROBE)


def test_the_tiles_are_what_changes():
    program = product(normal(20, 30), normal(30, 40))
    made = fused(program.bytes)
    pairs = (ROWS + 2 * REST) * COLUMNS // 4
    assert len(made) == len(program.bytes) and made.count(MADD) == pairs
    assert program.bytes.count(MADD) == 0
    assert sum(a != b for a, b in zip(made, program.bytes, strict=True)) <= 9 * pairs
    assert fused(made) == made


@pytest.mark.parametrize("local", [3, 127, 128, 300])
def test_locals_of_one_and_two_bytes(local):
    module = marked(local)
    made = fused(module)
    assert len(made) == len(module) and made.count(MADD) == 1
    wasmtime.Module.validate(engine(), module)
    wasmtime.Module.validate(engine(), made)


def test_unmarked_pairs_stay():
    code = Code(3)
    total = code.local(encode.V128)
    code.get(0).get(total).get(total).op("f32x4.mul").get(total).op("f32x4.add").memory("v128.store").get(2)
    module = encode.module([(3, True, code.body())], ("run", 0))
    assert fused(module) == module


def test_products_agree():
    a, b = normal(33, 700), normal(700, 41)
    a[3, 5], a[4, 6], a[5] = np.nan, np.inf, -0.0
    like = np.zeros((33, 41), np.float32)
    program = product(a, b)
    program.run()
    twice = program.read(0, 2, like).copy()
    np.testing.assert_allclose(run_fused(program, like), twice, rtol=1e-4, atol=1e-4)
    assert np.isnan(twice).any() and np.isinf(twice).any()


def test_a_product_is_rounded_once_or_twice():
    a, b = np.zeros((8, 16), np.float32), np.zeros((16, 64), np.float32)
    a[:, 0], a[:, 1], b[0], b[1] = -1 - 2.0**-11, 1 + 2.0**-12, 1, 1 + 2.0**-12
    like = np.zeros((8, 64), np.float32)
    program = product(a, b)
    program.run()
    assert (program.read(0, 2, like) == 0).all()
    made = run_fused(program, like)
    assert np.isin(made, [0, 2.0**-24]).all() and (made == made[0, 0]).all()


@pytest.mark.parametrize("name", ["exp", "sigmoid", "tanh"])
def test_functions_keep_their_accuracy(name):
    x = np.concatenate([np.linspace(-100, 100, 40001), np.linspace(-2, 2, 40001), [np.inf, -np.inf, np.nan]])
    x = x.astype(np.float32)
    ir = Builder()
    axes, (i,) = axes_of(ir, x.size)
    store = Store(1, i, ir.call(name, ir.load(0, F32, i)))
    kernel = close(name, axes, [store], [Buffer("x", F32), Buffer("o", F32, True)])
    program = Instance([kernel], [[x, np.zeros_like(x)]])
    assert fused(program.bytes).count(MADD) > 4
    with np.errstate(over="ignore"):
        wide = x.astype(np.float64)
        exact = {"exp": np.exp(wide), "sigmoid": 1 / (1 + np.exp(-wide)), "tanh": np.tanh(wide)}[name]
        exact32 = exact.astype(np.float32)
    made = run_fused(program, x, buffer=1)
    at = np.isfinite(exact32) & (np.abs(exact32) > 1.2e-38)
    error = np.abs(made[at] - exact[at]) / np.spacing(np.abs(exact32[at]))
    assert error.max() <= MAX_ERROR[name]
    np.testing.assert_array_equal(made[-3:], exact32[-3:])


def test_both_loaders_write_the_same(tmp_path, require):
    node = shutil.which("node")
    require("node", None if node else "it is not installed")
    runtime = Path(__file__).parents[3] / "js_bindings" / "runtime" / "fuse.js"
    for number, module in enumerate((marked(3), marked(300), product(normal(20, 30), normal(30, 40)).bytes)):
        given, taken = tmp_path / f"{number}.wasm", tmp_path / f"{number}.fused"
        given.write_bytes(module)
        command = [node, "--input-type=module", "-e", SCRIPT, runtime.as_uri(), str(given), str(taken)]
        subprocess.run(command, check=True)
        assert taken.read_bytes() == fused(module) != module
