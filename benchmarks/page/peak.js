// What this machine can do at most, timed beside the contenders: arithmetic without memory, and copying.

/** @param {{device: string}} options */
export async function open({ device }) {
  if (device === "wasm") return { version: "", description: "wasm", prepare: prepareWasm };
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("no WebGPU adapter");
  const gpu = await adapter.requestDevice();
  return { version: "", description: "webgpu", prepare: (workload) => prepareGpu(gpu, workload) };
}

/** The modules are made by peaks.py. `workload.options`: the module's address, and arguments of its `run`. */
async function prepareWasm(workload, arrays, file) {
  const { pages, args } = workload.options;
  const memory = new WebAssembly.Memory({ initial: pages });
  const { instance } = await WebAssembly.instantiate(file, { env: { memory } });
  new Uint8Array(memory.buffer).fill(1);
  return {
    step() {
      instance.exports.run(...args);
    },
    async result() {
      return [0];
    },
  };
}

const ARITHMETIC = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
  let factor = vec4<f32>(out[at.x].x, 0.999, 0.999, 0.999);
  var a = vec4<f32>(f32(at.x)); var b = a; var c = a; var d = a; var e = a; var f = a; var g = a; var h = a;
  for (var i = 0u; i < 1024u; i++) {
    a = a * factor + factor; b = b * factor + factor; c = c * factor + factor; d = d * factor + factor;
    e = e * factor + factor; f = f * factor + factor; g = g * factor + factor; h = h * factor + factor;
  }
  out[at.x] = a + b + c + d + e + f + g + h;
}`;

const COPY = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> source: array<vec4<f32>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = at.x; i < arrayLength(&out); i += groups.x * 64u) { out[i] = source[i]; }
}`;

async function prepareGpu(gpu, { options }) {
  const copying = options.copy > 0;
  const size = copying ? options.copy : options.invocations * 16;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffers = Array.from({ length: copying ? 2 : 1 }, () => gpu.createBuffer({ size, usage }));
  const staging = gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const module = gpu.createShaderModule({ code: copying ? COPY : ARITHMETIC });
  const pipeline = await gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const groups = copying ? Math.min(65535, size / 16 / 64 / options.each) : options.invocations / 64;
  return {
    step() {
      const encoder = gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(groups);
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
