// The WASM device: a program's one module runs over a memory of its own, here in this thread.
//
// The memory's maximum is exactly what is allocated, so that a module from a file cannot grow it: when more is
// needed, a new memory takes the old one's bytes and every module is instantiated again. Addresses never change.

import { DeviceHungError, DeviceLimitError, NoExecutorError } from "./errors.js";
import { fused } from "./fuse.js";
import { hostWordIndices, unroll } from "./layout.js";
import { align } from "./plan.js";
import { StepKind, Target } from "./tables.js";
import { bytesOf } from "./values.js";

/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./layout.js").Copy} Copy */
/** @typedef {import("./layout.js").Feed} Feed */
/** @typedef {{address: number, size: number}} Buffer */
/**
 * Part: makes a share of steps, in modules of large kernels
 * @typedef {{
 *   program: import("./types.js").Program, module: WebAssembly.Module,
 *   run: (table: number, first: number, last: number) => number,
 *   part?: (table: number, first: number, last: number, share: number, shares: number) => number
 * }} Loaded
 */
/**
 * Gang: what threads need to run it
 * @typedef {{
 *   loaded: Loaded, spans: Span[], table: Buffer, words: Uint32Array, targets: number[],
 *   sources: number[], steps: number, gang: import("./crew.js").Gang | null
 * }} Bound
 */

const PAGE = 65536;
const RESERVED = 1024; // address 0 stays empty, so that a null pointer in a kernel touches no tensor
// A function that returns a v128 splat.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 17, 11];

export class WasmDevice {
  /**
   * @param {{budget?: number, crew?: import("./crew.js").Crew | null, note?: string}} [options]  budget: the most bytes
   *   that the memory may have; crew: threads to run with, over a shared memory; note: why there are none
   * @throws {NoExecutorError} if this page or engine cannot compile WebAssembly with SIMD
   */
  constructor({ budget = 2 ** 30, crew = null, note = "" } = {}) {
    this.kind = "wasm";
    this.target = Target.WASM;
    this.software = true;
    this.features = new Set(["simd128"]);
    this.description = `WebAssembly SIMD${crew ? `, up to ${crew.threads} threads` : note}`;
    this.crew = crew;
    this.budget = budget;
    this.maxChunk = budget;
    try {
      new WebAssembly.Module(new Uint8Array(SIMD)); // `validate` says true even where the page's CSP forbids compiling
    } catch (error) {
      throw new NoExecutorError(
        `WebAssembly with SIMD cannot be compiled here (${/** @type {Error} */ (error).message}). ` +
          "Under a content security policy allow script-src 'wasm-unsafe-eval'; else use a browser from 2023 or later.",
      );
    }
    this.memory = this.memoryOf(1);
    /** @type {Buffer[]} */
    this.free = [];
    this.top = RESERVED;
    this.live = 0;
    /** @type {Set<Loaded>} */
    this.loaded = new Set();
  }

  /** @returns {Record<string, number>} nothing of WebGPU's limits applies */
  limits() {
    return {};
  }

  /**
   * Zeroed memory at a multiple of 256.
   * @param {number} size
   * @returns {Buffer}
   */
  allocate(size) {
    const needed = align(Math.max(size, 4));
    const hole = this.free.findIndex((range) => range.size >= needed);
    let address;
    if (hole >= 0) {
      const range = this.free[hole];
      address = range.address;
      if (range.size > needed) this.free[hole] = { address: address + needed, size: range.size - needed };
      else this.free.splice(hole, 1);
      new Uint8Array(this.memory.buffer, address, needed).fill(0);
    } else {
      address = this.top;
      this.reserve(address + needed);
      this.top = address + needed;
    }
    this.live++;
    return { address, size: needed };
  }

  /** @param {Buffer} buffer */
  release(buffer) {
    this.live--;
    this.free.push(buffer);
    this.free.sort((a, b) => a.address - b.address);
    this.free = this.free.reduce((ranges, range) => {
      const last = ranges[ranges.length - 1];
      if (last && last.address + last.size === range.address) last.size += range.size;
      else ranges.push({ ...range });
      return ranges;
    }, /** @type {Buffer[]} */ ([]));
    const last = this.free[this.free.length - 1];
    if (last && last.address + last.size === this.top) {
      this.top = last.address;
      this.free.pop();
      new Uint8Array(this.memory.buffer, last.address, last.size).fill(0);
    }
  }

  /** Makes the memory at least `bytes` long. @param {number} bytes */
  reserve(bytes) {
    if (bytes <= this.memory.buffer.byteLength) return;
    if (bytes > this.budget + (this.crew?.most(this) ?? 0)) {
      throw new DeviceLimitError(
        `the model needs ${bytes} bytes of WASM memory, the budget is ${this.budget}. ` +
          "Use a smaller batch or raise limits.memory.",
      );
    }
    const pages = Math.ceil(bytes / PAGE);
    const memory = this.memoryOf(pages);
    new Uint8Array(memory.buffer).set(new Uint8Array(this.memory.buffer));
    this.memory = memory;
    for (const loaded of this.loaded) this.instantiate(loaded);
  }

