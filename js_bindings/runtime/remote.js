// A model that runs in a worker: the page's thread only posts messages, and ends a worker that does not answer.

import * as errors from "./errors.js";
import { Step } from "./session.js";

/** @typedef {{resolve: (value: any) => void, reject: (error: Error) => void, timer: any, start: number}} Waiting */

const MOST_IN_FLIGHT = 2;
const OPENING = 300000; // milliseconds

export class RemoteEngine {
  /**
   * Starts a worker and opens the file in it.
   * @param {Uint8Array} bytes
   * @param {import("./local.js").LocalOptions & {signal?: AbortSignal}} options
   * @param {() => Worker} [start]
   */
  static async open(bytes, { onEvent = () => {}, signal, ...options }, start = startWorker) {
    const engine = new RemoteEngine(start(), options.hangAfter ?? 20000, onEvent);
    const abort = () => engine.end(new errors.TideflowError("loading was aborted."));
    signal?.addEventListener("abort", abort);
    try {
      Object.assign(engine, await engine.call("open", [bytes, options]));
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
    this.hangAfter = hangAfter;
    this.onEvent = onEvent;
    this.description = "";
    this.software = true;
    /** @type {import("./local.js").SignatureInfo[]} */
    this.signatures = [];
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    /** @type {number[]} */
    this.times = [];
    /** @type {Error | null} */
    this.failure = null;
    this.next = 0;
    this.steps = 0;
    worker.onmessage = ({ data }) => this.answered(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.end(new errors.TideflowError(`the worker failed: ${event.message ?? "it could not be loaded"}`));
    };
  }

  /** @param {{id: number, result: any, error: any, event: any}} message */
  answered({ id, result, error, event }) {
    if (event) {
      this.onEvent(event);
      return;
    }
    const call = this.waiting.get(id);
    if (!call) return;
    this.waiting.delete(id);
    clearTimeout(call.timer);
    this.times = [...this.times.slice(-20), performance.now() - call.start];
    if (error) call.reject(unpackError(error));
    else call.resolve(result);
  }

  /**
   * Posts a call. One that is unanswered after 20 s plus ten times the usual ends the worker; opening runs nothing of the file
   * and may take minutes.
   * @param {string} method
   * @param {any[]} args
   * @returns {Promise<any>}
   */
  call(method, args) {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.next++;
    const median = [...this.times].sort((a, b) => a - b)[this.times.length >> 1] ?? 0;
    const patience = method === "open" ? OPENING : this.hangAfter + 10 * median;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.hung(method, patience), patience);
      this.waiting.set(id, { resolve, reject, timer, start: performance.now() });
      this.worker.postMessage({ id, method, args });
    });
  }

  /** @param {string} method @param {number} patience */
  hung(method, patience) {
    const error = new errors.DeviceHungError(
      `"${method}" did not answer within ${Math.round(patience / 100) / 10} s, so its worker was ended. ` +
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

  /** @param {string} name @param {Record<string, any>} inputs @returns {Promise<Step>} */
  async run(name, inputs) {
    while (this.inFlight.size >= MOST_IN_FLIGHT) await Promise.race(this.inFlight).catch(() => {});
    const answer = this.call("run", [name, inputs]);
    const done = () => {
      this.inFlight.delete(answer);
    };
    this.inFlight.add(answer);
    answer.then(done, done);
    return new Step(
      ++this.steps,
      answer.then(({ values }) => values),
    );
  }

  /** @returns {Promise<Uint8Array>} */
  save() {
    return this.call("save", []);
  }

  /** @param {string} name @returns {Promise<Uint8Array>} */
  read(name) {
    return this.call("read", [name]);
  }

  async close() {
    this.end(new errors.DeviceLostError("the model is closed: load it again."));
  }
}

function startWorker() {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
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
