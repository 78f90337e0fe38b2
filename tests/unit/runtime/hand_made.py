"""A small model written by hand, for both targets, to test executors without the compiler.

`step(x [batch, 4], learning_rate=0.5) -> y, total`: t = x * w; y = t * learning_rate + counter + rng[2];
total = [y[0, 0]]; w += 1; the counter advances by 1, the RNG by batch. `peek() -> w_now` copies w. Kernels are WGSL and
WAT text.
"""

import hashlib

import numpy as np
from tideflow.program.format import (
    Advance,
    DimExpr,
    DimOp,
    DType,
    Kernel,
    Model,
    Place,
    Port,
    Program,
    Region,
    Role,
    Signature,
    Step,
    StepKind,
    Symbol,
    Target,
    Tensor,
)

START = np.array([1, 2, 3, 4], np.float32)

MULTIPLY = """
struct Sizes { n: u32 }
@group(0) @binding(0) var<storage, read_write> t: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3<u32>) {
  if (at.x < sizes.n) { t[at.x] = x[at.x] * w[at.x % 4u]; }
}"""

SCALE = """
struct Sizes { n: u32, rate: f32, low: u32, high: u32, rng0: u32, rng1: u32, rng2: u32, rng3: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> t: array<f32>;
@group(0) @binding(2) var<storage, read_write> total: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3<u32>) {
  if (at.x < sizes.n) {
    let value = t[at.x] * sizes.rate + f32(sizes.low) + f32(sizes.rng2);
    y[at.x] = value;
    if (at.x == 0u) { total[0] = value; }
  }
}"""

INCREMENT = """
@group(0) @binding(0) var<storage, read_write> w: array<f32>;
@compute @workgroup_size(4) fn main(@builtin(global_invocation_id) at: vec3<u32>) { w[at.x] = w[at.x] + 1.0; }"""

COPY = """
@group(0) @binding(0) var<storage, read_write> to: array<f32>;
@group(0) @binding(1) var<storage, read_write> source: array<f32>;
@compute @workgroup_size(4) fn main(@builtin(global_invocation_id) at: vec3<u32>) { to[at.x] = source[at.x]; }"""

# table words: regions 0 state, 1 w, 2 x, 3 y, 4 total, 5 t; step 0: 6 n; step 1: 7 n, 8 rate, 9-10 counter, 11-14 rng
STEP_WAT = """
(module
  (import "env" "memory" (memory 1))
  (func $word (param $table i32) (param $i i32) (result i32)
    (i32.load (i32.add (local.get $table) (i32.shl (local.get $i) (i32.const 2)))))
  (func $at (param $table i32) (param $region i32) (param $i i32) (result i32)
    (i32.add (call $word (local.get $table) (local.get $region)) (i32.shl (local.get $i) (i32.const 2))))
  (func $multiply (param $t i32) (local $i i32)
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (call $word (local.get $t) (i32.const 6))))
      (f32.store (call $at (local.get $t) (i32.const 5) (local.get $i))
        (f32.mul (f32.load (call $at (local.get $t) (i32.const 2) (local.get $i)))
                 (f32.load (call $at (local.get $t) (i32.const 1) (i32.and (local.get $i) (i32.const 3))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next))))
  (func $scale (param $t i32) (local $i i32)
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (call $word (local.get $t) (i32.const 7))))
      (f32.store (call $at (local.get $t) (i32.const 3) (local.get $i))
        (f32.add (f32.add
          (f32.mul (f32.load (call $at (local.get $t) (i32.const 5) (local.get $i)))
                   (f32.reinterpret_i32 (call $word (local.get $t) (i32.const 8))))
          (f32.convert_i32_u (call $word (local.get $t) (i32.const 9))))
          (f32.convert_i32_u (call $word (local.get $t) (i32.const 13)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (f32.store (call $word (local.get $t) (i32.const 4)) (f32.load (call $word (local.get $t) (i32.const 3)))))
  (func $increment (param $t i32) (local $i i32)
    (loop $next
      (f32.store (call $at (local.get $t) (i32.const 1) (local.get $i))
        (f32.add (f32.const 1) (f32.load (call $at (local.get $t) (i32.const 1) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 4)))))
  (func (export "run") (param $t i32) (param $first i32) (param $last i32) (result i32)
    (if (i32.and (i32.le_s (local.get $first) (i32.const 0)) (i32.gt_s (local.get $last) (i32.const 0)))
      (then (call $multiply (local.get $t))))
    (if (i32.and (i32.le_s (local.get $first) (i32.const 1)) (i32.gt_s (local.get $last) (i32.const 1)))
      (then (call $scale (local.get $t))))
    (if (i32.and (i32.le_s (local.get $first) (i32.const 2)) (i32.gt_s (local.get $last) (i32.const 2)))
      (then (call $increment (local.get $t))))
    (local.get $last)))
"""

PEEK_WAT = """
(module
  (import "env" "memory" (memory 1))
  (func (export "run") (param $t i32) (param $first i32) (param $last i32) (result i32)
    (v128.store (i32.load offset=8 (local.get $t)) (v128.load (i32.load offset=4 (local.get $t))))
    (local.get $last)))
"""


def wasm(text):
    """WAT text as a module that files may hold: without the section of names."""
    import wasmtime
    from tideflow.wasm.inplace import with_dylink

    data = bytes(wasmtime.wat2wasm(text))
    kept, at = data[:8], 8
    while at < len(data):
        length, shift, end = 0, 0, at + 1
        while True:
            length |= (data[end] & 127) << shift
            shift, end = shift + 7, end + 1
            if data[end - 1] < 128:
                break
        kept += data[at : end + length] if data[at] else b""
        at = end + length
    return with_dylink(kept)


