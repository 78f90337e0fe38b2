// A browser's `Worker` made of Node's worker thread, to run worker.js as it is.

import { Worker as Thread } from "node:worker_threads";

const WORKER = new URL("../../../js_bindings/runtime/worker.js", import.meta.url);
const BOOT = `
import { parentPort } from "node:worker_threads";
globalThis.postMessage = (message, options) => parentPort.postMessage(message, options?.transfer);
globalThis.addEventListener = (_, listener) => parentPort.on("message", (data) => listener({ data }));
await import(${JSON.stringify(WORKER.href)});
parentPort.postMessage({ id: -1 });
`;

export function startThread() {
  const thread = new Thread(new URL(`data:text/javascript,${encodeURIComponent(BOOT)}`));
  const worker = {
    onmessage: null, onerror: null, ended: false,
    postMessage: (message, transfer) => thread.postMessage(message, transfer),
    terminate: () => { worker.ended = true; thread.terminate(); },
  };
  thread.on("message", (data) => worker.onmessage?.({ data }));
  thread.on("error", (error) => worker.onerror?.({ message: error.message }));
  return worker;
}
