// Multiplication and addition as one instruction, where the engine has it: see wasm/fuse.py, which does the same.
//
// It asks half as much of the processor's floating-point units, but a module that contains it is refused where it is
// missing. So files hold both, marked by a `nop`, and the loader rewrites the marked places; the length stays the same.

const MULTIPLY = [0xfd, 0xe6, 1, 0x20]; // f32x4.mul, local.get of
const ADD = [0xfd, 0xe4, 1, 1]; // f32x4.add, nop
const FUSED = [0xfd, 0x85, 2, 1, 1, 1, 1]; // f32x4.relaxed_madd, and nops in place of what it saves
const CODE = 10;
// a function that returns a relaxed multiply-add
const PROBE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2,
  253, 133, 2, 11,
];

/** Whether this engine has the multiply-add of one rounding. */
export function hasFused() {
  return WebAssembly.validate(new Uint8Array(PROBE));
}

/**
 * The module with one instruction, rounding once, in each marked place.
 * @param {Uint8Array} module  whose sections were checked
 */
export function fused(module) {
  const bytes = module.slice();
  const is = (/** @type {number} */ at, /** @type {number[]} */ pattern) => pattern.every((byte, i) => bytes[at + i] === byte);
  for (let at = codeStart(bytes); at < bytes.length; at++) {
    if (bytes[at] !== MULTIPLY[0] || !is(at, MULTIPLY)) continue;
    const get = bytes[at + 4] < 128 ? 2 : 3; // bytes of local.get
    if (!is(at + 3 + get, ADD)) continue;
    bytes.copyWithin(at, at + 3, at + 3 + get);
    bytes.set(FUSED, at + get);
  }
  return bytes;
}

/** Where the code section begins, the last one and the only one that may change. @param {Uint8Array} bytes */
function codeStart(bytes) {
  let at = 8;
  while (at < bytes.length && bytes[at] !== CODE) {
    let size = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[++at];
      size += (byte & 127) * factor;
      if (!(byte >= 128)) break;
    }
    at += 1 + size;
  }
  return at;
}
