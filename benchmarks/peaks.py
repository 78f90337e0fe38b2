"""What the machine can do at most: WebAssembly loops without and with memory, timed beside the contenders."""

from typing import Any

from tideflow.wasm import encode
from tideflow.wasm.encode import Code

from .wasm_kernels import CHAINS, ROUNDS, peak_module

COPY_BYTES = 1 << 22              # as much as an operand of the row and column workloads
UNROLL = 4
# `work`: operations or bytes of one step; on WebGPU page/peak.js says it, since the loop grows with the GPU
PEAKS: dict[str, dict[str, Any]] = {
    "wasm arithmetic": {"device": "wasm", "file": "peak_arithmetic.wasm",
                        "options": {"pages": 1, "args": [0, 0, 0], "work": 8.0 * CHAINS * ROUNDS}},
    "wasm copy": {"device": "wasm", "file": "peak_copy.wasm",
                  "options": {"pages": 2 * COPY_BYTES // 65536, "args": [0, COPY_BYTES, COPY_BYTES],
                              "work": 2.0 * COPY_BYTES}},
    "webgpu arithmetic": {"device": "webgpu", "options": {"copy": 0}},
    "webgpu copy": {"device": "webgpu", "options": {"copy": COPY_BYTES, "each": 64}},
}


def copy_module() -> bytes:
    """run(from, to, bytes): 64 bytes a turn."""
    code = Code(3)
    parts = [code.local(encode.V128) for _ in range(UNROLL)]
    code.loop()
    for i, part in enumerate(parts):
        code.get(0).memory("v128.load", 16 * i).set(part)
    for i, part in enumerate(parts):
        code.get(1).get(part).memory("v128.store", 16 * i)
    for pointer in (0, 1):
        code.get(pointer).i32(16 * UNROLL).op("i32.add").set(pointer)
    code.get(2).i32(16 * UNROLL).op("i32.sub").tee(2).br_if(0).end().get(2)
    return encode.module([(3, True, code.body())], ("run", 0))


def files() -> dict[str, bytes]:
    """The modules by file name."""
    return {"peak_arithmetic.wasm": peak_module(), "peak_copy.wasm": copy_module()}
