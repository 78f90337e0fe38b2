import assert from "node:assert/strict";
import { test } from "node:test";

import { recall } from "../../js_bindings/runtime/memory.js";
import { PythonDevice, preparedForPython, preparePython } from "../../js_bindings/runtime/python.js";
import { fakeGpu } from "./helpers/fake_gpu.js";

/** A heap as Pyodide's module has it, with a place for a table. */
function heap() {
  const buffer = new ArrayBuffer(4096);
  return { HEAPU8: new Uint8Array(buffer), HEAPU32: new Uint32Array(buffer) };
}

const PROGRAM = JSON.stringify({
  kernels: [{ name: "copy", entry: "main", code: "copy" }],
  steps: [{ kind: 0, kernel: 0, regions: [0, 1], uniforms: [1], scalars: [9], body: 0 }],
});

async function opened(fake = fakeGpu()) {
  const device = await PythonDevice.open({ gpu: fake.gpu });
  const memory = heap();
  device.attach(memory);
  const [state, input] = [device.allocate(16), device.allocate(8)];
  const program = await device.load(PROGRAM);
  const launches = [{ grid: [1], words: [5], scalars: [0], count: 0 }];
  const binding = device.bind(program, JSON.stringify({ spans: [[state, 0, 16], [input, 0, 8]], launches }));
  const run = (copies = []) => {
    memory.HEAPU8.set([1, 2, 3, 4, 5, 6, 7, 8], 2048);
    memory.HEAPU32.set([binding, 1, 77, 1, 1, 2048, 8, copies.length, ...copies.flat()], 256);
    return device.run(1024);
  };
  return { fake, device, memory, state, input, binding, run };
}

const read = async ({ device, memory }, id, size) => {
  await device.download(id, 0, size, 3072);
  return [...memory.HEAPU8.slice(3072, 3072 + size)];
};

test("a run reads its table, host words and inputs from Python's memory", async () => {
  const session = await opened();
  assert.equal(session.run(), 1);
  assert.deepEqual(await read(session, session.input, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(session.device.dispatches, 1);
  assert.equal(session.fake.calls.submit, 2, "the run and the download");
});

test("the uniform slot holds the sizes, then the host words", async () => {
  const session = await opened();
  session.run();
  const slot = session.fake.last.dispatches[0].set.entries[2].resource;
  assert.deepEqual([...new Uint32Array(slot.buffer.bytes.buffer, slot.offset, 2)], [5, 77]);
});

test("copies go before the steps", async () => {
  const session = await opened();
  const spare = session.device.allocate(8);
  session.run();
  session.run([[session.input, 0, spare, 0, 8]]);
  assert.deepEqual(await read(session, spare, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
});

test("tables may lie in the upper half of a heap of 4 GB", async () => {
  const session = await opened();
  const { device, memory, input } = session;
  const words = memory.HEAPU32;
  const base = 0xc0000000; // where the words lie, as their reader sees it
  const far = {
    get: (/** @type {any} */ _, /** @type {string} */ name) =>
      name === "slice" || name === "subarray"
        ? (/** @type {number} */ from, /** @type {number} */ to) => words[name](from - base / 4, to - base / 4)
        : words[Number(name) - base / 4],
  };
  device.attach({ HEAPU8: memory.HEAPU8, HEAPU32: new Proxy({}, far) });
  const spare = device.allocate(8);
  memory.HEAPU8.set([1, 2, 3, 4, 5, 6, 7, 8], 2048);
  words.set([session.binding, 1, 77, 1, 1, 2048, 8, 0], 256);
  assert.equal(device.run(base + 1024), 1);
  words.set([input, 0, spare, 0, 8], 512);
  device.copy(base + 2048, 1);
  assert.deepEqual(await read(session, spare, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
});

test("waiting leaves fewer than two runs under way", async () => {
  const session = await opened();
  assert.deepEqual([session.run(), session.run(), session.run()], [1, 2, 3]);
  await session.device.ready();
  assert.ok(session.device.inFlight.size < 2);
});

test("a lost device stays lost: every call says so", async () => {
  const session = await opened();
  const { device, fake, state } = session;
  session.run();
  assert.equal(device.isLost(), false);
  fake.devices[0].destroy();
  await assert.rejects(read(session, state, 8), { name: "DeviceLostError" });
  assert.ok(device.isLost());
  const lost = { name: "DeviceLostError" };
  for (const call of [() => session.run(), () => device.allocate(4), () => device.upload(state, 0, 0, 4)])
    assert.throws(call, lost);
  await assert.rejects(device.ready(), lost);
  await assert.rejects(device.load(PROGRAM), lost);
  device.release(state);
  device.unbind(session.binding);
  assert.equal(fake.devices.length, 1, "Python opens the next one");
});

test("the device that was prepared is followed by another when it is lost", async () => {
  const fake = fakeGpu();
  await preparePython({ gpu: fake.gpu });
  const first = preparedForPython();
  fake.devices[0].destroy();
  while (preparedForPython() === first) await new Promise((resolve) => setTimeout(resolve));
  await preparePython();
  assert.ok(preparedForPython() !== first && !preparedForPython().isLost() && first.isLost());
  assert.equal(fake.devices.length, 2, "asked for twice, opened once");
  preparedForPython().close();
});

test("a hung device is followed by none", async () => {
  const fake = fakeGpu();
  const device = await PythonDevice.open({ gpu: fake.gpu, hangAfter: 20 });
  device.attach(heap());
  const buffer = device.allocate(16);
  fake.hang = true;
  await assert.rejects(device.download(buffer, 0, 16, 0), { name: "DeviceHungError" });
  assert.equal(device.isLost(), false);
  assert.throws(() => device.allocate(4), { name: "DeviceHungError" });
});

test("a prepared device is found at once, and why there is none", async () => {
  assert.equal(preparedForPython(), undefined);
  await preparePython({ gpu: { requestAdapter: async () => null } });
  assert.match(preparedForPython(), /gives no adapter/);
  await preparePython({ gpu: fakeGpu().gpu });
  assert.match(preparedForPython().about(), /"description":"acme rocket"/);
  preparedForPython().close();
  assert.equal(preparedForPython(), undefined);
});

test("a database that never answers holds up no device", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  globalThis.indexedDB = { open: () => ({}) };
  t.after(() => delete globalThis.indexedDB);
  const found = recall("acme rocket");
  t.mock.timers.tick(500);
  assert.equal(await found, "");
});
