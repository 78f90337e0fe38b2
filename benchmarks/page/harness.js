// Runs one contender in one page. The driver (browser.py) keeps a page per contender and lets them measure in turn.

import { sample, values } from "./data.js";
import { followMemory, memory, startCounting, stopCounting } from "./hooks.js";

followMemory();

const now = () => performance.now();
const FEWEST_CHECKED = 3;
const PATIENCE = 5000; // milliseconds of checked steps
const LIBRARIES = ["tideflow", "tfjs", "jax", "ort", "pyodide", "peak"];
let contender = null;
let running = null;

/** Loads a library and opens its device. */
async function open({ library, ...options }) {
  const begun = now();
  if (!LIBRARIES.includes(library)) throw new Error(`no contender is called ${library}`);
  const module = await import(`./${library}.js`);
  contender = await module.open(options);
  return { ms: now() - begun, version: contender.version, description: contender.description };
}

/** Builds a workload, runs its first step, then as many as are checked. */
async function prepare(workload, file, firstOnly = false) {
  const arrays = {};
  for (const spec of [...workload.params, ...workload.inputs]) arrays[spec.name] = values(spec);
  const bytes = file ? new Uint8Array(await (await fetch(file)).arrayBuffer()) : null;
  const begun = now();
  running = await contender.prepare(workload, arrays, bytes);
  const built = now() - begun;
  const first = await once();
  const firstMs = now() - begun;
  if (firstOnly) return { firstMs };
  return { builtMs: built, firstMs, work: running.work, ...await check(workload, first) };
}

async function once() {
  await running.beforeChecked?.();
  await running.step();
  return running.result();
}

/** What came out, and about how long a step takes. A slow one need not take all steps. */
async function check({ kind, checkedSteps }, first) {
  if (kind === "compute" || kind === "infer")
    return { check: { sample: sample(running.arrange?.(first) ?? first) }, stepMs: 0 };
  const begun = now();
  const results = [first];
  const patient = () => results.length < FEWEST_CHECKED || now() - begun < PATIENCE;
  while (results.length < checkedSteps && patient()) results.push(await once());
  const stepMs = (now() - begun) / (results.length - 1);
  const losses = () => ({ losses: results.map(([loss]) => loss) });
  return { check: kind === "train" ? losses() : { sample: sample(results.at(-1)), steps: results.length }, stepMs };
}

/** Milliseconds per step: steps for about `budget` ms, one result read at the end. */
async function measure(budget, known) {
  const count = Math.max(1, Math.min(2000, Math.round(budget / (known || budget))));
  const begun = now();
  for (let i = 0; i < count; i++) {
    const going = running.step();
    if (going) await going;
  }
  await running.result();
  return { ms: (now() - begun) / count, count };
}

/** Milliseconds of single steps, each with its result read. */
async function latency(budget) {
  const times = [];
  const end = now() + budget;
  do {
    const begun = now();
    await running.step();
    await running.result();
    times.push(now() - begun);
  } while (now() < end && times.length < 50);
  return times;
}

/** What one step asks of WebGPU (of a worker nothing is seen), the mean of a few; one alone was run often enough. */
async function count(steps) {
  if (!running) return { memory: memory() };
  for (let i = 0; steps > 1 && i < steps; i++) await running.step(); // pools have by then what this many steps need
  await running.result();
  startCounting();
  for (let i = 0; i < steps; i++) await running.step();
  await running.flush?.();
  const { readBack, ...found } = stopCounting();
  startCounting();
  await running.result();
  const atEnd = stopCounting();
  for (const name of Object.keys(found)) found[name] = (found[name] + (running.flush ? 0 : atEnd[name])) / steps;
  return { ...found, readBack: readBack / steps + atEnd.readBack, memory: memory() };
}

/** Milliseconds from navigation until the first training step was read. */
async function startUp({ options, workload, file }) {
  await open(options);
  await (contender.methods?.prepare ?? prepare)(workload, file, true);
  return now();
}

const methods = { open, startUp, prepare, measure, latency, count, memory: async () => memory() };

/** Starts a call; the driver polls `answer`, so that it can give up a page that never answers. */
globalThis.bench = {
  answer: null,
  start(method, ...args) {
    this.answer = null;
    (contender?.methods?.[method] ?? methods[method])(...args).then(
      (value) => { this.answer = { value: value ?? null }; },
      (error) => { this.answer = { error: String(error?.message ?? error).slice(0, 600), stack: String(error?.stack ?? "").slice(0, 1200) }; },
    );
  },
};

if (location.hash) globalThis.bench.start("startUp", JSON.parse(decodeURIComponent(location.hash.slice(1))));
