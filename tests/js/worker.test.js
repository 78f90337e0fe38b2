import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { DeviceHungError, ModelError } from "../../js_bindings/runtime/errors.js";
import { RemoteEngine, unpackError, packError } from "../../js_bindings/runtime/remote.js";
import { startThread } from "./helpers/thread.js";

const file = () => new Uint8Array(readFileSync(new URL("./data/step.tide", import.meta.url)));
const x = { data: Float32Array.of(0, 1, 2, 3), shape: [1, 4] };

test("a model in a worker runs, saves and names its errors", async (t) => {
  const engine = await RemoteEngine.open(file(), { device: "wasm" }, startThread());
  t.after(() => engine.close());
  assert.deepEqual(
    engine.signatures.map(({ name }) => name),
    ["step", "peek"],
  );
  const steps = await Promise.all([1, 2, 3].map(() => engine.run("step", { x })));
  const values = await Promise.all(steps.map((step) => step.read()));
  assert.deepEqual(
    values.map(({ y }) => [...y.data].at(-1)),
    [6, 9.5, 13],
  );
  assert.equal((await engine.save()).length, file().length);
  assert.equal(new Float32Array((await engine.read("w")).buffer)[0], 4);
  await assert.rejects(async () => (await engine.run("step", { x: [1, 2] })).read(), { name: "InvalidArgumentError" });
  const mine = Float32Array.of(1, 2, 3, 4);
  await engine.write("w", mine);
  assert.equal(mine.length, 4, "the page's array was copied");
  assert.deepEqual(new Float32Array((await engine.read("w")).buffer), mine);
  await assert.rejects(engine.write("w", [1]), { name: "InvalidArgumentError", message: /expected shape \[4\]/ });
  await engine.close();
  assert.ok(engine.worker.ended);
  await assert.rejects(engine.save(), { name: "DeviceLostError" });
});

test("a file that breaks a rule is refused in the worker, with its rule", async () => {
  const bytes = file();
  bytes[bytes.length - 1] ^= 1;
  await assert.rejects(RemoteEngine.open(bytes, { device: "wasm" }, startThread()), (error) => {
    assert.ok(error instanceof ModelError);
    assert.match(error.rule, /^C\d\d-/);
    return true;
  });
});

test("a worker that does not answer is ended, and its model refuses to go on", async () => {
  const silent = {
    postMessage: () => {},
    terminate: () => {
      silent.ended = true;
    },
  };
  const engine = new RemoteEngine(silent, 20, () => {});
  await assert.rejects(engine.run("step", {}), DeviceHungError);
  assert.ok(silent.ended);
  await assert.rejects(engine.save(), DeviceHungError);
});

test("a worker that accepts a step and then loops is ended too", async () => {
  const looping = { postMessage: ({ id }) => queueMicrotask(() => looping.onmessage({ data: { id, accepted: 7 } })), terminate: () => {} };
  const step = await new RemoteEngine(looping, 20, () => {}).run("step", {});
  assert.equal(step.number, 7);
  await assert.rejects(step.read(), DeviceHungError);
});

test("wrong inputs are refused by the call, as in this thread, and later steps go on", async (t) => {
  const engine = await RemoteEngine.open(file(), { device: "wasm" }, startThread());
  t.after(() => engine.close());
  const first = await engine.run("step", { x });
  assert.equal(first.number, 1);
  await assert.rejects(engine.run("step", { x: [1, 2] }), { name: "InvalidArgumentError" });
  await assert.rejects(engine.run("step", { x: () => {} }), { name: "DataCloneError" });
  const second = await engine.run("step", { x });
  assert.equal(second.number, 2);
  assert.equal((await second.read()).y.data[0], 2);
  assert.equal(engine.waiting.size + engine.inFlight.size, 0, "no call is left behind");
  await engine.close();
});

test("inputs are copied, never more than the view, and the caller keeps his; results and fetched files move", async (t) => {
  const worker = startThread();
  const posted = [];
  const { postMessage } = worker;
  worker.postMessage = (message, transfer) => {
    posted.push([message, transfer]);
    postMessage(message, transfer);
  };
  const kept = file(), given = file();
  await (await RemoteEngine.open(kept, { device: "wasm" }, startThread())).close();
  assert.ok(kept.length > 0, "a caller's file stays his");
  const engine = await RemoteEngine.open(given, { device: "wasm", own: true }, worker);
  t.after(() => engine.close());
  assert.equal(given.length, 0, "a fetched one moves");
  const data = new Float32Array(100000).subarray(8, 12);
  data.set([0, 1, 2, 3]);
  const { y } = await (await engine.run("step", { x: { data, shape: [1, 4] } })).read();
  assert.deepEqual([...y.data], [0, 1, 3, 6]);
  assert.equal(data.length, 4, "the caller's array is still there");
  const [{ args }, transfer] = posted[1];
  assert.equal(args[1].x.data.buffer.byteLength, 0, "what was posted moved");
  assert.equal(transfer.length, 1);
  await engine.close();
});

test("two steps are under way, so that the worker always has the next; a third waits", async () => {
  const posted = [];
  const slow = { postMessage: ({ id }) => posted.push(id), terminate: () => {} };
  const engine = new RemoteEngine(slow, 20000, () => {});
  const answer = (message) => slow.onmessage({ data: message });
  const steps = [engine.run("step", {}), engine.run("step", {}), engine.run("step", {})];
  assert.deepEqual(posted, [0, 1], "the second is posted before the first is accepted");
  posted.forEach((id) => answer({ id, accepted: id + 1 }));
  const [first, second] = await Promise.all(steps.slice(0, 2));
  assert.deepEqual(posted, [0, 1]);
  answer({ id: 0, result: { y: 5 } });
  assert.deepEqual(await first.read(), { y: 5 });
  await new Promise((resolve) => {
    setTimeout(resolve);
  });
  assert.deepEqual([posted, second.number], [[0, 1, 2], 2]);
  await engine.close();
  await assert.rejects(steps[2], { name: "DeviceLostError" });
});

test("a worker that cannot be loaded is an error, not silence", async () => {
  const broken = { postMessage: () => {}, terminate: () => {} };
  const opening = RemoteEngine.open(file(), { device: "wasm" }, broken);
  broken.onerror({ message: "404" });
  await assert.rejects(opening, { name: "TideflowError", message: /the worker failed: 404/ });
});

test("errors survive the message", () => {
  const error = unpackError(structuredClone(packError(new ModelError("C01", "here", "why"))));
  assert.deepEqual([error.name, error.rule, error.where, error.why], ["ModelError", "C01", "here", "why"]);
  assert.equal(unpackError(packError(new RangeError("no"))).name, "RangeError");
});
