import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { load, ModelError } from "../../js_bindings/runtime/index.js";

const file = () => new Uint8Array(readFileSync(new URL("./data/step.tide", import.meta.url)));
const x = { data: Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7), shape: [2, 4] };

test("a file runs from its bytes and says where", async () => {
  const model = await load(file(), { device: "auto" });
  assert.equal(model.device.kind, "wasm");
  assert.match(model.device.reason, /no WebGPU here/);
  const { y, total } = await model.run("step", { x });
  assert.deepEqual([...y.data], [0, 1, 3, 6, 2, 5, 9, 14]);
  assert.deepEqual([y.shape, y.dtype, total.data[0]], [[2, 4], "float32", 0]);
  assert.deepEqual(model.signatures[0].inputs[0], {
    name: "x",
    dtype: "float32",
    shape: ["batch", 4],
    optional: false,
  });
  await model.close();
  await assert.rejects(model.run("step", { x }), { name: "DeviceLostError", message: /closed/ });
});

test("what is saved goes on where it stopped", async () => {
  const model = await load(file(), { device: "wasm" });
  await model.run("step", { x });
  await model.run("step", { x });
  const saved = await model.save();
  assert.equal(saved.length, file().length);
  const again = await load(saved, { device: "wasm" });
  const [here, there] = [await model.run("step", { x }), await again.run("step", { x })];
  assert.deepEqual(there.y.data, here.y.data);
  assert.equal((await again.run("peek")).w_now.data[0], 4);
  assert.equal(new Float32Array((await again.readTensor("w")).buffer)[0], 4);
  await assert.rejects(again.readTensor("v"), { name: "InvalidArgumentError", message: /no tensor "v"/ });
});

test("weights are set from the page: as numbers, nested arrays or the bytes that were read", async () => {
  const model = await load(file(), { device: "wasm" });
  const weights = async () => [...new Float32Array((await model.readTensor("w")).buffer)];
  const before = await model.readTensor("w");
  const count = before.length / 4;
  const numbers = Array.from({ length: count }, (_, i) => i - 0.5);
  await model.writeTensor("w", numbers);
  assert.deepEqual(await weights(), numbers);
  assert.equal((await model.run("peek")).w_now.data[1], 0.5);
  await model.writeTensor("w", before);
  assert.deepEqual(await model.readTensor("w"), before);
  await model.writeTensor("w", { data: Float64Array.from(numbers), shape: [count] });
  assert.deepEqual(await weights(), numbers);
  await model.writeTensor("w", new Uint8Array(count).fill(7));
  assert.deepEqual(await weights(), numbers.map(() => 7), "as many bytes as elements are elements");
});

for (const [name, value, message] of [
  ["v", [1], /no tensor "v"/],
  ["w", [1, 2], /tensor "w": received shape \[2\], expected shape \[4\]/],
  ["w", new Float32Array(5), /tensor "w": received 5 elements, expected shape \[4\]/],
  ["w", [[1, 2], [3, 4]], /received shape \[2,2\], expected shape \[4\]/],
  ["w", "text", /received string/],
]) {
  test(`what cannot be written is refused: ${message}`, async () => {
    const model = await load(file(), { device: "wasm" });
    const before = await model.readTensor("w");
    await assert.rejects(model.writeTensor(name, value), { name: "InvalidArgumentError", message });
    assert.deepEqual(await model.readTensor("w"), before);
  });
}

test("weights that are set are saved, also those that nothing else writes", async () => {
  const model = await load(file(), { device: "wasm" });
  const { engine } = model;
  engine.model.signatures = engine.model.signatures.filter(({ name }) => name === "peek");
  assert.deepEqual(await model.save(), file());
  await model.writeTensor("w", [5, 6, 7, 8]);
  const again = await load(await model.save(), { device: "wasm" });
  assert.deepEqual([...new Float32Array((await again.readTensor("w")).buffer)], [5, 6, 7, 8]);
});

test("an untouched model saves to the same bytes", async () => {
  assert.deepEqual(await (await load(file(), { device: "wasm" })).save(), file());
});

test("a file is fetched with progress, and can be aborted", async (t) => {
  const bytes = file();
  t.mock.method(globalThis, "fetch", async (_, { signal }) => {
    signal?.throwIfAborted();
    return new Response(bytes, { headers: { "content-length": String(bytes.length) } });
  });
  const seen = [];
  const model = await load("model.tide", {
    device: "wasm",
    onProgress: ({ loaded, total }) => seen.push([loaded, total]),
  });
  assert.deepEqual(seen.at(-1), [bytes.length, bytes.length]);
  assert.equal(model.device.kind, "wasm");
  await assert.rejects(load("model.tide", { signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("a server's refusal is named", async (t) => {
  t.mock.method(globalThis, "fetch", async () => new Response("no", { status: 404, statusText: "Not Found" }));
  await assert.rejects(load("gone.tide"), /gone.tide: the server answered 404 Not Found/);
});

test("a connection that fails is named, at the start and on the way", async (t) => {
  t.mock.method(globalThis, "fetch", async () => Promise.reject(new TypeError("fetch failed")));
  await assert.rejects(load("far.tide"), { name: "TideflowError", message: /far.tide: the download failed: fetch failed/ });
  t.mock.method(globalThis, "fetch", async () => {
    const parts = [(c) => c.enqueue(file().slice(0, 100)), (c) => c.error(new TypeError("network error"))];
    return new Response(new ReadableStream({ pull: (controller) => parts.shift()(controller) }));
  });
  await assert.rejects(load("far.tide"), { name: "TideflowError", message: /the download failed: network error/ });
});

test("training and evaluating need rows, predicting does not", async () => {
  const sample = readFileSync(new URL("../../demo_site/assets/sample.tide", import.meta.url));
  const model = await load(new Uint8Array(sample), { device: "wasm" });
  const [x, y] = [{ data: new Float32Array(0), shape: [0, 8, 8, 1] }, new Int32Array(0)];
  const message = /input "x" of shape \[0,8,8,1\] has no rows/;
  const before = await model.save();
  await assert.rejects(model.trainStep({ x, y }), { name: "InvalidArgumentError", message });
  await assert.rejects(model.evaluate({ x, y }), { name: "InvalidArgumentError", message });
  await assert.rejects(model.run("train_step", { x, y }), { name: "InvalidArgumentError", message });
  assert.deepEqual(await model.save(), before, "refused steps move no counter");
  const { data, shape } = await model.predict(x);
  assert.deepEqual([data.length, shape], [0, [0, 10]]);
  const rows = { x: { data: new Float32Array(64), shape: [1, 8, 8, 1] }, y: Int32Array.of(3) };
  assert.ok((await (await model.trainStep(rows)).read()).loss.data[0] > 0);
  await model.close();
});

test("a source that is neither address nor bytes is refused", async () => {
  await assert.rejects(load(undefined), { name: "InvalidArgumentError", message: /received undefined/ });
});

test("a truncated download is refused by name", async () => {
  await assert.rejects(load(file().subarray(0, 4000), { device: "wasm" }), ModelError);
});

test("an unknown device is refused", async () => {
  await assert.rejects(load(file(), { device: "tpu" }), { name: "InvalidArgumentError", message: /"tpu" is unknown/ });
  await assert.rejects(load(file(), { device: "webgpu" }), { name: "NoExecutorError", message: /no WebGPU here/ });
});
