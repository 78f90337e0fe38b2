// The binding rules of WebGPU, once for everybody: the reader and the executors call these before any native API.
// Each engine hides errors that another reports. Twin of `core/kernel/bindings.py`.

import { check } from "./errors.js";
import { StepKind } from "./tables.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Program} Program */

const MAX_BINDINGS = 8;
const MAX_WORDS = 64;
const MAX_EXPANDED_STEPS = 2 ** 20;

/** Bytes of one element by DType code; STRING has none. */
export const ITEM_SIZES = [4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1, 0];

/**
 * Checks what can be known without sizes: counts, indices into the step, and that no byte is bound twice.
 * @param {Model} model
 * @param {Program} program
 * @param {string} [where]
 * @throws {ModelError} rule `P08-binding`
 */
export function checkBindings(model, { regions, kernels, steps }, where = "program") {
  steps.forEach(({ kind, kernel, regions: bound, writes, uniforms, scalars }, s) => {
    if (kind === StepKind.LOOP) return;
    const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P08-binding", `${where}.steps[${s}]`, why);
    const count = bound.length, taken = new Set(bound);
    need(count <= MAX_BINDINGS && count === kernels[kernel].bindings,
      `binds ${count} regions, the kernel has ${kernels[kernel].bindings} bindings, portable are ${MAX_BINDINGS}`);
    need(writes >> count === 0, `writes ${writes} names more than ${count} regions`);
    need(taken.size === count, "binds a region twice: equal operands share one binding");
    for (const region of bound) {
      for (let at = regions[region].parent; at >= 0; at = regions[at].parent) {
        need(!taken.has(at), `binds region ${region} beside region ${at} that contains it`);
      }
    }
    const words = scalars.reduce((sum, tensor) => sum + scalarWords(model, tensor), uniforms.length);
    need(words <= MAX_WORDS, `${words} words of uniforms and scalars, the slot holds ${MAX_WORDS}`);
  });
}

/**
 * How many u32 words a host-owned tensor takes in a uniform slot; more than fit if its shape is not constant.
 * @param {Model} model
 * @param {number} tensor
 */
function scalarWords({ tensors, dims }, tensor) {
  const { shape, dtype } = tensors[tensor];
  return shape.reduce((n, d) => n * (dims[d].op === 0 ? dims[d].a : MAX_WORDS + 1), ITEM_SIZES[dtype] === 8 ? 2 : 1);
}

/**
 * Checks a program for known sizes (the values of `model.dims`): at load for the extremes, at each binding for real.
 * Children lie inside their parents, tensors fit their regions, no step binds overlapping bytes, and memory and the
 * number of steps are bounded.
 * @param {Model} model
 * @param {Program} program
 * @param {number[]} sizes  NaN where a symbol has no value
 * @param {string} [where]
 * @param {number} [maxBytes]
 * @returns {number} the bytes of all root regions
 * @throws {ModelError} rules `P06-region`, `P08-binding`, `P09-budget`, `P13-unbound`
 */
export function checkBound(model, { regions, steps }, sizes, where = "program", maxBytes = Infinity) {
  const used = [...regions.flatMap((r) => [r.bytes, r.offset]), ...steps.flatMap((s) => [...s.grid, ...s.uniforms, s.flops, s.count])];
  for (const d of used) check(sizes[d] >= 0, "P13-unbound", where, `dims[${d}]: its symbol occurs in no input shape`);
  /** @type {[number, number, number][]} */
  const spans = [];                         // [root, first byte, end] of each region, with room for a binding of size 0
  let total = 0;
  regions.forEach(({ bytes, offset: at, parent, tensor, storage }, r) => {
    const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P06-region", `${where}.regions[${r}]`, why);
    const size = sizes[bytes], offset = sizes[at], isRoot = parent < 0;
    if (isRoot) total += size;
    else need(offset % 256 === 0 && offset + size <= sizes[regions[parent].bytes], `bytes ${offset}..${offset + size} of its parent`);
    const [root, start] = isRoot ? [r, 0] : spans[parent];
    spans.push([root, start + offset, start + offset + Math.max(size, 1)]);
    if (tensor < 0) return;
    const needed = model.tensors[tensor].shape.reduce((n, d) => n * (sizes[d] || 0), ITEM_SIZES[storage]);
    need(needed <= size, `has ${size} bytes, its tensor needs ${needed}`);
  });
  check(total <= maxBytes, "P09-budget", where, `needs ${total} bytes of memory, allowed are ${maxBytes}`);
  steps.forEach((step, s) => {
    const bound = step.regions.map((r) => spans[r]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    bound.forEach(([root, start], i) => {
      const before = bound[i - 1];
      check(before?.[0] !== root || start >= before[2], "P08-binding", `${where}.steps[${s}]`, `binds byte ${start} of region ${root} twice`);
    });
  });
  const loops = [[steps.length, 1]];        // where each open loop ends, and how often its body runs
  let expanded = 0;
  steps.forEach(({ kind, body, count }, s) => {
    while (s >= loops[0][0]) loops.shift();
    const times = loops[0][1];
    if (kind === StepKind.LOOP) loops.unshift([s + 1 + body, times * sizes[count]]);
    else expanded += times;
    check(expanded <= MAX_EXPANDED_STEPS, "P09-budget", `${where}.steps`, "more than 2^20 steps with loops written out");
  });
  return total;
}
