// The WebGPU device: buffers, pipelines, and one encoder and one submit for a whole run of a program.
//
// Pipelines are made at load, bind groups once per set of sizes; a run creates nothing but its encoder. Every
// storage binding is read_write under an explicit layout (engines differ in what else they refuse). Completion is a
// mapped staging buffer, never onSubmittedWorkDone, which is ten times slower in Chromium.

import { DeviceHungError, DeviceLimitError, DeviceLostError, ModelError, NoExecutorError } from "./errors.js";
import { hostWordIndices, unroll } from "./layout.js";
import { HOT, withLengths } from "./lengths.js";
import { Patience } from "./patience.js";
import { StepKind, Target } from "./tables.js";

/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./layout.js").Launch} Launch */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./layout.js").Copy} Copy */
/** @typedef {import("./layout.js").Feed} Feed */
/** @typedef {import("./types.js").Program} Program */
/**
 * Variants: per step, the key of its pipeline
 * @typedef {{
 *   program: Program, pipelines: Map<string, GPUComputePipeline>, variants: string[]
 * }} Loaded
 */
/**
 * @typedef {{
 *   launch: number, pipeline: GPUComputePipeline, group: GPUBindGroup, offsets: number[], x: number, y: number,
 *   z: number
 * }} Dispatch
 */
/**
 * @typedef {{
 *   spans: Span[], dispatches: Dispatch[], uniforms: GPUBuffer | null, iterations: GPUBuffer | null,
 *   words: Uint32Array, targets: number[], sources: number[], parts: number, loaded: Loaded, runs: number
 * }} Bound
 */
/**
 * @typedef {{
 *   features?: string[], limits?: {name: string, value: number}[], gpu?: any, hangAfter?: number,
 *   now?: () => number
 * }} Options
 */

// The numbers of WebGPU's flags: the globals GPUBufferUsage and GPUMapMode do not exist before a GPU does.
const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128 };
const STORAGE_USAGE = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
const COMPUTE = 4;
const MAP_READ = 1;
const SLOT = 256; // bytes of a uniform slot: WebGPU's dynamic offset alignment
const EMPTY = 16; // bytes bound for a region without elements: a shader may see it as an array of vec4
const LONG_SUBMIT = 200; // milliseconds: drivers reset after about two seconds
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

