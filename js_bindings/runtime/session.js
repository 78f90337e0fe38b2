// A model on a device: its state, its programs at the sizes in use, and one call that runs a signature.
//
// All signatures of a model share one STATE. A device is anything with the methods of `WasmDevice` and `WebGpuDevice`.

import { DeviceHungError, DeviceLostError, InvalidArgumentError } from "./errors.js";
import { advance, copyHostTensors, readHostTensors } from "./host.js";
import { bindInputs } from "./inputs.js";
import { Placement } from "./placement.js";
import { findOutputs, Step, valuesOf } from "./results.js";
import { Snapshots } from "./snapshots.js";
import { bytesOf, convertBytes, toDevice } from "./values.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./types.js").Signature} Signature */
/** @typedef {import("./types.js").Port} Port */
/** @typedef {import("./inputs.js").Flat} Flat */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./layout.js").Feed} Feed */
/** @typedef {import("./placement.js").Binding} Binding */
/** @typedef {import("./placement.js").Device} Device */
/** @typedef {import("./placement.js").Prepared} Prepared */
/** @typedef {{type: string, [key: string]: any}} Event */
/** @typedef {import("./results.js").Outcome} Outcome */
/** @typedef {import("./results.js").Value} Value */
/**
 * @typedef {object} SessionOptions
 * @property {Device} device
 * @property {number} [memory]  the most bytes of state, and of one set of sizes
 * @property {number} [snapshotEvery]  milliseconds
 * @property {number} [idle]  milliseconds after which programs that nobody has asked for are compiled
 * @property {(event: Event) => void} [onEvent]
 * @property {() => number} [now]
 */

const READ_ALWAYS = 65536; // results up to this many bytes come back with every step
const MOST_IN_FLIGHT = 2; // an unbounded queue drains for seconds

/** @param {Signature} signature */
function changesState({ writes, advance }) {
  return writes.length + advance.length > 0;
}

export class Session {
  /**
   * Uploads the model's state. A program is compiled when it is first used, or when nothing else is to be done.
   * @param {Model} model
   * @param {SessionOptions} options
   * @returns {Promise<Session>}
   */
  static async create(model, options) {
    const session = new Session(model, options);
    await session.build();
    return session;
  }

  /** @param {Model} model @param {SessionOptions} options */
  constructor(
    model,
    { device, memory = 2 ** 31, snapshotEvery = 2000, idle = 100, onEvent = () => {}, now = () => performance.now() },
  ) {
    this.model = model;
    this.device = device;
    this.memory = memory;
    this.onEvent = onEvent;
    this.idle = idle;
    this.host = readHostTensors(model);
    this.placement = new Placement(model, device, memory, () => 0);
    /** @type {number[]} state tensors that some signature writes */
    this.written = [];
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    /** @type {Promise<any> | null} a run that is not submitted whole: until then the device takes nothing else */
    this.sending = null;
    /** @type {Promise<void>} resolves when the run that was asked for last is accepted or refused */
    this.queue = Promise.resolve();
    /** @type {Map<number, {bytes: Uint8Array | null, after: number}>} tensors set by the page; after: snapshots before */
    this.set = new Map();
    this.steps = 0; // runs that changed state
    this.completed = 0;
    this.generation = 0; // counts devices
    this.closed = false;
    /** @type {Error | null} */
    this.failure = null;
    /** @type {Promise<void> | null} */
    this.restoring = null;
    this.snapshots = "reopen" in device ? new Snapshots(device, snapshotEvery, now) : null;
    if ("reopen" in device) device.onLost = (error) => this.#lost(error);
  }

  // ---- building -------------------------------------------------------------------------------------------------

  /** Puts everything on the device: at load, and again on a new device after a loss. */
  async build() {
    const { model, device, memory } = this;
    this.placement = new Placement(
      model,
      device,
      memory,
      (tensor) => /** @type {Uint32Array} */ (this.host.get(tensor)).length,
    );
    this.placement.build();
    const { state } = this.placement;
    const written = new Set(model.signatures.flatMap(({ writes }) => Array.from(writes)));
    this.written = [...state.keys()].filter((tensor) => written.has(tensor));
    this.snapshots?.watch(this.writtenSpans());
    const { placement } = this;
    /** @type {any} */
    const timer = setTimeout(() => this.#compileRest(placement).catch(() => {}), this.idle); // a run tells what is wrong
    timer.unref?.(); // Node would wait for it
  }

  /** Compiles what was not asked for yet, one program at a time and between runs. @param {Placement} placement */
  async #compileRest(placement) {
    for (const index of placement.prepared.keys()) {
      while (this.inFlight.size) await Promise.allSettled(this.inFlight);
      if (this.closed || placement !== this.placement) return;
      await (await placement.load(index)).ready;
    }
  }

