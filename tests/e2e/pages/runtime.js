// What tests/e2e/test_runtime.py calls in a real browser: sessions on the hand-made model, WebGPU's methods counted.

import { load } from "/js_bindings/runtime/index.js";
import { Session } from "/js_bindings/runtime/session.js";
import { WebGpuDevice } from "/js_bindings/runtime/webgpu.js";
import { trainModel } from "/tests/js/helpers/models.js";
import { count } from "./count.js";

async function open(options = {}) {
  const events = [];
  const device = await WebGpuDevice.open(options);
  const session = await Session.create(trainModel(), { device, onEvent: (event) => events.push(event), ...options });
  return { device, session, events };
}

const run = async (session, x, rate) => {
  const { y } = await (await session.run("train_step", { x: Float32Array.from(x), learning_rate: rate })).read();
  return [...y.data];
};

export const steps = async () => {
  const { device, session } = await open();
  const results = [await run(session, [1, 2, 3], 0.5), await run(session, [1], 2)];
  return { results, description: device.description, software: device.software };
};

export const counts = async () => {
  const { session } = await open({ snapshotEvery: 1e9 });
  await run(session, [1, 2, 3], 0.5);
  const calls = count();
  await run(session, [4, 5, 6], 0.25);
  return calls;
};

export const restore = async () => {
  const { device, session, events } = await open({ snapshotEvery: 1e9 });
  await run(session, [1], 1);
  await session.snapshot();
  await run(session, [1], 1);
  device.device.destroy();
  const after = await run(session, [0], 1);
  const step = session.steps;
  session.close();
  return { after, step, events: events.map(({ type, step, lost }) => ({ type, step, lost })) };
};

export const loop = async () => {
  const model = trainModel();
  const [, program] = model.programs;
  program.kernels.push({
    name: "iterate",
    entry: "main",
    bindings: 1,
    code: new TextEncoder().encode(`
    @group(0) @binding(0) var<storage, read_write> w: array<f32>;
    @group(0) @binding(2) var<uniform> outer: u32;
    @group(0) @binding(3) var<uniform> inner: u32;
    @compute @workgroup_size(1) fn main() { w[0] += f32(outer * 10u + inner); }`),
  });
  const empty = { regions: [], grid: [], uniforms: [], scalars: [], flops: 0, writes: 0, count: 0, body: 0, kernel: 0 };
  program.steps = [
    { ...empty, kind: 1, count: 9, body: 2 },
    { ...empty, kind: 1, count: 2, body: 1 },
    { ...empty, kind: 0, kernel: 2, regions: [3], grid: [8], writes: 1 },
    ...program.steps,
  ];
  const device = await WebGpuDevice.open();
  const session = await Session.create(model, { device });
  return run(session, [0], 1);
};

export const broken = async () => {
  const model = trainModel();
  model.programs[1].kernels[1].code = new TextEncoder().encode("fn main() { let x: f32 = 1u; }");
  const session = await Session.create(model, { device: await WebGpuDevice.open() });
  return run(session, [1], 1).catch((error) => `${error.name}: ${error.message}`);
};

export const auto = async (options) => {
  const model = await load("/tests/js/data/step.tide", options);
  const values = [];
  for (const rate of [0.5, 1]) {
    const x = { data: Float32Array.of(0, 1, 2, 3), shape: [1, 4] };
    values.push([...(await model.run("step", { x, learning_rate: rate })).y.data]);
  }
  const saved = (await model.save()).length;
  await model.close();
  return { device: model.device, values, saved };
};

globalThis.runtime = { auto, steps, counts, restore, loop, broken };
