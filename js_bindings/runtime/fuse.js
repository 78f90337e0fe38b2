// Multiplication and addition as one instruction, where the engine has it: see wasm/fuse.py, which does the same.

import { checkModule } from "./rules.js";

const PAIR = [253, 230, 1, 32, 0, 253, 228, 1, 1]; // f32x4.mul, local.get of any, f32x4.add, nop
const MADD = [253, 133, 2, 1, 1, 1, 1]; // f32x4.relaxed_madd, and nops in place of what it saves
// a function that returns a relaxed multiply-add
const PROBE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2,
  253, 133, 2, 11,
];

/** Whether this engine has it. */
export function hasFused() {
  return WebAssembly.validate(new Uint8Array(PROBE));
}

/**
 * The module with one instruction, rounding once, in each marked place.
 * @param {Uint8Array} module
 */
export function fused(module) {
  const bytes = module.slice();
  let found = false;
  for (let at = -1; (at = bytes.indexOf(PAIR[0], at + 1)) >= 0;) {
    if (!PAIR.every((byte, i) => i === 4 || bytes[at + i] === byte)) continue;
    bytes.set([32, bytes[at + 4], ...MADD], at);
    found = true;
  }
  if (found) checkModule(bytes, "the fused module"); // no section has become another
  return bytes;
}
