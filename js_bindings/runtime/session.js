// A model on a device: its state, its programs at the sizes in use, and one call that runs a signature.
//
// All signatures of a model share one STATE. A device is anything with the methods of `WasmDevice` and `WebGpuDevice`.

import { DeviceHungError, DeviceLostError, InvalidArgumentError, ModelError } from "./errors.js";
import { bindInputs, checkSymbols } from "./inputs.js";
import { Placement } from "./placement.js";
import { evaluateDims } from "./sizes.js";
import { Snapshots } from "./snapshots.js";
import { Place, Role } from "./tables.js";
import { bytesOf, convertBytes, DTYPE_BYTES, DTYPE_NAMES, fromDevice, toDevice } from "./values.js";

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
/** @typedef {{data: import("./values.js").TypedArray, shape: number[], dtype: string}} Value */
/** @typedef {{type: string, [key: string]: any}} Event */
/** @typedef {{tensor: number, span: Span | null, storage: number}} Located  span null: host-owned */
/** @typedef {{located: Located[], spans: Span[], bytes: number}} Outputs */
/**
 * What a run's results are made of; words: of host-owned outputs
 * @typedef {{
 *   signature: Signature, binding: Binding, located: Located[], words: (Uint32Array | null)[]
 * }} Outcome
 */
/**
 * @typedef {object} SessionOptions
 * @property {Device} device
 * @property {number} [memory]  the most bytes of state, and of one set of sizes
 * @property {number} [snapshotEvery]  milliseconds
 * @property {(event: Event) => void} [onEvent]
 * @property {() => number} [now]
 */

const READ_ALWAYS = 65536; // results up to this many bytes come back with every step
const MOST_IN_FLIGHT = 2; // an unbounded queue drains for seconds

/** What one run of a signature gave. */
export class Step {
  /** @param {number} number @param {Promise<Record<string, Value>>} values @param {() => void} onRead */
  constructor(number, values, onRead = () => {}) {
    /** Counts the runs that changed state. */
    this.number = number;
    this.values = values;
    this.onRead = onRead;
    values.catch(() => {}); // unread results of a lost device are nobody's error
  }

  /** The outputs by name. Waits for the device. */
  read() {
    this.onRead();
    return this.values;
  }
}

/** @param {Signature} signature */
function changesState({ writes, advance }) {
  return writes.length + advance.length > 0;
}

export class Session {
  /**
   * Compiles the model's programs, uploads its state.
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
    { device, memory = 2 ** 31, snapshotEvery = 2000, onEvent = () => {}, now = () => performance.now() },
  ) {
    this.model = model;
    this.device = device;
    this.memory = memory;
    this.onEvent = onEvent;
    /** @type {Map<number, Uint32Array>} host-owned tensors */
    this.host = this.#readHostTensors();
    this.placement = new Placement(model, device, memory, () => 0);
    /** @type {number[]} state tensors that some signature writes */
    this.written = [];
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
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

