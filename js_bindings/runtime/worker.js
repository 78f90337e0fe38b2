// The worker's side: one model, run by messages {id, method, args}; answers {id, result} or {id, error}, and {event}.

import { LocalEngine } from "./local.js";
import { packError } from "./remote.js";

/** @type {LocalEngine | null} */
let engine = null;

/** @type {Record<string, (...args: any[]) => Promise<any>>} */
const METHODS = {
  async open(bytes, options) {
    engine = await LocalEngine.open(bytes, { ...options, onEvent: (event) => postMessage({ event }) });
    const { description, software, signatures } = engine;
    return { description, software, signatures };
  },
  async run(name, inputs) {
    const step = await current().run(name, inputs, true);
    return { number: step.number, values: await step.read() };
  },
  save: () => current().save(),
  read: (name) => current().read(name),
  close: () => current().close(),
};

function current() {
  if (!engine) throw new Error("no model is open in this worker");
  return engine;
}

addEventListener("message", async ({ data: { id, method, args } }) => {
  try {
    postMessage({ id, result: await METHODS[method](...args) });
  } catch (error) {
    postMessage({ id, error: packError(error) });
  }
});