  /** @param {number} pages */
  memoryOf(pages) {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: this.crew !== null });
  }

  /** @param {Loaded} loaded */
  instantiate(loaded) {
    const { exports } = new WebAssembly.Instance(loaded.module, { env: { memory: this.memory } });
    const { run, part } = /** @type {any} */ (exports);
    Object.assign(loaded, { run, part });
  }

  /** @param {Buffer} buffer @param {number} offset @param {Uint8Array} bytes */
  upload(buffer, offset, bytes) {
    new Uint8Array(this.memory.buffer, buffer.address + offset, bytes.length).set(bytes);
  }

  /** @param {Buffer} buffer @param {number} offset @param {number} size @returns {Promise<Uint8Array>} */
  async download(buffer, offset, size) {
    return new Uint8Array(this.memory.buffer, buffer.address + offset, size).slice();
  }

  /** @param {Copy[]} copies */
  copy(copies) {
    const memory = new Uint8Array(this.memory.buffer);
    for (const { source, target } of copies) {
      const start = source.buffer.address + source.offset;
      memory.copyWithin(target.buffer.address + target.offset, start, start + source.size);
    }
  }

  /**
   * Compiles a program's module.
   * @param {import("./types.js").Program} program
   * @returns {Promise<Loaded>}
   */
  async load(program) {
    const given = /** @type {Uint8Array} */ (program.module);
    const own = fused(given);
    const bytes = this.crew ? this.crew.shared(own) : own;
    const module = await WebAssembly.compile(/** @type {BufferSource} */ (bytes));
    const loaded = /** @type {Loaded} */ ({ program, module });
    this.instantiate(loaded);
    this.loaded.add(loaded);
    return loaded;
  }

  /** @param {Loaded} loaded */
  unload(loaded) {
    this.loaded.delete(loaded);
  }

  /**
   * Prepares the table that the module's `run` walks: region addresses, then the words of each step.
   * @param {Loaded} loaded
   * @param {Layout} layout
   * @returns {Bound}
   */
  bind(loaded, layout) {
    const { spans, launches } = layout;
    /** @type {number[]} */
    const words = spans.map(({ buffer, offset }) => (buffer ? buffer.address + offset : 0));
    const starts = launches.map(({ step, words: sizes, scalars }) => {
      const start = words.length;
      if (step.kind === StepKind.DISPATCH) words.push(...sizes, ...scalars.map(() => 0));
      return start;
    });
    let steps = 0;
    unroll(launches, () => {
      steps++;
    });
    const { table, gang } = this.crew?.equip(this, loaded, layout, words.length * 4) ?? {
      table: this.allocate(words.length * 4),
      gang: null,
    };
    return { loaded, spans, table, words: Uint32Array.from(words), ...hostWordIndices(launches, starts), steps, gang };
  }

  /** @param {Bound} bound */
  unbind(bound) {
    this.release(bound.table);
  }

  /**
   * Runs every step once, in this call.
   * @param {Bound} bound
   * @param {Uint32Array} hostWords
   * @param {Feed[]} feeds
   * @param {{before?: Copy[], after?: Copy[], reads?: Span[]}} [more]  copies, and spans whose bytes `done` gives
   * @returns {{done: Promise<Uint8Array[]>}}
   */
  run(bound, hostWords, feeds, { before = [], after = [], reads = [] } = {}) {
    const { spans, table, words, targets, sources, steps } = bound;
    this.copy(before);
    for (const { region, data } of feeds) this.upload(spans[region].buffer, spans[region].offset, data);
    for (let k = 0; k < targets.length; k++) words[targets[k]] = hostWords[sources[k]];
    this.upload(table, 0, bytesOf(words));
    if (this.crew) this.crew.run(this, bound);
    else this.walk(bound, 0, steps);
    this.copy(after);
    const memory = this.memory.buffer;
    const results = reads.map(({ buffer, offset, size }) =>
      new Uint8Array(memory, buffer.address + offset, size).slice(),
    );
    return { done: Promise.resolve(results) };
  }

  /** Runs steps in this thread. @param {Bound} bound @param {number} next @param {number} last */
  walk({ loaded, table, steps }, next, last) {
    while (next < last) {
      const reached = loaded.run(table.address, next, last);
      if (reached <= next) throw new DeviceHungError(`the WASM module stopped at step ${next} of ${steps}.`);
      next = reached;
    }
  }

  close() {
    this.crew?.close();
    this.loaded.clear();
    this.memory = new WebAssembly.Memory({ initial: 0, maximum: 0 });
    this.live = 0;
  }
}
