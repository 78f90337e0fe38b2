// Python in the tab: Tideflow and numpy, measured by peers/python_steps.py inside Pyodide, loaded as the site loads it.

const SITE = "/lib/python3.13/site-packages";

/** @param {{kind: string, device: string}} options */
export async function open({ kind, device }) {
  const ours = kind.startsWith("tideflow");
  const sources = fetch("/made/sources.zip").then((response) => response.arrayBuffer());
  const { loadPyodide } = await import("/pyodide/pyodide.mjs");
  const runtime = ours ? await import("/runtime/index.js") : null;
  const gpu = device === "gpu" ? runtime.preparePython() : null; // opens the GPU while Python loads
  const pyodide = await loadPyodide({ indexURL: "/pyodide/" });
  if (runtime) pyodide.registerJsModule("tideflow_runtime", runtime);
  await pyodide.loadPackage(ours ? ["numpy", "flatbuffers", "tideflow"] : ["numpy"], { messageCallback: () => {} });
  pyodide.unpackArchive(await sources, "zip", { extractDir: SITE });
  await gpu;
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
  const methods = { prepare: first, measure: remote("measure"), latency: remote("latency"), overhead: remote("overhead") };
  return { version, description: "Pyodide", methods };
}
