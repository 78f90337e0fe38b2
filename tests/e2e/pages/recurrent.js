// Trains a recurrent model from a file, on WebGPU or WebAssembly, in this thread; counts the dispatches of a step.

import { load } from "/js_bindings/runtime/index.js";
import { count, DISPATCHES } from "./count.js";

/** The losses of some steps on one batch, the dispatches of the last, and the saved file. */
export async function train(address, device, { x, y, steps }) {
  const model = await load(address, { device, worker: false, snapshotEvery: 1e9 });
  const batch = {
    x: { data: Float32Array.from(x.data), shape: x.shape },
    y: { data: Float32Array.from(y.data), shape: y.shape },
  };
  const losses = [];
  let calls = {};
  for (let i = 0; i < steps; i++) {
    if (device === "webgpu" && i === steps - 1) calls = count(DISPATCHES);
    losses.push((await (await model.trainStep(batch)).read()).loss.data[0]);
  }
  const counted = { ...calls };
  const saved = Array.from(await model.save());
  await model.close();
  return { losses, calls: counted, saved };
}
