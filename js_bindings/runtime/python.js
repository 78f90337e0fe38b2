// What Python in the tab drives: the WebGPU device behind whole numbers. `js_bindings/browser.py` is the other half.
//
// Python holds ids of buffers, programs and bindings, never GPU objects, and a run is one call with a table in
// Python's memory. So a lost device can be replaced behind Python's back: every id gets a new object, state its
// last snapshot.

import { DeviceHungError, DeviceLostError } from "./errors.js";
import { Snapshots } from "./snapshots.js";
import { Place } from "./tables.js";
import { WebGpuDevice } from "./webgpu.js";

/**
 * Pyodide's module; views die when the memory grows, so each call takes them anew
 * @typedef {{
 *   HEAPU8: Uint8Array, HEAPU32: Uint32Array
 * }} Memory
 */
/**
 * Uploads: what to write again on a new device
 * @typedef {{
 *   size: number, buffer: GPUBuffer, uploads: Map<number, Uint8Array>, kept: boolean
 * }} Held
 */
/** @typedef {{program: any, loaded: import("./webgpu.js").Loaded}} HeldProgram */
/**
 * @typedef {{
 *   program: number, layout: {spans: [number, number, number][], launches: any[]},
 *   bound: import("./webgpu.js").Bound
 * }} HeldBinding
 */
/**
 * @typedef {{
 *   binding: number, hostWords: Uint32Array, feeds: {region: number, data: Uint8Array}[],
 *   copies: Uint32Array
 * }} Run
 */

const MOST_IN_FLIGHT = 2;

/** @type {PythonDevice | null} a device opened before Python asked, so that a synchronous call finds it */
let prepared = null;
let refusal = "";

/**
 * Opens a device for Python ahead of time.
 * @param {any} [options]
 * @returns {Promise<void>} never fails: the reason is kept
 */
export async function preparePython(options = {}) {
  try {
    prepared ??= await PythonDevice.open(options);
    refusal = "";
  } catch (error) {
    refusal = /** @type {Error} */ (error).message;
  }
}

/** The prepared device, a text why there is none, or null if nothing was prepared. */
export function preparedForPython() {
  return prepared ?? (refusal || null);
}

export class PythonDevice {
  /** @param {any} [options]  as for `WebGpuDevice.open`; as JSON text when it comes from Python */
  static async open(options = {}) {
    const parsed = typeof options === "string" ? JSON.parse(options) : options;
    return new PythonDevice(await WebGpuDevice.open(parsed), parsed);
  }

  /** @param {WebGpuDevice} device @param {{snapshotEvery?: number, now?: () => number}} options */
  constructor(device, { snapshotEvery = 2000, now = () => performance.now() } = {}) {
    this.device = device;
    /** @type {Memory} */
    this.memory = /** @type {any} */ (null);
    /** @type {Map<number, Held>} */
    this.buffers = new Map();
    /** @type {Map<number, HeldProgram>} */
    this.programs = new Map();
    /** @type {Map<number, HeldBinding>} */
    this.bindings = new Map();
    this.nextId = 1;
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    /** @type {Run | null} repeated after a restore, so that its outputs are real */
    this.last = null;
    this.steps = 0;
    this.dispatches = 0;
    /** @type {string[]} what to tell the user */
    this.notes = [];
    /** @type {Error | null} */
    this.failure = null;
    /** @type {Promise<void> | null} */
    this.restoring = null;
    this.generation = 0;
    this.snapshots = new Snapshots(device, snapshotEvery, now);
    device.onLost = (error) => this.lost(error);
  }

  /** @param {Memory} memory */
  attach(memory) {
    this.memory = memory;
  }

  /** @returns {string} JSON: description, software, features, limits */
  about() {
    const { description, software, features } = this.device;
    const limits = this.device.limits();
    const names = [];
    for (const name in limits) if (name.startsWith("max")) names.push(name);
    return JSON.stringify({
      description,
      software,
      features: [...features],
      limits: Object.fromEntries(names.map((name) => [name, limits[name]])),
    });
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
    this.buffers.set(id, { size, buffer: this.device.allocate(size), uploads: new Map(), kept: false });
    return id;
  }

