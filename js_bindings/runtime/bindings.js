// The binding rules of WebGPU, once for everybody: the reader and the executors call these before any native API.
// Each engine hides errors that another reports. Twin of `core/kernel/bindings.py`.

import { ModelError } from "./errors.js";

export const MAX_BINDINGS = 8;
export const MAX_WORDS = 64;
export const MAX_EXPANDED_STEPS = 2 ** 20;
const REGION_ALIGNMENT = 256;

/** Bytes of one element by DType code; STRING has none. */
export const ITEM_SIZES = [4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1, 0];
const LOOP = 1;

/**
 * Checks what can be known without sizes: counts, indices into the step, and that no byte is bound twice.
 * @param {any} model
 * @param {any} program
 * @param {string} [where]
 * @throws {ModelError} rule `P08-binding`
 */
export function checkBindings(model, program, where = "program") {
  const { regions, kernels, steps } = program;
  steps.forEach((step, number) => {
    if (step.kind === LOOP) return;
    const refuse = (why) => { throw new ModelError("P08-binding", `${where}.steps[${number}]`, why); };
    const bound = step.regions, { bindings } = kernels[step.kernel], taken = new Set(bound);
    if (bound.length > MAX_BINDINGS) refuse(`binds ${bound.length} regions, at most ${MAX_BINDINGS} are portable`);
    if (bound.length !== bindings) refuse(`binds ${bound.length} regions, the kernel has ${bindings} bindings`);
    if (step.writes >> bound.length) refuse(`writes ${step.writes} names more than its ${bound.length} regions`);
    if (taken.size !== bound.length) refuse("binds a region twice: equal operands share one binding");
    for (const region of bound) {
      for (let { parent } = regions[region]; parent >= 0; parent = regions[parent].parent) {
        if (taken.has(parent)) refuse(`binds region ${region} beside region ${parent} that contains it`);
      }
    }
    const words = step.scalars.reduce((sum, tensor) => sum + scalarWords(model, tensor), step.uniforms.length);
    if (words > MAX_WORDS) refuse(`has ${words} words of uniforms and scalars, the slot holds ${MAX_WORDS}`);
  });
}

/** How many u32 words a host-owned tensor takes in a uniform slot; more than fit if its shape is not constant. */
export function scalarWords(model, tensor) {
  const { shape, dtype } = model.tensors[tensor];
  const count = shape.reduce((n, d) => n * (model.dims[d].op === 0 ? model.dims[d].a : MAX_WORDS + 1), 1);
  return count * (ITEM_SIZES[dtype] === 8 ? 2 : 1);
}

/**
 * Checks a program for known sizes (the values of `model.dims`): at load for the extremes, at each binding for real.
 * Children lie inside their parents, tensors fit their regions, no step binds overlapping bytes, and memory and the
 * number of steps are bounded.
 * @param {any} model
 * @param {any} program
 * @param {number[]} sizes  NaN where a symbol has no value
 * @param {string} [where]
 * @param {number} [maxBytes]
 * @returns {number} the bytes of all root regions
 * @throws {ModelError} rules `P06-region`, `P08-binding`, `P09-budget`, `P13-unbound`
 */
export function checkBound(model, program, sizes, where = "program", maxBytes = Infinity) {
  const { regions, steps } = program;
  const known = (index) => {
    if (Number.isNaN(sizes[index])) {
      throw new ModelError("P13-unbound", where, `uses dims[${index}], whose symbol occurs in no input shape of the signature`);
    }
  };
  for (const region of regions) [region.bytes, region.offset].forEach(known);
  for (const step of steps) [...step.grid, ...step.uniforms, step.flops, step.count].forEach(known);
  const starts = [];                        // [root, first byte inside it] of each region
  let total = 0;
  regions.forEach((region, number) => {
    const refuse = (why) => { throw new ModelError("P06-region", `${where}.regions[${number}]`, why); };
    const size = sizes[region.bytes], offset = sizes[region.offset];
    if (region.parent < 0) {
      starts.push([number, 0]);
      total += size;
    } else {
      const [root, start] = starts[region.parent], room = sizes[regions[region.parent].bytes];
      if (offset % REGION_ALIGNMENT || offset + size > room) {
        refuse(`bytes ${offset}..${offset + size} of its parent: not a multiple of 256, or outside its ${room} bytes`);
      }
      starts.push([root, start + offset]);
    }
    if (region.tensor >= 0) {
      const needed = model.tensors[region.tensor].shape.reduce((n, d) => n * (sizes[d] || 0), ITEM_SIZES[region.storage]);
      if (needed > size) refuse(`has ${size} bytes, its tensor needs ${needed}`);
    }
  });
  if (total > maxBytes) throw new ModelError("P09-budget", where, `needs ${total} bytes of memory, allowed are ${maxBytes}`);
  checkOverlap(program, sizes, starts, where);
  checkSteps(program, sizes, where);
  return total;
}

/** No step binds two child regions that share a byte. */
function checkOverlap({ regions, steps }, sizes, starts, where) {
  steps.forEach((step, number) => {
    const spans = step.regions.filter((r) => regions[r].parent >= 0)
      .map((r) => [...starts[r], starts[r][1] + Math.max(sizes[regions[r].bytes], 1)])
      .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (let i = 1; i < spans.length; i++) {
      if (spans[i][0] === spans[i - 1][0] && spans[i][1] < spans[i - 1][2]) {
        throw new ModelError("P08-binding", `${where}.steps[${number}]`, `binds byte ${spans[i][1]} of region ${spans[i][0]} twice`);
      }
    }
  });
}

/** The number of steps with every loop written out stays below 2^20. */
function checkSteps({ steps }, sizes, where) {
  const repeats = [[steps.length, 1]];
  let total = 0;
  steps.forEach((step, index) => {
    while (index >= repeats[repeats.length - 1][0]) repeats.pop();
    const times = repeats[repeats.length - 1][1];
    if (step.kind === LOOP) repeats.push([index + 1 + step.body, times * sizes[step.count]]);
    else total += times;
    if (total > MAX_EXPANDED_STEPS) {
      throw new ModelError("P09-budget", `${where}.steps`, `more than ${MAX_EXPANDED_STEPS} steps with loops written out`);
    }
  });
}
