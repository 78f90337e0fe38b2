// Python in the tab: Tideflow and numpy, measured by peers/python_steps.py inside Pyodide.

const SITE = "/lib/python3.13/site-packages";

/** @param {{kind: string, wheels: string[]}} options */
export async function open({ kind, wheels }) {
  const { loadPyodide } = await import("/pyodide/pyodide.mjs");
  const pyodide = await loadPyodide({ indexURL: "/pyodide/" });
  for (const address of [...wheels, "/made/sources.zip"]) {
    const bytes = new Uint8Array(await (await fetch(address)).arrayBuffer());
    pyodide.unpackArchive(bytes, address.endsWith("whl") ? "wheel" : "zip", { extractDir: SITE });
  }
  pyodide.globals.set("kind", kind);
  await pyodide.runPythonAsync(`
import importlib, json
importlib.invalidate_caches()
from benchmarks.peers.python_steps import Runner
from benchmarks.workloads import BY_NAME
runner = Runner(kind)
opened = runner.open()

def call(method, arguments):
    arguments = json.loads(arguments)
    if method in ("prepare", "first"):
        arguments = [BY_NAME[arguments[0]["name"]]]
    try:
        return json.dumps({"value": getattr(runner, method)(*arguments)})
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:300]})
`);
  const call = pyodide.globals.get("call");
  const remote = (method) => async (...args) => {
    const { value, error } = JSON.parse(await call.callPromising(method, JSON.stringify(args.map((arg) => arg ?? 0))));
    if (error) throw new Error(error);
    return value;
  };
  const version = pyodide.runPython("opened['version']");
  const first = async (workload, file, firstOnly) => remote(firstOnly ? "first" : "prepare")(workload);
  const methods = { prepare: first, measure: remote("measure"), latency: remote("latency") };
  return { version, description: "Pyodide", methods };
}
