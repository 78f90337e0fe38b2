import assert from "node:assert/strict";
import { test } from "node:test";

import { HOT, withLengths } from "../../js_bindings/runtime/lengths.js";
import { Session } from "../../js_bindings/runtime/session.js";
import { WebGpuDevice } from "../../js_bindings/runtime/webgpu.js";
import { fakeGpu } from "./helpers/fake_gpu.js";
import { trainModel } from "./helpers/models.js";

const binding = (number, array) => `@group(0) @binding(${number}) var<storage, read_write> b${number}: ${array};\n`;
const x = Float32Array.of(1, 2, 3);

test("arrays get the length of what is bound, in whole elements; a known length stays", () => {
  const code = binding(0, "array<f32>") + binding(1, "array<vec4<f32>>") + binding(2, "array<u32, 7>");
  const wanted = binding(0, "array<f32, 5>") + binding(1, "array<vec4<f32>, 2>") + binding(2, "array<u32, 7>");
  assert.equal(withLengths(code, [20, 44, 512]), wanted);
});

test("an array that not one element fits into stays as it is", () => {
  assert.equal(withLengths(binding(0, "array<vec4<f32>>"), [12]), binding(0, "array<vec4<f32>>"));
});

test("elements of other sizes than 4 and 16 bytes are left alone", () => {
  for (const array of ["array<f16>", "array<vec4<f16>>", "array<Pair>"])
    assert.equal(withLengths(binding(0, array), [512]), binding(0, array));
});

async function trained({ software, runs, broken = false }) {
  const model = trainModel();
  for (const kernel of model.programs[1].kernels) {
    kernel.code = new TextEncoder().encode(`// ${kernel.name}\n${binding(0, "array<f32>")}`);
  }
  const fake = fakeGpu({ software });
  const device = await WebGpuDevice.open({ gpu: fake.gpu });
  const session = await Session.create(model, { device, snapshotEvery: 1e9, idle: 1e9 });
  await (await session.run("train_step", { x })).read();
  if (broken) device.gpu.createComputePipelineAsync = () => Promise.reject(new Error("invalid shader"));
  const made = fake.calls.createComputePipelineAsync;
  for (let i = 1; i < runs; i++) await (await session.run("train_step", { x })).read();
  await new Promise((resolve) => {
    setTimeout(resolve); // all pipelines of the fake are there at once
  });
  await (await session.run("train_step", { x })).read();
  const codes = fake.last.dispatches.map(({ pipeline }) => pipeline.compute.module.code);
  return { codes, made: fake.calls.createComputePipelineAsync - made };
}

test("sizes that are used again and again get pipelines of their own on a software adapter", async () => {
  const { codes, made } = await trained({ software: true, runs: HOT });
  assert.ok(made > 0);
  for (const code of codes) assert.match(code, /b0: array<f32, \d+>;/);
});

test("neither the first runs nor a real GPU make any", async () => {
  for (const options of [{ software: true, runs: HOT - 2 }, { software: false, runs: HOT }]) {
    const { codes, made } = await trained(options);
    assert.equal(made, 0);
    for (const code of codes) assert.match(code, /b0: array<f32>;/);
  }
});

test("where they cannot be made the general ones stay in use", async () => {
  const { codes } = await trained({ software: true, runs: HOT, broken: true });
  for (const code of codes) assert.match(code, /b0: array<f32>;/);
});
