// A model that runs in a worker: the page's thread only posts messages, and ends a worker that does not answer.

import * as errors from "./errors.js";
import { Patience } from "./patience.js";
import { Step } from "./results.js";

/**
 * Accept: called when a run's inputs were found right
 * @typedef {{
 *   resolve: (value: any) => void, reject: (error: Error) => void, accept: (number: number) => void, timer: any,
 *   start: number
 * }} Waiting
 */

const MOST_IN_FLIGHT = 2;
const OPENING = 300000; // milliseconds

export class RemoteEngine {
  /**
   * Opens a file in a worker of its own.
   * @param {Uint8Array} bytes
   * @param {import("./local.js").LocalOptions & {signal?: AbortSignal, own?: boolean}} options  own: nobody else needs
   *   the bytes, so they move instead of being copied
   * @param {Worker} worker
   */
  static async open(bytes, { onEvent = () => {}, signal, own = false, ...options }, worker) {
    const engine = new RemoteEngine(worker, options.hangAfter ?? 20000, onEvent);
    const abort = () => engine.end(new errors.TideflowError("loading was aborted."));
    signal?.addEventListener("abort", abort);
    try {
      const file = own && bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice();
      Object.assign(engine, await engine.call("open", [file, options], [file.buffer]));
    } catch (error) {
      engine.worker.terminate();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    return engine;
  }

  /** @param {Worker} worker @param {number} hangAfter @param {(event: any) => void} onEvent */
  constructor(worker, hangAfter, onEvent) {
    this.worker = worker;
    this.patience = new Patience(hangAfter);
    this.onEvent = onEvent;
    /** @type {"webgpu" | "wasm"} */
    this.kind = "wasm";
    this.reason = "";
    this.description = "";
    this.software = true;
    /** @type {import("./local.js").SignatureInfo[]} */
    this.signatures = [];
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    /** @type {Error | null} */
    this.failure = null;
    this.next = 0;
    worker.onmessage = ({ data }) => this.answered(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.end(new errors.TideflowError(`the worker failed: ${event.message ?? "it could not be loaded"}`));
    };
  }

  /** @param {{id: number, accepted?: number, result: any, error: any, event: any}} message */
  answered({ id, accepted, result, error, event }) {
    if (event) {
      this.onEvent({ ...event, error: event.error && unpackError(event.error) });
      return;
    }
    const call = this.waiting.get(id);
    if (!call) return;
    if (accepted !== undefined) {
      call.accept(accepted);
      return;
    }
    this.waiting.delete(id);
    clearTimeout(call.timer);
    this.patience.note(performance.now() - call.start);
    if (error) call.reject(unpackError(error));
    else call.resolve(result);
  }

  /**
   * Posts a call. On WASM, one that is unanswered after 20 s plus ten times the usual ends the worker; WebGPU has its own
   * watchdog there. Opening runs nothing of the file and may take minutes.
   * @param {string} method
   * @param {any[]} args
   * @param {Transferable[]} [transfer]
   * @param {(number: number) => void} [accept]
   * @returns {Promise<any>}
   */
  call(method, args, transfer = [], accept = () => {}) {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.next++;
    const patience = method === "open" ? new Patience(OPENING) : this.patience;
    const watched = method === "open" || this.kind === "wasm";
    return new Promise((resolve, reject) => {
      this.worker.postMessage({ id, method, args }, transfer);
      const timer = watched ? setTimeout(() => this.hung(method, patience), patience.milliseconds) : 0;
      this.waiting.set(id, { resolve, reject, accept, timer, start: performance.now() });
    });
  }

  /** @param {string} method @param {Patience} patience */
  hung(method, patience) {
    const error = new errors.DeviceHungError(
      `"${method}" did not answer within ${patience}, so its worker was ended. ` +
        "The WASM module of this file may loop for ever: do not load it again.",
    );
    this.end(error);
    this.onEvent({ type: "hung", message: error.message, error });
  }

  /** Ends the worker; every call, waiting or later, fails with `error`. @param {Error} error */
  end(error) {
    this.failure ??= error;
    this.worker.terminate();
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(this.failure);
    }
    this.waiting.clear();
  }

  /**
   * Resolves when the worker has found the inputs right; they are copied, so the caller may change them at once.
   * @param {string} name
   * @param {Record<string, any>} inputs
   * @returns {Promise<Step>}
   */
  async run(name, inputs) {
    while (this.inFlight.size >= MOST_IN_FLIGHT) await Promise.race(this.inFlight).catch(() => {});
    /** @type {Transferable[]} */
    const transfer = [];
    const packed = packInputs(inputs, transfer);
    let accept = (/** @type {number} */ _) => {};
    const accepted = new Promise((/** @type {(number: number) => void} */ resolve) => {
      accept = resolve;
    });
    const answer = this.call("run", [name, packed], transfer, accept);
    const done = () => {
      this.inFlight.delete(answer);
    };
    this.inFlight.add(answer);
    answer.then(done, done);
    const number = await Promise.race([accepted, answer]);
    return new Step(number, answer);
  }

  /** @returns {Promise<Uint8Array>} */
  save() {
    return this.call("save", []);
  }

  /** @param {string} name @returns {Promise<Uint8Array>} */
  read(name) {
    return this.call("read", [name]);
  }

  /** @param {string} name @param {any} value @returns {Promise<void>} */
  write(name, value) {
    /** @type {Transferable[]} */
    const transfer = [];
    const packed = packInputs(value, transfer);
    return this.call("write", [name, packed], transfer);
  }

  async close() {
    this.end(new errors.DeviceLostError("the model is closed: load it again."));
  }
}

export function startWorker() {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}

/**
 * Copies arrays into memory that can be transferred: a message would take along all memory that a view is a part of.
 * @param {any} value
 * @param {Transferable[]} transfer  gets the new memory
 * @returns {any}
 */
function packInputs(value, transfer) {
  if (ArrayBuffer.isView(value)) {
    const copy = /** @type {any} */ (value).slice();
    transfer.push(copy.buffer);
    return copy;
  }
  if (Array.isArray(value)) return typeof value[0] === "object" ? value.map((part) => packInputs(part, transfer)) : value;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, packInputs(part, transfer)]));
}

/** @param {any} error @returns {any} what survives a message */
export function packError(error) {
  const { name, message, rule, where, why } = error;
  return { name, message, rule, where, why };
}

/** @param {any} packed @returns {Error} */
export function unpackError({ name, message, rule, where, why }) {
  if (name === "ModelError") return new errors.ModelError(rule, where, why);
  const Type = /** @type {Record<string, any>} */ (errors)[name];
  return Type ? new Type(message) : Object.assign(new Error(message), { name });
}
