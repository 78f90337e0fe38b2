// A model that runs in this thread: read, put on a device, saved.

import { InvalidArgumentError, NoExecutorError } from "./errors.js";
import { patchTensors, readModel } from "./model.js";
import { Session } from "./session.js";
import { Target } from "./tables.js";
import { DTYPE_NAMES } from "./values.js";
import { WasmDevice } from "./wasm.js";
import { WebGpuDevice } from "./webgpu.js";

/** @typedef {import("./session.js").Step} Step */
/** @typedef {{name: string, inputs: PortInfo[], outputs: PortInfo[]}} SignatureInfo */
/** @typedef {{name: string, dtype: string, shape: (number | string)[], optional: boolean}} PortInfo */
/**
 * @typedef {{
 *   kind: "webgpu" | "wasm", memory?: number, snapshotEvery?: number, hangAfter?: number, gpu?: any,
 *   onEvent?: (event: any) => void
 * }} LocalOptions
 */

export class LocalEngine {
  /**
   * Verifies a file, opens a device and puts the model on it.
   * @param {Uint8Array} bytes
   * @param {LocalOptions} options
   */
  static async open(bytes, options) {
    const model = readModel(bytes, options.memory ? { maxRegionBytes: options.memory } : {});
    const device = await openDevice(model, options);
    try {
      return new LocalEngine(bytes, model, await Session.create(model, { ...options, device }));
    } catch (error) {
      device.close();
      throw error;
    }
  }

  /** @param {Uint8Array} bytes @param {any} model @param {Session} session */
  constructor(bytes, model, session) {
    this.bytes = bytes;
    this.model = model;
    this.session = session;
    this.description = session.device.description;
    this.software = session.device.software;
    this.signatures = describeSignatures(model);
  }

  /**
   * @param {string} name
   * @param {Record<string, any>} inputs
   * @param {boolean} [read]  see `Session.run`
   * @returns {Promise<Step>}
   */
  run(name, inputs, read) {
    return this.session.run(name, inputs, read);
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

  /** The value of a state tensor. @param {string} name @returns {Promise<Uint8Array>} */
  async read(name) {
    const index = this.model.tensors.findIndex((/** @type {any} */ tensor) => tensor.name === name);
    if (index < 0) throw new InvalidArgumentError(`the model has no tensor "${name}".`);
    return this.session.readTensor(index);
  }

  async close() {
    this.session.close();
  }
}

/** @param {any} model @param {LocalOptions} options */
async function openDevice(model, { kind, memory, gpu, hangAfter }) {
  if (kind === "wasm") return new WasmDevice(memory ? { budget: memory } : {});
  if (kind !== "webgpu") throw new NoExecutorError(`device "${kind}" is unknown: pass "auto", "webgpu" or "wasm".`);
  const programs = model.programs.filter((/** @type {any} */ { target }) => target === Target.WGSL);
  const requires = programs.map((/** @type {any} */ program) => program.requires).filter(Boolean);
  return WebGpuDevice.open({
    gpu,
    hangAfter,
    features: requires.flatMap((/** @type {any} */ { features }) => features),
    limits: requires.flatMap((/** @type {any} */ { limits }) => limits),
  });
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
