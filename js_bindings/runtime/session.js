// A model on a device: its state, its programs at the sizes in use, and one call that runs a signature.
//
// All signatures of a model share one STATE. A device is anything with the methods of `WasmDevice` and `WebGpuDevice`.

import { checkBound } from "./bindings.js";
import { DeviceHungError, DeviceLimitError, DeviceLostError, InvalidArgumentError, ModelError, NoExecutorError } from "./errors.js";
import { bindInputs, checkSymbols } from "./inputs.js";
import { buildLaunches, checkEqual, positions } from "./layout.js";
import { planScratch } from "./plan.js";
import { Snapshots } from "./snapshots.js";
import { placeState } from "./state.js";
import { evaluateDims } from "./sizes.js";
import { Place, Role } from "./tables.js";
import { bytesOf, convertBytes, DTYPE_BYTES, DTYPE_NAMES, fromDevice, toDevice } from "./values.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./types.js").Signature} Signature */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./layout.js").Feed} Feed */
/** @typedef {import("./webgpu.js").WebGpuDevice | import("./wasm.js").WasmDevice} Device */
/** @typedef {{data: import("./values.js").TypedArray, shape: number[], dtype: string}} Value */
/** @typedef {{bound: any, spans: Span[], owned: any[], scratch: Chunk[], hostWords: Uint32Array, sizes: number[], defaulted: Set<number>, serial: number}} Binding */
/** @typedef {{buffer: any, size: number, users: number}} Chunk */
/** @typedef {{loaded: any, constants: Map<number, Span>, host: Map<number, {start: number, length: number}>, hostWords: number, bindings: Map<string, Binding>}} Prepared */
/** @typedef {{type: string, [key: string]: any}} Event */

const BINDINGS_KEPT = 4;             // sizes per program
const READ_ALWAYS = 65536;           // results up to this many bytes come back with every step
const MOST_IN_FLIGHT = 2;            // an unbounded queue drains for seconds

/** What one run of a signature gave. */
export class Step {
  /** @param {number} number @param {Promise<Record<string, Value>>} values @param {() => void} onRead */
  constructor(number, values, onRead = () => {}) {
    /** Counts the runs that changed state. */
    this.number = number;
    this.values = values;
    this.onRead = onRead;
    values.catch(() => {});          // unread results of a lost device are nobody's error
  }

  /** The outputs by name. Waits for the device. */
  read() {
    this.onRead();
    return this.values;
  }
}

export class Session {
  /**
   * Compiles the model's programs, uploads its state.
   * @param {Model} model
   * @param {{device: Device, memory?: number, snapshotEvery?: number, onEvent?: (event: Event) => void, now?: () => number}} options
   * @returns {Promise<Session>}
   */
  static async create(model, options) {
    const session = new Session(model, options);
    await session.build();
    return session;
  }

  /** @param {Model} model @param {{device: Device, memory?: number, snapshotEvery?: number, onEvent?: (event: Event) => void, now?: () => number}} options */
  constructor(model, { device, memory = 2 ** 31, snapshotEvery = 2000, onEvent = () => {}, now = () => performance.now() }) {
    this.model = model;
    this.device = device;
    this.memory = memory;
    this.onEvent = onEvent;
    /** @type {Map<number, Prepared>} */
    this.prepared = new Map();
    /** @type {Map<number, {span: Span, storage: number}>} state tensors */
    this.state = new Map();
    /** @type {Map<number, Uint32Array>} host-owned tensors */
    this.host = this.#readHostTensors();
    /** @type {Chunk[]} */
    this.scratch = [];
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    this.steps = 0;                     // runs that changed state
    this.completed = 0;
    this.generation = 0;                // counts devices
    this.closed = false;
    /** @type {Error | null} */
    this.failure = null;
    /** @type {Promise<void> | null} */
    this.restoring = null;
    this.snapshots = "reopen" in device ? new Snapshots(device, snapshotEvery, now) : null;
    if ("reopen" in device) device.onLost = (error) => this.#lost(error);
  }

