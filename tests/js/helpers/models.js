// Small models made by hand, as `readModel` would give them, with a WASM module assembled byte by byte and the same in WGSL.
//
// train_step(x: f32[batch], learning_rate) -> y: y[i] = x[i] * learning_rate + w[0]; then w[0] += 1. `steps` counts, `rng` moves by batch.

const section = (id, bytes) => [id, ...leb(bytes.length), ...bytes];
const text = (string) => [string.length, ...new TextEncoder().encode(string)];
const leb = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);

/** A module with `run(table, first, last)` around a body that has one i32 local, number 3. */
export function wasmModule(body) {
  const code = [1, 1, 0x7f, ...body, 0x0b];
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f]),
    ...section(2, [1, ...text("env"), ...text("memory"), 2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("run"), 0, 0]),
    ...section(10, [1, ...leb(code.length), ...code]),
  ]);
}

const TABLE = 0, LAST = 2, I = 3;
const get = (local) => [0x20, local];
const word = (offset) => [...get(TABLE), 0x28, 2, offset * 4];            // i32 from the table
const element = (region) => [...word(region), ...get(I), 0x41, 2, 0x74, 0x6a];
const LOAD = [0x2a, 2, 0], STORE = [0x38, 2, 0];

// The table: addresses of x, state, y and w; then batch, learning rate.
export const STEP_MODULE = wasmModule([
  0x02, 0x40, 0x03, 0x40,
  ...get(I), ...word(4), 0x4f, 0x0d, 1,
  ...element(2), ...element(0), ...LOAD, ...get(TABLE), 0x2a, 2, 20, 0x94, ...word(3), ...LOAD, 0x92, ...STORE,
  ...get(I), 0x41, 1, 0x6a, 0x21, I, 0x0c, 0,
  0x0b, 0x0b,
  ...word(3), ...word(3), ...LOAD, 0x43, 0, 0, 0x80, 0x3f, 0x92, ...STORE,
  ...get(LAST),
]);

const wgsl = (body) => `struct Slot { batch: u32, rate: f32 }
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> slot: Slot;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) { ${body} }`;
export const SCALE = wgsl("let i = at.x; if (i < slot.batch) { y[i] = x[i] * slot.rate + w[0]; }");
export const COUNT = `@group(0) @binding(0) var<storage, read_write> w: array<f32>;
@compute @workgroup_size(1)
fn main() { w[0] += 1.0; }`;

const step = (fields) => ({ kind: 0, kernel: 0, regions: [], grid: [], uniforms: [], scalars: [], flops: 0, writes: 0, count: 0, body: 0, ...fields });
const region = (fields) => ({ place: 0, bytes: 0, storage: 0, tensor: -1, parent: -1, offset: 0, ...fields });
const port = (fields) => ({ optional: false, fill: 0, min: 0, max: 0, bounded: false, ...fields });
const tensor = (fields) => ({ role: 0, trainable: false, data: null, quant: null, ...fields });
export const make = { step, region, port, tensor };

const bytes = (array) => new Uint8Array(array.buffer);

/** The model with programs for both targets. dims: 0, batch, 4, 4 batch, 1024 (state), 512, ceil(batch / 64), 1. */
export function trainModel() {
  const regions = [
    region({ place: 3, bytes: 3, tensor: 0 }),
    region({ place: 1, bytes: 4 }),
    region({ place: 4, bytes: 3, tensor: 3 }),
    region({ place: 1, bytes: 2, tensor: 2, parent: 1, offset: 5 }),
  ];
  const scale = { regions: [0, 3, 2], uniforms: [1], scalars: [1], writes: 4 };
  const requires = { features: [], limits: [], when: [], equal: [] };
  return {
    symbols: [{ name: "batch", min: 1, max: 1024, multiple_of: 1 }],
    dims: [[0, 0, 0], [1, 0, 0], [0, 4, 0], [4, 1, 2], [0, 1024, 0], [0, 512, 0], [0, 64, 0], [6, 1, 6], [0, 1, 0], [0, 2, 0]]
      .map(([op, a, b]) => ({ op, a, b })),
    tensors: [
      tensor({ name: "x", dtype: 0, shape: [1] }),
      tensor({ name: "learning_rate", dtype: 0, shape: [] }),
      tensor({ name: "w", dtype: 0, shape: [8], role: 2, trainable: true, data: bytes(Float32Array.of(10)) }),
      tensor({ name: "y", dtype: 0, shape: [1] }),
      tensor({ name: "steps", dtype: 10, shape: [], role: 5, data: bytes(BigUint64Array.of(2n ** 32n - 1n)) }),
      tensor({ name: "rng", dtype: 9, shape: [2], role: 6, data: bytes(Uint32Array.of(1, 2, 2 ** 32 - 3, 7)) }),
    ],
    programs: [
      { target: 1, requires, kernels: [], regions, module: STEP_MODULE,
        steps: [step({ ...scale, uniforms: [1] })] },
      { target: 0, requires, module: null, regions, kernels: [kernel("scale", SCALE, 4), kernel("count", COUNT, 1)],
        steps: [step({ ...scale, grid: [7] }), step({ kernel: 1, regions: [3], grid: [8], writes: 1 })] },
    ],
    signatures: [{
      name: "train_step", programs: [0, 1], reads: [2], writes: [2],
      inputs: [port({ name: "x", tensor: 0 }), port({ name: "learning_rate", tensor: 1, optional: true, fill: 2 })],
      outputs: [port({ name: "y", tensor: 3 }), port({ name: "step", tensor: 4 })],
      advance: [{ tensor: 4, by: 8 }, { tensor: 5, by: 1 }],
    }],
    segments: [],
  };
}

function kernel(name, code, bindings) {
  return { name, entry: "main", code: new TextEncoder().encode(code), bindings };
}
