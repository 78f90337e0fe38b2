// What Python in the tab drives: the WebGPU device behind whole numbers. `js_bindings/browser.py` is the other half.
//
// Python holds ids of buffers, programs and bindings, never GPU objects, and a run is one call with a table in
// Python's memory. A lost device stays lost: every call says so, and Python (core/runtime/recovery.py) goes on with
// the next one, which is opened at once.

import { DeviceHungError, DeviceLostError } from "./errors.js";
import { recall, remember } from "./memory.js";
import { WebGpuDevice } from "./webgpu.js";

/**
 * Pyodide's module; views die when the memory grows, so each call takes them anew
 * @typedef {{
 *   HEAPU8: Uint8Array, HEAPU32: Uint32Array
 * }} Memory
 */
/** @typedef {{size: number, buffer: GPUBuffer}} Held */
/** @typedef {{program: any, loaded: import("./webgpu.js").Loaded}} HeldProgram */

const MOST_IN_FLIGHT = 2;

/** @type {PythonDevice | null} a device opened before Python asked, so that a synchronous call finds it */
let prepared = null;
let refusal = "";
/** @type {Promise<void> | null} */
let preparing = null;

/**
 * Opens a device for Python ahead of time, if there is none.
 * @param {any} [options]  as for `PythonDevice.open`
 * @returns {Promise<void>} never fails: the reason is kept
 */
export function preparePython(options) {
  preparing ??= prepare(options).finally(() => {
    preparing = null;
  });
  return preparing;
}

/** @param {any} options */
async function prepare(options) {
  try {
    prepared ??= await PythonDevice.open(options);
    refusal = "";
  } catch (error) {
    refusal = /** @type {Error} */ (error).message;
  }
}

/** The prepared device, a text why there is none, or undefined (Python's None) while none is. */
export function preparedForPython() {
  return prepared ?? (refusal || undefined);
}

export class PythonDevice {
  /** @param {any} [options]  as for `WebGpuDevice.open`; as JSON text when it comes from Python */
  static async open(options = {}) {
    const parsed = typeof options === "string" ? JSON.parse(options) : options;
    const device = await WebGpuDevice.open(parsed);
    return new PythonDevice(device, parsed, await recall(device.description));
  }

  /**
   * @param {WebGpuDevice} device
   * @param {any} options  for the device that follows it
   * @param {string} kept  what Python measured on this adapter in an earlier visit
   */
  constructor(device, options, kept) {
    this.device = device;
    this.options = options;
    this.kept = kept;
    /** @type {Memory} */
    this.memory = /** @type {any} */ (null);
    /** @type {Map<number, Held>} */
    this.buffers = new Map();
    /** @type {Map<number, HeldProgram>} */
    this.programs = new Map();
    /** @type {Map<number, import("./dispatches.js").Bound>} */
    this.bindings = new Map();
    this.nextId = 1;
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    this.dispatches = 0;
    /** @type {Error | null} */
    this.failure = null;
    device.onLost = (error) => this.lost(error);
  }

  /** @param {Memory} memory */
  attach(memory) {
    this.memory = memory;
  }

  /** @returns {string} JSON: description, software, features, limits, kept */
  about() {
    const { description, software, features } = this.device;
    const limits = this.device.limits();
    const names = [];
    for (const name in limits) if (name.startsWith("max")) names.push(name);
    return JSON.stringify({
      description,
      software,
      features: [...features],
      kept: this.kept,
      limits: Object.fromEntries(names.map((name) => [name, limits[name]])),
    });
  }

  /** Keeps what was measured for the next visit with this adapter. @param {string} text */
  note(text) {
    remember(this.device.description, text);
  }

  /** @returns {number} submits so far */
  submits() {
    return this.device.submits;
  }

  // ---- memory ---------------------------------------------------------------------------------------------------

  /** @param {number} size @returns {number} */
  allocate(size) {
    this.check();
    const id = this.nextId++;
    this.buffers.set(id, { size, buffer: this.device.allocate(size) });
    return id;
  }

  /** @param {number} id */
  release(id) {
    const held = this.held(id);
    this.buffers.delete(id);
    this.device.release(held.buffer);
  }

  /** @param {number} id @returns {Held} */
  held(id) {
    const found = this.buffers.get(id);
    if (!found) throw new DeviceLostError(`buffer ${id} does not exist (any more).`);
    return found;
  }

  /** @param {number} id @param {number} offset @param {number} pointer @param {number} size */
  upload(id, offset, pointer, size) {
    this.check();
    this.device.upload(this.held(id).buffer, offset, this.memory.HEAPU8.subarray(pointer, pointer + size));
  }

  /**
   * Writes a range to Python's memory, after everything submitted.
   * @param {number} id
   * @param {number} offset
   * @param {number} size
   * @param {number} pointer
   */
  async download(id, offset, size, pointer) {
    this.check();
    const bytes = await this.told(this.device.download(this.held(id).buffer, offset, size));
    this.memory.HEAPU8.set(bytes, pointer);
  }