export class WebGpuDevice {
  /**
   * Finds an adapter and opens a device with default limits plus what the programs ask for.
   * @param {Options} [options]
   * @returns {Promise<WebGpuDevice>}
   * @throws {NoExecutorError} if there is none
   */
  static async open(options = {}) {
    const device = new WebGpuDevice(options);
    await device.reopen();
    return device;
  }

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.kind = "webgpu";
    this.target = Target.WGSL;
    this.software = false;
    this.description = "";
    /** @type {Set<string>} */
    this.features = new Set();
    /** @type {(error: Error) => void} */
    this.onLost = () => {};
    this.now = options.now ?? (() => performance.now());
    this.patience = new Patience(options.hangAfter ?? 20000);
    this.pending = 0;
    this.live = 0;
    this.submits = 0;
    this.closed = false;
    /** @type {Error | null} what the last uncaptured error said */
    this.failure = null;
  }

  /**
   * Finds an adapter and says what it is.
   * @param {any} [gpu]  instead of navigator.gpu
   * @returns {Promise<{adapter: any, description: string, software: boolean}>}
   * @throws {NoExecutorError} if there is none
   */
  static async probe(gpu = globalThis.navigator?.gpu) {
    if (!gpu) throw new NoExecutorError("no WebGPU here (it needs a recent browser, and https or localhost).");
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter)
      throw new NoExecutorError("WebGPU is here but gives no adapter: the GPU may be blocklisted or switched off.");
    const { vendor, architecture, device, description: text, isFallbackAdapter } = adapter.info ?? {};
    const description = [vendor, architecture, device, text].filter(Boolean).join(" ") || "unnamed adapter";
    return {
      adapter,
      description,
      software: Boolean(isFallbackAdapter || adapter.isFallbackAdapter || SOFTWARE.test(description)),
    };
  }

  /** A new adapter and device: an adapter makes one device only. Buffers and pipelines of the old one are gone. */
  async reopen() {
    const { adapter, description, software } = await WebGpuDevice.probe(this.options.gpu ?? undefined);
    this.description = description;
    this.software = software;
    const wanted = (this.options.features ?? []).filter((name) => adapter.features.has(name));
    /** @type {Record<string, number>} */
    const requiredLimits = {};
    for (const { name, value } of this.options.limits ?? []) {
      if (adapter.limits[name] >= value) requiredLimits[name] = Math.max(value, requiredLimits[name] ?? 0);
    }
    /** @type {GPUDevice} */
    const device = await adapter.requestDevice({ requiredFeatures: [...new Set(wanted)], requiredLimits });
    this.device = device;
    this.features = new Set(/** @type {any} */ (device.features));
    this.maxChunk = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
    /** @type {GPUBuffer[]} */
    this.staging = [];
    /** @type {Map<string, {group: GPUBindGroupLayout, pipeline: GPUPipelineLayout}>} */
    this.layouts = new Map();
    /** @type {Map<string, Promise<GPUComputePipeline>>} */
    this.pipelines = new Map();
    this.mark = this.allocate(4);
    device.addEventListener?.("uncapturederror", (event) => {
      this.failure = new ModelError("device", "WebGPU", event.error.message);
    });
    device.lost.then(({ message, reason }) => {
      if (this.closed || this.device !== device) return;
      this.onLost(this.hung ?? new DeviceLostError(`the GPU device was lost: ${message || reason}`));
    });
  }

  /** @returns {GPUDevice} */
  get gpu() {
    return /** @type {GPUDevice} */ (this.device);
  }

  /** @returns {Record<string, number>} */
  limits() {
    return /** @type {any} */ (this.gpu.limits);
  }

  // ---- memory ---------------------------------------------------------------------------------------------------

  /** @param {number} size @param {number} [usage] @returns {GPUBuffer} zeroed */
  allocate(size, usage = STORAGE_USAGE) {
    const bytes = Math.max(EMPTY, Math.ceil(size / 4) * 4);
    if (bytes > this.gpu.limits.maxBufferSize) {
      throw new DeviceLimitError(
        `a buffer of ${bytes} bytes is needed, this device allows maxBufferSize ${this.gpu.limits.maxBufferSize}.`,
      );
    }
    this.live++;
    return this.gpu.createBuffer({ size: bytes, usage });
  }

  /** Work already submitted may still use it. @param {GPUBuffer} buffer */
  release(buffer) {
    this.live--;
    buffer.destroy();
  }

  /** @param {GPUBuffer} buffer @param {number} offset @param {Uint8Array} bytes */
  upload(buffer, offset, bytes) {
    let data = bytes;
    if (bytes.length % 4) {
      data = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
      data.set(bytes);
    }
    this.gpu.queue.writeBuffer(buffer, offset, /** @type {ArrayBuffer} */ (data.buffer), data.byteOffset, data.length);
  }

  /** @param {number} size @returns {GPUBuffer} a buffer to copy to and map */
  stagingBuffer(size) {
    return this.allocate(size, USAGE.MAP_READ | USAGE.COPY_DST);
  }

  /**
   * Waits for everything submitted before.
   * @param {GPUBuffer} buffer
   * @returns {Promise<Uint8Array>} a view that dies with `unmap`
   */
  async mapped(buffer) {
    await buffer.mapAsync(MAP_READ);
    return new Uint8Array(buffer.getMappedRange());
  }

  /** @param {GPUBuffer} buffer @param {number} offset @param {number} size @returns {Promise<Uint8Array>} */
  async download(buffer, offset, size) {
    const encoder = this.gpu.createCommandEncoder();
    const { done } = this.finish([encoder], [{ buffer, offset, size }]);
    return (await done)[0];
  }

  /** @param {Copy[]} copies */
  copy(copies) {
    const encoder = this.gpu.createCommandEncoder();
    encodeCopies(encoder, copies);
    this.gpu.queue.submit([encoder.finish()]);
    this.submits++;
  }

  // ---- programs -------------------------------------------------------------------------------------------------

  /**
   * Compiles a program's kernels, all at once.
   * @param {Program} program
   * @returns {Promise<Loaded>}
   */
  async load(program) {
    const variants = variantsOf(program);
    const pipelines = new Map();
    await Promise.all(
      [...new Set(variants)].filter(Boolean).map(async (variant) => {
        const [kernel, shape] = variant.split("/");
        pipelines.set(variant, await this.pipeline(program.kernels[Number(kernel)], shape));
      }),
    );
    return { program, pipelines, variants };
  }

  /** The same without waiting: mistakes in a kernel show at the next run. @param {Program} program @returns {Loaded} */
  loadNow(program) {
    const variants = variantsOf(program);
    const pipelines = new Map();
    for (const variant of new Set(variants)) {
      const [kernel, shape] = variant.split("/");
      if (variant)
        pipelines.set(variant, this.gpu.createComputePipeline(this.describe(program.kernels[Number(kernel)], shape)));
    }
    return { program, pipelines, variants };
  }

  /**
   * @param {{name: string, entry: string, code: Uint8Array | string | null}} kernel
   * @param {string} shape
   * @returns {GPUComputePipelineDescriptor}
   */
  describe({ name, entry, code }, shape) {
    const module = this.gpu.createShaderModule({ code: textOf(code), label: name });
    return { label: name, layout: this.layout(shape).pipeline, compute: { module, entryPoint: entry } };
  }

  /**
   * @param {import("./types.js").Kernel} kernel
   * @param {string} shape
   * @returns {Promise<GPUComputePipeline>} one for equal code
   */
  pipeline(kernel, shape) {
    const key = `${shape}|${kernel.entry}|${textOf(kernel.code)}`;
    const pipelines = /** @type {Map<string, Promise<GPUComputePipeline>>} */ (this.pipelines);
    let found = pipelines.get(key);
    if (!found) {
      const description = this.describe(kernel, shape);
      found = this.gpu.createComputePipelineAsync(description).catch(async (error) => {
        const lost = await Promise.race([this.gpu.lost, undefined]);
        if (lost) throw new DeviceLostError(`the GPU device was lost while compiling: ${lost.message}`);
        const lines =
          (await description.compute.module.getCompilationInfo?.())?.messages.map(
            (m) => `${m.lineNum}:${m.linePos} ${m.message}`,
          ) ?? [];
        throw new ModelError("kernel", `kernel "${kernel.name}"`, [error.message, ...lines].join("; "));
      });
      pipelines.set(key, found);
    }
    return found;
  }

  /** @param {string} shape  "regions,slot,loops": storage bindings, 1 with a uniform slot, nested loops */
  layout(shape) {
    const layouts = /** @type {Map<string, {group: GPUBindGroupLayout, pipeline: GPUPipelineLayout}>} */ (this.layouts);
    let found = layouts.get(shape);
    if (!found) {
      const [regions, slot, loops] = shape.split(",").map(Number);
      /** @type {GPUBindGroupLayoutEntry[]} */
      const entries = [];
      for (let i = 0; i < regions; i++) entries.push({ binding: i, visibility: COMPUTE, buffer: { type: "storage" } });
      if (slot) entries.push({ binding: regions, visibility: COMPUTE, buffer: { type: "uniform" } });
      for (let i = 0; i < loops; i++) {
        entries.push({
          binding: regions + 1 + i,
          visibility: COMPUTE,
          buffer: { type: "uniform", hasDynamicOffset: true },
        });
      }
      const group = this.gpu.createBindGroupLayout({ entries });
      found = { group, pipeline: this.gpu.createPipelineLayout({ bindGroupLayouts: [group] }) };
      layouts.set(shape, found);
    }
    return found;
  }

  /** @param {Loaded} loaded */
  unload(loaded) {
    loaded.pipelines.clear();
  }

  /**
   * Makes what depends on sizes: uniform slots, bind groups, the flat list of dispatches.
   * @param {Loaded} loaded
   * @param {Layout} layout
   * @returns {Bound}
   */
  bind(loaded, { spans, launches }) {
    let slots = 0;
    const starts = launches.map(({ words, scalars }) => (words.length + scalars.length ? slots++ * (SLOT / 4) : -1));
    const words = new Uint32Array(slots * (SLOT / 4));
    launches.forEach((launch, i) => {
      if (starts[i] >= 0) words.set(launch.words, starts[i]);
    });
    const uniforms = slots ? this.allocate(slots * SLOT, USAGE.UNIFORM | USAGE.COPY_DST) : null;
    if (uniforms) this.upload(uniforms, 0, new Uint8Array(words.buffer));
    const iterations = this.iterationNumbers(launches);
    /** @type {(GPUBindGroup | null)[]} */
    const groups = launches.map(({ step, grid }, i) =>
      step.kind === StepKind.LOOP || grid.includes(0)
        ? null
        : this.group(loaded.variants[i].split("/")[1], step, spans, uniforms, starts[i], iterations),
    );
    /** @type {Dispatch[]} */
    const dispatches = [];
    unroll(launches, (index, counters) => {
      const group = groups[index];
      if (!group) return;
      const [x, y = 1, z = 1] = launches[index].grid;
      const pipeline = /** @type {GPUComputePipeline} */ (loaded.pipelines.get(loaded.variants[index]));
      dispatches.push({ launch: index, pipeline, group, offsets: counters.map((i) => i * SLOT), x, y, z });
    });
    const indices = hostWordIndices(launches, starts);
    return { spans, dispatches, uniforms, iterations, words, ...indices, parts: 1, loaded, runs: 0 };
  }

  /**
   * Replaces the pipelines of sizes that are used again and again by some that know the lengths of their buffers.
   * @param {Bound} bound
   * @returns {Promise<void>} when they are in use
   */
  async specialise({ spans, dispatches, loaded: { program, variants } }) {
    /** @type {Map<string, Promise<GPUComputePipeline>>} */
    const made = new Map();
    await Promise.all(
      [...new Set(dispatches.map(({ launch }) => launch))].map(async (launch) => {
        const [number, shape] = variants[launch].split("/");
        const kernel = program.kernels[Number(number)];
        const bytes = Array.from(program.steps[launch].regions, (region) => bindingSize(spans[region].size));
        const code = withLengths(textOf(kernel.code), bytes);
        if (code === textOf(kernel.code)) return;
        const key = `${shape}|${kernel.entry}|${code}`;
        if (!made.has(key)) made.set(key, this.gpu.createComputePipelineAsync(this.describe({ ...kernel, code }, shape)));
        const pipeline = await made.get(key);
        for (const dispatch of dispatches) {
          if (dispatch.launch === launch) dispatch.pipeline = /** @type {GPUComputePipeline} */ (pipeline);
        }
      }),
    );
  }

  /** A buffer with number i at byte 256 i, for the dynamic offsets of loops. @param {Launch[]} launches */
  iterationNumbers(launches) {
    const most = launches.reduce((max, { count }) => Math.max(max, count), 0);
    if (!most) return null;
    const numbers = new Uint32Array(most * (SLOT / 4));
    for (let i = 0; i < most; i++) numbers[i * (SLOT / 4)] = i;
    const buffer = this.allocate(numbers.byteLength, USAGE.UNIFORM | USAGE.COPY_DST);
    this.upload(buffer, 0, new Uint8Array(numbers.buffer));
    return buffer;
  }

  /**
   * @param {string} shape
   * @param {import("./types.js").Step} step
   * @param {Span[]} spans
   * @param {GPUBuffer | null} uniforms
   * @param {number} start  of the step's slot, in words
   * @param {GPUBuffer | null} iterations
   */
  group(shape, step, spans, uniforms, start, iterations) {
    const [regions, slot, loops] = shape.split(",").map(Number);
    const { maxStorageBufferBindingSize: most } = this.gpu.limits;
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
    if (slot)
      entries.push({
        binding: regions,
        resource: { buffer: /** @type {GPUBuffer} */ (uniforms), offset: start * 4, size: SLOT },
      });
    for (let i = 0; i < loops; i++) {
      entries.push({
        binding: regions + 1 + i,
        resource: { buffer: /** @type {GPUBuffer} */ (iterations), offset: 0, size: 16 },
      });
    }
    return this.gpu.createBindGroup({ layout: this.layout(shape).group, entries });
  }

  /** @param {Bound} bound */
  unbind({ uniforms, iterations }) {
    if (uniforms) this.release(uniforms);
    if (iterations) this.release(iterations);
  }

  // ---- running --------------------------------------------------------------------------------------------------

  /**
   * Copies, runs every step once, copies: one encoder and one submit (more only after a run of over 200 ms on a
   * real GPU).
   * @param {Bound} bound
   * @param {Uint32Array} hostWords
   * @param {Feed[]} feeds
   * @param {{before?: Copy[], after?: Copy[], reads?: Span[]}} [more]  copies, and spans whose bytes `done` gives
   * @returns {{done: Promise<Uint8Array[]>}}
   */
  run(bound, hostWords, feeds, { before = [], after = [], reads = [] } = {}) {
    if (this.failure) throw this.failure;
    const { spans, dispatches, uniforms, words, targets, sources } = bound;
    if (++bound.runs === HOT && this.software) this.specialise(bound).catch(() => {}); // the general ones still do
    for (const { region, data } of feeds) this.upload(spans[region].buffer, spans[region].offset, data);
    if (uniforms && targets.length) {
      for (let k = 0; k < targets.length; k++) words[targets[k]] = hostWords[sources[k]];
      this.gpu.queue.writeBuffer(uniforms, 0, /** @type {ArrayBuffer} */ (words.buffer), 0, words.byteLength);
    }
    const encoders = [];
    const length = Math.max(1, Math.ceil(dispatches.length / bound.parts));
    for (let first = 0; first < Math.max(1, dispatches.length); first += length) {
      const encoder = this.gpu.createCommandEncoder();
      if (first === 0) encodeCopies(encoder, before);
      encodeDispatches(encoder, dispatches, first, Math.min(first + length, dispatches.length));
      encoders.push(encoder);
    }
    encodeCopies(encoders[encoders.length - 1], after);
    const alone = this.pending === 0;
    return this.finish(encoders, reads, (elapsed) => {
      if (!this.software && alone && elapsed / bound.parts > LONG_SUBMIT) {
        bound.parts = Math.min(dispatches.length || 1, Math.ceil(elapsed / LONG_SUBMIT));
      }
    });
  }

  /**
   * Copies `reads` to a staging buffer, submits, and watches that the device answers.
   * @param {GPUCommandEncoder[]} encoders
   * @param {Span[]} reads
   * @param {(elapsed: number) => void} [onTime]
   * @returns {{done: Promise<Uint8Array[]>}}
   */
  finish(encoders, reads, onTime = () => {}) {
    const spans = reads.length ? reads : [{ buffer: this.mark, offset: 0, size: 4 }];
    const size = spans.reduce((sum, span) => sum + Math.ceil(span.size / 4) * 4, 0);
    const staging = this.takeStaging(size);
    let offset = 0;
    const encoder = encoders[encoders.length - 1];
    for (const span of spans) {
      const bytes = Math.ceil(span.size / 4) * 4;
      if (bytes) encoder.copyBufferToBuffer(span.buffer, span.offset, staging, offset, bytes);
      offset += bytes;
    }
    for (const each of encoders) this.gpu.queue.submit([each.finish()]);
    this.submits += encoders.length;
    return { done: this.answer(staging, reads, onTime) };
  }

  /**
   * @param {GPUBuffer} staging
   * @param {Span[]} reads
   * @param {(elapsed: number) => void} onTime
   * @returns {Promise<Uint8Array[]>}
   */
  async answer(staging, reads, onTime) {
    const start = this.now();
    /** @type {any} */
    let timer;
    this.pending++;
    try {
      const hung = new Promise((_, reject) => {
        timer = this.watch(reject);
      });
      const bytes = /** @type {Uint8Array} */ (await Promise.race([this.mapped(staging), hung]));
      let offset = 0;
      const results = reads.map(({ size }) => {
        const part = bytes.slice(offset, offset + size);
        offset += Math.ceil(size / 4) * 4;
        return part;
      });
      staging.unmap();
      this.staging?.push(staging);
      const elapsed = this.now() - start;
      this.patience.note(elapsed);
      onTime(elapsed);
      return results;
    } catch (error) {
      throw (
        this.hung ??
        this.failure ??
        new DeviceLostError(`the GPU device was lost during a step (${/** @type {Error} */ (error).message}).`)
      );
    } finally {
      clearTimeout(timer);
      this.pending--;
    }
  }

  /**
   * A step that does not answer in 20 s plus ten times the usual ends the device: no browser reports an endless kernel.
   * @param {(error: Error) => void} reject
   */
  watch(reject) {
    return setTimeout(() => {
      this.hung = new DeviceHungError(
        `a step did not answer within ${this.patience}, so the GPU device was destroyed. ` +
          "A kernel of this file may loop for ever: do not load it again.",
      );
      reject(this.hung);
      this.onLost(this.hung); // the GPU process may be too busy to report the loss
      this.gpu.destroy();
    }, this.patience.milliseconds);
  }

  /** @param {number} size @returns {GPUBuffer} from the pool where one fits */
  takeStaging(size) {
    const pool = /** @type {GPUBuffer[]} */ (this.staging);
    const fits = pool.findIndex((buffer) => buffer.size >= size && buffer.size <= 4 * size + 1024);
    return fits >= 0 ? pool.splice(fits, 1)[0] : this.stagingBuffer(Math.max(256, 2 ** Math.ceil(Math.log2(size))));
  }

  /** Ends the device. */
  close() {
    this.closed = true;
    this.device?.destroy();
    this.live = 0;
  }
}

