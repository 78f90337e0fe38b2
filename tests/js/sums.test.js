import assert from "node:assert/strict";
import { test } from "node:test";

import { withSumsInArrays } from "../../js_bindings/runtime/sums.js";

const SHADER = `  let v1 = 2i;
  var a1: vec4<f32> = vec4<f32>(0.0f);
  var a2: vec4<f32> = b2[v1];
  var a12: f32 = 0.0f;
  for (var r3 = 0i; r3 < 8i; r3++) {
    a1 += (v4 * v5);
    a2 += (v6 * v5);
    a12 += v7;
  }
  var t8: array<vec4<f32>, 2>;
  t8[0] = a1;
  t8[1] = a2;
  for (var r9 = 0i; r9 < 2i; r9++) {
    b1[r9] = t8[r9] + a12;
  }
`;

test("sums lie in the array that they were copied to, declared where the first of them was", () => {
  assert.equal(
    withSumsInArrays(SHADER),
    `  let v1 = 2i;
  var t8: array<vec4<f32>, 2>;
  t8[0] = vec4<f32>(0.0f);
  t8[1] = b2[v1];
  var a12: f32 = 0.0f;
  for (var r3 = 0i; r3 < 8i; r3++) {
    t8[0] += (v4 * v5);
    t8[1] += (v6 * v5);
    a12 += v7;
  }
  for (var r9 = 0i; r9 < 2i; r9++) {
    b1[r9] = t8[r9] + a12;
  }
`,
  );
});

test("arrays of other values stay as they are", () => {
  const mixed = SHADER.replace("t8[1] = a2", "t8[1] = v6");
  assert.equal(withSumsInArrays(mixed), mixed);
  const twice = SHADER.replace("t8[1] = a2", "t8[1] = a1"); // one variable cannot lie in two places
  assert.equal(withSumsInArrays(twice), twice);
});
