import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "../../js_bindings/runtime/index.js";
import { Session } from "../../js_bindings/runtime/session.js";
import { WebGpuDevice } from "../../js_bindings/runtime/webgpu.js";
import { fakeGpu } from "./helpers/fake_gpu.js";
import { make, trainModel } from "./helpers/models.js";
import { readFileSync } from "node:fs";

const file = () => new Uint8Array(readFileSync(new URL("./data/step.tide", import.meta.url)));
const open = async (fake, { model = trainModel(), ...options } = {}) => {
  const device = await WebGpuDevice.open({ gpu: fake.gpu, ...options });
  return Session.create(model, { device, snapshotEvery: 1e9, idle: 1e9, ...options });
};
const x = Float32Array.of(1, 2, 3);

test("a second step is one encoder and one submit, and creates nothing", async () => {
  const fake = fakeGpu();
  const session = await open(fake);
  await (await session.run("train_step", { x })).read();
  const before = { ...fake.calls };
  await (await session.run("train_step", { x })).read();
  for (const name of Object.keys(before)) before[name] = fake.calls[name] - before[name];
  assert.deepEqual(before, {
    createBuffer: 0,
    createBindGroupLayout: 0,
    createComputePipelineAsync: 0,
    createBindGroup: 0,
    writeBuffer: 2,
    createCommandEncoder: 1,
    submit: 1,
  });
});

test("bindings: storage read_write in order, then the slot; a slot holds sizes, then scalars", async () => {
  const fake = fakeGpu();
  const session = await open(fake);
  await session.run("train_step", { x, learning_rate: 0.5 });
  const [scale, count] = fake.last.dispatches;
  assert.deepEqual(
    scale.set.layout.entries.map(({ binding, buffer }) => [binding, buffer.type]),
    [
      [0, "storage"],
      [1, "storage"],
      [2, "storage"],
      [3, "uniform"],
    ],
  );
  const [, state, , slot] = scale.set.entries;
  assert.deepEqual([state.resource.offset, state.resource.size], [512, 4]);
  const words = new Uint32Array(slot.resource.buffer.bytes.buffer, slot.resource.offset, 2);
  assert.deepEqual([words[0], new Float32Array(words.buffer, words.byteOffset)[1]], [3, 0.5]);
  assert.deepEqual(
    [count.grid, scale.grid],
    [
      [1, 1, 1],
      [1, 1, 1],
    ],
  );
  assert.equal(count.set.entries[0].resource.buffer, state.resource.buffer);
});

test("a step with an empty grid is skipped, loops are unrolled with dynamic offsets", async () => {
  const model = trainModel();
  const [scale, count] = model.programs[1].steps;
  model.programs[1].steps = [
    { ...scale, grid: [0] },
    make.step({ kind: 1, count: 9, body: 2 }),
    make.step({ kind: 1, count: 2, body: 1 }),
    count,
  ];
  const fake = fakeGpu();
  await (await open(fake, { model })).run("train_step", { x });
  assert.deepEqual(
    fake.last.dispatches.map(({ offsets }) => offsets),
    [0, 1].flatMap((i) => [0, 1, 2, 3].map((j) => [i * 256, j * 256])),
  );
  assert.deepEqual(
    fake.last.dispatches[0].set.layout.entries.map(({ binding }) => binding),
    [0, 2, 3],
  );
});

test("state, outputs and defaults travel through the buffers", async () => {
  const session = await open(fakeGpu());
  const { y, step } = await (await session.run("train_step", { x })).read();
  assert.deepEqual([y.data.length, step.data.length], [3, 1]);
  assert.equal(new Float32Array((await session.readTensor(2)).buffer)[0], 10);
});

test("at most two steps are under way", async () => {
  const session = await open(fakeGpu());
  let most = 0;
  for (let i = 0; i < 6; i++) {
    await session.run("train_step", { x });
    most = Math.max(most, session.inFlight.size);
  }
  assert.equal(most, 2);
});

