// Compiled kernels of one GPU device: one for equal code, made without waiting, in the order in which they are asked for.
//
// An engine compiles one kernel after the other, some for a tenth of a second: a run begins with those that are there.

import { DeviceLostError, ModelError } from "./errors.js";
import { withQuads } from "./quads.js";
import { withSumsInArrays } from "./sums.js";
import { StepKind } from "./tables.js";

/** @typedef {{name: string, entry: string, code: Uint8Array | string | null}} Kernel  code: text when from Python */
/** @typedef {import("./types.js").Program} Program */
/** A pipeline, null until `ready`. @typedef {{pipeline: GPUComputePipeline | null, ready: Promise<void>}} Compiled */
/**
 * Variants: per step, the key of its pipeline; ready: when all of them are
 * @typedef {{
 *   program: Program, kernels: Map<string, Compiled>, variants: string[], ready: Promise<any>
 * }} Loaded
 */

const COMPUTE = 4; // GPUShaderStage.COMPUTE

export class Pipelines {
  /**
   * @param {GPUDevice} gpu
   * @param {boolean} software  others take the place of its first pipelines (dispatches.js)
   * @param {boolean} quads  neighbouring invocations may share loads
   */
  constructor(gpu, software = false, quads = false) {
    this.gpu = gpu;
    this.software = software;
    this.quads = quads;
    /** @type {Map<string, {group: GPUBindGroupLayout, pipeline: GPUPipelineLayout}>} */
    this.layouts = new Map();
    /** @type {Map<string, Compiled>} by shape, entry and code */
    this.made = new Map();
  }

  /**
   * Begins to compile a program's kernels, in the order of its steps.
   * @param {Program} program
   * @param {boolean} [now]  true: without a promise; mistakes in a kernel then show at the next run
   * @returns {Loaded}
   */
  load(program, now = false) {
    const variants = variantsOf(program);
    /** @type {Map<string, Compiled>} */
    const kernels = new Map();
    for (const variant of new Set(variants)) {
      const [kernel, shape] = variant.split("/");
      if (variant) kernels.set(variant, this.compiled(program.kernels[Number(kernel)], shape, now));
    }
    const ready = Promise.all([...kernels.values()].map((compiled) => compiled.ready));
    ready.catch(() => {}); // whoever runs the kernel is told
    return { program, kernels, variants, ready };
  }

  /** @param {Kernel} kernel @param {string} shape @param {boolean} now @returns {Compiled} */
  compiled(kernel, shape, now) {
    const first = { ...kernel, code: this.firstText(kernel) };
    const key = `${shape}|${kernel.entry}|${first.code}`;
    let found = this.made.get(key);
    if (!found || (now && !found.pipeline)) {
      found = now
        ? { pipeline: this.gpu.createComputePipeline(this.describe(first, shape)), ready: Promise.resolve() }
        : this.begin(first, shape);
      this.made.set(key, found);
    }
    return found;
  }

  /** What a kernel is compiled from when it is loaded. @param {Kernel} kernel */
  firstText({ code }) {
    const text = this.quads ? withQuads(textOf(code)) : textOf(code);
    return this.software ? withSumsInArrays(text) : text;
  }

  /** Compiles in the background. @param {Kernel} kernel @param {string} shape @returns {Compiled} */
  begin(kernel, shape) {
    const description = this.describe(kernel, shape);
    /** @type {Compiled} */
    const compiled = { pipeline: null, ready: Promise.resolve() };
    compiled.ready = this.gpu.createComputePipelineAsync(description).then(
      (pipeline) => {
        compiled.pipeline = pipeline;
      },
      async (error) => {
        const lost = await Promise.race([this.gpu.lost, undefined]);
        if (lost) throw new DeviceLostError(`the GPU device was lost while compiling: ${lost.message}`);
        const { messages = [] } = (await description.compute.module.getCompilationInfo?.()) ?? {};
        const lines = messages.map((m) => `${m.lineNum}:${m.linePos} ${m.message}`);
        throw new ModelError("kernel", `kernel "${kernel.name}"`, [error.message, ...lines].join("; "));
      },
    );
    return compiled;
  }

  /** @param {Kernel} kernel @param {string} shape @returns {GPUComputePipelineDescriptor} */
  describe({ name, entry, code }, shape) {
    const module = this.gpu.createShaderModule({ code: textOf(code), label: name });
    return { label: name, layout: this.layout(shape).pipeline, compute: { module, entryPoint: entry } };
  }

  /** @param {string} shape  "regions,slot,loops": storage bindings, 1 with a uniform slot, nested loops */
  layout(shape) {
    let found = this.layouts.get(shape);
    if (!found) {
      const [regions, slot, loops] = shape.split(",").map(Number);
      /** @type {GPUBindGroupLayoutEntry[]} */
      const entries = [];
      const add = (/** @type {GPUBufferBindingLayout} */ buffer) =>
        entries.push({ binding: entries.length, visibility: COMPUTE, buffer });
      for (let i = 0; i < regions; i++) add({ type: "storage" });
      if (slot) add({ type: "uniform" });
      for (let i = 0; i < loops; i++) {
        const buffer = { type: /** @type {const} */ ("uniform"), hasDynamicOffset: true };
        entries.push({ binding: regions + 1 + i, visibility: COMPUTE, buffer });
      }
      const group = this.gpu.createBindGroupLayout({ entries });
      found = { group, pipeline: this.gpu.createPipelineLayout({ bindGroupLayouts: [group] }) };
      this.layouts.set(shape, found);
    }
    return found;
  }
}

/** @param {Program} program @returns {string[]} per step its kernel and the shape of its bind group; "" for a LOOP */
function variantsOf({ steps }) {
  let open = /** @type {number[]} */ ([]); // where the loops around the current step end
  return steps.map((step, index) => {
    open = open.filter((end) => index <= end);
    if (step.kind !== StepKind.LOOP) return `${step.kernel}/${shapeOf(step, open.length)}`;
    open.push(index + step.body);
    return "";
  });
}

/**
 * @param {{regions: ArrayLike<number>, uniforms: ArrayLike<number>, scalars: ArrayLike<number>}} step
 * @param {number} loops
 */
function shapeOf({ regions, uniforms, scalars }, loops) {
  return `${regions.length},${uniforms.length + scalars.length ? 1 : 0},${loops}`;
}

/** @param {Uint8Array | string | null} code */
export function textOf(code) {
  return typeof code === "string" ? code : new TextDecoder().decode(code ?? new Uint8Array());
}