  // ---- building -------------------------------------------------------------------------------------------------

  #readHostTensors() {
    const { tensors, programs } = this.model;
    const used = new Set(programs.flatMap(({ steps }) => steps.flatMap(({ scalars }) => Array.from(scalars))));
    tensors.forEach(({ role }, i) => { if (role === Role.COUNTER || role === Role.RNG) used.add(i); });
    const sizes = evaluateDims(this.model.dims, []);
    /** @type {Map<number, Uint32Array>} */
    const host = new Map();
    for (const index of used) {
      const { name, dtype, shape, data } = tensors[index];
      const bytes = Array.from(shape).reduce((count, dim) => count * sizes[dim], DTYPE_BYTES[dtype]);
      if (!(bytes <= 256) || DTYPE_BYTES[dtype] < 4) {
        throw new ModelError("P10-scalar", `tensors[${index}]`, `"${name}" of ${DTYPE_NAMES[dtype]} and ${bytes} bytes cannot be host-owned`);
      }
      host.set(index, data ? new Uint32Array(data.slice().buffer) : new Uint32Array(bytes / 4));
    }
    return host;
  }

  /** Puts everything on the device: at load, and again on a new device after a loss. */
  async build() {
    const { model, device } = this;
    const wanted = new Set(model.signatures.flatMap(({ programs }) => Array.from(programs)));
    const indices = [...wanted].filter((i) => model.programs[i].target === device.target && !this.refusal(model.programs[i]));
    const all = [...wanted].filter((i) => model.programs[i].target === device.target);
    if (!indices.length && wanted.size) {
      throw all.length ? new DeviceLimitError(`the model ${this.refusal(model.programs[all[0]])}.`)
        : new NoExecutorError(`the file has no programs for "${device.kind}": export it with target "${device.kind}", or load it with another device.`);
    }
    const sizes = evaluateDims(model.dims, []);
    const compiled = await Promise.all(indices.map((i) => device.load(model.programs[i])));
    indices.forEach((index, k) => this.prepared.set(index, this.#prepare(model.programs[index], compiled[k])));
    const { tensors, chunks, privates } = placeState(model, indices, sizes);
    const total = [...chunks, ...privates].reduce((sum, chunk) => sum + chunk.size, 0);
    if (total > this.memory) throw new DeviceLimitError(`the model's state takes ${total} bytes, limits.memory is ${this.memory}.`);
    if ("reserve" in device) device.reserve(device.top + total + 256 * (chunks.length + privates.length));
    /** @type {Map<string, any>} */
    this.stateBuffers = new Map();
    for (const chunk of [...chunks, ...privates]) {
      const buffer = device.allocate(chunk.size);
      for (const key of chunk.regions) this.stateBuffers.set(key, buffer);
      for (const tensor of chunk.tensors) {
        const at = /** @type {{offset: number, size: number, storage: number}} */ (tensors.get(tensor));
        this.state.set(tensor, { span: { buffer, offset: at.offset, size: at.size }, storage: at.storage });
        const { data } = model.tensors[tensor];
        if (data) this.writeTensor(tensor, data);
      }
    }
    for (const index of indices) this.#uploadConstants(index, sizes);
    this.written = [...this.state.keys()].filter((tensor) => model.signatures.some(({ writes }) => Array.from(writes).includes(tensor)));
    this.snapshots?.watch(this.written.map((tensor) => /** @type {any} */ (this.state.get(tensor)).span));
  }

  /** @param {Program} program @param {any} loaded @returns {Prepared} */
  #prepare(program, loaded) {
    /** @type {Map<number, {start: number, length: number}>} */
    const host = new Map();
    let start = 0;
    for (const tensor of new Set(program.steps.flatMap(({ scalars }) => Array.from(scalars)))) {
      const { length } = /** @type {Uint32Array} */ (this.host.get(tensor));
      host.set(tensor, { start, length });
      start += length;
    }
    return { loaded, constants: new Map(), host, hostWords: start, bindings: new Map() };
  }

  /** @param {number} index @param {number[]} sizes */
  #uploadConstants(index, sizes) {
    const program = this.model.programs[index];
    const { constants } = /** @type {Prepared} */ (this.prepared.get(index));
    const where = positions(program, sizes);
    program.regions.forEach(({ place, parent, tensor, storage }, region) => {
      if (place !== Place.CONSTANT) return;
      const { top, offset, size } = where[region];
      if (parent < 0) constants.set(region, { buffer: this.device.allocate(size), offset: 0, size });
      const data = tensor >= 0 && this.model.tensors[tensor].data;
      if (data) this.#upload(/** @type {Span} */ (constants.get(top)).buffer, offset, convertBytes(data, this.model.tensors[tensor].dtype, storage), size);
    });
  }

  /** @param {any} buffer @param {number} offset @param {Uint8Array} bytes @param {number} size */
  #upload(buffer, offset, bytes, size) {
    if (bytes.length > size) throw new ModelError("P09-region", "regions", `${bytes.length} bytes of data for a region of ${size}`);
    this.device.upload(buffer, offset, bytes);
  }

  /**
   * Why this device cannot run a program, or null.
   * @param {Program} program
   * @returns {string | null}
   */
  refusal({ requires }) {
    const { features, kind } = this.device;
    const missing = requires?.features.find((feature) => !features.has(feature));
    if (missing) return `needs the feature "${missing}", which this ${kind} device lacks`;
    const limits = this.device.limits();
    const short = requires?.limits.find(({ name, value }) => limits[name] !== undefined && limits[name] < value);
    return short ? `needs ${short.name} ${short.value}, this device allows ${limits[short.name]}` : null;
  }

  // ---- sizes ----------------------------------------------------------------------------------------------------

  /** @param {string} name @returns {Signature} */
  signature(name) {
    const found = this.model.signatures.find((signature) => signature.name === name);
    if (found) return found;
    throw new InvalidArgumentError(`the model has no signature "${name}"; it has ${this.model.signatures.map((s) => s.name).join(", ")}.`);
  }

  /**
   * The program and the memory that a signature uses at these sizes; made once, then kept for the last four.
   * @param {Signature} signature
   * @param {ArrayLike<number>} symbols  NaN where unused
   * @param {number[]} [sizes]
   * @returns {{program: Program, prepared: Prepared, binding: Binding}}
   */
  prepare(signature, symbols, sizes = evaluateDims(this.model.dims, symbols)) {
    const index = Array.from(signature.programs).find((i) => this.prepared.has(i) &&
      (this.model.programs[i].requires?.when ?? []).every(({ symbol, min, max }) => symbols[symbol] >= min && symbols[symbol] <= max));
    if (index === undefined) {
      throw new NoExecutorError(`"${signature.name}" has no ${this.device.kind} program for the sizes [${Array.from(symbols)}].`);
    }
    const program = this.model.programs[index];
    const prepared = /** @type {Prepared} */ (this.prepared.get(index));
    const key = Array.from(symbols).join();
    let binding = prepared.bindings.get(key);
    if (binding) {
      prepared.bindings.delete(key);                     // the most recently used is last
    } else {
      checkEqual(program, sizes);
      checkBound(this.model, program, sizes, `programs[${index}]`);
      binding = this.#bind(index, program, prepared, sizes);
      if (prepared.bindings.size === BINDINGS_KEPT) {
        const [oldest, old] = /** @type {[string, Binding]} */ (prepared.bindings.entries().next().value);
        prepared.bindings.delete(oldest);
        this.#unbind(old);
      }
    }
    prepared.bindings.set(key, binding);
    return { program, prepared, binding };
  }

  /** @param {number} index @param {Program} program @param {Prepared} prepared @param {number[]} sizes @returns {Binding} */
  #bind(index, program, prepared, sizes) {
    const where = positions(program, sizes);
    const plan = planScratch(program, sizes, this.device.maxChunk);
    const own = program.regions.map(({ place, parent }, i) => (parent < 0 && place >= Place.INPUT ? where[i].size : 0));
    const total = [...plan.chunks, ...own].reduce((a, b) => a + b, 0);
    if (!(total <= this.memory)) throw new DeviceLimitError(`these sizes take ${total} bytes, limits.memory is ${this.memory}. Use a smaller batch.`);
    const scratch = plan.chunks.map((size, chunk) => this.#takeScratch(chunk, size));
    /** @type {any[]} */
    const owned = [];
    const tops = program.regions.map(({ place, parent }, i) => {
      if (parent >= 0) return null;
      if (place === Place.SCRATCH) return plan.places[i][0] < 0 ? null : { buffer: scratch[plan.places[i][0]].buffer, offset: plan.places[i][1] };
      if (place === Place.STATE) return { buffer: this.stateBuffers?.get(`${index}.${i}`), offset: 0 };
      if (place === Place.CONSTANT) return { buffer: prepared.constants.get(i)?.buffer, offset: 0 };
      owned.push(this.device.allocate(where[i].size));
      return { buffer: owned[owned.length - 1], offset: 0 };
    });
    const spans = where.map(({ top, offset, size }) => {
      const home = tops[top];
      return { buffer: home ? home.buffer : null, offset: (home ? home.offset : 0) + offset, size };
    });
    const launches = buildLaunches(program, sizes, prepared.host);
    const bound = this.device.bind(prepared.loaded, { spans, launches, hostWords: prepared.hostWords });
    return { bound, spans, owned, scratch, hostWords: new Uint32Array(prepared.hostWords), sizes, defaulted: new Set(), serial: 0 };
  }

  /** Runs follow one another, so all programs and sizes may use the same scratch. @param {number} chunk @param {number} size @returns {Chunk} */
  #takeScratch(chunk, size) {
    let current = this.scratch[chunk];
    if (!current || current.size < size) {
      current = { buffer: this.device.allocate(size), size, users: 0 };
      this.scratch[chunk] = current;
    }
    current.users++;
    return current;
  }

  /** @param {Binding} binding */
  #unbind({ bound, owned, scratch }) {
    this.device.unbind(bound);
    for (const buffer of owned) this.device.release(buffer);
    for (const chunk of scratch) {
      if (--chunk.users === 0) {
        this.device.release(chunk.buffer);
        this.scratch = this.scratch.map((current) => (current === chunk ? /** @type {any} */ (undefined) : current));
      }
    }
  }

  // ---- running --------------------------------------------------------------------------------------------------

  /**
   * Runs a signature once and returns when the step is accepted: at once, or when fewer than two are under way.
   * @param {string} name
   * @param {Record<string, any>} inputs
   * @returns {Promise<Step>}
   */
  async run(name, inputs = {}) {
    const signature = this.signature(name);
    const bound = bindInputs(this.model, signature, inputs);
    if (this.restoring) await this.restoring;
    while (this.inFlight.size >= MOST_IN_FLIGHT) await Promise.race(this.inFlight);
    if (this.restoring) await this.restoring;
    this.#checkOpen();
    const { program, binding, prepared } = this.prepare(signature, bound.symbols, bound.sizes);
    const feeds = this.#feeds(signature, program, binding, bound.data);
    const { generation } = this;
    const step = this.#start(signature, program, prepared, binding, feeds);
    if (!this.snapshots) return step;
    step.values = step.values.catch(async (error) => {      // a step under way on a device that was lost runs again on the new one
      if (!(error instanceof DeviceLostError) || this.failure || !(await this.#recovered(generation))) throw error;
      return (await this.run(name, inputs)).read();
    });
    step.values.catch(() => {});
    return step;
  }

  /** Waits for the device after `generation`. @param {number} generation @returns {Promise<boolean>} false: there will be none */
  async #recovered(generation) {
    for (let waited = 0; !this.restoring && this.generation === generation && waited < 2000; waited += 20) {
      await new Promise((resolve) => { setTimeout(resolve, 20); });      // the loss is reported after the failed reads
    }
    await this.restoring;
    return this.generation !== generation && !this.failure && !this.closed;
  }

  /**
   * The same with inputs already as the device stores them, without checks of names or shapes, and without waiting.
   * @param {string} name
   * @param {ArrayLike<number>} symbols
   * @param {(Uint8Array | null)[]} inputs  one per port; null: the default
   * @returns {Step}
   */
  runSync(name, symbols, inputs) {
    this.#checkOpen();
    if (this.restoring) throw new DeviceLostError("the device is being restored: await session.restoring first.");
    const signature = this.signature(name);
    checkSymbols(this.model, symbols);
    const { program, binding, prepared } = this.prepare(signature, symbols);
    /** @type {Feed[]} */
    const feeds = [];
    signature.inputs.forEach((port, i) => {
      const data = inputs[i];
      if (data) this.#feed(port, program, binding, data, feeds);
      else feeds.push(...this.#default(port, program, binding));
    });
    return this.#start(signature, program, prepared, binding, feeds);
  }

  #checkOpen() {
    if (this.closed) throw new DeviceLostError("the model is closed: load it again.");
    if (this.failure) throw this.failure;
  }

  /** @param {Signature} signature @param {Program} program @param {Binding} binding @param {(import("./inputs.js").Flat | null)[]} data @returns {Feed[]} */
  #feeds(signature, program, binding, data) {
    /** @type {Feed[]} */
    const feeds = [];
    signature.inputs.forEach((port, i) => {
      const value = data[i];
      if (!value) {
        feeds.push(...this.#default(port, program, binding));
        return;
      }
      const { dtype } = this.model.tensors[port.tensor];
      const region = program.regions.find(({ tensor, place }) => tensor === port.tensor && place === Place.INPUT);
      this.#feed(port, program, binding, toDevice(value.data, port, dtype, region ? region.storage : dtype), feeds);
    });
    return feeds;
  }

  /** @param {import("./types.js").Port} port @param {Program} program @param {Binding} binding @param {Uint8Array} data @param {Feed[]} feeds */
  #feed(port, program, binding, data, feeds) {
    const region = program.regions.findIndex(({ tensor, place }) => tensor === port.tensor && place === Place.INPUT);
    const host = this.host.get(port.tensor);
    if (host) host.set(new Uint32Array(data.slice().buffer).subarray(0, host.length));
    if (region < 0) return;
    const { size } = binding.spans[region];
    if (data.length !== size) throw new InvalidArgumentError(`input "${port.name}": ${data.length} bytes for a region of ${size}.`);
    binding.defaulted.delete(region);
    feeds.push({ region, data });
  }

  /** An absent optional input: its fill value, uploaded once per binding. @param {import("./types.js").Port} port @param {Program} program @param {Binding} binding @returns {Feed[]} */
  #default(port, program, binding) {
    if (!port.optional) throw new InvalidArgumentError(`the input "${port.name}" is missing.`);
    const { dtype } = this.model.tensors[port.tensor];
    const region = program.regions.findIndex(({ tensor, place }) => tensor === port.tensor && place === Place.INPUT);
    const host = this.host.get(port.tensor);
    if (host) host.set(new Uint32Array(toDevice([port.fill], port, dtype, dtype).slice().buffer));
    if (region < 0 || binding.defaulted.has(region)) return [];
    binding.defaulted.add(region);
    const values = new Array(binding.spans[region].size / 4).fill(port.fill);
    return [{ region, data: toDevice(values, port, dtype, program.regions[region].storage) }];
  }

  /** @param {Signature} signature @param {Program} program @param {Prepared} prepared @param {Binding} binding @param {Feed[]} feeds @returns {Step} */
  #start(signature, program, prepared, binding, feeds) {
    for (const [tensor, { start }] of prepared.host) binding.hostWords.set(/** @type {Uint32Array} */ (this.host.get(tensor)), start);
    const outputs = signature.outputs.map((port) => this.#locate(port, program, binding));
    const spans = /** @type {Span[]} */ (outputs.map(({ span }) => span).filter((span) => span));
    const small = spans.reduce((bytes, { size }) => bytes + size, 0) <= READ_ALWAYS;
    const snapshot = signature.writes.length ? this.snapshots?.next() : null;
    const after = snapshot ? snapshot.copies : [];
    const { done } = this.device.run(binding.bound, binding.hostWords, feeds, { after, reads: small ? spans : [] });
    this.#advance(signature, binding.sizes);
    if (signature.writes.length || signature.advance.length) this.steps++;
    const number = this.steps;
    snapshot?.sent(number, this.host);
    this.inFlight.add(done);
    done.then(() => { this.completed = Math.max(this.completed, number); this.inFlight.delete(done); }, () => { this.inFlight.delete(done); });
    const serial = ++binding.serial;
    if (small) return new Step(number, done.then((results) => this.#values(signature, binding, outputs, results)));
    /** @type {(start: any) => void} */
    let begin = () => {};
    const large = new Promise((resolve) => { begin = resolve; }).then(async () => {
      if (binding.serial !== serial) {
        throw new InvalidArgumentError(`the outputs of "${signature.name}" were overwritten by a later run: read them before it.`);
      }
      const results = await Promise.all(spans.map(({ buffer, offset, size }) => this.device.download(buffer, offset, size)));
      return this.#values(signature, binding, outputs, results);
    });
    return new Step(number, large, () => begin(undefined));
  }

  /** @param {import("./types.js").Port} port @param {Program} program @param {Binding} binding @returns {{tensor: number, span: Span | null, storage: number, words: Uint32Array | null}} */
  #locate({ name, tensor }, program, binding) {
    const candidates = program.regions.map((region, i) => i).filter((i) => program.regions[i].tensor === tensor && binding.spans[i].buffer);
    const region = candidates.find((i) => program.regions[i].place === Place.OUTPUT) ?? candidates[0];
    if (region !== undefined) return { tensor, span: binding.spans[region], storage: program.regions[region].storage, words: null };
    const host = this.host.get(tensor);
    if (!host) throw new ModelError("P11-output", `output "${name}"`, "no region holds its tensor");
    return { tensor, span: null, storage: this.model.tensors[tensor].dtype, words: host.slice() };
  }

  /** @param {Signature} signature @param {Binding} binding @param {{tensor: number, span: Span | null, storage: number, words: Uint32Array | null}[]} outputs @param {Uint8Array[]} results */
  #values(signature, binding, outputs, results) {
    /** @type {Record<string, Value>} */
    const values = {};
    let next = 0;
    outputs.forEach(({ tensor, span, storage, words }, i) => {
      const { dtype, shape } = this.model.tensors[tensor];
      const bytes = span ? results[next++] : bytesOf(/** @type {Uint32Array} */ (words));
      values[signature.outputs[i].name] = {
        data: fromDevice(bytes, storage, dtype), shape: Array.from(shape, (dim) => binding.sizes[dim]), dtype: DTYPE_NAMES[dtype],
      };
    });
    return values;
  }

  /** Moves counters and random streams on: the device never writes them. @param {Signature} signature @param {number[]} sizes */
  #advance(signature, sizes) {
    for (const { tensor, by } of signature.advance) {
      const words = /** @type {Uint32Array} */ (this.host.get(tensor));
      const { role, dtype } = this.model.tensors[tensor];
      const low = role === Role.RNG ? 2 : 0;             // an RNG is two key words, then a 64-bit counter
      const wide = role === Role.RNG || DTYPE_BYTES[dtype] === 8;
      const sum = words[low] + (sizes[by] % 2 ** 32);
      words[low] = sum;
      if (wide) words[low + 1] += Math.floor(sizes[by] / 2 ** 32) + (sum >= 2 ** 32 ? 1 : 0);
    }
  }

  // ---- state ----------------------------------------------------------------------------------------------------

  /** @param {number} tensor @returns {Promise<Uint8Array>} its bytes in its own dtype */
  async readTensor(tensor) {
    const { name, dtype, data } = this.model.tensors[tensor];
    const host = this.host.get(tensor);
    if (host) return bytesOf(host.slice());
    const place = this.state.get(tensor);
    if (place) {
      const { span: { buffer, offset, size }, storage } = place;
      return convertBytes(await this.device.download(buffer, offset, size), storage, dtype);
    }
    if (data) return data.slice();
    throw new InvalidArgumentError(`tensor "${name}" is no state of this model.`);
  }

  /** @param {number} tensor @param {Uint8Array} bytes  in its own dtype */
  writeTensor(tensor, bytes) {
    const { name, dtype } = this.model.tensors[tensor];
    const host = this.host.get(tensor);
    const place = this.state.get(tensor);
    if (host && bytes.length === host.byteLength) host.set(new Uint32Array(bytes.slice().buffer));
    else if (place) this.#upload(place.span.buffer, place.span.offset, convertBytes(bytes, dtype, place.storage), place.span.size);
    else throw new InvalidArgumentError(`tensor "${name}" is no state of this model, or ${bytes.length} bytes are not its size.`);
  }

  /** The tensors that some signature writes or advances: what `save` has to read back. @returns {number[]} */
  changing() {
    return [...new Set(this.model.signatures.flatMap(({ writes, advance }) => [...Array.from(writes), ...advance.map(({ tensor }) => tensor)]))]
      .filter((tensor) => this.host.has(tensor) || this.state.has(tensor));
  }

  /** Copies the written state to the host now, as is done every two seconds. */
  async snapshot() {
    if (this.snapshots) await this.snapshots.take(this.steps, this.host);
  }

  /** @param {Error} error */
  #lost(error) {
    if (this.closed || this.failure) return;
    if (error instanceof DeviceHungError) {
      this.failure = error;
      this.onEvent({ type: "hung", message: error.message });
      return;
    }
    this.restoring = this.#restore(error).catch((cause) => {
      this.failure = new DeviceLostError(`the device was lost (${error.message}) and could not be restored: ${cause.message}`);
      this.onEvent({ type: "failed", message: this.failure.message });
    }).finally(() => { this.restoring = null; });
  }

  /** A new device, everything rebuilt, the last snapshot uploaded. @param {Error} error */
  async #restore(error) {
    const reached = this.completed;      // steps that were under way run again
    this.onEvent({ type: "lost", step: reached, message: error.message });
    const { device, snapshots } = this;
    if (!snapshots || !("reopen" in device)) return;
    await Promise.allSettled(this.inFlight);
    await device.reopen();
    for (const map of [this.prepared, this.state]) map.clear();
    this.scratch = [];
    const saved = snapshots.latest;
    await this.build();
    const spans = (this.written ?? []).map((tensor) => /** @type {any} */ (this.state.get(tensor)).span);
    if (saved) {
      spans.forEach((span, i) => device.upload(span.buffer, span.offset, saved.parts[i]));
      this.host = new Map([...saved.host].map(([tensor, words]) => [tensor, words.slice()]));
    } else {
      this.host = this.#readHostTensors();
    }
    this.steps = this.completed = saved ? saved.step : 0;
    this.generation++;
    this.onEvent({ type: "restored", step: this.steps, lost: Math.max(0, reached - this.steps) });
  }

  /** Releases the device's memory. */
  close() {
    this.closed = true;
    this.device.close();
  }
}
