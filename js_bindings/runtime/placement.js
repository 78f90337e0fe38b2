// Where a model lives on a device: its compiled programs, state, constants, and the memory of each set of sizes in use.

import { checkBound } from "./bindings.js";
import { DeviceLimitError, InvalidArgumentError, ModelError, NoExecutorError } from "./errors.js";
import { buildLaunches, checkEqual, positions } from "./layout.js";
import { planScratch } from "./plan.js";
import { placeState } from "./state.js";
import { evaluateDims } from "./sizes.js";
import { Place } from "./tables.js";
import { convertBytes } from "./values.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./types.js").Signature} Signature */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./webgpu.js").WebGpuDevice | import("./wasm.js").WasmDevice} Device */
/** @typedef {{buffer: any, size: number, users: number}} Chunk */
/**
 * @typedef {Map<number, {start: number, length: number}>} HostSlots  by tensor: where its words lie in the host vector
 */
/**
 * @typedef {object} Binding  a program at one set of sizes
 * @property {any} bound  the device's
 * @property {Span[]} spans  by region
 * @property {any[]} owned  buffers of inputs and outputs
 * @property {Chunk[]} scratch
 * @property {Uint32Array} hostWords  filled before each run
 * @property {number[]} sizes  the value of every dim
 * @property {Set<number>} defaulted  input regions that hold their port's default
 * @property {number} serial  counts the runs
 * @property {Map<Signature, import("./results.js").Outputs>} outputs  where they lie, by who asks for them
 */
/**
 * @typedef {object} Prepared  a program on this device
 * @property {any} loaded  the device's; null before its first use
 * @property {Promise<any> | null} loading
 * @property {Map<number, Span>} constants  by top-level region
 * @property {HostSlots} host
 * @property {number} hostWords
 * @property {Map<string, Binding>} bindings  the least recently used first
 * @property {Map<number, number>} inputs  by tensor: the region that it is uploaded to
 */

const BINDINGS_KEPT = 4; // sizes per program

export class Placement {
  /**
   * @param {Model} model
   * @param {Device} device
   * @param {number} memory  the most bytes of state, and of one set of sizes
   * @param {(tensor: number) => number} hostLength  words of a host-owned tensor
   */
  constructor(model, device, memory, hostLength) {
    this.model = model;
    this.device = device;
    this.memory = memory;
    this.hostLength = hostLength;
    /** @type {Map<number, Prepared>} */
    this.prepared = new Map();
    /** @type {Map<number, {span: Span, storage: number}>} */
    this.state = new Map();
    /** @type {Map<string, any>} by "program.region" */
    this.stateBuffers = new Map();
    /** @type {Chunk[]} */
    this.scratch = [];
  }

  /** Uploads state and constants. Programs are compiled when they are first used. */
  build() {
    const { model, device } = this;
    const wanted = new Set(model.signatures.flatMap(({ programs }) => Array.from(programs)));
    const indices = [...wanted].filter(
      (i) => model.programs[i].target === device.target && !this.refusal(model.programs[i]),
    );
    const all = [...wanted].filter((i) => model.programs[i].target === device.target);
    if (!indices.length && wanted.size) {
      throw all.length
        ? new DeviceLimitError(`the model ${this.refusal(model.programs[all[0]])}.`)
        : new NoExecutorError(
            `the file has no programs for "${device.kind}": export it with target "${device.kind}", ` +
              "or load it with another device.",
          );
    }
    const sizes = evaluateDims(model.dims, []);
    for (const index of indices) this.prepared.set(index, this.#prepare(model.programs[index]));
    const { tensors, chunks, privates } = placeState(model, indices, sizes);
    const total = [...chunks, ...privates].reduce((sum, chunk) => sum + chunk.size, 0);
    if (total > this.memory)
      throw new DeviceLimitError(`the model's state takes ${total} bytes, limits.memory is ${this.memory}.`);
    if ("reserve" in device) device.reserve(device.top + total + 256 * (chunks.length + privates.length));
    for (const chunk of [...chunks, ...privates]) {
      const buffer = device.allocate(chunk.size);
      for (const key of chunk.regions) this.stateBuffers.set(key, buffer);
      for (const tensor of chunk.tensors) {
        const at = /** @type {{offset: number, size: number, storage: number}} */ (tensors.get(tensor));
        this.state.set(tensor, { span: { buffer, offset: at.offset, size: at.size }, storage: at.storage });
        const { data } = model.tensors[tensor];
        if (data) this.write(tensor, data);
      }
    }
    for (const index of indices) this.#uploadConstants(index, sizes);
  }

  /** @param {Program} program @returns {Prepared} */
  #prepare(program) {
    /** @type {Map<number, {start: number, length: number}>} */
    const host = new Map();
    let start = 0;
    for (const tensor of new Set(program.steps.flatMap(({ scalars }) => Array.from(scalars)))) {
      const length = this.hostLength(tensor);
      host.set(tensor, { start, length });
      start += length;
    }
    const inputs = new Map(program.regions.map(({ tensor, place }, i) => [place === Place.INPUT ? tensor : -1, i]));
    const constants = new Map();
    return { loaded: null, loading: null, constants, host, hostWords: start, bindings: new Map(), inputs };
  }

