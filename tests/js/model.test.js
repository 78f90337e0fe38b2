// The reader of model.tide: what it returns, how save patches a file, and size expressions. Broken files: tests/program.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { checkBindings, checkBound } from "../../js_bindings/runtime/bindings.js";
import { patchTensors, readModel, readModelAsync } from "../../js_bindings/runtime/model.js";
import { sha256 } from "../../js_bindings/runtime/sha256.js";
import { boundDims, evaluateDims } from "../../js_bindings/runtime/sizes.js";
import { DimOp } from "../../js_bindings/runtime/tables.js";

const golden = (name) => new Uint8Array(readFileSync(new URL(`../program/golden/0.1.0-${name}.tide`, import.meta.url)));
const byName = (list, name) => list.findIndex((item) => item.name === name);

test("a read model has the fields of the schema", () => {
  const model = readModel(golden("trainable"));
  assert.deepEqual(Object.keys(model).slice(0, 5), ["schema_version", "producer", "symbols", "dims", "tensors"]);
  const w = model.tensors[byName(model.tensors, "w")];
  assert.deepEqual([w.dtype, w.shape, w.role, w.trainable, w.data.length], [0, [2, 3], 2, true, 24]);
  const [predict, train] = model.signatures;
  assert.deepEqual(predict.inputs.map((port) => port.name), ["x"]);
  assert.deepEqual(train.advance, [{ tensor: 6, by: 15 }, { tensor: 13, by: 1 }]);
  assert.deepEqual([train.inputs[1].min, train.inputs[1].max, train.inputs[1].bounded], [0, 9, true]);
  const { steps, kernels, module } = model.programs[2];
  assert.deepEqual([steps[1].kind, steps[1].count, steps[1].body, module], [1, 4, 3, null]);
  assert.equal(new TextDecoder().decode(kernels[0].code), "@compute fn main() { }");
  assert.equal(model.programs[1].module[0], 0);
  assert.deepEqual(model.metadata, [{ key: "config", value: "{}" }]);
  assert.deepEqual(model.programs[0].requires.when, [{ symbol: 0, min: 1, max: 512 }]);
  assert.deepEqual(model.graphs[1].nodes[1].attrs[0].value, { v: 0 });
});

test("views are not copies, also in a file that starts at an odd address", () => {
  const bytes = golden("trainable");
  const odd = new Uint8Array(bytes.length + 3).subarray(3);
  odd.set(bytes);
  const model = readModel(odd);
  assert.equal(model.tensors[3].data.buffer, odd.buffer);
  assert.deepEqual([...model.tensors[3].data], [...readModel(bytes).tensors[3].data]);
});

test("patched tensors are in the new file, whose hashes hold, and the old file is as it was", async () => {
  const file = golden("trainable");
  const before = file.slice(), model = readModel(file);
  const w = byName(model.tensors, "w"), count = byName(model.tensors, "iterations");
  const changes = new Map([[w, new Uint8Array(24).fill(7)], [count, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)]]);
  const again = readModel(await patchTensors(file, model, changes));
  for (const [index, bytes] of changes) assert.deepEqual(again.tensors[index].data, bytes);
  assert.deepEqual(again.tensors[byName(model.tensors, "b")].data, model.tensors[byName(model.tensors, "b")].data);
  assert.deepEqual(file, before);
});

test("a patch of the wrong size, or of a tensor without data, names the tensor", async () => {
  const file = golden("trainable"), model = readModel(file);
  const patch = (index) => patchTensors(file, model, new Map([[index, new Uint8Array(20)]]));
  await assert.rejects(patch(3), { rule: "P04-tensor", message: /w has 24 bytes/ });
  await assert.rejects(patch(0), { rule: "P04-tensor" });
  await assert.rejects(patch(99), { rule: "P04-tensor" });
});

test("limits of the caller hold", () => {
  assert.throws(() => readModel(golden("trainable"), { maxItems: 20 }), { rule: "C09-count" });
  assert.throws(() => readModel(golden("trainable"), { maxRegionBytes: 500 }), { rule: "P09-budget" });
});