  /** Where the state lies that some signature writes. @returns {Span[]} */
  writtenSpans() {
    return this.written.map((tensor) => /** @type {{span: Span}} */ (this.placement.state.get(tensor)).span);
  }

  /** @param {string} name @returns {Signature} */
  signature(name) {
    const found = this.model.signatures.find((signature) => signature.name === name);
    if (found) return found;
    throw new InvalidArgumentError(
      `the model has no signature "${name}"; it has ${this.model.signatures.map((s) => s.name).join(", ")}.`,
    );
  }

  // ---- running --------------------------------------------------------------------------------------------------

  /**
   * Runs a signature once and returns when the step is accepted: at once, or when fewer than two are under way. Runs
   * are accepted in the order in which they are asked for.
   * @param {string} name
   * @param {Record<string, any>} inputs
   * @param {boolean} [read]  the outputs are wanted, however large: they come back with the step
   * @param {(number: number) => void} [onAccept]  called when the inputs are found right, before the device is busy
   * @returns {Promise<Step>}
   */
  async run(name, inputs = {}, read = false, onAccept = () => {}) {
    const signature = this.signature(name);
    const bound = bindInputs(this.model, signature, inputs);
    const again = async () => (await this.run(name, inputs, read)).read();
    const accepted = this.queue.then(() => this.#accept(signature, bound, read, onAccept, again));
    this.queue = accepted.then(() => {}).catch(() => {});
    return accepted;
  }

  /**
   * @param {Signature} signature
   * @param {import("./inputs.js").BoundInputs} bound
   * @param {boolean} read
   * @param {(number: number) => void} onAccept
   * @param {() => Promise<Record<string, Value>>} again  the same run on the next device
   * @returns {Promise<Step>}
   */
  async #accept(signature, bound, read, onAccept, again) {
    let index;
    do index = await this.#turn(signature, bound.symbols);
    while (this.isUnsettled || this.inFlight.size >= MOST_IN_FLIGHT); // from here to the start nothing is awaited
    const { program, binding, prepared } = this.placement.prepare(index, bound.symbols, bound.sizes);
    const feeds = this.#feeds(signature, program, prepared, binding, bound.data);
    const { generation } = this;
    onAccept(this.steps + Number(changesState(signature)));
    const step = this.#start(signature, program, prepared, binding, feeds, read);
    if (!this.snapshots) return step;
    step.values = step.values.catch(async (error) => {
      // a step under way on a device that was lost runs again on the new one
      if (!(error instanceof DeviceLostError) || this.failure || !(await this.#recovered(generation))) throw error;
      return again();
    });
    step.values.catch(() => {});
    return step;
  }

  /**
   * Waits for the device after `generation`.
   * @param {number} generation
   * @returns {Promise<boolean>} false: there will be none
   */
  async #recovered(generation) {
    for (let waited = 0; !this.restoring && this.generation === generation && waited < 2000; waited += 20) {
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      }); // the loss is reported after the failed reads
    }
    await this.restoring;
    return this.generation !== generation && !this.failure && !this.closed;
  }

  /**
   * Waits until a run may start: on a device, with its program, and with fewer than two under way.
   * @param {Signature} signature
   * @param {ArrayLike<number>} symbols
   * @returns {Promise<number>} the program
   */
  async #turn(signature, symbols) {
    for (;;) {
      await this.settled();
      this.#checkOpen();
      const index = this.placement.choose(signature, symbols);
      if (!this.placement.isLoaded(index)) await this.placement.load(index);
      else if (this.inFlight.size < MOST_IN_FLIGHT) return index;
      else await Promise.race(this.inFlight).catch(() => {});
    }
  }

  /**
   * Waits until the device takes calls: while it is being replaced, or a run is being submitted, it does not. Others
   * wait too and may go first: look at `isUnsettled` again.
   */
  async settled() {
    while (this.isUnsettled) await (this.restoring ?? this.sending);
  }

  get isUnsettled() {
    return Boolean(this.restoring || this.sending);
  }

  #checkOpen() {
    if (this.closed) throw new DeviceLostError("the model is closed: load it again.");
    if (this.failure) throw this.failure;
  }

  /**
   * @param {Signature} signature
   * @param {Program} program
   * @param {Prepared} prepared
   * @param {Binding} binding
   * @param {(Flat | null)[]} data
   * @returns {Feed[]}
   */
  #feeds(signature, program, prepared, binding, data) {
    /** @type {Feed[]} */
    const feeds = [];
    signature.inputs.forEach((port, i) => {
      const value = data[i];
      const region = prepared.inputs.get(port.tensor) ?? -1;
      if (!value) {
        this.#default(port, region, program, binding, feeds);
        return;
      }
      const { dtype } = this.model.tensors[port.tensor];
      const storage = region < 0 ? dtype : program.regions[region].storage;
      this.#feed(port, region, binding, toDevice(value.data, port, dtype, storage), feeds);
    });
    return feeds;
  }

  /**
   * @param {Port} port
   * @param {number} region  -1: the program has it only as a scalar
   * @param {Binding} binding
   * @param {Uint8Array} data
   * @param {Feed[]} feeds
   */
  #feed(port, region, binding, data, feeds) {
    const host = this.host.get(port.tensor);
    if (host) host.set(new Uint32Array(data.slice().buffer).subarray(0, host.length));
    if (region < 0) return;
    const { size } = binding.spans[region];
    if (data.length !== size)
      throw new InvalidArgumentError(`input "${port.name}": ${data.length} bytes for a region of ${size}.`);
    binding.defaulted.delete(region);
    feeds.push({ region, data });
  }

  /**
   * An absent optional input: its fill value, uploaded once per binding.
   * @param {Port} port
   * @param {number} region  -1: the program has it only as a scalar
   * @param {Program} program
   * @param {Binding} binding
   * @param {Feed[]} feeds
   */
  #default(port, region, program, binding, feeds) {
    if (!port.optional) throw new InvalidArgumentError(`the input "${port.name}" is missing.`);
    const { dtype } = this.model.tensors[port.tensor];
    const host = this.host.get(port.tensor);
    if (host) host.set(new Uint32Array(toDevice([port.fill], port, dtype, dtype).slice().buffer));
    if (region < 0 || binding.defaulted.has(region)) return;
    binding.defaulted.add(region);
    const values = new Array(binding.spans[region].size / 4).fill(port.fill);
    feeds.push({ region, data: toDevice(values, port, dtype, program.regions[region].storage) });
  }

  /**
   * @param {Signature} signature
   * @param {Program} program
   * @param {Prepared} prepared
   * @param {Binding} binding
   * @param {Feed[]} feeds
   * @param {boolean} [read]
   * @returns {Step}
   */
  #start(signature, program, prepared, binding, feeds, read = false) {
    for (const [tensor, { start }] of prepared.host)
      binding.hostWords.set(/** @type {Uint32Array} */ (this.host.get(tensor)), start);
    const { located, spans, bytes } = findOutputs(this.model, this.host, signature, program, binding);
    /** @type {Outcome} */
    const outcome = { signature, binding, located, words: located.map((output) => this.#hostWords(output)) };
    const small = read || bytes <= READ_ALWAYS;
    const snapshot = signature.writes.length ? this.snapshots?.next() : null;
    const after = snapshot ? snapshot.copies : [];
    const run = this.device.run(binding.bound, binding.hostWords, feeds, { after, reads: small ? spans : [] });
    const { done, sent = null } = /** @type {{done: Promise<Uint8Array[]>, sent?: Promise<any> | null}} */ (run);
    if (sent) this.#send(sent, changesState(signature));
    advance(this.model, this.host, signature, binding.sizes);
    if (changesState(signature)) this.steps++;
    const number = this.steps;
    snapshot?.sent(number, this.host, sent).then(() => this.#forget());
    this.inFlight.add(done);
    done.then(
      () => {
        this.completed = Math.max(this.completed, number);
        this.inFlight.delete(done);
      },
      () => {
        this.inFlight.delete(done);
      },
    );
    binding.serial++;
    if (!small) return this.#readLater(number, outcome, spans);
    return new Step(
      number,
      done.then((results) => valuesOf(this.model, outcome, results)),
    );
  }

  /**
   * A run that waits for its kernels.
   * @param {Promise<any>} sent
   * @param {boolean} changes  one that fails leaves the state between two steps
   */
  #send(sent, changes) {
    this.sending = sent
      .catch((error) => {
        if (changes && !(error instanceof DeviceLostError)) this.failure = error;
      })
      .finally(() => {
        this.sending = null;
      });
  }

  /**
   * A step whose outputs stay on the device until they are asked for, or overwritten.
   * @param {number} number
   * @param {Outcome} outcome
   * @param {Span[]} spans
   */
  #readLater(number, outcome, spans) {
    const { signature, binding } = outcome;
    const { serial } = binding;
    /** @type {(start: any) => void} */
    let begin = () => {};
    const asked = new Promise((resolve) => {
      begin = resolve;
    });
    const values = asked.then(async () => {
      while (this.isUnsettled) await this.settled();
      this.#checkOpen();
      if (binding.serial !== serial) {
        throw new InvalidArgumentError(
          `the outputs of "${signature.name}" were overwritten by a later run: read them before it.`,
        );
      }
      const parts = spans.map(({ buffer, offset, size }) => this.device.download(buffer, offset, size));
      return valuesOf(this.model, outcome, await Promise.all(parts));
    });
    return new Step(number, values, () => begin(undefined));
  }

  /** @param {import("./results.js").Located} output @returns {Uint32Array | null} as they are before the step moves them on */
  #hostWords({ tensor, span }) {
    return span ? null : /** @type {Uint32Array} */ (this.host.get(tensor)).slice();
  }

  // ---- state ----------------------------------------------------------------------------------------------------

  /** @param {number} tensor @returns {Promise<Uint8Array>} its bytes in its own dtype */
  async readTensor(tensor) {
    while (this.isUnsettled) await this.settled();
    this.#checkOpen();
    const { name, dtype, data } = this.model.tensors[tensor];
    const host = this.host.get(tensor);
    if (host) return bytesOf(host.slice());
    const place = this.placement.state.get(tensor);
    if (place) {
      const { buffer, offset, size } = place.span;
      return convertBytes(await this.device.download(buffer, offset, size), place.storage, dtype);
    }
    if (data) return data.slice();
    throw new InvalidArgumentError(`tensor "${name}" is no state of this model.`);
  }

  /** @param {number} tensor @param {Uint8Array} bytes  in its own dtype */
  writeTensor(tensor, bytes) {
    this.#checkOpen();
    this.#put(tensor, bytes);
    const { snapshots } = this; // without them no device is restored
    this.set.set(tensor, { bytes: snapshots && bytes.slice(), after: snapshots?.begun ?? 0 });
  }

  /** @param {number} tensor @param {Uint8Array} bytes */
  #put(tensor, bytes) {
    const { name } = this.model.tensors[tensor];
    const host = this.host.get(tensor);
    if (host && bytes.length === host.byteLength) host.set(new Uint32Array(bytes.slice().buffer));
    else if (!host && this.placement.state.has(tensor)) this.placement.write(tensor, bytes);
    else
      throw new InvalidArgumentError(
        `tensor "${name}" is no state of this model, or ${bytes.length} bytes are not its size.`,
      );
  }

  /** Whether the last snapshot has what a tensor was set to. @param {number} tensor @param {number} after */
  #hasSaved(tensor, after) {
    const saved = this.snapshots?.latest;
    return Boolean(saved && saved.number > after && (this.host.has(tensor) || this.written.includes(tensor)));
  }

  /** Forgets what the last snapshot has, of what `changing` gives anyway. */
  #forget() {
    for (const [tensor, { after }] of this.set)
      if (!this.host.has(tensor) && this.#hasSaved(tensor, after)) this.set.delete(tensor);
  }

  /** The tensors that some signature writes or advances, or that were set: what `save` reads. @returns {number[]} */
  changing() {
    const { signatures } = this.model;
    const named = signatures.flatMap(({ writes, advance }) => [...Array.from(writes), ...advance.map((a) => a.tensor)]);
    return [...new Set([...named, ...this.set.keys()])].filter(
      (tensor) => this.host.has(tensor) || this.placement.state.has(tensor),
    );
  }

  /** Copies the written state to the host now, as is done every two seconds. */
  async snapshot() {
    while (this.isUnsettled) await this.settled();
    await this.snapshots?.take(this.steps, this.host);
    this.#forget();
  }

  /** @param {Error} error */
  #lost(error) {
    if (this.closed || this.failure) return;
    if (error instanceof DeviceHungError) {
      this.failure = error;
      this.onEvent({ type: "hung", message: error.message, error });
      return;
    }
    this.restoring = this.#restore(error)
      .catch((cause) => {
        this.failure = new DeviceLostError(
          `the device was lost (${error.message}) and could not be restored: ${cause.message}`,
        );
        this.onEvent({ type: "failed", message: this.failure.message, error: this.failure });
      })
      .finally(() => {
        this.restoring = null;
      });
  }

  /** A new device, everything rebuilt, the last snapshot uploaded, and what was set since. @param {Error} error */
  async #restore(error) {
    const reached = this.completed; // steps that were under way run again
    this.onEvent({ type: "lost", step: reached, message: error.message });
    const { device, snapshots } = this;
    if (!snapshots || !("reopen" in device)) return;
    await Promise.allSettled(this.inFlight);
    await device.reopen();
    const saved = snapshots.latest;
    await this.build();
    if (saved) {
      this.writtenSpans().forEach((span, i) => device.upload(span.buffer, span.offset, saved.parts[i]));
      this.host = copyHostTensors(saved.host);
    } else {
      this.host = readHostTensors(this.model);
    }
    for (const [tensor, { bytes, after }] of this.set)
      if (bytes && !this.#hasSaved(tensor, after)) this.#put(tensor, bytes);
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