  /** @param {number} id */
  release(id) {
    const held = this.held(id);
    this.buffers.delete(id);
    this.device.release(held.buffer);
    if (held.kept) this.watch();
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
    const held = this.held(id);
    const bytes = this.memory.HEAPU8.slice(pointer, pointer + size);
    held.uploads.set(offset, bytes);
    this.device.upload(held.buffer, offset, bytes);
  }

  /**
   * Writes a range to Python's memory, after everything submitted.
   * @param {number} id
   * @param {number} offset
   * @param {number} size
   * @param {number} pointer
   */
  async download(id, offset, size, pointer) {
    const bytes = await this.persist(() => this.device.download(this.held(id).buffer, offset, size));
    this.memory.HEAPU8.set(bytes, pointer);
  }

  /** @param {number} pointer  rows of 5 words: source, offset, target, offset, size @param {number} count */
  copy(pointer, count) {
    this.check();
    this.device.copy(this.copies(this.memory.HEAPU32.slice(pointer >> 2, (pointer >> 2) + 5 * count)));
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
   * @param {string} json  {kernels: [{name, entry, code}], steps, places}
   * @returns {Promise<number>}
   */
  async load(json) {
    const program = JSON.parse(json);
    return this.keep(program, await this.persist(() => this.device.load(program)));
  }

  /** The same without waiting, for an entry from Python that cannot wait. @param {string} json @returns {number} */
  loadNow(json) {
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
    const layout = JSON.parse(json);
    const {
      program: { places },
    } = /** @type {HeldProgram} */ (this.programs.get(program));
    layout.spans.forEach((/** @type {[number, number, number]} */ [buffer], /** @type {number} */ region) => {
      if (places[region] === Place.STATE && buffer && !this.held(buffer).kept) {
        this.held(buffer).kept = true;
        this.watchLater = true;
      }
    });
    this.bindings.set(id, { program, layout, bound: this.makeBound(program, layout) });
    return id;
  }

  /** @param {number} program @param {HeldBinding["layout"]} layout */
  makeBound(program, { spans, launches }) {
    const {
      program: { steps },
      loaded,
    } = /** @type {HeldProgram} */ (this.programs.get(program));
    return this.device.bind(loaded, {
      spans: spans.map(([id, offset, size]) => ({ buffer: id ? this.held(id).buffer : null, offset, size })),
      launches: launches.map((launch, i) => ({ ...launch, step: steps[i] })),
      hostWords: 0,
    });
  }

  /** @param {number} id */
  unbind(id) {
    const binding = this.bindings.get(id);
    if (binding) this.device.unbind(binding.bound);
    this.bindings.delete(id);
    if (this.last?.binding === id) this.last = null;
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
    let at = pointer >> 2;
    const binding = HEAPU32[at++];
    const hostCount = HEAPU32[at++];
    const hostWords = HEAPU32.slice(at, at + hostCount);
    at += hostCount;
    const feeds = [];
    for (let count = HEAPU32[at++]; count > 0; count--, at += 3) {
      feeds.push({ region: HEAPU32[at], data: HEAPU8.slice(HEAPU32[at + 1], HEAPU32[at + 1] + HEAPU32[at + 2]) });
    }
    const copies = HEAPU32.slice(at + 1, at + 1 + 5 * HEAPU32[at]);
    this.last = { binding, hostWords, feeds, copies };
    this.start(this.last);
    return this.inFlight.size;
  }

  /** @param {Run} run */
  start({ binding, hostWords, feeds, copies }) {
    if (this.watchLater) this.watch();
    const { bound } = /** @type {HeldBinding} */ (this.bindings.get(binding));
    const snapshot = this.snapshots.next();
    const { done } = this.device.run(bound, hostWords, feeds, { before: this.copies(copies), after: snapshot?.copies });
    snapshot?.sent(++this.steps, new Map());
    if (!snapshot) this.steps++;
    this.dispatches += bound.dispatches.length;
    this.inFlight.add(done);
    const finished = () => {
      this.inFlight.delete(done);
    };
    done.then(finished, finished);
  }

  /** Waits until fewer than two runs are under way. */
  async ready() {
    await this.persist(async () => {
      while (this.inFlight.size >= MOST_IN_FLIGHT) await Promise.race(this.inFlight);
    });
  }

  /** Waits for the device that replaces a lost one. */
  async restored() {
    await this.restoring;
    if (this.failure) throw this.failure;
  }

  check() {
    if (this.failure) throw this.failure;
    if (this.restoring)
      throw new DeviceLostError("the GPU device is being restored: await it, or enter Python by runPythonAsync.");
  }

  close() {
    if (prepared === this) prepared = null;
    this.failure = new DeviceLostError("the device is closed.");
    this.device.close();
  }

  // ---- loss -----------------------------------------------------------------------------------------------------

  /** What a snapshot copies: every buffer that holds state. */
  watch() {
    this.watchLater = false;
    this.kept = [...this.buffers].filter(([, { kept }]) => kept).map(([id]) => id);
    this.snapshots.watch(
      this.kept.map((id) => ({ buffer: this.held(id).buffer, offset: 0, size: this.held(id).size })),
      this.kept,
    );
  }

  /**
   * Does something on the device; if that is lost meanwhile, does it again on the next one.
   * @template T
   * @param {() => Promise<T>} action
   * @returns {Promise<T>}
   */
  async persist(action) {
    for (;;) {
      await this.restoring;
      if (this.failure) throw this.failure;
      const { generation } = this;
      try {
        return await action();
      } catch (error) {
        if (!(error instanceof DeviceLostError) || error instanceof DeviceHungError) throw error;
        for (let waited = 0; !this.restoring && this.generation === generation && waited < 2000; waited += 20) {
          await new Promise((resolve) => {
            setTimeout(resolve, 20);
          }); // the loss is reported after the failed reads
        }
        await this.restoring;
        if (this.generation === generation) throw error;
      }
    }
  }

  /** @param {Error} error */
  lost(error) {
    if (this.failure) return;
    if (error instanceof DeviceHungError) {
      this.failure = error;
      return;
    }
    this.restoring = this.restore(error)
      .catch((cause) => {
        this.failure = new DeviceLostError(
          `the GPU device was lost (${error.message}) and could not be replaced: ${cause.message}`,
        );
      })
      .finally(() => {
        this.restoring = null;
      });
  }

  /** @param {Error} error */
  async restore(error) {
    const saved = this.snapshots.latest;
    const kept = saved?.keys ?? [];
    await Promise.allSettled(this.inFlight);
    await this.device.reopen();
    for (const held of this.buffers.values()) {
      held.buffer = this.device.allocate(held.size);
      for (const [offset, bytes] of held.uploads) this.device.upload(held.buffer, offset, bytes);
    }
    kept.forEach((/** @type {number} */ id, /** @type {number} */ i) => {
      const held = this.buffers.get(id);
      if (held && saved) this.device.upload(held.buffer, 0, saved.parts[i]);
    });
    await Promise.all(
      [...this.programs.values()].map(async (held) => {
        held.loaded = await this.device.load(held.program);
      }),
    );
    for (const held of this.bindings.values()) held.bound = this.makeBound(held.program, held.layout);
    this.watch();
    this.generation++;
    const lost = Math.max(0, this.steps - (saved?.step ?? 0) - 1);
    this.notes.push(
      `${error.message} A new device continues from the state after step ${saved?.step ?? 0}: ${lost} steps are lost.`,
    );
    if (this.last) this.start({ ...this.last, copies: new Uint32Array() });
  }

  /** What happened since the last call. @returns {string} */
  takeNotes() {
    return this.notes.splice(0).join("\n");
  }
}