test("with the browser's SHA-256 or without it, the same model and the same refusals", async () => {
  const file = golden("trainable"), damaged = golden("trainable"), { crypto } = globalThis;
  damaged[damaged.length - 1] ^= 1;
  for (const found of [crypto, undefined]) {
    Object.defineProperty(globalThis, "crypto", { value: found, configurable: true, writable: true });
    try {
      assert.deepEqual(await readModelAsync(file), readModel(file));
      await assert.rejects(readModelAsync(damaged), { rule: "C15-hash", where: /^segments/ });
      await assert.rejects(readModelAsync(file, { maxItems: 20 }), { rule: "C09-count" });
      await assert.rejects(readModelAsync(file, { maxRegionBytes: 500 }), { rule: "P09-budget" });
    } finally {
      Object.defineProperty(globalThis, "crypto", { value: crypto, configurable: true, writable: true });
    }
  }
});

test("damage and newer files are told apart", () => {
  const file = golden("weights_only");
  assert.throws(() => readModel(file.subarray(0, 3000)), { name: "ModelError", rule: "C02-header", message: /truncated download/ });
  file[4096] ^= 1;
  assert.throws(() => readModel(file), { rule: "C15-hash", where: "segments[0]" });
  file[7] = 0x32;
  assert.throws(() => readModel(file), { rule: "C01-identifier", message: /update tideflow/ });
});

test("SHA-256 equals Node's for every length around a block", () => {
  for (const length of [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 4097]) {
    const data = Uint8Array.from({ length }, (_, i) => i * 31);
    assert.equal(Buffer.from(sha256(data)).toString("hex"), createHash("sha256").update(data).digest("hex"));
  }
});

test("size expressions give values and exact bounds", () => {
  const { CONST, SYMBOL, ADD, SUB, MUL, FLOORDIV, CEILDIV, MOD, MIN, MAX } = DimOp;
  const cases = [[ADD, 7, 2, 9], [SUB, 7, 2, 5], [MUL, 7, 2, 14], [FLOORDIV, 7, 2, 3], [CEILDIV, 7, 2, 4], [CEILDIV, 8, 2, 4],
    [MOD, 7, 4, 3], [MIN, 7, 2, 2], [MAX, 7, 2, 7], [FLOORDIV, 2 ** 53 - 1, 3, 3002399751580330], [CEILDIV, 2 ** 53 - 1, 2, 2 ** 52]];
  for (const [op, a, b, expected] of cases) {
    const dims = [{ op: CONST, a, b: 0 }, { op: CONST, a: b, b: 0 }, { op, a: 0, b: 1 }];
    assert.equal(evaluateDims(dims, [])[2], expected);
    assert.deepEqual(boundDims(dims, [])[2], [expected, expected]);
  }
  const dims = [{ op: CONST, a: 3, b: 0 }, { op: SYMBOL, a: 0, b: 0 }, { op: SUB, a: 0, b: 1 }];
  assert.deepEqual(evaluateDims(dims, {}), [3, NaN, NaN]);
  assert.deepEqual(evaluateDims(dims, [2]), [3, 2, 1]);
  assert.throws(() => evaluateDims(dims, [4]), { name: "InvalidArgumentError", message: /dims\[2\]/ });
  assert.throws(() => boundDims(dims, [{ min: 1, max: 4, multiple_of: 1 }]), { rule: "P03-size", where: "dims[2]" });
});

test("sizes that do not fit are refused when they are bound", () => {
  const model = readModel(golden("trainable"));
  const [program] = model.programs;
  checkBindings(model, program);
  const sizes = evaluateDims(model.dims, [64, 4]);
  assert.equal(checkBound(model, program, sizes), 64 * 12 + 64 * 8 + 512 + 64 * 8 + 64);
  assert.throws(() => checkBound(model, program, sizes, "p", 1000), { rule: "P09-budget", where: "p" });
  assert.throws(() => checkBound(model, program, evaluateDims(model.dims, {})), { rule: "P13-unbound" });
});