  #readHostTensors() {
    const { tensors, programs } = this.model;
    const used = new Set(programs.flatMap(({ steps }) => steps.flatMap(({ scalars }) => Array.from(scalars))));
    tensors.forEach(({ role }, i) => {
      if (role === Role.COUNTER || role === Role.RNG) used.add(i);
    });
    const sizes = evaluateDims(this.model.dims, []);
    /** @type {Map<number, Uint32Array>} */
    const host = new Map();
    for (const index of used) {
      const { name, dtype, shape, data } = tensors[index];
      const bytes = Array.from(shape).reduce((count, dim) => count * sizes[dim], DTYPE_BYTES[dtype]);
      if (!(bytes <= 256) || DTYPE_BYTES[dtype] < 4) {
        throw new ModelError(
          "P08-binding",
          `tensors[${index}]`,
          `"${name}" of ${DTYPE_NAMES[dtype]} and ${bytes} bytes cannot be host-owned`,
        );
      }
      host.set(index, data ? new Uint32Array(data.slice().buffer) : new Uint32Array(bytes / 4));
    }
    return host;
  }

  /** Puts everything on the device: at load, and again on a new device after a loss. */
  async build() {
    const { model, device, memory } = this;
    this.placement = new Placement(
      model,
      device,
      memory,
      (tensor) => /** @type {Uint32Array} */ (this.host.get(tensor)).length,
    );
    await this.placement.build();
    const { state } = this.placement;
    const written = new Set(model.signatures.flatMap(({ writes }) => Array.from(writes)));
    this.written = [...state.keys()].filter((tensor) => written.has(tensor));
    this.snapshots?.watch(this.writtenSpans());
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
   * Runs a signature once and returns when the step is accepted: at once, or when fewer than two are under way.
   * @param {string} name
   * @param {Record<string, any>} inputs
   * @param {boolean} [read]  the outputs are wanted, however large: they come back with the step
   * @param {(number: number) => void} [onAccept]  called when the inputs are found right, before the device is busy
   * @returns {Promise<Step>}
   */
  async run(name, inputs = {}, read = false, onAccept = () => {}) {
    const signature = this.signature(name);
    const bound = bindInputs(this.model, signature, inputs);
    if (this.restoring) await this.restoring;
    while (this.inFlight.size >= MOST_IN_FLIGHT) await Promise.race(this.inFlight);
    if (this.restoring) await this.restoring;
    this.#checkOpen();
    const { program, binding, prepared } = this.placement.prepare(signature, bound.symbols, bound.sizes);
    const feeds = this.#feeds(signature, program, prepared, binding, bound.data);
    const { generation } = this;
    onAccept(this.steps + Number(changesState(signature)));
    const step = this.#start(signature, program, prepared, binding, feeds, read);
    if (!this.snapshots) return step;
    step.values = step.values.catch(async (error) => {
      // a step under way on a device that was lost runs again on the new one
      if (!(error instanceof DeviceLostError) || this.failure || !(await this.#recovered(generation))) throw error;
      return (await this.run(name, inputs, read)).read();
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
    const { program, binding, prepared } = this.placement.prepare(signature, symbols);
    /** @type {Feed[]} */
    const feeds = [];
    signature.inputs.forEach((port, i) => {
      const data = inputs[i];
      const region = prepared.inputs.get(port.tensor) ?? -1;
      if (data) this.#feed(port, region, binding, data, feeds);
      else this.#default(port, region, program, binding, feeds);
    });
    return this.#start(signature, program, prepared, binding, feeds);
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
    const { located, spans, bytes } = this.#outputs(signature, program, binding);
    /** @type {Outcome} */
    const outcome = { signature, binding, located, words: located.map((output) => this.#hostWords(output)) };
    const small = read || bytes <= READ_ALWAYS;
    const snapshot = signature.writes.length ? this.snapshots?.next() : null;
    const after = snapshot ? snapshot.copies : [];
    const { done } = this.device.run(binding.bound, binding.hostWords, feeds, { after, reads: small ? spans : [] });
    this.#advance(signature, binding.sizes);
    if (changesState(signature)) this.steps++;
    const number = this.steps;
    snapshot?.sent(number, this.host);
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
      done.then((results) => this.#values(outcome, results)),
    );
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
      if (binding.serial !== serial) {
        throw new InvalidArgumentError(
          `the outputs of "${signature.name}" were overwritten by a later run: read them before it.`,
        );
      }
      const parts = spans.map(({ buffer, offset, size }) => this.device.download(buffer, offset, size));
      return this.#values(outcome, await Promise.all(parts));
    });
    return new Step(number, values, () => begin(undefined));
  }

  /**
   * Where the outputs lie: found once per binding.
   * @param {Signature} signature
   * @param {Program} program
   * @param {Binding} binding
   * @returns {Outputs}
   */
  #outputs(signature, program, binding) {
    let found = binding.outputs.get(signature);
    if (!found) {
      const located = signature.outputs.map((port) => this.#locate(port, program, binding));
      const spans = located.flatMap(({ span }) => span ?? []);
      found = { located, spans, bytes: spans.reduce((sum, { size }) => sum + size, 0) };
      binding.outputs.set(signature, found);
    }
    return found;
  }

  /** @param {Located} output @returns {Uint32Array | null} as they are before the step moves them on */
  #hostWords({ tensor, span }) {
    return span ? null : /** @type {Uint32Array} */ (this.host.get(tensor)).slice();
  }

  /** @param {Port} port @param {Program} program @param {Binding} binding @returns {Located} */
  #locate({ name, tensor }, program, binding) {
    const candidates = program.regions
      .map((region, i) => i)
      .filter((i) => program.regions[i].tensor === tensor && binding.spans[i].buffer);
    const region = candidates.find((i) => program.regions[i].place === Place.OUTPUT) ?? candidates[0];
    if (region !== undefined)
      return { tensor, span: binding.spans[region], storage: program.regions[region].storage };
    if (!this.host.has(tensor)) throw new ModelError("P11-signature", `output "${name}"`, "no region holds its tensor");
    return { tensor, span: null, storage: this.model.tensors[tensor].dtype };
  }

  /** @param {Outcome} outcome @param {Uint8Array[]} results @returns {Record<string, Value>} */
  #values({ signature, binding, located, words }, results) {
    /** @type {Record<string, Value>} */
    const values = {};
    let next = 0;
    located.forEach(({ tensor, span, storage }, i) => {
      const { dtype, shape } = this.model.tensors[tensor];
      const bytes = span ? results[next++] : bytesOf(/** @type {Uint32Array} */ (words[i]));
      values[signature.outputs[i].name] = {
        data: fromDevice(bytes, storage, dtype),
        shape: Array.from(shape, (dim) => binding.sizes[dim]),
        dtype: DTYPE_NAMES[dtype],
      };
    });
    return values;
  }

  /**
   * Moves counters and random streams on: the device never writes them.
   * @param {Signature} signature
   * @param {number[]} sizes
   */
  #advance(signature, sizes) {
    for (const { tensor, by } of signature.advance) {
      const words = /** @type {Uint32Array} */ (this.host.get(tensor));
      const { role, dtype } = this.model.tensors[tensor];
      const low = role === Role.RNG ? 2 : 0; // an RNG is two key words, then a 64-bit counter
      const wide = role === Role.RNG || DTYPE_BYTES[dtype] === 8;
      if (!by) {
        words.fill(0, low); // no size: back to the start
        continue;
      }
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
    const place = this.placement.state.get(tensor);
    if (place) {
      const {
        span: { buffer, offset, size },
        storage,
      } = place;
      return convertBytes(await this.device.download(buffer, offset, size), storage, dtype);
    }
    if (data) return data.slice();
    throw new InvalidArgumentError(`tensor "${name}" is no state of this model.`);
  }

  /** @param {number} tensor @param {Uint8Array} bytes  in its own dtype */
  writeTensor(tensor, bytes) {
    const { name } = this.model.tensors[tensor];
    const host = this.host.get(tensor);
    if (host && bytes.length === host.byteLength) host.set(new Uint32Array(bytes.slice().buffer));
    else if (!host && this.placement.state.has(tensor)) this.placement.write(tensor, bytes);
    else
      throw new InvalidArgumentError(
        `tensor "${name}" is no state of this model, or ${bytes.length} bytes are not its size.`,
      );
  }

  /** The tensors that some signature writes or advances: what `save` has to read back. @returns {number[]} */
  changing() {
    return [
      ...new Set(
        this.model.signatures.flatMap(({ writes, advance }) => [
          ...Array.from(writes),
          ...advance.map(({ tensor }) => tensor),
        ]),
      ),
    ].filter((tensor) => this.host.has(tensor) || this.placement.state.has(tensor));
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

  /** A new device, everything rebuilt, the last snapshot uploaded. @param {Error} error */
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
