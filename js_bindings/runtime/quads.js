// Loads that four neighbouring invocations make alike, shared among them.
//
// A software adapter loads lane by lane, and the emitter marks loads that all invocations of a quad make alike, up to four
// at a time (gpu_wgsl/quads.py). With the feature "subgroups" each of the four makes one of them, and they exchange what
// they got in registers. Of turned rows each invocation loads its own, the first one, and gets the next three from its
// neighbours; of other loads each is told which one to make, and which one it wants.

export const FEATURE = "subgroups";

const MARK = /^ *\/\/ (quad|turn) ([1-4])$/;
const LOAD = /^( *)let (\w+) = (\w+)\[(.*)\];$/;
const MAIN = /(fn main\(.*\) \{\n)/;
const HEAD = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n";
const ODD = "  let quad_odd = (local & 1u) != 0u;\n  let quad_high = (local & 2u) != 0u;\n";
const CONSTANT = "const quad: i32 = 0i;\n";
const PLACE = "  let quad = i32(local & 3u);\n";
const OTHERS = ["quadSwapX", "quadSwapY", "quadSwapDiagonal"];

/**
 * Rewrites marked loads.
 * @param {string} code  WGSL as our emitter writes it: one buffer under a mark, `local` numbers the invocations
 * @returns {string} the same if nothing is marked
 */
export function withQuads(code) {
  const lines = code.split("\n");
  /** @type {string[]} */
  const made = [];
  for (let at = 0; at < lines.length; at++) {
    const [, kind, number] = MARK.exec(lines[at]) ?? [];
    const count = Number(number ?? 0);
    const loads = lines.slice(at + 1, at + 1 + count);
    if (kind) made.push(...(kind === "quad" ? shared(loads) : turned(loads)));
    else made.push(lines[at]);
    at += count;
  }
  const text = made.join("\n");
  if (text === code) return code;
  if (!text.includes(CONSTANT)) return HEAD + text.replace(MAIN, `$1${ODD}`);
  return HEAD + text.replace(CONSTANT, "").replace(MAIN, `$1${PLACE}${ODD}`);
}

/** @param {string[]} lines  the loads of four rows, or one of four rows side by side */
function turned(lines) {
  const loads = lines.map((line) => /** @type {RegExpExecArray} */ (LOAD.exec(line)));
  const [, indent, name, buffer, index] = loads[0];
  if (loads.length > 1) {
    return [lines[0], ...loads.slice(1).map(([, , other], i) => `${indent}let ${other} = ${OTHERS[i]}(${name});`)];
  }
  const others = OTHERS.map((swap) => `${swap}(${name}q)`).join(", ");
  return [`${indent}let ${name}q = ${buffer}[${index}][quad];`, `${indent}let ${name} = vec4(${name}q, ${others});`];
}

/** @param {string[]} lines  two to four loads of one buffer */
function shared(lines) {
  const loads = lines.map((line) => /** @type {RegExpExecArray} */ (LOAD.exec(line)));
  const [, indent, name, buffer] = loads[0];
  const [a, b, c, d] = [0, 1, 2, 3].map((i) => loads[Math.min(i, loads.length - 1)][4]);
  const high = c === d ? c : `select(${c}, ${d}, quad_odd)`;
  const mine = `${indent}let ${name}q = ${buffer}[select(select(${a}, ${b}, quad_odd), ${high}, quad_high)];`;
  return [mine, ...loads.map(([, , other], i) => `${indent}let ${other} = quadBroadcast(${name}q, ${i}u);`)];
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