  /** @param {number} pointer  rows of 5 words: source, offset, target, offset, size @param {number} count */
  copy(pointer, count) {
    this.check();
    const at = pointer >>> 2;
    this.device.copy(this.copies(this.memory.HEAPU32.slice(at, at + 5 * count)));
  }

  /** @param {Uint32Array} rows @returns {import("./layout.js").Copy[]} */
  copies(rows) {
    const result = [];
    for (let i = 0; i + 4 < rows.length; i += 5) {
      const [from, sourceOffset, to, targetOffset, size] = rows.subarray(i, i + 5);
      result.push({
        source: { buffer: this.held(from).buffer, offset: sourceOffset, size },
        target: { buffer: this.held(to).buffer, offset: targetOffset, size },
      });
    }
    return result;
  }

  // ---- programs -------------------------------------------------------------------------------------------------

  /**
   * Compiles a program, all kernels at once.
   * @param {string} json  {kernels: [{name, entry, code}], steps}
   * @returns {Promise<number>}
   */
  async load(json) {
    this.check();
    const program = JSON.parse(json);
    const loaded = await this.device.load(program);
    await this.told(loaded.ready);
    return this.keep(program, loaded);
  }

  /** The same without waiting, for an entry from Python that cannot wait. @param {string} json @returns {number} */
  loadNow(json) {
    this.check();
    const program = JSON.parse(json);
    return this.keep(program, this.device.loadNow(program));
  }

  /** @param {any} program @param {import("./webgpu.js").Loaded} loaded */
  keep(program, loaded) {
    const id = this.nextId++;
    this.programs.set(id, { program, loaded });
    return id;
  }

  /** @param {number} id */
  unload(id) {
    this.programs.delete(id);
  }

  /**
   * @param {number} program
   * @param {string} json  {spans: [buffer, offset, size][], launches: {grid, words, scalars, count}[]}
   * @returns {number}
   */
  bind(program, json) {
    this.check();
    const id = this.nextId++;
    const { spans, launches } = JSON.parse(json);
    const held = /** @type {HeldProgram} */ (this.programs.get(program));
    const bound = this.device.bind(held.loaded, {
      spans: spans.map((/** @type {number[]} */ [buffer, offset, size]) => ({
        buffer: buffer ? this.held(buffer).buffer : null,
        offset,
        size,
      })),
      launches: launches.map((/** @type {any} */ launch, /** @type {number} */ i) => ({
        ...launch,
        step: held.program.steps[i],
      })),
      hostWords: 0,
    });
    this.bindings.set(id, bound);
    return id;
  }

  /** @param {number} id */
  unbind(id) {
    const bound = this.bindings.get(id);
    if (bound) this.device.unbind(bound);
    this.bindings.delete(id);
  }

  // ---- running --------------------------------------------------------------------------------------------------

  /**
   * One run, submitted at once. The table: binding, number of host words, these, number of feeds, (region,
   * pointer, bytes) each,
   * number of copies, 5 words each.
   * @param {number} pointer
   * @returns {number} how many runs are under way; Python waits when there are two
   */
  run(pointer) {
    this.check();
    const { HEAPU8, HEAPU32 } = this.memory;
    let at = pointer >>> 2; // unsigned: a heap may have 4 GB
    const bound = /** @type {import("./dispatches.js").Bound} */ (this.bindings.get(HEAPU32[at++]));
    const hostCount = HEAPU32[at++];
    const hostWords = HEAPU32.subarray(at, at + hostCount);
    at += hostCount;
    const feeds = [];
    for (let count = HEAPU32[at++]; count > 0; count--, at += 3) {
      feeds.push({ region: HEAPU32[at], data: HEAPU8.subarray(HEAPU32[at + 1], HEAPU32[at + 1] + HEAPU32[at + 2]) });
    }
    const before = this.copies(HEAPU32.subarray(at + 1, at + 1 + 5 * HEAPU32[at]));
    const { done } = this.device.run(bound, hostWords, feeds, { before });
    this.dispatches += bound.dispatches.length;
    this.inFlight.add(done);
    const finished = () => {
      this.inFlight.delete(done);
    };
    done.then(finished, finished);
    return this.inFlight.size;
  }

  /** Waits until fewer than two runs are under way. */
  async ready() {
    this.check();
    while (this.inFlight.size >= MOST_IN_FLIGHT) await this.told(Promise.race(this.inFlight));
  }

  check() {
    if (this.failure) throw this.failure;
  }

  /** Whether another device has to take over. */
  isLost() {
    return this.failure instanceof DeviceLostError && !(this.failure instanceof DeviceHungError);
  }

  close() {
    if (prepared === this) prepared = null;
    this.failure ??= new DeviceLostError("the device is closed.");
    this.device.close();
  }

  /**
   * Waits for an answer; one that fails tells that the device is lost before the browser reports it.
   * @template T
   * @param {Promise<T>} answer
   * @returns {Promise<T>}
   */
  async told(answer) {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof DeviceLostError) this.lost(error);
      throw this.failure ?? error;
    }
  }

  /** @param {Error} error */
  lost(error) {
    if (this.failure) return;
    this.failure = error;
    if (prepared !== this) return;
    prepared = null;
    if (!(error instanceof DeviceHungError)) preparePython(this.options);
  }
}
