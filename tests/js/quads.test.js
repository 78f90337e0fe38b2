import assert from "node:assert/strict";
import { test } from "node:test";

import { quadsAreNeighbours, withQuads } from "../../js_bindings/runtime/quads.js";
import { fakeGpu } from "./helpers/fake_gpu.js";

const shader = (lines) => `@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  for (var r1 = 0i; r1 < 8i; r1++) {
${lines.map((line) => `    ${line}\n`).join("")}  }
}
`;
const LOADS = [
  "let v1 = b0[v9];",
  "let v2 = b0[(v9 + 8i)];",
  "let v3 = b0[select(0i, v8, v7)];",
  "let v4 = b0[(v9 + 24i)];",
];

test("four marked loads become one, and each invocation gets what it asked for", () => {
  const made = withQuads(shader(["// quad 4", ...LOADS, "a1 += v1 * v4;"]));
  assert.equal(made.match(/b0\[/g).length, 1);
  assert.match(made, /b0\[select\(select\(v9, \(v9 \+ 8i\), quad_odd\), select\(select\(0i, v8, v7\), \(v9 \+ 24i\), quad_odd\), quad_high\)\]/);
  for (const number of [0, 1, 2, 3]) {
    assert.match(made, new RegExp(`let v${number + 1} = quadBroadcast\\(v1q, ${number}u\\);`));
  }
  assert.ok(made.startsWith("enable subgroups;"));
  assert.match(made, /main\(.*\{\n {2}let quad_odd = \(local & 1u\) != 0u;/);
  assert.match(made, /a1 \+= v1 \* v4;/);
});

test("two loads are shared too, and the lines after them stay", () => {
  const made = withQuads(shader(["// quad 2", ...LOADS.slice(0, 2), "let v5 = b1[v9];"]));
  assert.match(made, /let v1q = b0\[select\(select\(v9, \(v9 \+ 8i\), quad_odd\), \(v9 \+ 8i\), quad_high\)\];/);
  assert.equal(made.match(/quadBroadcast/g).length, 2);
  assert.match(made, /let v5 = b1\[v9\];/);
});

test("of four turned rows each invocation loads its own and gets its neighbours'", () => {
  const code = `const quad: i32 = 0i;\n${shader(["// turn 4", ...LOADS, "a1 += v1 * v4;"])}`;
  const made = withQuads(code);
  assert.equal(made.match(/b0\[/g).length, 1);
  assert.match(made, /let v1 = b0\[v9\];\n +let v2 = quadSwapX\(v1\);\n +let v3 = quadSwapY\(v1\);\n +let v4 = quadSwapDiagonal\(v1\);/);
  assert.ok(!made.includes("const quad") && made.startsWith("enable subgroups;"));
  assert.match(made, /main\(.*\{\n {2}let quad = i32\(local & 3u\);/);
});

test("of a vector of turned rows each invocation loads its component", () => {
  const code = `const quad: i32 = 0i;\n${shader(["// turn 1", LOADS[2], "a1 += v3.x;"])}`;
  const made = withQuads(code);
  assert.match(made, /let v3q = b0\[select\(0i, v8, v7\)\]\[quad\];/);
  assert.match(made, /let v3 = vec4\(v3q, quadSwapX\(v3q\), quadSwapY\(v3q\), quadSwapDiagonal\(v3q\)\);/);
});

test("what is not marked stays as it is", () => {
  const code = shader(LOADS);
  assert.equal(withQuads(code), code);
});

test("neighbours by number are computed, not assumed", async () => {
  const without = await (await fakeGpu().gpu.requestAdapter()).requestDevice({ requiredFeatures: [] });
  assert.equal(await quadsAreNeighbours(without), false);
  const wrong = await (await fakeGpu().gpu.requestAdapter()).requestDevice({ requiredFeatures: ["subgroups"] });
  assert.equal(await quadsAreNeighbours(wrong), false); // the fake computes nothing
});
