// Talks to worker.js: requests as promises, events to one listener, and Stop.

const STOP_SIGNAL = 2; // what Pyodide takes for Ctrl+C
const POLITE = 600; // ms for `fit` to see that it should stop, which it looks for after every batch
const ASK_AGAIN = 400; // ms between two signals
const PATIENCE = 4000; // ms until a Stop that is not obeyed ends the worker

/** What every request of a worker fails with that was ended on purpose. */
export class WorkerEnded extends Error {}

/** One Python worker; a fresh one is started when the old one had to be ended. */
export class PythonClient {
  #worker;
  #interrupt;
  #requests = new Map();
  #next = 1;
  #listener;

  /** @param {(event: object) => void} listener  gets every event of the worker, and {event: "restarting"} */
  constructor(listener) {
    this.#listener = listener;
    this.#begin();
  }

  /** Resolves with versions and times once Python is ready. */
  start() {
    return this.request("start", { interrupt: this.#interrupt?.buffer ?? null });
  }

  /** @param {string} method @param {unknown} [argument] @param {Transferable[]} [transfer] */
  request(method, argument, transfer = []) {
    if (method === "run") this.#interrupt?.fill(0); // here and now: a Stop may come before the worker gets to it
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#requests.set(id, { resolve, reject });
      this.#worker.postMessage({ id, method, argument }, transfer);
    });
  }

  /** True where any Python can be interrupted; elsewhere only `fit`, and what does not stop is ended and restored. */
  get canInterrupt() {
    return this.#interrupt !== undefined;
  }

  /**
   * Asks the running code to stop: first politely, which `fit` obeys between two steps, then as Ctrl+C would.
   * @param {Promise<unknown>} run  the run to stop
   * @returns {Promise<boolean>}  false: the worker did not answer in time and was ended; start again and restore
   */
  async stop(run) {
    const obeyed = run.then(() => true, () => true);
    const within = (time) => Promise.race([obeyed, new Promise((resolve) => setTimeout(() => resolve(false), time))]);
    if (this.#interrupt) this.#interrupt[1] = 1;
    else this.#worker.postMessage({ method: "stop" });
    if (await within(POLITE)) return true;
    for (let waited = 0; this.#interrupt && waited < PATIENCE; waited += ASK_AGAIN) {
      this.#interrupt[0] = STOP_SIGNAL; // again and again: one that hits a destructor is swallowed
      const ended = await within(ASK_AGAIN);
      this.#interrupt[0] = 0; // a signal that came too late must not end the next request
      if (ended) return true;
    }
    this.end();
    return false;
  }

  /** Ends the worker whatever it does, and begins a fresh one; everything asked of the old one fails. */
  end() {
    const reason = new WorkerEnded("stopped");
    this.#worker.terminate();
    for (const { reject } of this.#requests.values()) reject(reason);
    this.#requests.clear();
    this.#listener({ event: "restarting" });
    this.#begin();
  }

  #begin() {
    this.#interrupt = globalThis.crossOriginIsolated ? new Uint8Array(new SharedArrayBuffer(2)) : undefined;
    this.#worker = new Worker("worker.js", { type: "module", name: "python" });
    this.#worker.onmessage = ({ data }) => {
      if (data.event) return this.#listener(data);
      const request = this.#requests.get(data.id);
      this.#requests.delete(data.id);
      if (data.error !== undefined) request?.reject(new Error(data.error));
      else request?.resolve(data.value);
    };
    this.#worker.onerror = (event) => {
      const reason = new Error(event.message || "The Python worker could not be loaded");
      for (const { reject } of this.#requests.values()) reject(reason);
      this.#requests.clear();
    };
  }
}