test("a hung step ends the device, and every later call says so", async () => {
  const fake = fakeGpu();
  const session = await open(fake, { hangAfter: 30 });
  await (await session.run("train_step", { x })).read();
  fake.hang = true;
  const step = await session.run("train_step", { x });
  await assert.rejects(step.read(), { name: "DeviceHungError", message: /did not answer within/ });
  await assert.rejects(session.run("train_step", { x }), { name: "DeviceHungError" });
  assert.ok(fake.devices[0].dead);
  assert.equal(fake.devices.length, 1, "a hung device is not replaced");
});

test("a lost device is replaced, state comes from the snapshot, steps under way run again", async () => {
  const fake = fakeGpu();
  const events = [];
  const session = await open(fake, { onEvent: (event) => events.push(event) });
  await (await session.run("train_step", { x })).read();
  session.writeTensor(2, new Uint8Array(Float32Array.of(42).buffer));
  await session.snapshot();
  session.placement.write(2, new Uint8Array(Float32Array.of(99).buffer)); // as a step would
  for (let i = 0; i < 2; i++) await (await session.run("train_step", { x })).read();
  fake.devices[0].destroy();
  const step = await session.run("train_step", { x });
  await step.read();
  assert.deepEqual(
    events.map(({ type, step: at, lost }) => [type, at, lost]),
    [
      ["lost", 3, undefined],
      ["restored", 1, 2],
    ],
  );
  assert.equal(new Float32Array((await session.readTensor(2)).buffer)[0], 42);
  assert.equal(session.steps, 2);
  assert.deepEqual(
    [...new BigUint64Array((await session.readTensor(4)).buffer)],
    [2n ** 32n + 1n],
    "counters go back too",
  );
});

test("snapshots come with a step when they are due", async () => {
  let time = 0;
  const fake = fakeGpu();
  const device = await WebGpuDevice.open({ gpu: fake.gpu });
  const session = await Session.create(trainModel(), { device, now: () => time, snapshotEvery: 2000 });
  await (await session.run("train_step", { x })).read();
  assert.equal(session.snapshots.latest, null);
  time = 2001;
  await (await session.run("train_step", { x })).read();
  await new Promise((resolve) => {
    setTimeout(resolve, 10);
  });
  assert.equal(session.snapshots.latest.step, 2);
  assert.deepEqual([...new Float32Array(session.snapshots.latest.parts[0].slice(0, 4).buffer)], [10]);
});

test("requirements are compared before anything is compiled", async () => {
  const model = trainModel();
  model.programs[1].requires = {
    features: [],
    limits: [{ name: "maxStorageBufferBindingSize", value: 2 ** 28 }],
    when: [],
    equal: [],
  };
  const fake = fakeGpu();
  await assert.rejects(open(fake, { model }), {
    name: "DeviceLimitError",
    message: /needs maxStorageBufferBindingSize 268435456, this device allows 134217728/,
  });
  assert.equal(fake.calls.createComputePipelineAsync, undefined);
  model.programs[1].requires = { features: ["float-magic"], limits: [], when: [], equal: [] };
  await assert.rejects(open(fake, { model }), /needs the feature "float-magic"/);
});

test("a device is asked for with what the programs require", async () => {
  const fake = fakeGpu();
  await WebGpuDevice.open({
    gpu: fake.gpu,
    features: ["shader-f16", "unknown"],
    limits: [{ name: "maxStorageBufferBindingSize", value: 2 ** 28 }],
  });
  assert.deepEqual(fake.devices[0].descriptor, {
    requiredFeatures: ["shader-f16"],
    requiredLimits: { maxStorageBufferBindingSize: 2 ** 28 },
  });
});

test("a kernel that does not compile is named, with the compiler's messages", async () => {
  const model = trainModel();
  model.programs[1].kernels[0].code = new TextEncoder().encode("broken");
  const session = await open(fakeGpu(), { model });
  const named = { name: "ModelError", message: /kernel "scale": invalid shader; 1:2 bad/ };
  await assert.rejects(async () => (await session.run("train_step", { x })).read(), named);
  await assert.rejects(session.run("train_step", { x }), named, "its state may lie between two steps");
  await assert.rejects(session.readTensor(2), named);
  assert.throws(() => session.writeTensor(2, new Uint8Array(4)), named);
});