/**
 * @param {{regions: ArrayLike<number>, uniforms: ArrayLike<number>, scalars: ArrayLike<number>}} step
 * @param {number} loops
 */
function shapeOf({ regions, uniforms, scalars }, loops) {
  return `${regions.length},${uniforms.length + scalars.length ? 1 : 0},${loops}`;
}

/** @param {Program} program @returns {string[]} per step its kernel and the shape of its bind group; "" for a LOOP */
function variantsOf({ steps }) {
  let open = /** @type {number[]} */ ([]); // where the loops around the current step end
  return steps.map((step, index) => {
    open = open.filter((end) => index <= end);
    if (step.kind !== StepKind.LOOP) return `${step.kernel}/${shapeOf(step, open.length)}`;
    open.push(index + step.body);
    return "";
  });
}

/** @param {number} size @returns {number} bytes bound for a region of this size */
function bindingSize(size) {
  return Math.ceil(size / 4) * 4 || EMPTY;
}

/** @param {Uint8Array | string | null} code  text when it comes from Python */
function textOf(code) {
  return typeof code === "string" ? code : new TextDecoder().decode(code ?? new Uint8Array());
}

/** @param {GPUCommandEncoder} encoder @param {Copy[]} copies */
function encodeCopies(encoder, copies) {
  for (const { source, target } of copies) {
    if (source.size)
      encoder.copyBufferToBuffer(
        source.buffer,
        source.offset,
        target.buffer,
        target.offset,
        Math.ceil(source.size / 4) * 4,
      );
  }
}

/** @param {GPUCommandEncoder} encoder @param {Dispatch[]} dispatches @param {number} first @param {number} end */
function encodeDispatches(encoder, dispatches, first, end) {
  if (first >= end) return;
  const pass = encoder.beginComputePass();
  for (let i = first; i < end; i++) {
    const { pipeline, group, offsets, x, y, z } = dispatches[i];
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, offsets);
    pass.dispatchWorkgroups(x, y, z);
  }
  pass.end();
}
