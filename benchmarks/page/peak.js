// What this machine can do at most, timed beside the contenders: arithmetic without memory, and copying.

/** @param {{device: string}} options */
export async function open({ device }) {
  if (device === "wasm") return { version: "", description: "wasm", prepare: prepareWasm };
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("no WebGPU adapter");
  const gpu = await adapter.requestDevice();
  return { version: "", description: "webgpu", prepare: (workload) => prepareGpu(gpu, workload) };
}

/** The modules are made by peaks.py. `options`: pages of memory, arguments of `run`, and the `work` of a run. */
async function prepareWasm(workload, arrays, file) {
  const { pages, args, work } = workload.options;
  const memory = new WebAssembly.Memory({ initial: pages });
  const { instance } = await WebAssembly.instantiate(file, { env: { memory } });
  new Uint8Array(memory.buffer).fill(1);
  return {
    work,
    step() {
      instance.exports.run(...args);
    },
    async result() {
      return [0];
    },
  };
}

/** Shapes of the arithmetic loop: which is fastest depends on the engine, so the first call tries each. */
const LOOPS = [["f32", 12, 32], ["f32", 12, 8], ["vec4<f32>", 4, 8]]; // type, accumulators, how often unrolled
const TURNS = 64; // of the loop
const GROUP = 64; // invocations
const ENOUGH = 8; // milliseconds of one dispatch: below, launching it would be measured too

/** Multiplications and additions in registers alone; `flops` of one invocation. */
function arithmetic([type, accumulators, unrolled]) {
  const each = (join, text) => Array.from({ length: accumulators }, (_, i) => text(i)).join(join);
  const body = Array(unrolled).fill(each(" ", (i) => `s${i} = s${i} * x + y;`)).join("\n    ");
  const code = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<${type}>;
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
  let place = at.x % ${GROUP}u;
  let x = min(out[place], ${type}(1.0)) * 0.0005 + 0.9985; // below one: the sums stay finite
  let y = x * 0.001;
  ${each(" ", (i) => `var s${i} = x + ${i}.5;`)}
  for (var i = 0u; i < ${TURNS}u; i++) {
    ${body}
  }
  out[place] = ${each(" + ", (i) => `s${i}`)};
}`;
  return { code, flops: 2 * accumulators * unrolled * TURNS * (type === "f32" ? 1 : 4) };
}

/** A grid-stride copy; the length is in the text, since an index into an array of unknown length costs a division. */
const copying = (count) => /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>, ${count}>;
@group(0) @binding(1) var<storage, read_write> source: array<vec4<f32>, ${count}>;
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = at.x; i < ${count}u; i += groups.x * ${GROUP}u) { out[i] = source[i]; }
}`;

async function prepareGpu(gpu, { options }) {
  if (options.copy) {
    const loop = await makeLoop(gpu, copying(options.copy / 16), options.copy, 2);
    return Object.assign(loop, { groups: Math.min(65535, options.copy / 16 / GROUP / options.each), work: 2 * options.copy });
  }
  const loops = await Promise.all(LOOPS.map(async (shape) => {
    const { code, flops } = arithmetic(shape);
    return Object.assign(await makeLoop(gpu, code, GROUP * 16, 1), { flops: flops * GROUP });
  }));
  for (const loop of loops) {
    await timed(loop); // the first call compiles
    while (await timed(loop) < ENOUGH && loop.groups < 32768) loop.groups *= 2;
    loop.work = loop.flops * loop.groups;
    loop.rate = loop.work / Math.min(await timed(loop), await timed(loop), await timed(loop));
  }
  return loops.reduce((best, loop) => (loop.rate > best.rate ? loop : best));
}

async function timed(loop) {
  const begun = performance.now();
  loop.step();
  await loop.result();
  return performance.now() - begun;
}

/** A pipeline on buffers of its own: {step, result, groups}. */
async function makeLoop(gpu, code, size, count) {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffers = Array.from({ length: count }, () => gpu.createBuffer({ size, usage }));
  const staging = gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const module = gpu.createShaderModule({ code });
  const pipeline = await gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  return {
    groups: 64,
    step() {
      const encoder = gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(this.groups);
      pass.end();
      gpu.queue.submit([encoder.finish()]);
    },
    async result() {
      const encoder = gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(buffers[0], 0, staging, 0, 16);
      gpu.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      const value = new Float32Array(staging.getMappedRange().slice(0));
      staging.unmap();
      return value;
    },
  };
}