def dims():
    """The size expressions that the names ZERO to GROUPS below refer to."""
    C, S, M, D = DimOp.CONST, DimOp.SYMBOL, DimOp.MUL, DimOp.CEILDIV
    return [DimExpr(C, 0), DimExpr(S, 0), DimExpr(C, 4), DimExpr(M, 1, 2), DimExpr(M, 3, 2), DimExpr(C, 16),
            DimExpr(C, 1), DimExpr(C, 64), DimExpr(D, 3, 7)]


ZERO, BATCH, FOUR, N, BYTES, SIXTEEN, ONE, SIXTY_FOUR, GROUPS = range(9)
W, X, Y, TOTAL, RATE, COUNTER, RNG, NOW = range(8)


def tensors():
    return [
        Tensor("w", DType.F32, [FOUR], Role.WEIGHT, True, START.tobytes()),
        Tensor("x", DType.F32, [BATCH, FOUR]),
        Tensor("y", DType.F32, [BATCH, FOUR]),
        Tensor("total", DType.F32, []),
        Tensor("learning_rate", DType.F32, []),
        Tensor("iterations", DType.I64, [], Role.COUNTER, data=np.int64(0).tobytes()),
        Tensor("rng", DType.U32, [FOUR], Role.RNG, data=np.array([7, 8, 0, 0], np.uint32).tobytes()),
        Tensor("w_now", DType.F32, [FOUR]),
    ]


def step_program(target):
    regions = [
        Region(Place.STATE, SIXTEEN), Region(Place.STATE, SIXTEEN, tensor=W, parent=0),
        Region(Place.INPUT, BYTES, tensor=X), Region(Place.OUTPUT, BYTES, tensor=Y),
        Region(Place.OUTPUT, FOUR, tensor=TOTAL), Region(Place.SCRATCH, BYTES),
    ]
    grid, one = ([GROUPS] if target == Target.WGSL else [ONE]), [ONE]      # a WASM kernel loops by itself
    steps = [
        Step(kernel=0, regions=[5, 2, 1], grid=grid, uniforms=[N], writes=1),
        Step(kernel=1, regions=[3, 5, 4], grid=grid, uniforms=[N], scalars=[RATE, COUNTER, RNG], writes=0b101),
        Step(kernel=2, regions=[1], grid=one, writes=1),
    ]
    kernels = [kernel(target, "multiply", 3, MULTIPLY), kernel(target, "scale", 3, SCALE),
               kernel(target, "increment", 1, INCREMENT)]
    module = wasm(STEP_WAT) if target == Target.WASM else None
    return Program(target, kernels=kernels, regions=regions, steps=steps, module=module)


def kernel(target, name, bindings, code):
    """A kernel; a WASM program has its code in its module."""
    if target == Target.WASM:
        return Kernel(name, bindings=bindings)
    return Kernel(name, code=code.encode(), hash=hashlib.sha256(code.encode()).digest(), bindings=bindings)


def peek_program(target):
    regions = [Region(Place.STATE, SIXTEEN), Region(Place.STATE, SIXTEEN, tensor=W, parent=0),
               Region(Place.OUTPUT, SIXTEEN, tensor=NOW)]
    steps = [Step(kernel=0, regions=[2, 1], grid=[ONE], writes=1)]
    module = wasm(PEEK_WAT) if target == Target.WASM else None
    return Program(target, kernels=[kernel(target, "copy", 2, COPY)], regions=regions, steps=steps, module=module)


def model(*targets):
    """The model with programs for the given targets."""
    programs = [make(target) for make in (step_program, peek_program) for target in targets]
    count = len(targets)
    step = Signature("step", programs=list(range(count)),
                     inputs=[Port("x", X), Port("learning_rate", RATE, optional=True, fill=0.5)],
                     outputs=[Port("y", Y), Port("total", TOTAL)], writes=[W],
                     advance=[Advance(COUNTER, ONE), Advance(RNG, BATCH)])
    peek = Signature("peek", programs=list(range(count, 2 * count)), outputs=[Port("w_now", NOW)], reads=[W])
    return Model(symbols=[Symbol("batch", 1, 4096)], dims=dims(), tensors=tensors(), programs=programs,
                 signatures=[step, peek])


def loop_model(limit=1000):
    """`count(rows) -> out [4]`: a loop over rows inside one over 4 adds 10 * outer + inner to out[outer]. WGSL only."""
    code = """
struct Number { i: u32 }
@group(0) @binding(0) var<storage, read_write> total: array<u32>;
@group(0) @binding(2) var<uniform> outer: Number;
@group(0) @binding(3) var<uniform> inner: Number;
@compute @workgroup_size(1) fn main() { total[outer.i] = total[outer.i] + 10u * outer.i + inner.i; }"""
    clear = """
@group(0) @binding(0) var<storage, read_write> total: array<u32>;
@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { total[i] = 0u; }"""
    regions = [Region(Place.OUTPUT, SIXTEEN, DType.U32, tensor=1)]
    steps = [Step(kernel=1, regions=[0], grid=[ONE], writes=1),
             Step(StepKind.LOOP, count=FOUR, body=2), Step(StepKind.LOOP, count=BATCH, body=1),
             Step(kernel=0, regions=[0], grid=[ONE], writes=1)]
    kernels = [kernel(Target.WGSL, "count", 1, code), kernel(Target.WGSL, "clear", 1, clear)]
    program = Program(Target.WGSL, kernels=kernels, regions=regions, steps=steps)
    return Model(symbols=[Symbol("rows", 0, limit)], dims=dims(),
                 tensors=[Tensor("rows", DType.U8, [BATCH]), Tensor("out", DType.I64, [FOUR])], programs=[program],
                 signatures=[Signature("count", programs=[0], inputs=[Port("rows", 0)], outputs=[Port("out", 1)])])
