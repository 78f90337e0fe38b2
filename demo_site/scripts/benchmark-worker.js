// Measures in a worker, so that the page stays responsive: one workload on one device at a time.
//
// From the page: {programs: [{workload, device}], peaks, tolerances}. To the page: {event: "begin" | "result" | "failed" |
// "peak" | "done", ...}.

import { load } from "../runtime/index.js";
import { sample, values } from "../benchmark/data.js";
import * as peakLoops from "../benchmark/peak.js";

const ROUND = 120; // milliseconds
const ROUNDS = 5;
const FOLDER = new URL("../benchmark/", self.location.href);
const SIGNATURES = { compute: "run", adam: "run", train: "train_step", infer: "predict" };
const now = () => performance.now();

onmessage = async ({ data: { programs, peaks, tolerances } }) => {
  const devices = new Set(programs.map(({ device }) => device));
  for (const [name, peak] of Object.entries(peaks)) {
    if (!devices.has(peak.device)) continue;
    try {
      postMessage({ event: "peak", name, value: await measurePeak(peak) });
    } catch (error) {
      postMessage({ event: "peak", name, value: 0, message: error.message });
    }
  }
  for (const { workload, device } of programs) {
    const about = { workload: workload.name, device };
    postMessage({ event: "begin", ...about });
    try {
      postMessage({ event: "result", ...about, ...await measure(workload, device, tolerances) });
    } catch (error) {
      postMessage({ event: "failed", ...about, message: String(error?.message ?? error) });
    }
  }
  postMessage({ event: "done" });
};

async function bytesOf(name) {
  const response = await fetch(new URL(name, FOLDER));
  if (!response.ok) throw new Error(`${name}: the server answered ${response.status}`);
  return response;
}

/** GFLOP/s or GB/s. */
async function measurePeak({ device, file, options }) {
  const { prepare } = await peakLoops.open({ device });
  const module = file ? new Uint8Array(await (await bytesOf(file)).arrayBuffer()) : null;
  const loop = await prepare({ options }, {}, module);
  const times = await steadyTimes(loop, await warmUp(loop), 3);
  return loop.work / Math.min(...times) / 1e6;
}

async function measure(workload, device, tolerances) {
  const packed = (await bytesOf(`${workload.name}.tide.gz`)).body;
  const file = new Uint8Array(await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
  const begun = now();
  const model = await load(file, { device, worker: false });
  try {
    fill(model, workload.params);
    const running = steps(model, workload);
    const firstResult = await running.checked();
    const firstMs = now() - begun;
    const off = await difference(workload, firstResult, running);
    const known = await warmUp(running);
    const times = await steadyTimes(running, known, ROUNDS);
    times.sort((a, b) => a - b);
    const latencyMs = await latency(running);
    const right = off <= (workload.kind === "train" ? tolerances.loss : tolerances.value);
    return { firstMs, steadyMs: times[times.length >> 1], bestMs: times[0], latencyMs, right, off, description: model.device.description };
  } finally {
    await model.close();
  }
}

/** Puts weights and operands where the file has zeros. */
function fill(model, params) {
  const { session } = model.engine;
  for (const spec of params) {
    const index = session.model.tensors.findIndex(({ name }) => name === spec.tensor);
    if (index >= 0 && session.placement.state.has(index)) session.writeTensor(index, new Uint8Array(values(spec).buffer));
  }
}

function steps(model, workload) {
  const signature = SIGNATURES[workload.kind];
  const known = model.signatures.find(({ name }) => name === signature);
  const inputs = {};
  workload.inputs.forEach((spec, i) => {
    inputs[known.inputs[i].name] = { data: values(spec), shape: spec.shape };
  });
  const resets = workload.kind === "train" && model.signatures.some(({ name }) => name === "reset_metrics");
  let last = null;
  const running = {
    async step() {
      last = await model.engine.run(signature, inputs, false);
    },
    async result() {
      const made = await last.read();
      return (made.loss ?? Object.values(made)[0]).data;
    },
    /** A step whose loss is that of this batch alone: Keras reports means since the last reset. */
    async checked() {
      if (resets) await model.run("reset_metrics");
      await running.step();
      return running.result();
    },
  };
  return running;
}

async function difference({ kind, expected, checkedSteps }, first, running) {
  const results = [first];
  while (kind !== "compute" && kind !== "infer" && results.length < checkedSteps) results.push(await running.checked());
  if (kind === "train") return Math.max(...results.map(([loss], i) => Math.abs(loss / expected.losses[i] - 1)));
  const made = sample(results.at(-1));
  return Math.max(...made.map((value, i) => Math.abs(value - expected.sample[i]))) / expected.scale;
}

async function turn(running, count) {
  const begun = now();
  for (let i = 0; i < count; i++) await running.step();
  await running.result();
  return (now() - begun) / count;
}

async function warmUp(running) {
  let known = await turn(running, 1);
  for (let i = 0; i < 2; i++) known = await turn(running, Math.max(1, Math.min(500, Math.round(40 / known))));
  return known;
}

async function steadyTimes(running, known, rounds) {
  const count = Math.max(1, Math.min(2000, Math.round(ROUND / known)));
  const times = [];
  for (let i = 0; i < rounds && (i === 0 || i * count * known < 4 * ROUND * ROUNDS); i++) times.push(await turn(running, count));
  return times;
}

async function latency(running) {
  const times = [];
  const end = now() + ROUND;
  do {
    const begun = now();
    await running.step();
    await running.result();
    times.push(now() - begun);
  } while (now() < end && times.length < 20);
  times.sort((a, b) => a - b);
  return times[times.length >> 1];
}
