import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { DeviceHungError, ModelError } from "../../js_bindings/runtime/errors.js";
import { RemoteEngine, unpackError, packError } from "../../js_bindings/runtime/remote.js";
import { startThread } from "./helpers/thread.js";

const file = () => new Uint8Array(readFileSync(new URL("./data/step.tide", import.meta.url)));
const x = { data: Float32Array.of(0, 1, 2, 3), shape: [1, 4] };

test("a model in a worker runs, saves and names its errors", async () => {
  const engine = await RemoteEngine.open(file(), { kind: "wasm" }, startThread);
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
  await engine.close();
  assert.ok(engine.worker.ended);
  await assert.rejects(engine.save(), { name: "DeviceLostError" });
});

test("a file that breaks a rule is refused in the worker, with its rule", async () => {
  const bytes = file();
  bytes[bytes.length - 1] ^= 1;
  await assert.rejects(RemoteEngine.open(bytes, { kind: "wasm" }, startThread), (error) => {
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
  const step = await engine.run("step", {});
  await assert.rejects(step.read(), DeviceHungError);
  assert.ok(silent.ended);
  await assert.rejects(engine.save(), DeviceHungError);
});

test("a worker that cannot be loaded is an error, not silence", async () => {
  const broken = { postMessage: () => {}, terminate: () => {} };
  const opening = RemoteEngine.open(file(), { kind: "wasm" }, () => broken);
  broken.onerror({ message: "404" });
  await assert.rejects(opening, { name: "TideflowError", message: /the worker failed: 404/ });
});

test("errors survive the message", () => {
  const error = unpackError(structuredClone(packError(new ModelError("C01", "here", "why"))));
  assert.deepEqual([error.name, error.rule, error.where, error.why], ["ModelError", "C01", "here", "why"]);
  assert.equal(unpackError(packError(new RangeError("no"))).name, "RangeError");
});
