// The worker's side: one model, run by messages {id, method, args}; answers {id, result} or {id, error}, and {event}.
// A run is first {id, accepted}: its inputs are right, and what goes wrong from now on is its result's.

import { LocalEngine } from "./local.js";
import { packError } from "./remote.js";

/** @type {LocalEngine | null} */
let engine = null;

/** @type {Record<string, (id: number, ...args: any[]) => Promise<any>>} */
const METHODS = {
  async open(_, bytes, options) {
    engine = await LocalEngine.open(bytes, { ...options, onEvent: sendEvent });
    const { kind, reason, description, software, signatures } = engine;
    return { kind, reason, description, software, signatures };
  },
  async run(id, name, inputs) {
    const step = await current().run(name, inputs, true, (accepted) => postMessage({ id, accepted }));
    return step.read();
  },
  save: () => current().save(),
  read: (_, name) => current().read(name),
  write: (_, name, value) => current().write(name, value),
};

function current() {
  if (!engine) throw new Error("no model is open in this worker");
  return engine;
}

/** @param {any} event */
function sendEvent({ error, ...event }) {
  postMessage({ event: { ...event, error: error && packError(error) } });
}

/** The memory of results, which nobody here needs any more. @param {any} result @returns {ArrayBuffer[]} */
function buffersOf(result) {
  if (ArrayBuffer.isView(result)) return [/** @type {ArrayBuffer} */ (result.buffer)];
  const values = Object.values(result ?? {});
  return [...new Set(values.filter((value) => value?.data).map(({ data }) => data.buffer))];
}

addEventListener("message", async ({ data: { id, method, args } }) => {
  try {
    const result = await METHODS[method](id, ...args);
    postMessage({ id, result }, { transfer: buffersOf(result) });
  } catch (error) {
    postMessage({ id, error: packError(error) });
  }
});
