// Multiplication and addition as one instruction, where the engine has it: see wasm/fuse.py, which does the same.

import { checkModule } from "./rules.js";

const MULTIPLY = [253, 230, 1, 32]; // f32x4.mul, local.get
const ADD = [253, 228, 1, 1]; // f32x4.add, nop
const MADD = [253, 133, 2, 1, 1, 1, 1]; // f32x4.relaxed_madd, and nops in place of what it saves

/**
 * The module with one instruction, rounding once, in each marked place, or as it is where the engine refuses that.
 * @param {Uint8Array} module
 */
export function fused(module) {
  const bytes = module.slice();
  /** @param {number} at @param {number[]} pattern */
  const is = (at, pattern) => pattern.every((byte, i) => bytes[at + i] === byte);
  let at = -1;
  let marks = 0;
  while ((at = bytes.indexOf(253, at + 1)) >= 0) {
    const get = bytes[at + 4] < 128 ? 2 : 3; // bytes of local.get
    if (is(at, MULTIPLY) && is(at + 3 + get, ADD)) {
      bytes.copyWithin(at, at + 3, at + 3 + get).set(MADD, at + get);
      marks++;
    }
  }
  if (marks) checkModule(bytes, "fused"); // no section has become another
  return marks && WebAssembly.validate(bytes) ? bytes : module;
}
