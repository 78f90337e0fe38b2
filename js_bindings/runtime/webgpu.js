// The WebGPU device: buffers, pipelines, and one encoder and one submit for a whole run of a program.
//
// Pipelines are made once (pipelines.js), bind groups once per set of sizes; a run creates nothing but its encoder. Every
// storage binding is read_write under an explicit layout (engines differ in what else they refuse). Completion is a
// mapped staging buffer, never onSubmittedWorkDone, which is ten times slower in Chromium.

import { DeviceHungError, DeviceLimitError, DeviceLostError, ModelError, NoExecutorError } from "./errors.js";
import { EMPTY, USAGE, bindProgram, encodeDispatches, specialise } from "./dispatches.js";
import { HOT } from "./lengths.js";
import { Patience } from "./patience.js";
import { Pipelines } from "./pipelines.js";
import { FEATURE as QUADS, quadsAreNeighbours } from "./quads.js";
import { Target } from "./tables.js";

/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./layout.js").Copy} Copy */
/** @typedef {import("./layout.js").Feed} Feed */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./pipelines.js").Loaded} Loaded */
/** @typedef {import("./dispatches.js").Bound} Bound */
/**
 * @typedef {{
 *   features?: string[], limits?: {name: string, value: number}[], gpu?: any, hangAfter?: number,
 *   now?: () => number
 * }} Options
 */

const STORAGE_USAGE = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
const MAP_READ = 1;
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
    const useful = software ? [QUADS] : [];
    const wanted = [...(this.options.features ?? []), ...useful].filter((name) => adapter.features.has(name));
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
    this.mark = this.allocate(4);
    device.addEventListener?.("uncapturederror", (event) => {
      this.failure = new ModelError("device", "WebGPU", event.error.message);
    });
    device.lost.then(({ message, reason }) => {
      if (this.closed || this.device !== device) return;
      this.onLost(this.hung ?? new DeviceLostError(`the GPU device was lost: ${message || reason}`));
    });
    const quads = this.software && (await quadsAreNeighbours(device));
    this.pipelines = new Pipelines(device, this.software, quads);
  }

  get kernels() {
    return /** @type {Pipelines} */ (this.pipelines);
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
   * Begins to compile a program's kernels; a run waits for those that it needs.
   * @param {Program} program
   * @returns {Promise<Loaded>}
   */
  async load(program) {
    return this.kernels.load(program);
  }

  /** The same without promises: mistakes in a kernel show at the next run. @param {Program} program */
  loadNow(program) {
    return this.kernels.load(program, true);
  }

  /** @param {Loaded} loaded */
  unload(loaded) {
    loaded.kernels.clear();
  }

  /**
   * Makes what depends on sizes: uniform slots, bind groups, the flat list of dispatches.
   * @param {Loaded} loaded
   * @param {Layout} layout
   * @returns {Bound}
   */
  bind(loaded, layout) {
    return bindProgram(this, loaded, layout);
  }

  /** @param {Bound} bound */
  unbind({ uniforms, iterations }) {
    if (uniforms) this.release(uniforms);
    if (iterations) this.release(iterations);
  }

  // ---- running --------------------------------------------------------------------------------------------------

  /**
   * Copies, runs every step once, copies: one encoder and one submit (more after a run of over 200 ms on a real GPU,
   * and while kernels are being compiled).
   * @param {Bound} bound
   * @param {Uint32Array} hostWords
   * @param {Feed[]} feeds
   * @param {{before?: Copy[], after?: Copy[], reads?: Span[]}} [more]  copies, and spans whose bytes `done` gives
   * @returns {{done: Promise<Uint8Array[]>, sent: Promise<any> | null}}  sent: until it resolves, the device may be asked
   *   for nothing else; null: everything is submitted
   */
  run(bound, hostWords, feeds, { before = [], after = [], reads = [] } = {}) {
    if (this.failure) throw this.failure;
    const { spans, dispatches, uniforms, words, targets, sources } = bound;
    if (++bound.runs === HOT && this.software) specialise(this.kernels, bound).catch(() => {}); // the general ones still do
    for (const { region, data } of feeds) this.upload(spans[region].buffer, spans[region].offset, data);
    if (uniforms && targets.length) {
      for (let k = 0; k < targets.length; k++) words[targets[k]] = hostWords[sources[k]];
      this.gpu.queue.writeBuffer(uniforms, 0, /** @type {ArrayBuffer} */ (words.buffer), 0, words.byteLength);
    }
    if (!bound.compiled) return this.#runCompiling(bound, before, after, reads);
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
    const { done } = this.finish(encoders, reads, (elapsed) => {
      if (!this.software && alone && elapsed / bound.parts > LONG_SUBMIT) {
        bound.parts = Math.min(dispatches.length || 1, Math.ceil(elapsed / LONG_SUBMIT));
      }
    });
    return { done, sent: null };
  }

  /**
   * A run whose kernels are not all compiled: what comes before a missing one is submitted, and runs meanwhile.
   * @param {Bound} bound
   * @param {Copy[]} before
   * @param {Copy[]} after
   * @param {Span[]} reads
   */
  #runCompiling(bound, before, after, reads) {
    const { dispatches } = bound;
    const submitAll = async () => {
      let encoder = this.gpu.createCommandEncoder();
      encodeCopies(encoder, before);
      let first = 0;
      for (let i = 0; i < dispatches.length; i++) {
        const { kernel } = dispatches[i];
        if (kernel.pipeline) continue;
        encodeDispatches(encoder, dispatches, first, i);
        this.gpu.queue.submit([encoder.finish()]);
        this.submits++;
        encoder = this.gpu.createCommandEncoder();
        first = i;
        await kernel.ready;
      }
      bound.compiled = true;
      encodeDispatches(encoder, dispatches, first, dispatches.length);
      encodeCopies(encoder, after);
      return this.finish([encoder], reads);
    };
    const sent = submitAll();
    return { done: sent.then(({ done }) => done), sent };
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
