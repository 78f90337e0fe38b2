// The runtime: loads a `model.tide`, predicts and trains, without Python, without dependencies, without a build step.
//
//   import { load } from "./tideflow/index.js";
//   const model = await load("model.tide", { onProgress: ({ loaded, total }) => … });
//   const { data } = await model.predict(pixels);
//   const step = await model.trainStep({ x, y, learning_rate: 1e-3 });      // waits only while two steps are under way
//   const { loss } = await step.read();
//   const file = await model.save();

import { InvalidArgumentError, TideflowError } from "./errors.js";
import { LocalEngine } from "./local.js";
import { RemoteEngine, startWorker } from "./remote.js";

export * from "./errors.js";
export { readModel } from "./model.js";
export { PythonDevice, preparedForPython, preparePython } from "./python.js";

/** @typedef {import("./results.js").Step} Step */
/** @typedef {import("./results.js").Value} Value */
/**
 * @typedef {object} LoadOptions
 * @property {"auto" | "webgpu" | "wasm"} [device]  "auto": WebGPU on a real GPU, else WASM
 * @property {AbortSignal} [signal]
 * @property {(progress: {loaded: number, total: number}) => void} [onProgress]  total 0: unknown
 * @property {boolean} [worker]  false: in this thread, and not in a worker of its own
 * @property {number} [memory]  the most bytes of regions, state and WASM memory
 * @property {number | "auto"} [threads]  for WASM programs, at most 16; "auto": one for each core, at most 8
 * @property {number} [snapshotEvery]  milliseconds between copies of the state against device loss
 * @property {number} [hangAfter]  milliseconds until a step counts as hung
 * @property {any} [gpu]  instead of navigator.gpu; implies `worker: false`
 */

/** A loaded model. Events: "lost", "restored" {step, lost}, "hung", "failed", "threads"; their `detail` says more. */
export class Model extends EventTarget {
  /** @param {LocalEngine | RemoteEngine} engine */
  constructor(engine) {
    super();
    this.engine = engine;
    const { kind, reason, description, software } = engine;
    /** Where the model runs and why. */
    this.device = { kind, reason, description, software, worker: engine instanceof RemoteEngine };
    /** The entry points with the names, dtypes and shapes of what they take and give. */
    this.signatures = engine.signatures;
  }

  /**
   * The outputs for one batch: the only one, or all by name.
   * @param {any} inputs  the first input's value, or an object by input name
   * @returns {Promise<any>}
   */
  async predict(inputs) {
    const outputs = await this.run("predict", inputs);
    const names = Object.keys(outputs);
    return names.length === 1 ? outputs[names[0]] : outputs;
  }

