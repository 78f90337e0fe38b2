// The worker that everything but drawing happens in: Python (Pyodide), Tideflow, the JavaScript runtime and the GPU.
//
// Requests from the page: {id, method, argument}; answers: {id, value} or {id, error}. Events to the page: {event, ...}.
// A request may arrive while `fit` runs (it yields to this event loop): only `look` may then enter Python at once, by
// leaving its pixels for the training loop to pick up; everything else waits for its turn.

import { loadPyodide } from "./pyodide/pyodide.mjs";
import * as runtime from "./runtime/index.js";

const PACKAGES = ["numpy", "flatbuffers", "tideflow"];
let python = null; // the page module, see python/page.py
let busy = Promise.resolve();
let running = false;
let stopFlag = new Uint8Array(2); // [Pyodide's interrupt, please stop]
let isolated = false; // then the page shares the flags, and resets them
let waiting; // pixels to look at while a run is going on

const send = (event, fields = {}) => postMessage({ event, ...fields });

const methods = {
  /** @param {{interrupt: SharedArrayBuffer | null}} argument */
  async start({ interrupt }) {
    const begun = performance.now();
    send("loading", { text: "Starting Python" });
    const gpu = runtime.preparePython(); // opens the GPU while Python loads
    const pyodide = await loadPyodide({ indexURL: new URL("pyodide/", self.location.href).href });
    pyodide.setStdout({ batched: (text) => send("printed", { text }) });
    pyodide.setStderr({ batched: (text) => send("printed", { text }) });
    send("loading", { text: "Loading numpy and Tideflow" });
    pyodide.registerJsModule("tideflow_runtime", runtime);
    pyodide.registerJsModule("page_host", {
      send: sendFromPython, take_waiting: takeWaiting, stop_asked: () => stopFlag[1] !== 0, breathe,
    });
    await pyodide.loadPackage(PACKAGES, { messageCallback: () => {} });
    for (const name of ["python/page.py", "assets/digits/digits.npz"]) {
      pyodide.FS.writeFile(`/home/pyodide/${name.split("/").at(-1)}`, await bytesOf(name));
    }
    send("loading", { text: "Importing Tideflow" });
    if (interrupt) {
      stopFlag = new Uint8Array(interrupt);
      isolated = true;
      pyodide.setInterruptBuffer(stopFlag.subarray(0, 1));
    }
    await gpu;
    pyodide.pyimport("numpy").destroy();
    const importing = performance.now();
    pyodide.pyimport("tideflow").destroy();
    const importSeconds = (performance.now() - importing) / 1000;
    python = pyodide.pyimport("page");
    const about = plain(await python.about.callPromising());
    return { ...about, importSeconds, seconds: (performance.now() - begun) / 1000, pyodide: pyodide.version };
  },

  /** Runs the code of the editor. @param {{code: string, device: string, snapshots: boolean}} argument */
  async run({ code, device, snapshots }) {
    try {
      return plain(await python.run(code, device, snapshots));
    } finally {
      running = false;
      waiting = undefined;
    }
  },

  async look(pixels) {
    return plain(await python.look.callPromising(pixels));
  },

  async testDigits() {
    return plain(await python.test_digits.callPromising());
  },

  async save() {
    return plain(await python.save.callPromising());
  },

  async restore(bytes) {
    return plain(await python.restore.callPromising(bytes));
  },
};

onmessage = async ({ data: { id, method, argument } }) => {
  if (method === "stop") {
    stopFlag[1] = 1;
    return;
  }
  if (method === "run") {
    running = true; // at once: what comes before it is this run's turn is for this run
    if (!isolated) stopFlag[1] = 0;
  }
  if (method === "look" && running) {
    waiting = argument;
    return postMessage({ id, value: null });
  }
  busy = busy.then(async () => {
    try {
      postMessage({ id, value: await methods[method](argument) });
    } catch (error) {
      postMessage({ id, error: shorten(error) });
    }
  });
};

/** Pyodide's messages carry the whole trace; its end is what a person needs. */
function shorten(error) {
  const text = String(error?.message ?? error).trim();
  return text.length > 4000 ? `…${text.slice(-4000)}` : text;
}

function sendFromPython(event, fields) {
  send(event, plain(fields));
}

/** Resolves after the messages that have come in: a timer would wait for at least 4 ms. */
function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function takeWaiting() {
  const pixels = waiting;
  waiting = undefined; // None in Python; null would be a JsNull
  return pixels;
}

/** Dicts become objects, buffers become typed arrays; nothing keeps a Python object alive. */
function plain(value) {
  if (!value?.toJs) return value;
  const result = value.toJs({ dict_converter: Object.fromEntries, create_pyproxies: false });
  value.destroy();
  return result;
}

async function bytesOf(name) {
  const response = await fetch(new URL(name, self.location.href));
  if (!response.ok) throw new Error(`${name}: the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
