// Multiplication and addition as one instruction, where the engine has it: see wasm/fuse.py, which does the same.

import { checkModule } from "./rules.js";

const PAIR = [253, 230, 1, 32, 0, 253, 228, 1, 1]; // f32x4.mul, local.get of any, f32x4.add, nop
const MADD = [253, 133, 2, 1, 1, 1, 1]; // f32x4.relaxed_madd, and nops in place of what it saves

/**
 * The module with one instruction, rounding once, in each marked place, or as it is where the engine refuses that.
 * @param {Uint8Array} module
 */
export function fused(module) {
  const bytes = module.slice();
  let at = -1;
  let marks = 0;
  while ((at = bytes.indexOf(253, at + 1)) >= 0) {
    if (PAIR.every((byte, i) => i === 4 || bytes[at + i] === byte)) {
      bytes.set([32, bytes[at + 4], ...MADD], at);
      marks++;
    }
  }
  if (marks) checkModule(bytes, "fused"); // no section has become another
  return marks && WebAssembly.validate(bytes) ? bytes : module;
}
