import assert from "node:assert/strict";
import { test } from "node:test";

import { DType } from "../../js_bindings/runtime/tables.js";
import { bytesOf, convertBytes, fromDevice, toDevice, viewAs } from "../../js_bindings/runtime/values.js";

const port = (fields = {}) => ({ name: "y", min: 0, max: 0, bounded: false, ...fields });
const floats = (bytes) => [...viewAs(bytes, DType.F32)];

test("float32 passes without a copy", () => {
  const data = Float32Array.of(1, 2);
  assert.equal(toDevice(data, port(), DType.F32, DType.F32).buffer, data.buffer);
});

test("any numbers become float32", () => {
  assert.deepEqual(floats(toDevice([1, 2n, true], port(), DType.F32, DType.F32)), [1, 2, 1]);
  assert.deepEqual(floats(toDevice(Uint8Array.of(0, 255), port(), DType.F32, DType.F32)), [0, 255]);
});

test("a label out of range is named with its position and the range", () => {
  assert.throws(
    () => toDevice(BigInt64Array.of(3n, 10n), port({ min: 0, max: 9, bounded: true }), DType.I64, DType.I32),
    { name: "InvalidArgumentError", message: /"y": value 10 at position 1 is not int64 between 0 and 9/ },
  );
  assert.deepEqual(
    [...viewAs(toDevice([0, 9], port({ max: 9, bounded: true }), DType.I64, DType.I32), DType.I32)],
    [0, 9],
  );
});

for (const [value, dtype] of [
  [1.5, DType.I32],
  [NaN, DType.I32],
  [2 ** 31, DType.I64],
  [-1, DType.U8],
  [2, DType.BOOL],
]) {
  test(`${value} is refused as dtype ${dtype}`, () => {
    assert.throws(() => toDevice([value], port(), dtype, DType.I32), {
      name: "InvalidArgumentError",
      message: /position 0/,
    });
  });
}

test("bool weights become words and come back", () => {
  const words = convertBytes(Uint8Array.of(1, 0, 1), DType.BOOL, DType.U32);
  assert.deepEqual([...viewAs(words, DType.U32)], [1, 0, 1]);
  assert.deepEqual([...fromDevice(words, DType.U32, DType.BOOL)], [1, 0, 1]);
});

test("every half survives a round trip", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i).filter(
    (half) => (half & 0x7c00) !== 0x7c00 || !(half & 0x3ff),
  );
  const back = convertBytes(convertBytes(bytesOf(bits), DType.F16, DType.F32), DType.F32, DType.F16);
  assert.deepEqual(viewAs(back, DType.F16), bits);
});

test("halves and bfloat16 round to even", () => {
  const half = (x) => viewAs(convertBytes(bytesOf(Float32Array.of(x)), DType.F32, DType.F16), DType.F16)[0];
  assert.deepEqual(
    [1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519.9, 65520, 2 ** -25, 1.0000001 * 2 ** -25].map(half),
    [0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 1],
  );
  const brain = (x) => viewAs(convertBytes(bytesOf(Float32Array.of(x)), DType.F32, DType.BF16), DType.BF16)[0];
  assert.deepEqual([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, NaN].map(brain), [0x3f80, 0x3f80, 0x3f82, 0x7fc0]);
});

test("views copy where the alignment demands it", () => {
  const odd = new Uint8Array(9).subarray(1);
  assert.equal(viewAs(odd, DType.F32).length, 2);
});

test("class numbers may come as floats, and are checked too", () => {
  const labels = port({ max: 9, bounded: true });
  assert.deepEqual(floats(toDevice(Float32Array.of(0, 9), labels, DType.F32, DType.F32)), [0, 9]);
  for (const wrong of [10, -1, NaN])
    assert.throws(() => toDevice(Float32Array.of(3, wrong), labels, DType.F32, DType.F32), {
      name: "InvalidArgumentError",
      message: /at position 1 is not float32 between 0 and 9/,
    });
});
