// Runs a Python script under Pyodide in Node: the same interpreter, numpy and package as in the tab, without a browser.
//
//     node tools/pyodide_run.mjs [--wheel dist/tideflow-*.whl] [--no-package] script.py [arguments]
//
// Without --wheel the package is the working tree, copied into Pyodide's file system. The repository is mounted at /repo,
// the folder of the script is the current one. `python tools/fetch.py` must have filled .cache/wheels.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const REPOSITORY = dirname(dirname(fileURLToPath(import.meta.url)));
const WHEELS = join(REPOSITORY, ".cache", "wheels");
const SITE_PACKAGES = "/lib/python3.13/site-packages";
const ROOTS = { "": "core", gpu_wgsl: "gpu_wgsl", wasm: "wasm", js_bindings: "js_bindings" };
// Errors are printed by Python itself: one that crosses into JavaScript brings megabytes of Pyodide's source with it.
const RUNNER = `
async def run(source, filename):
    import sys, traceback
    from pyodide.code import eval_code_async
    try:
        await eval_code_async(source, {"__name__": "__main__", "__file__": filename}, filename=filename)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
run`;

/** Copies a folder into Pyodide's file system, without caches. */
function copyTree(FS, source, target) {
  FS.mkdirTree(target);
  for (const name of readdirSync(source)) {
    if (name === "__pycache__" || name.startsWith(".")) continue;
    const from = join(source, name);
    if (statSync(from).isDirectory()) copyTree(FS, from, `${target}/${name}`);
    else FS.writeFile(`${target}/${name}`, new Uint8Array(readFileSync(from)));
  }
}

function unpack(pyodide, path) {
  pyodide.unpackArchive(new Uint8Array(readFileSync(path)), "wheel", { extractDir: SITE_PACKAGES });
}

/** Makes an interpreter with numpy, flatbuffers and, unless told otherwise, tideflow. */
export async function makePyodide({ wheel = null, withPackage = true } = {}) {
  const { loadPyodide } = await import(join(REPOSITORY, "node_modules", "pyodide", "pyodide.mjs"));
  const pyodide = await loadPyodide({ indexURL: join(REPOSITORY, "node_modules", "pyodide") });
  if (!existsSync(WHEELS)) throw new Error(".cache/wheels is missing: run `python tools/fetch.py` first");
  for (const name of readdirSync(WHEELS)) {
    if (name.endsWith(".whl")) unpack(pyodide, join(WHEELS, name));
  }
  if (wheel) unpack(pyodide, resolve(wheel));
  else if (withPackage) {
    for (const [name, root] of Object.entries(ROOTS)) {
      copyTree(pyodide.FS, join(REPOSITORY, root), `${SITE_PACKAGES}/tideflow${name && "/" + name}`);
    }
  }
  pyodide.runPython("import importlib; importlib.invalidate_caches()");
  pyodide.FS.mkdirTree("/repo");
  pyodide.mountNodeFS("/repo", REPOSITORY);
  return pyodide;
}

async function main(argv) {
  const options = {};
  while (argv[0]?.startsWith("--")) {
    const option = argv.shift();
    if (option === "--wheel") options.wheel = argv.shift();
    else if (option === "--no-package") options.withPackage = false;
    else throw new Error(`unknown option ${option}; known: --wheel FILE, --no-package`);
  }
  const script = argv[0] && resolve(argv[0]);
  if (!script || !existsSync(script)) throw new Error("usage: node tools/pyodide_run.mjs [--wheel FILE] script.py [arguments]");
  const pyodide = await makePyodide(options);
  const inside = script.startsWith(REPOSITORY + sep);
  const folder = inside ? `/repo/${relative(REPOSITORY, dirname(script)).split(sep).join("/")}` : "/script";
  if (!inside) {
    pyodide.FS.mkdirTree(folder);
    pyodide.mountNodeFS(folder, dirname(script));
  }
  const filename = `${folder}/${basename(script)}`;
  pyodide.globals.set("_argv", pyodide.toPy([filename, ...argv.slice(1)]));
  pyodide.runPython("import os, sys; sys.argv = _argv; del _argv");
  pyodide.runPython(`os.chdir(${JSON.stringify(folder)}); sys.path.insert(0, ${JSON.stringify(folder)})`);
  const run = pyodide.runPython(RUNNER);
  return run(readFileSync(script, "utf8"), filename);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const fail = (error) => {
    console.error(String(error?.message ?? error).slice(-6000));
    process.exit(1);
  };
  process.on("uncaughtException", fail);
  main(process.argv.slice(2)).then((code) => process.exit(code), fail); // exit: Pyodide may keep handles open
}
