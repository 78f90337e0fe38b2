"""V8 takes the same bytes as wasmtime, and computes the same: it refuses some modules that wasmtime accepts."""

from __future__ import annotations

import shutil
import subprocess

import kernel_samples as samples
import numpy as np
import pytest
from tideflow.kernel.interpret import run_kernel
from tideflow.shapes import symbol

pytest.importorskip("wasmtime", reason="needs wasmtime")
from wasm_runner import Instance

SCRIPT = """
const fs = require("fs"), [folder, table, steps] = process.argv.slice(1);
const bytes = fs.readFileSync(folder + "/memory"), memory = new WebAssembly.Memory({ initial: bytes.length / 65536 });
new Uint8Array(memory.buffer).set(bytes);
const module = new WebAssembly.Module(fs.readFileSync(folder + "/module.wasm"));
const last = new WebAssembly.Instance(module, { env: { memory } }).exports.run(+table, 0, +steps);
fs.writeFileSync(folder + "/memory", new Uint8Array(memory.buffer));
process.exit(last === +steps ? 0 : 1);
"""
BATCH = symbol("batch")
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def cases():
    """Kernels of every kind, with their arrays, for a batch of 5."""
    yield samples.row_softmax(BATCH, 10), [normal(5, 10), normal(5, 10), normal(5)]
    yield samples.row_softmax(7, 65), [normal(7, 65), normal(7, 65), normal(7)]
    yield samples.column_sums(BATCH, 33), [normal(5, 33), normal(33), normal(33)]
    yield samples.argmax(6, 40, True), [normal(6, 40), np.zeros(40, np.int32), normal(40)]
    yield samples.matmul(BATCH, 70, 33), [normal(5, 70), normal(70, 33), normal(5, 33)]
    yield samples.matmul(37, BATCH, 20, True, side=True), [normal(5, 37), normal(5, 20), normal(37, 20), normal(20)]
    yield samples.conv(BATCH, 6, 5, 8, 12), [normal(5, 6, 5, 8), normal(3, 3, 8, 12), normal(12), normal(5, 6, 5, 12)]
    gradient = [normal(5, 6, 5, 8), normal(5, 6, 5, 12), normal(3, 3, 8, 12), normal(12)]
    yield samples.conv_filter_gradient(BATCH, 6, 5, 8, 12), gradient
    yield samples.adam(37), [normal(37), normal(37) + 2, normal(37), np.zeros(37, np.uint32)]


def test_v8_runs_what_wasmtime_runs(tmp_path, require):
    node = shutil.which("node")
    require("node", None if node else "it is not installed")
    kernels, arrays = zip(*cases(), strict=True)
    scalars = {"rate": 0.01, "key": [3, 4]}
    program = Instance(kernels, arrays, {"batch": 5}, scalars)
    (tmp_path / "module.wasm").write_bytes(program.bytes)
    (tmp_path / "memory").write_bytes(
        bytes(program.memory.read(program.store, 0, program.memory.data_len(program.store)))
    )
    subprocess.run([node, "-e", SCRIPT, str(tmp_path), str(program.table), str(len(kernels))], check=True)
    memory = (tmp_path / "memory").read_bytes()
    program.run()
    for number, (kernel, buffers) in enumerate(zip(kernels, arrays, strict=True)):
        expected = [a.copy() for a in buffers]
        run_kernel(kernel, expected, {"batch": 5}, scalars)
        for i, like in enumerate(expected):
            start, size = program.places[number][i]
            in_node = np.frombuffer(memory[start : start + size], like.dtype).reshape(like.shape)
            np.testing.assert_array_equal(
                in_node, program.read(number, i, like), err_msg=f"{kernel.name}: Node and wasmtime"
            )
            np.testing.assert_allclose(in_node, like, rtol=1e-4, atol=1e-4, err_msg=f"{kernel.name}: buffer {i}")
