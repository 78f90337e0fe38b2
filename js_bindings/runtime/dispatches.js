// A program at one set of sizes on WebGPU: its uniform slots, its bind groups, and the flat list of its dispatches.

import { DeviceLimitError } from "./errors.js";
import { hostWordIndices, unroll } from "./layout.js";
import { withLengths } from "./lengths.js";
import { textOf } from "./pipelines.js";
import { withQuads } from "./quads.js";
import { StepKind } from "./tables.js";

/** @typedef {import("./layout.js").Launch} Launch */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./pipelines.js").Compiled} Compiled */
/** @typedef {import("./pipelines.js").Loaded} Loaded */
/** @typedef {import("./pipelines.js").Pipelines} Pipelines */
/** @typedef {import("./webgpu.js").WebGpuDevice} WebGpuDevice */
/**
 * @typedef {{
 *   launch: number, kernel: Compiled, group: GPUBindGroup, offsets: number[], x: number, y: number, z: number
 * }} Dispatch
 */
/**
 * Compiled: all kernels are there; parts: submits of a run
 * @typedef {{
 *   spans: Span[], dispatches: Dispatch[], uniforms: GPUBuffer | null, iterations: GPUBuffer | null,
 *   words: Uint32Array, targets: number[], sources: number[], parts: number, loaded: Loaded,
 *   compiled: boolean, runs: number
 * }} Bound
 */

// The numbers of WebGPU's flags: the global GPUBufferUsage does not exist before a GPU does.
export const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128 };
const SLOT = 256; // bytes of a uniform slot: WebGPU's dynamic offset alignment
export const EMPTY = 16; // bytes bound for a region without elements: a shader may see it as an array of vec4

/**
 * Makes what depends on sizes.
 * @param {WebGpuDevice} device
 * @param {Loaded} loaded
 * @param {import("./layout.js").Layout} layout
 * @returns {Bound}
 */
export function bindProgram(device, loaded, { spans, launches }) {
  let slots = 0;
  const starts = launches.map(({ words, scalars }) => (words.length + scalars.length ? slots++ * (SLOT / 4) : -1));
  const words = new Uint32Array(slots * (SLOT / 4));
  launches.forEach((launch, i) => {
    if (starts[i] >= 0) words.set(launch.words, starts[i]);
  });
  const uniforms = slots ? device.allocate(slots * SLOT, USAGE.UNIFORM | USAGE.COPY_DST) : null;
  if (uniforms) device.upload(uniforms, 0, new Uint8Array(words.buffer));
  const iterations = iterationNumbers(device, launches);
  /** @type {(GPUBindGroup | null)[]} */
  const groups = launches.map(({ step, grid }, i) =>
    step.kind === StepKind.LOOP || grid.includes(0)
      ? null
      : bindGroup(device, loaded.variants[i].split("/")[1], step, spans, uniforms, starts[i], iterations),
  );
  /** @type {Dispatch[]} */
  const dispatches = [];
  unroll(launches, (index, counters) => {
    const group = groups[index];
    if (!group) return;
    const [x, y = 1, z = 1] = launches[index].grid;
    const kernel = /** @type {Compiled} */ (loaded.kernels.get(loaded.variants[index]));
    dispatches.push({ launch: index, kernel, group, offsets: counters.map((i) => i * SLOT), x, y, z });
  });
  const indices = hostWordIndices(launches, starts);
  const compiled = dispatches.every(({ kernel }) => kernel.pipeline);
  return { spans, dispatches, uniforms, iterations, words, ...indices, parts: 1, loaded, compiled, runs: 0 };
}

/**
 * A buffer with number i at byte 256 i, for the dynamic offsets of loops.
 * @param {WebGpuDevice} device
 * @param {Launch[]} launches
 */
