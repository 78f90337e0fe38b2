// A model that runs in this thread: read, put on a device, saved.

import { DeviceLimitError, InvalidArgumentError, NoExecutorError } from "./errors.js";
import { tensorBytes } from "./inputs.js";
import { patchTensors, readModelAsync } from "./model.js";
import { Session } from "./session.js";
import { Target } from "./tables.js";
import { DTYPE_NAMES } from "./values.js";
import { WasmDevice } from "./wasm.js";
import { WebGpuDevice } from "./webgpu.js";

/** @typedef {import("./results.js").Step} Step */
/** @typedef {{name: string, inputs: PortInfo[], outputs: PortInfo[]}} SignatureInfo */
/** @typedef {{name: string, dtype: string, shape: (number | string)[], optional: boolean}} PortInfo */
/**
 * Device: "auto" takes WebGPU on a real GPU, else WASM
 * @typedef {{
 *   device?: string, memory?: number, snapshotEvery?: number, hangAfter?: number, gpu?: any, threads?: number | "auto",
 *   onEvent?: (event: any) => void
 * }} LocalOptions
 */
/** @typedef {{kind: "webgpu" | "wasm", reason: string}} Choice */

export class LocalEngine {
  /**
   * Verifies a file and puts the model on the first device that can run it.
   * @param {Uint8Array} bytes
   * @param {LocalOptions} options
   * @returns {Promise<LocalEngine>}
   */
  static async open(bytes, options) {
    const model = await readModelAsync(bytes, options.memory ? { maxRegionBytes: options.memory } : {});
    /** @type {string[]} */
    const reasons = [];
    for (const { kind, reason } of await choices(options)) {
      try {
        const session = await openSession(model, kind, options);
        return new LocalEngine(bytes, model, session, { kind, reason: [reason, ...reasons].join("; ") });
      } catch (error) {
        const other = error instanceof NoExecutorError || error instanceof DeviceLimitError;
        if (!other || options.device !== "auto") throw error;
        reasons.push(`not ${kind}: ${error.message}`);
      }
    }
    throw new NoExecutorError(`no device can run this file. ${reasons.join(" ")}`);
  }

  /** @param {Uint8Array} bytes @param {any} model @param {Session} session @param {Choice} choice */
  constructor(bytes, model, session, { kind, reason }) {
    this.bytes = bytes;
    this.model = model;
    this.session = session;
    this.kind = kind;
    this.reason = reason;
    this.description = session.device.description;
    this.software = session.device.software;
    this.signatures = describeSignatures(model);
  }

  /**
   * @param {string} name
   * @param {Record<string, any>} inputs
   * @param {boolean} [read]  see `Session.run`
   * @param {(number: number) => void} [onAccept]
   * @returns {Promise<Step>}
   */
  run(name, inputs, read, onAccept) {
    return this.session.run(name, inputs, read, onAccept);
  }

  /**
   * The file with the present weights, slots, metrics and counters in place of the old.
   * @returns {Promise<Uint8Array>}
   */
  async save() {
    /** @type {Map<number, Uint8Array>} */
    const changes = new Map();
    for (const tensor of this.session.changing()) changes.set(tensor, await this.session.readTensor(tensor));
    return patchTensors(this.bytes, this.model, changes);
  }

  /** The bytes of a state tensor. @param {string} name @returns {Promise<Uint8Array>} */
  async read(name) {
    return this.session.readTensor(this.#tensor(name));
  }

  /**
   * Sets a state tensor.
   * @param {string} name
   * @param {any} value  the bytes that `read` gives, or numbers as a run takes them
   */
  async write(name, value) {
    const index = this.#tensor(name);
    const bytes = tensorBytes(this.model, index, value);
    while (this.session.isUnsettled) await this.session.settled();
    this.session.writeTensor(index, bytes);
  }

  /** @param {string} name @returns {number} */
  #tensor(name) {
    const index = this.model.tensors.findIndex((/** @type {any} */ tensor) => tensor.name === name);
    if (index < 0) throw new InvalidArgumentError(`the model has no tensor "${name}".`);
    return index;
  }

  async close() {
    this.session.close();
  }
}

/** @param {LocalOptions} options @returns {Promise<Choice[]>} best first, each with the reason */
async function choices({ device, gpu }) {
  if (device === "webgpu" || device === "wasm") return [{ kind: device, reason: "asked for" }];
  try {
    const { description, software } = await WebGpuDevice.probe(gpu);
    if (!software)
      return [
        { kind: "webgpu", reason: `real GPU: ${description}` },
        { kind: "wasm", reason: "the GPU cannot run it" },
      ];
    return [
      { kind: "wasm", reason: `the GPU is emulated in software (${description}); WASM is faster` },
      { kind: "webgpu", reason: `software adapter ${description}, for want of better` },
    ];
  } catch (error) {
    return [{ kind: "wasm", reason: /** @type {Error} */ (error).message }];
  }
}

/** @param {any} model @param {Choice["kind"]} kind @param {LocalOptions} options */
async function openSession(model, kind, options) {
  const device = await openDevice(model, kind, options);
  try {
    return await Session.create(model, { ...options, device });
  } catch (error) {
    device.close();
    throw error;
  }
}

/** @param {any} model @param {Choice["kind"]} kind @param {LocalOptions} options */
async function openDevice(model, kind, { memory, gpu, hangAfter, threads, onEvent }) {
  if (kind === "wasm") {
    const made = await openCrew(threads, onEvent);
    try {
      return new WasmDevice({ budget: memory, ...made });
    } catch (error) {
      made.crew?.close();
      throw error;
    }
  }
  const programs = model.programs.filter((/** @type {any} */ { target }) => target === Target.WGSL);
  const requires = programs.map((/** @type {any} */ program) => program.requires).filter(Boolean);
  return WebGpuDevice.open({
    gpu,
    hangAfter,
    features: requires.flatMap((/** @type {any} */ { features }) => features),
    limits: requires.flatMap((/** @type {any} */ { limits }) => limits),
  });
}

/**
 * Threads for the WASM device, or why there are none. Their code is loaded only here.
 * @param {number | "auto"} [threads]
 * @param {(event: any) => void} [onEvent]
 */
async function openCrew(threads = 1, onEvent) {
  if (threads === 1) return {};
  try {
    const { Crew } = await import("./crew.js");
    return { crew: await Crew.open(threads, onEvent) };
  } catch (error) {
    return { note: `, one thread: ${/** @type {Error} */ (error).message}` };
  }
}

/** @param {any} model @returns {SignatureInfo[]} names, dtypes and shapes, symbols by name */
function describeSignatures({ signatures, tensors, dims, symbols }) {
  const describe = (/** @type {any} */ { name, tensor, optional }) => ({
    name,
    optional,
    dtype: DTYPE_NAMES[tensors[tensor].dtype],
    shape: Array.from(tensors[tensor].shape, (/** @type {number} */ dim) => {
      const { op, a } = dims[dim];
      return op === 0 ? a : op === 1 ? symbols[a].name : "?";
    }),
  });
  return signatures.map((/** @type {any} */ { name, inputs, outputs }) => ({
    name,
    inputs: inputs.map(describe),
    outputs: outputs.map(describe),
  }));
}