  /**
   * Begins to compile a program, if that was not done.
   * @param {number} index
   * @returns {Promise<any>} the device's; its kernels may still be on their way
   */
  load(index) {
    const prepared = /** @type {Prepared} */ (this.prepared.get(index));
    prepared.loading ??= this.device.load(this.model.programs[index]).then((loaded) => (prepared.loaded = loaded));
    return prepared.loading;
  }

  /** @param {number} index */
  isLoaded(index) {
    return Boolean(this.prepared.get(index)?.loaded);
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
      if (data)
        this.#upload(
          /** @type {Span} */ (constants.get(top)).buffer,
          offset,
          convertBytes(data, this.model.tensors[tensor].dtype, storage),
          size,
        );
    });
  }

  /** Sets a state tensor. @param {number} tensor @param {Uint8Array} bytes  in its own dtype */
  write(tensor, bytes) {
    const {
      span: { buffer, offset, size },
      storage,
    } = /** @type {{span: Span, storage: number}} */ (this.state.get(tensor));
    this.#upload(buffer, offset, convertBytes(bytes, this.model.tensors[tensor].dtype, storage), size);
  }

  /** @param {any} buffer @param {number} offset @param {Uint8Array} bytes @param {number} size */
  #upload(buffer, offset, bytes, size) {
    if (bytes.length > size)
      throw new ModelError("P06-region", "regions", `${bytes.length} bytes of data for a region of ${size}`);
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

  /**
   * The program that a signature uses at these sizes.
   * @param {Signature} signature
   * @param {ArrayLike<number>} symbols  NaN where unused
   * @returns {number}
   */
  choose(signature, symbols) {
    const index = Array.from(signature.programs).find(
      (i) =>
        this.prepared.has(i) &&
        (this.model.programs[i].requires?.when ?? []).every(
          ({ symbol, min, max }) => symbols[symbol] >= min && symbols[symbol] <= max,
        ),
    );
    if (index !== undefined) return index;
    const sizes = this.model.symbols.map(({ name }, i) => `${name} ${symbols[i]}`);
    const [Type, none] = Array.from(signature.programs).some((i) => this.prepared.has(i))
      ? [InvalidArgumentError, "program that takes these sizes"]
      : [NoExecutorError, "program"];
    throw new Type(`"${signature.name}" has no ${this.device.kind} ${none}: ${sizes.join(", ")}.`);
  }

  /**
   * A loaded program with its memory at these sizes; made once, then kept for the last four.
   * @param {number} index
   * @param {ArrayLike<number>} symbols
   * @param {number[]} sizes
   * @returns {{program: Program, prepared: Prepared, binding: Binding}}
   */
  prepare(index, symbols, sizes) {
    const program = this.model.programs[index];
    const prepared = /** @type {Prepared} */ (this.prepared.get(index));
    const key = Array.from(symbols).join();
    let binding = prepared.bindings.get(key);
    if (binding) {
      prepared.bindings.delete(key); // the most recently used is last
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

  /**
   * @param {number} index
   * @param {Program} program
   * @param {Prepared} prepared
   * @param {number[]} sizes
   * @returns {Binding}
   */
  #bind(index, program, prepared, sizes) {
    const where = positions(program, sizes);
    const plan = planScratch(program, sizes, this.device.maxChunk);
    const own = program.regions.map(({ place, parent }, i) => (parent < 0 && place >= Place.INPUT ? where[i].size : 0));
    const total = [...plan.chunks, ...own].reduce((a, b) => a + b, 0);
    if (!(total <= this.memory))
      throw new DeviceLimitError(
        `these sizes take ${total} bytes, limits.memory is ${this.memory}. Use a smaller batch.`,
      );
    const scratch = plan.chunks.map((size, chunk) => this.#takeScratch(chunk, size));
    /** @type {any[]} */
    const owned = [];
    const tops = program.regions.map(({ place, parent }, i) => {
      if (parent >= 0) return null;
      if (place === Place.SCRATCH)
        return plan.places[i][0] < 0 ? null : { buffer: scratch[plan.places[i][0]].buffer, offset: plan.places[i][1] };
      if (place === Place.STATE) return { buffer: this.stateBuffers.get(`${index}.${i}`), offset: 0 };
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
    return {
      bound,
      spans,
      owned,
      scratch,
      hostWords: new Uint32Array(prepared.hostWords),
      sizes,
      defaulted: new Set(),
      serial: 0,
      outputs: new Map(),
    };
  }

  /**
   * Runs follow one another, so all programs and sizes may use the same scratch.
   * @param {number} chunk
   * @param {number} size
   * @returns {Chunk}
   */
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
}
