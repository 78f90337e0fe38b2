import assert from "node:assert/strict";
import { test } from "node:test";

import { Session } from "../../js_bindings/runtime/session.js";
import { WasmDevice } from "../../js_bindings/runtime/wasm.js";
import { make, trainModel, wasmModule } from "./helpers/models.js";

const open = (model = trainModel()) => Session.create(model, { device: new WasmDevice() });

test("a step binds the batch, runs the module and keeps its state", async () => {
  const session = await open();
  const first = await (await session.run("train_step", { x: Float32Array.of(1, 2, 3), learning_rate: 0.5 })).read();
  assert.deepEqual([...first.y.data], [10.5, 11, 11.5]);
  assert.deepEqual(first.y.shape, [3]);
  const second = await (await session.run("train_step", { x: [1, 2] })).read();
  assert.deepEqual([...second.y.data], [13, 15]);
});

test("counters and random streams advance on the host, carries included", async () => {
  const session = await open();
  await session.run("train_step", { x: [1, 2, 3, 4] });
  assert.deepEqual(await session.readTensor(4), new Uint8Array(BigUint64Array.of(2n ** 32n).buffer));
  assert.deepEqual(await session.readTensor(5), new Uint8Array(Uint32Array.of(1, 2, 1, 8).buffer));
});

test("state is read and written by tensor", async () => {
  const session = await open();
  await session.run("train_step", { x: [1] });
  assert.equal(new Float32Array((await session.readTensor(2)).buffer)[0], 11);
  session.writeTensor(2, new Uint8Array(Float32Array.of(-5).buffer));
  const { y } = await (await session.run("train_step", { x: [0] })).read();
  assert.equal(y.data[0], -5);
  assert.deepEqual(session.changing(), [2, 4, 5]);
});

test("every batch size runs, and at most four stay bound", async () => {
  const session = await open();
  for (const batch of [1, 7, 64, 1000, 3, 7]) {
    const { y } = await (
      await session.run("train_step", { x: new Float32Array(batch).fill(1), learning_rate: 0 })
    ).read();
    assert.equal(y.data.length, batch);
  }
  const [prepared] = session.placement.prepared.values();
  assert.deepEqual([...prepared.bindings.keys()], ["64", "1000", "3", "7"]);
});

const REFUSED = [
  [{ x: { data: [1, 2], shape: [3] } }, /shape \[3\] has 3 elements, data has 2/],
  [{ x: { data: [1, 2], shape: [2, 1] } }, /shape \[2,1\] has 2 axes, expected \[batch\]/],
  [{}, /needs the input "x"/],
  [{ x: [1], z: [2] }, /has no input "z"; it takes x, learning_rate/],
  [{ x: new Float32Array(1025) }, /"batch" is 1025, the model takes 1 to 1024/],
  [{ x: [] }, /"batch" is 0, the model takes 1 to 1024/],
  [{ x: [[1], [2, 3]] }, /ragged/],
  [{ x: "hello" }, /received string/],
  [{ x: [1], learning_rate: [1, 2] }, /learning_rate/],
];
for (const [inputs, message] of REFUSED) {
  test(`bad input is named: ${message}`, async () => {
    const session = await open();
    await assert.rejects(session.run("train_step", inputs), { name: "InvalidArgumentError", message });
  });
}

test("shapes are checked again whenever they differ from the last ones", async () => {
  const session = await open();
  const x = Float32Array.of(1, 2, 3);
  for (let round = 0; round < 2; round++) {
    assert.equal((await (await session.run("train_step", { x })).read()).y.data.length, 3);
    await assert.rejects(session.run("train_step", { x: { data: x, shape: [3, 1] } }), /2 axes, expected \[batch\]/);
    await assert.rejects(session.run("train_step", { x, learning_rate: [1, 2, 3] }), /learning_rate/);
    const { y } = await (await session.run("train_step", { x: { data: x, shape: [3] } })).read();
    assert.deepEqual(y.shape, [3]);
    assert.deepEqual((await (await session.run("train_step", { x: [[5], [6]].flat() })).read()).y.shape, [2]);
  }
});

test("an unknown signature lists those there are", async () => {
  await assert.rejects((await open()).run("predict", {}), /no signature "predict"; it has train_step/);
});

test("a file without programs for the device says so", async () => {
  const model = trainModel();
  model.signatures[0].programs = [1];
  await assert.rejects(open(model), { name: "NoExecutorError", message: /no programs for "wasm"/ });
});

