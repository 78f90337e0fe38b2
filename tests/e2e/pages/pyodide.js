// Starts Python in a real browser with the working tree as its package; tests/e2e/test_browser_device.py runs code in it.

import { loadPyodide } from "/node_modules/pyodide/pyodide.mjs";
import * as runtime from "/js_bindings/runtime/index.js";
import { count } from "./count.js";

const SITE_PACKAGES = "/lib/python3.13/site-packages";

async function start(archives) {
  const pyodide = await loadPyodide({ indexURL: "/node_modules/pyodide/" });
  for (const address of archives) {
    const bytes = new Uint8Array(await (await fetch(address)).arrayBuffer());
    pyodide.unpackArchive(bytes, "zip", { extractDir: SITE_PACKAGES });
  }
  await runtime.preparePython();
  pyodide.registerJsModule("tideflow_runtime", runtime);
  globalThis.run = async (code) => pyodide.runPythonAsync(code);
  globalThis.runNow = (code) => pyodide.runPython(code);
  globalThis.count = count;
  globalThis.loseDevice = () => {
    const { gpu } = runtime.preparedForPython().device;
    gpu.destroy();
    return gpu.lost.then(() => {});
  };
}

globalThis.start = start;