function iterationNumbers(device, launches) {
  const most = launches.reduce((max, { count }) => Math.max(max, count), 0);
  if (!most) return null;
  const numbers = new Uint32Array(most * (SLOT / 4));
  for (let i = 0; i < most; i++) numbers[i * (SLOT / 4)] = i;
  const buffer = device.allocate(numbers.byteLength, USAGE.UNIFORM | USAGE.COPY_DST);
  device.upload(buffer, 0, new Uint8Array(numbers.buffer));
  return buffer;
}

/**
 * @param {WebGpuDevice} device
 * @param {string} shape  "regions,slot,loops"
 * @param {import("./types.js").Step} step
 * @param {Span[]} spans
 * @param {GPUBuffer | null} uniforms
 * @param {number} start  of the step's slot, in words
 * @param {GPUBuffer | null} iterations
 */
function bindGroup(device, shape, step, spans, uniforms, start, iterations) {
  const [regions, slot, loops] = shape.split(",").map(Number);
  const { maxStorageBufferBindingSize: most } = device.gpu.limits;
  /** @type {GPUBindGroupEntry[]} */
  const entries = Array.from(step.regions, (region, binding) => {
    const { buffer, offset, size } = spans[region];
    const bytes = bindingSize(size);
    if (bytes > most) {
      throw new DeviceLimitError(
        `needs maxStorageBufferBindingSize ${bytes}, this device allows ${most}. Use a smaller batch.`,
      );
    }
    return { binding, resource: { buffer, offset, size: bytes } };
  });
  if (slot) {
    const buffer = /** @type {GPUBuffer} */ (uniforms);
    entries.push({ binding: regions, resource: { buffer, offset: start * 4, size: SLOT } });
  }
  for (let i = 0; i < loops; i++) {
    const buffer = /** @type {GPUBuffer} */ (iterations);
    entries.push({ binding: regions + 1 + i, resource: { buffer, offset: 0, size: 16 } });
  }
  return device.gpu.createBindGroup({ layout: device.kernels.layout(shape).group, entries });
}

/** @param {number} size @returns {number} bytes bound for a region of this size */
function bindingSize(size) {
  return Math.ceil(size / 4) * 4 || EMPTY;
}

/**
 * Replaces the pipelines of sizes that are used again and again by some that know the lengths of their buffers, and were
 * not written to be compiled soon.
 * @param {Pipelines} pipelines
 * @param {Bound} bound
 * @returns {Promise<void>} when they are in use
 */
export async function specialise(pipelines, { spans, dispatches, loaded: { program, variants } }) {
  /** @type {Map<string, Compiled>} */
  const made = new Map();
  await Promise.all(
    [...new Set(dispatches.map(({ launch }) => launch))].map(async (launch) => {
      const [number, shape] = variants[launch].split("/");
      const kernel = program.kernels[Number(number)];
      const bytes = Array.from(program.steps[launch].regions, (region) => bindingSize(spans[region].size));
      const sized = withLengths(textOf(kernel.code), bytes);
      const code = pipelines.quads ? withQuads(sized) : sized;
      if (code === pipelines.firstText(kernel)) return;
      const key = `${shape}|${kernel.entry}|${code}`;
      const compiled = made.get(key) ?? pipelines.begin({ ...kernel, code }, shape);
      made.set(key, compiled);
      await compiled.ready;
      for (const dispatch of dispatches) if (dispatch.launch === launch) dispatch.kernel = compiled;
    }),
  );
}

/** @param {GPUCommandEncoder} encoder @param {Dispatch[]} dispatches @param {number} first @param {number} end */
export function encodeDispatches(encoder, dispatches, first, end) {
  if (first >= end) return;
  const pass = encoder.beginComputePass();
  for (let i = first; i < end; i++) {
    const { kernel, group, offsets, x, y, z } = dispatches[i];
    pass.setPipeline(/** @type {GPUComputePipeline} */ (kernel.pipeline));
    pass.setBindGroup(0, group, offsets);
    pass.dispatchWorkgroups(x, y, z);
  }
  pass.end();
}