  /**
   * One optimizer step. Resolves when it is accepted; `read()` of the result gives loss and metrics.
   * @param {Record<string, any>} inputs
   * @returns {Promise<Step>}
   */
  async trainStep(inputs) {
    return this.engine.run("train_step", this.#inputs("train_step", inputs));
  }

  /**
   * Loss and metrics over all batches since `reset_metrics`.
   * @param {Record<string, any>} inputs
   * @returns {Promise<Record<string, Value>>}
   */
  evaluate(inputs) {
    return this.run("evaluate", inputs);
  }

  /**
   * Runs any signature and reads its outputs.
   * @param {string} signature
   * @param {any} [inputs]
   * @returns {Promise<Record<string, Value>>}
   */
  async run(signature, inputs = {}) {
    return (await this.engine.run(signature, this.#inputs(signature, inputs), true)).read();
  }

  /** The whole file with the present state. @returns {Promise<Uint8Array>} */
  save() {
    return this.engine.save();
  }

  /** The bytes of one state tensor. @param {string} name @returns {Promise<Uint8Array>} */
  readTensor(name) {
    return this.engine.read(name);
  }

  /**
   * Sets a state tensor: a weight, an optimizer's slot, a counter. Runs accepted later see it.
   * @param {string} name
   * @param {any} value  its elements, in any form that an input may have; or the bytes that `readTensor` gave
   * @returns {Promise<void>}
   */
  writeTensor(name, value) {
    return this.engine.write(name, value);
  }

  /** Frees the device. */
  close() {
    return this.engine.close();
  }

  /** @param {string} name @param {any} value @returns {Record<string, any>} */
  #inputs(name, value) {
    const plain =
      value && typeof value === "object" && !Array.isArray(value) && !ArrayBuffer.isView(value) && !("data" in value);
    if (plain) return value;
    const first = this.signatures.find((signature) => signature.name === name)?.inputs[0];
    return first ? { [first.name]: value } : {};
  }
}

/**
 * Loads a model from an address or from bytes and puts it on a device.
 * @param {string | URL | Uint8Array | ArrayBuffer} source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(source, options = {}) {
  const { signal, onProgress = () => {}, device = "auto", worker, gpu, memory, snapshotEvery, hangAfter } = options;
  const { threads = 1 } = options;
  if (!(threads === "auto" || (Number.isInteger(threads) && threads > 0)))
    throw new InvalidArgumentError(`threads is ${threads}: pass a whole number from 1, or "auto".`);
  if (!["auto", "webgpu", "wasm"].includes(device))
    throw new InvalidArgumentError(`device "${device}" is unknown: pass "auto", "webgpu" or "wasm".`);
  const bytes = await bytesFrom(source, signal, onProgress);
  signal?.throwIfAborted();
  /** @type {Model | null} */
  let model = null;
  const onEvent = (/** @type {any} */ event) => model?.dispatchEvent(new CustomEvent(event.type, { detail: event }));
  const settings = { device, memory, snapshotEvery, hangAfter, threads, onEvent };
  const { started, refusal } = worker === false || gpu ? { started: null, refusal: "" } : tryWorker(worker);
  const engine = started
    ? await RemoteEngine.open(bytes, { ...settings, signal, own: isAddress(source) }, started)
    : await LocalEngine.open(bytes, { ...settings, gpu });
  if (refusal) engine.reason += refusal;
  model = new Model(engine);
  return model;
}

/**
 * Starts a worker where there are any; a runtime that comes from another origin than the page may not.
 * @param {boolean | undefined} wanted
 * @returns {{started: Worker | null, refusal: string}}
 */
function tryWorker(wanted) {
  if (typeof Worker === "undefined") return { started: null, refusal: "" };
  try {
    return { started: startWorker(), refusal: "" };
  } catch (error) {
    const refusal = `in this thread: no worker can be started (${error.message})`;
    if (wanted) throw new TideflowError(`${refusal}.`);
    return { started: null, refusal: `; ${refusal}` };
  }
}

/** @param {any} source @returns {source is string | URL} */
function isAddress(source) {
  return typeof source === "string" || source instanceof URL;
}

/**
 * @param {string | URL | Uint8Array | ArrayBuffer} source
 * @param {AbortSignal | undefined} signal
 * @param {(progress: {loaded: number, total: number}) => void} onProgress
 * @returns {Promise<Uint8Array>}
 */
async function bytesFrom(source, signal, onProgress) {
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source))
    return new Uint8Array(/** @type {ArrayBuffer} */ (source.buffer), source.byteOffset, source.byteLength);
  if (!isAddress(source))
    throw new InvalidArgumentError(`load: received ${source === null ? "null" : typeof source}; pass an address or bytes.`);
  try {
    return await download(source, signal, onProgress);
  } catch (error) {
    if (error instanceof TideflowError || signal?.aborted) throw error;
    throw new TideflowError(`${source}: the download failed: ${error.message}. Check the address and the connection.`);
  }
}

/**
 * @param {string | URL} source
 * @param {AbortSignal | undefined} signal
 * @param {(progress: {loaded: number, total: number}) => void} onProgress
 * @returns {Promise<Uint8Array>}
 */
async function download(source, signal, onProgress) {
  const response = await fetch(source, { signal });
  if (!response.ok || !response.body)
    throw new TideflowError(`${source}: the server answered ${response.status} ${response.statusText}.`);
  const total = response.headers.has("content-encoding") ? 0 : Number(response.headers.get("content-length") ?? 0);
  const parts = [];
  let loaded = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    onProgress({ loaded, total });
  }
  const bytes = new Uint8Array(loaded);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