test("sizes that the model ties together are checked", async () => {
  const model = trainModel();
  model.programs[0].requires = { features: [], limits: [], when: [], equal: [1, 2] };
  const session = await open(model);
  await session.run("train_step", { x: [1, 2, 3, 4] });
  await assert.rejects(session.run("train_step", { x: [1, 2] }), /differ: 2 and 4/);
});

test("the first program whose ranges hold is taken", async () => {
  const model = trainModel();
  model.programs.push({ ...model.programs[0] });
  model.programs[0].requires = { features: [], limits: [], when: [{ symbol: 0, min: 1, max: 1 }], equal: [] };
  model.signatures[0].programs = [0, 2];
  const session = await open(model);
  await session.run("train_step", { x: [1] });
  const { y } = await (await session.run("train_step", { x: [1, 2], learning_rate: 0 })).read();
  assert.equal(y.data[0], 11, "both programs work on one state");
  assert.deepEqual(
    [...session.placement.prepared.values()].map(({ bindings }) => bindings.size),
    [1, 1],
  );
});

test("sizes for which a device has no program are refused with their names", async () => {
  const model = trainModel();
  model.programs[0].requires = { features: [], limits: [], when: [{ symbol: 0, min: 2, max: 8 }], equal: [] };
  const session = await open(model);
  await session.run("train_step", { x: [1, 2] });
  const message = '"train_step" has no wasm program that takes these sizes: batch 1.';
  await assert.rejects(session.run("train_step", { x: [1] }), { name: "InvalidArgumentError", message });
});

test("loops on WASM: the table holds each step's words once, run counts every iteration, and goes on where it stopped", async () => {
  const model = trainModel();
  const [program] = model.programs;
  program.steps = [
    make.step({ kind: 1, count: 9, body: 2 }),
    make.step({ ...program.steps[0], uniforms: [1], scalars: [] }),
    make.step({ ...program.steps[0], uniforms: [], scalars: [1] }),
    make.step({ ...program.steps[0], uniforms: [1, 2], scalars: [] }),
  ];
  // Table: four regions, batch | learning rate | batch, 4. Each call adds the rate to w, writes [4, last, first] to y, and
  // returns after two steps.
  const word = (i) => [0x20, 0, 0x28, 2, 4 * i];
  const next = [0x20, 1, 0x41, 2, 0x6a];
  program.module = wasmModule([
    ...word(3), ...word(3), 0x2a, 2, 0, 0x20, 0, 0x2a, 2, 20, 0x92, 0x38, 2, 0,
    ...word(2), ...word(7), 0xb3, 0x38, 2, 0,
    ...word(2), 0x20, 2, 0xb3, 0x38, 2, 4,
    ...word(2), 0x20, 1, 0xb3, 0x38, 2, 8,
    ...next, 0x20, 2, ...next, 0x20, 2, 0x49, 0x1b,
  ]);
  const session = await open(model);
  const { y } = await (await session.run("train_step", { x: [0, 0, 0], learning_rate: 0.5 })).read();
  assert.deepEqual([...y.data], [4, 5, 4], "two iterations of two steps and one more; the last call began at step 4");
  assert.equal(new Float32Array((await session.readTensor(2)).buffer)[0], 11.5, "three calls");
});

test("a budget that is too small is an error with numbers", async () => {
  const session = await Session.create(trainModel(), { device: new WasmDevice({ budget: 65536 }) });
  await assert.rejects(
    (async () => {
      for (const batch of [1024, 1023, 1022, 1021]) await session.run("train_step", { x: new Float32Array(batch) });
      for (let i = 0; i < 8; i++) session.device.allocate(20000);
    })(),
    { name: "DeviceLimitError", message: /the budget is 65536/ },
  );
});

test("large outputs stay on the device until they are read, or overwritten", async () => {
  const model = trainModel();
  model.symbols[0].max = 100000;
  const session = await open(model);
  const x = new Float32Array(20000).fill(1);
  const first = await session.run("train_step", { x, learning_rate: 3 });
  assert.equal((await first.read()).y.data[19999], 13);
  const second = await session.run("train_step", { x, learning_rate: 3 });
  const third = await session.run("train_step", { x, learning_rate: 3 }, true);
  await assert.rejects(second.read(), /overwritten by a later run/);
  await session.run("train_step", { x, learning_rate: 3 });
  assert.equal((await third.read()).y.data[0], 15, "asked for with the run, they came with it");
});
