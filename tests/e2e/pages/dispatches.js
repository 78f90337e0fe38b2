// What one whole training step of a real model asks of WebGPU: the runtime is loaded as an application loads it.

import { load } from "/js_bindings/runtime/index.js";
import { COUNTED, count, DISPATCHES } from "./count.js";

/** Calls of WebGPU's own methods during the second of two steps, and what it gave. */
export async function wholeStep(address, rows, sizes) {
  const model = await load(address, { device: "webgpu", worker: false, snapshotEvery: 1e9 });
  const width = sizes.reduce((a, b) => a * b, 1);
  const batch = {
    x: { data: Float32Array.from({ length: rows * width }, (_, i) => (i % 17) / 16), shape: [rows, ...sizes] },
    y: Int32Array.from({ length: rows }, (_, i) => i % 10),
  };
  await (await model.trainStep(batch)).read();
  const { placement } = model.engine.session;
  for (const index of placement.prepared.keys()) await (await placement.load(index)).ready; // not by chance meanwhile
  const calls = count([...COUNTED, ...DISPATCHES]);
  const step = await model.trainStep(batch);
  const made = { ...calls };
  const { loss } = await step.read();
  await model.close();
  return { calls: made, loss: loss.data[0] };
}
