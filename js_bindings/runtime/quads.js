// Loads that four neighbouring invocations make alike, shared among them.
//
// A software adapter loads lane by lane, and the emitter marks four loads at a time which all invocations of a quad make
// alike (gpu_wgsl/quads.py). With the feature "subgroups" each of the four makes one of them, and they exchange what they
// got in registers: a quarter to a third off a matrix product.

export const FEATURE = "subgroups";

const MARKED = / *\/\/ quad\n((?: *let \w+ = \w+\[.*\];\n){4})/g;
const LOAD = /let (\w+) = (\w+)\[(.*)\];/g;
const HEAD = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n";
const ODD = "  let quad_odd = (local & 1u) != 0u;\n  let quad_high = (local & 2u) != 0u;\n";

/**
 * Rewrites marked loads.
 * @param {string} code  WGSL as our emitter writes it: one buffer under a mark, `local` numbers the invocations
 * @returns {string} the same if nothing is marked
 */
export function withQuads(code) {
  const made = code.replace(MARKED, (_, lines) => {
    const [a, b, c, d] = [...lines.matchAll(LOAD)].map(([, name, buffer, index]) => ({ name, buffer, index }));
    const index = `select(select(${a.index}, ${b.index}, quad_odd), select(${c.index}, ${d.index}, quad_odd), quad_high)`;
    const mine = `let ${a.name}q = ${a.buffer}[${index}];\n`;
    return mine + [a, b, c, d].map(({ name }, i) => `let ${name} = quadBroadcast(${a.name}q, ${i}u);\n`).join("");
  });
  return made === code ? code : HEAD + made.replace(/(fn main\(.*\) \{\n)/, `$1${ODD}`);
}

const CHECK = `${HEAD}@group(0) @binding(0) var<storage, read_write> found: array<u32, 64>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) local: u32) {
  found[local] = quadBroadcast(local, 2u);
}`;
const BYTES = 256;
/** @type {WeakMap<GPUDevice, Promise<boolean>>} */
const checked = new WeakMap();

/**
 * Whether the invocations of a quad are neighbours by number, which no specification promises: computed once.
 * @param {GPUDevice} gpu
 * @returns {Promise<boolean>} false too where there is no such feature
 */
export function quadsAreNeighbours(gpu) {
  let found = checked.get(gpu);
  if (!found) {
    found = check(gpu).catch(() => false);
    checked.set(gpu, found);
  }
  return found;
}

/** @param {GPUDevice} gpu */
async function check(gpu) {
  if (!gpu.features.has(FEATURE)) return false;
  const module = gpu.createShaderModule({ code: CHECK });
  const pipeline = await gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  const found = gpu.createBuffer({ size: BYTES, usage: 128 | 4 }); // STORAGE, COPY_SRC
  const staging = gpu.createBuffer({ size: BYTES, usage: 1 | 8 }); // MAP_READ, COPY_DST
  const entries = [{ binding: 0, resource: { buffer: found } }];
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(found, 0, staging, 0, BYTES);
  gpu.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  const right = new Uint32Array(staging.getMappedRange()).every((value, i) => value === (i & ~3) + 2);
  found.destroy();
  staging.destroy();
  return right;
}
