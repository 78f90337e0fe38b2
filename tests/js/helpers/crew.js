// A crew of Node's worker threads, to run thread.js as it is.

import { Worker as Thread } from "node:worker_threads";

import { Crew } from "../../../js_bindings/runtime/crew.js";

const BOOT = `
import { parentPort, workerData } from "node:worker_threads";
globalThis.postMessage = (message) => parentPort.postMessage(message);
globalThis.addEventListener = (_, listener) => parentPort.on("message", (data) => listener({ data }));
await new Promise((resolve) => setTimeout(resolve, workerData.late));
await import(${JSON.stringify(new URL("../../../js_bindings/runtime/thread.js", import.meta.url).href)});
`;

/** A thread in a worker of Node's, which starts `late` milliseconds later. */
export function startNodeThread(late = 0) {
  const thread = new Thread(new URL(`data:text/javascript,${encodeURIComponent(BOOT)}`), { workerData: { late } });
  const helper = {
    onmessage: null, onerror: null, ended: false, exited: new Promise((resolve) => thread.on("exit", resolve)),
    postMessage: (message) => thread.postMessage(message),
    terminate: () => { helper.ended = true; return thread.terminate(); },
  };
  thread.on("message", (data) => helper.onmessage?.({ data }));
  thread.on("error", (error) => helper.onerror?.({ message: error.message }));
  return helper;
}

/** @param {number} threads @param {(event: any) => void} [onEvent] */
export function openCrew(threads, onEvent) {
  return Crew.open(threads, onEvent, () => startNodeThread());
}