test("a kernel that does not compile stops no signature but its own where it changes no state", async () => {
  const model = trainModel();
  const [scale, count] = model.programs[1].kernels;
  const broken = { ...scale, code: new TextEncoder().encode("broken") };
  model.programs.push({ ...model.programs[1], kernels: [broken, count] });
  model.signatures.push({ ...model.signatures[0], name: "predict", programs: [2], writes: [], advance: [] });
  const session = await open(fakeGpu(), { model });
  for (let round = 0; round < 2; round++)
    await assert.rejects(async () => (await session.run("predict", { x })).read(), /kernel "scale": invalid shader/);
  assert.equal((await (await session.run("train_step", { x })).read()).y.data.length, 3);
  assert.equal((await session.readTensor(2)).length, 4);
});

test("the first run starts with the kernels that are compiled; nothing overtakes it", async () => {
  const fake = fakeGpu();
  const session = await open(fake);
  /** @type {(() => void)[]} */
  const finish = [];
  const make = session.device.gpu.createComputePipelineAsync;
  session.device.gpu.createComputePipelineAsync = async (pipeline) => {
    await new Promise((resolve) => finish.push(resolve));
    return make(pipeline);
  };
  const first = await session.run("train_step", { x });
  assert.equal(finish.length, 2, "both kernels are asked for at once");
  const { submit, writeBuffer } = { submit: 0, ...fake.calls };
  const second = session.run("train_step", { x, learning_rate: 9 });
  const state = session.readTensor(2);
  finish[0]();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(fake.calls.submit, submit + 1, "the first kernel runs while the second is compiled");
  assert.equal(fake.calls.writeBuffer, writeBuffer, "the second run would overwrite the inputs of the first");
  finish[1]();
  for (const step of [first, await second]) assert.equal((await step.read()).y.data.length, 3);
  await state;
  assert.equal(fake.calls.submit, submit + 4, "the first run's rest, the second run, the read");
  assert.equal(session.steps, 2);
});

test("runs asked for at once start one after another, in order, also behind a compilation", async () => {
  const fake = fakeGpu();
  const session = await open(fake);
  const make = session.device.gpu.createComputePipelineAsync;
  session.device.gpu.createComputePipelineAsync = async (pipeline) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return make(pipeline);
  };
  const seen = [];
  const { run } = session.device;
  session.device.run = (...given) => {
    seen.push([new Float32Array(given[1].buffer)[0], Boolean(session.sending), session.inFlight.size < 2]);
    return run.apply(session.device, given);
  };
  const rates = [1, 2, 3, 4, 5];
  const steps = await Promise.all(
    rates.map((rate) => session.run("train_step", { x: x.slice(0, 1 + (rate % 2)), learning_rate: rate })),
  );
  assert.deepEqual(
    seen,
    rates.map((rate) => [rate, false, true]),
  );
  assert.deepEqual(
    steps.map(({ number }) => number),
    rates,
  );
  assert.equal(session.steps, 5);
});

test("runs that wait for one device after a loss take turns too", async () => {
  const fake = fakeGpu();
  const session = await open(fake);
  await (await session.run("train_step", { x })).read();
  fake.devices[0].destroy();
  let most = 0;
  const { run } = session.device;
  session.device.run = (...given) => {
    most = Math.max(most, session.inFlight.size + 1);
    assert.equal(session.sending, null);
    return run.apply(session.device, given);
  };
  const steps = await Promise.all([1, 2, 3, 4].map(() => session.run("train_step", { x })));
  await Promise.all(steps.map((step) => step.read()));
  assert.deepEqual([most, fake.devices.length, session.steps], [2, 2, 4]);
});

test("a run that is refused lets the next one pass", async () => {
  const session = await open(fakeGpu());
  session.placement.choose = () => {
    delete session.placement.choose;
    throw new Error("refused");
  };
  const [first, second] = [session.run("train_step", { x }), session.run("train_step", { x })];
  await assert.rejects(first, /refused/);
  assert.equal((await (await second).read()).y.data.length, 3);
});

test("what the page sets outlives the device: weights that no step writes, and what no snapshot has", async () => {
  const fake = fakeGpu();
  const model = trainModel();
  const [, , w] = model.tensors;
  model.tensors.push({ ...w, name: "frozen" }); // 6
  const program = model.programs[1];
  program.regions = [...program.regions, make.region({ place: 1, bytes: 4, tensor: 6 })];
  const session = await open(fake, { model });
  const bytes = (value) => new Uint8Array(Float32Array.of(value).buffer);
  const values = async () =>
    Promise.all([2, 6].map(async (tensor) => new Float32Array((await session.readTensor(tensor)).buffer)[0]));
  const lose = async () => {
    const { generation } = session;
    fake.devices.at(-1).destroy();
    while (session.generation === generation) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  session.writeTensor(2, bytes(3));
  session.writeTensor(6, bytes(4));
  session.writeTensor(4, new Uint8Array(BigUint64Array.of(7n).buffer));
  await lose();
  assert.deepEqual(await values(), [3, 4], "there was no snapshot");
  assert.deepEqual(await session.readTensor(4), new Uint8Array(BigUint64Array.of(7n).buffer));
  await session.snapshot();
  assert.deepEqual([...session.set.keys()], [6, 4], "the snapshot has the other one");
  await (await session.run("train_step", { x })).read();
  await lose();
  assert.deepEqual(await values(), [3, 4]);
  assert.deepEqual(await session.readTensor(4), new Uint8Array(BigUint64Array.of(7n).buffer));
  session.writeTensor(2, bytes(5));
  await lose();
  assert.deepEqual(await values(), [5, 4], "set after the snapshot");
});

test("a device lost while kernels are compiled: the run starts again on the next one", async () => {
  const fake = fakeGpu();
  const session = await open(fake);
  const { gpu } = session.device;
  gpu.createComputePipelineAsync = () => gpu.lost.then(() => Promise.reject(new Error("lost")));
  const step = await session.run("train_step", { x });
  fake.devices[0].destroy();
  assert.equal((await step.read()).y.data.length, 3);
  assert.deepEqual([fake.devices.length, session.steps], [2, 1]);
});

test("programs that nobody asks for are compiled when nothing else is to be done", async () => {
  const model = trainModel();
  const fake = fakeGpu();
  const session = await open(fake, { model, idle: 1 });
  assert.equal(fake.calls.createComputePipelineAsync, undefined);
  while (!session.placement.isLoaded(1)) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(fake.calls.createComputePipelineAsync, 2);
});

test("a run of over 200 ms on a real GPU is submitted in parts from then on", async () => {
  let time = 0;
  const fake = fakeGpu();
  const session = await open(fake, { now: () => (time += 250) });
  await (await session.run("train_step", { x })).read();
  const before = fake.calls.submit;
  await (await session.run("train_step", { x })).read();
  assert.equal(fake.calls.submit - before, 2);
});

test("auto takes a real GPU, and WASM where the GPU is software", async () => {
  const real = await load(file(), { gpu: fakeGpu().gpu });
  assert.deepEqual([real.device.kind, real.device.reason], ["webgpu", "real GPU: acme rocket"]);
  const soft = await load(file(), { gpu: fakeGpu({ software: true }).gpu });
  assert.equal(soft.device.kind, "wasm");
  assert.match(soft.device.reason, /emulated in software \(google swiftshader\)/);
});

test("a model tells its page of a lost device", async () => {
  const fake = fakeGpu();
  const model = await load(file(), { gpu: fake.gpu });
  const seen = [];
  for (const type of ["lost", "restored"]) model.addEventListener(type, ({ detail }) => seen.push([type, detail.step]));
  await model.run("step", { x: { data: new Float32Array(4), shape: [1, 4] } });
  fake.devices[0].destroy();
  await model.run("step", { x: { data: new Float32Array(4), shape: [1, 4] } });
  assert.deepEqual(seen, [
    ["lost", 1],
    ["restored", 0],
  ]);
  assert.equal(fake.adapters, 3, "an adapter makes one device only");
});
