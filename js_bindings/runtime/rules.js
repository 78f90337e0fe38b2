// The rules for what a file says (class P, and names): indices, sizes, programs, signatures. `docs/format.md` lists them;
// `core/program/rules.py` and `modules.py` are the twins of this file, with the same checks in the same order.

import { ITEM_SIZES, checkBindings, checkBound } from "./bindings.js";
import { ModelError } from "./errors.js";
import { sha256 } from "./sha256.js";
import { LARGEST, boundDims, evaluateDims, symbolRange } from "./sizes.js";
import { DType, Place, Role, StepKind, Target } from "./tables.js";

const MAX_RANK = 8;
const MAX_LOOP_DEPTH = 4;
const hostOwned = (tensor) => tensor.role === Role.COUNTER || tensor.role === Role.RNG;

/** @returns {never} */
function refuse(rule, where, why) {
  throw new ModelError(rule, where, why);
}

/**
 * Checks a decoded model.
 * @param {any} model
 * @param {number} maxRegionBytes
 * @throws {ModelError} the first rule that it breaks
 */
export function verifyModel(model, maxRegionBytes) {
  checkNames(model);
  model.symbols.forEach((symbol, i) => {
    if (symbol.multiple_of < 1) refuse("P02-symbol", `symbols[${i}]`, "multiple_of is 0");
    checkRange("P02-symbol", `symbols[${i}]`, symbol);
  });
  const zero = model.dims[0];
  if (!zero || zero.op !== 0 || zero.a !== 0) refuse("P03-size", "dims[0]", "must be CONST 0, the meaning of an absent size");
  const ranges = boundDims(model.dims, model.symbols);
  model.tensors.forEach((tensor, i) => checkTensor(tensor, `tensors[${i}]`, ranges));
  if (model.base.length !== 0 && model.base.length !== 32) {
    refuse("C17-base", "base", `has ${model.base.length} bytes, expected 0 or 32`);
  }
  model.graphs.forEach((graph, g) => checkGraph(model, graph, g));
  model.programs.forEach((program, p) => {
    const where = `programs[${p}]`;
    checkProgram(model, program, where, ranges);
    const symbols = whenRanges(model, program, where);
    [maxRegionBytes, Infinity].forEach((limit, corner) => {
      checkBound(model, program, evaluateDims(model.dims, symbols.map((ends) => ends[corner])), where, limit);
    });
  });
  model.signatures.forEach((signature, s) => checkSignature(model, signature, `signatures[${s}]`));
}

function indices(values, length, where, what, lowest = 0) {
  for (const value of values) {
    if (value < lowest || value >= length) refuse("P01-index", where, `${what} ${value} of ${length}`);
  }
}

function unique(names, where) {
  const seen = new Set();
  for (const name of names) {
    if (seen.has(name)) refuse("C11-name", where, `the name ${name} occurs twice`);
    seen.add(name);
  }
}

const names = (items) => items.map((item) => item.name);

function checkNames(model) {
  unique(names(model.symbols), "symbols");
  unique(names(model.tensors).filter(Boolean), "tensors");
  unique(model.opcodes.map((o) => `${o.name} version ${o.version}`), "opcodes");
  unique(names(model.graphs), "graphs");
  model.graphs.forEach((graph, g) => graph.nodes.forEach((node, n) => unique(names(node.attrs), `graphs[${g}].nodes[${n}].attrs`)));
  model.programs.forEach(({ requires }, p) => {
    unique(requires.features, `programs[${p}].requires.features`);
    unique(names(requires.limits), `programs[${p}].requires.limits`);
  });
  unique(names(model.signatures), "signatures");
  model.signatures.forEach((signature, s) => {
    unique(names(signature.inputs), `signatures[${s}].inputs`);
    unique(names(signature.outputs), `signatures[${s}].outputs`);
  });
  unique(model.metadata.map((pair) => pair.key), "metadata");
}

function checkRange(rule, where, symbol) {
  const [low, high] = symbolRange(symbol);
  if (low > high) refuse(rule, where, `no multiple of ${symbol.multiple_of} lies in ${symbol.min}..${symbol.max}`);
  return [low, high];
}

function checkTensor(tensor, where, ranges) {
  const { shape, dtype, data, quant } = tensor;
  if (shape.length > MAX_RANK) refuse("C16-rank", where, `has ${shape.length} axes, at most ${MAX_RANK}`);
  indices(shape, ranges.length, where, "shape: dims");
  const [smallest, largest] = [0, 1].map((end) => shape.reduce((n, d) => n * ranges[d][end], ITEM_SIZES[dtype]));
  if (largest > LARGEST) refuse("P04-tensor", where, "may have more than 2^53-1 bytes");
  if (data) {
    if (dtype === DType.STRING) refuse("P04-tensor", where, "strings cannot have data");
    if (shape.some((d) => ranges[d][0] !== ranges[d][1])) refuse("P04-tensor", where, "has data, so its shape must be constant");
    if (data.length !== smallest) {
      refuse("P04-tensor", where, `has ${data.length} bytes of data, its shape and dtype say ${smallest}`);
    }
  }
  if (quant) {
    indices([quant.axis], shape.length, where, "quant: axis", -1);
    if (quant.zero_point.length !== 0 && quant.zero_point.length !== quant.scale.length) {
      refuse("P04-tensor", where, "quant: as many zero points as scales, or none");
    }
  }
}

function checkGraph(model, graph, g) {
  const where = `graphs[${g}]`, count = model.tensors.length;
  indices(graph.inputs, count, where, "inputs: tensor");
  indices(graph.outputs, count, where, "outputs: tensor");
  graph.nodes.forEach((node, n) => {
    const at = `${where}.nodes[${n}]`;
    indices([node.op], model.opcodes.length, at, "op: opcode");
    indices(node.inputs, count, at, "inputs: tensor", -1);
    indices(node.outputs, count, at, "outputs: tensor");
    for (const { name, value } of node.attrs) {
      if (value.v >= g) refuse("P01-index", at, `${name}: graph ${value.v}, only earlier ones than ${g} may be used`);
    }
  });
}

function checkProgram(model, program, where, ranges) {
  const { requires, kernels, module } = program;
  indices([program.graph], model.graphs.length, where, "graph", -1);
  indices(requires.when.map((r) => r.symbol), model.symbols.length, `${where}.requires`, "when: symbol");
  indices(requires.equal, ranges.length, `${where}.requires`, "equal: dims");
  if (requires.equal.length % 2) refuse("P12-requirement", `${where}.requires`, "equal: an odd number of sizes, expected pairs");
  const isWasm = program.target === Target.WASM;
  kernels.forEach((kernel, k) => checkKernel(kernel, isWasm, `${where}.kernels[${k}]`));
  if (isWasm !== Boolean(module)) {
    refuse("P10-module", where, isWasm ? "a WASM program needs a module" : "a WGSL program has no module");
  }
  checkRegions(model, program, where, ranges);
  checkSteps(model, program, where, ranges.length);
  checkBindings(model, program, where);
  if (module) checkModule(module, `${where}.module`);
}

function checkKernel({ code, hash }, isWasm, where) {
  if (isWasm) {
    if (code || hash.length) refuse("P05-kernel", where, "the kernels of a WASM program have no code of their own");
    return;
  }
  if (!code) refuse("P05-kernel", where, "has no code");
  if (hash.length && !(hash.length === 32 && sha256(code).every((byte, i) => byte === hash[i]))) {
    refuse("P05-kernel", where, "the hash is not the SHA-256 of the code");
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(code);
  } catch {
    refuse("P05-kernel", where, "the code is not UTF-8");
  }
}

function checkRegions(model, { regions }, where, ranges) {
  const held = new Set();
  regions.forEach((region, r) => {
    const at = `${where}.regions[${r}]`, { place, tensor, parent } = region;
    indices([region.bytes, region.offset], ranges.length, at, "dims");
    indices([tensor], model.tensors.length, at, "tensor", -1);
    indices([parent], r, at, "parent: region", -1);
    if (parent < 0 && ranges[region.offset][1] !== 0) refuse("P06-region", at, "has an offset but no parent");
    if (parent >= 0 && regions[parent].place !== place) refuse("P06-region", at, "its parent lives in another place");
    if (tensor >= 0) {
      const key = `${place} ${tensor}`;
      if (held.has(key)) refuse("P06-region", at, `another region of this place holds tensor ${tensor}`);
      held.add(key);
      if (place === Place.CONSTANT && !model.tensors[tensor].data) refuse("P06-region", at, "a constant without data");
    } else if (place === Place.INPUT || place === Place.OUTPUT) {
      refuse("P06-region", at, "an input or output without a tensor");
    }
  });
}

function checkSteps(model, { steps, kernels, regions }, where, numDims) {
  const blocks = [steps.length];            // where each open loop ends
  steps.forEach((step, s) => {
    const at = `${where}.steps[${s}]`;
    while (blocks.length > 1 && s >= blocks[blocks.length - 1]) blocks.pop();
    indices([step.flops, step.count, ...step.grid, ...step.uniforms], numDims, at, "dims");
    if (step.kind === StepKind.LOOP) {
      const lists = [step.regions, step.grid, step.uniforms, step.scalars];
      if (step.kernel || lists.some((list) => list.length) || step.flops || step.writes) {
        refuse("P07-step", at, "a LOOP has only count and body");
      }
      const end = blocks[blocks.length - 1];
      if (step.body < 1 || s + 1 + step.body > end) {
        refuse("P07-step", at, `a body of ${step.body} entries, ${end - s - 1} are left in its block`);
      }
      blocks.push(s + 1 + step.body);
      if (blocks.length - 1 > MAX_LOOP_DEPTH) refuse("P07-step", at, `loops nest more than ${MAX_LOOP_DEPTH} deep`);
      return;
    }
    if (step.count || step.body) refuse("P07-step", at, "only a LOOP has count and body");
    indices([step.kernel], kernels.length, at, "kernel");
    indices(step.regions, regions.length, at, "region");
    indices(step.scalars, model.tensors.length, at, "scalars: tensor");
    if (step.grid.length < 1 || step.grid.length > 3) refuse("P07-step", at, `a grid of ${step.grid.length} sizes, expected 1 to 3`);
  });
}

/** The range of each symbol for which the program runs. */
function whenRanges(model, program, where) {
  const result = model.symbols.map(symbolRange);
  for (const { symbol, min, max } of program.requires.when) {
    const whole = model.symbols[symbol];
    result[symbol] = checkRange("P12-requirement", `${where}.requires`,
      { min: Math.max(min, whole.min), max: Math.min(max, whole.max), multiple_of: whole.multiple_of });
  }
  return result;
}

function checkSignature(model, signature, where) {
  const { tensors, dims, programs } = model;
  indices([signature.graph], model.graphs.length, where, "graph", -1);
  indices(signature.programs, programs.length, where, "programs: program");
  for (const list of ["inputs", "outputs"]) {
    signature[list].forEach((port, p) => {
      indices([port.tensor], tensors.length, `${where}.${list}[${p}]`, "tensor");
      if (port.bounded && port.min > port.max) {
        refuse("P11-signature", `${where}.${list}[${p}]`, `no value lies in ${port.min}..${port.max}`);
      }
    });
  }
  indices(signature.reads, tensors.length, where, "reads: tensor");
  indices(signature.writes, tensors.length, where, "writes: tensor");
  for (const t of signature.writes) {
    if (!tensors[t].data) refuse("P11-signature", where, `writes tensor ${t}, which has no data to be saved in`);
    if (hostOwned(tensors[t])) refuse("P11-signature", where, `writes tensor ${t}, a counter, which only the host advances`);
  }
  signature.advance.forEach(({ tensor, by }, a) => {
    const at = `${where}.advance[${a}]`;
    indices([tensor], tensors.length, at, "tensor");
    indices([by], dims.length, at, "by: dims");
    if (!tensors[tensor].data || !hostOwned(tensors[tensor])) {
      refuse("P11-signature", at, `tensor ${tensor} is not a counter with data`);
    }
  });
  const inputs = new Set(signature.inputs.map((port) => port.tensor));
  const sizes = inputSizes(model, inputs);
  for (const p of signature.programs) {
    checkEntry(model, programs[p], signature, inputs, `${where}.programs[${p}]`);
    checkBound(model, programs[p], sizes, `${where}.programs[${p}]`);
  }
}

/** The sizes at the low ends of the symbols that occur bare in an input's shape; NaN where another is needed. */
function inputSizes({ tensors, dims, symbols }, inputs) {
  const values = {};
  for (const tensor of inputs) {
    for (const d of tensors[tensor].shape) if (dims[d].op === 1) values[dims[d].a] = symbolRange(symbols[dims[d].a])[0];
  }
  return evaluateDims(dims, values);
}

/** A program of a signature touches only what the signature declares. */
function checkEntry(model, { regions, steps }, signature, inputs, where) {
  const no = (why) => refuse("P11-signature", where, why);
  const held = new Set(regions.map((region) => region.tensor));
  for (const { place, tensor } of regions) {
    if (place === Place.INPUT && !inputs.has(tensor)) no(`reads tensor ${tensor}, which is no input of the signature`);
  }
  for (const { tensor, name } of signature.outputs) if (!held.has(tensor)) no(`has no region for the output ${name}`);
  const writes = new Set(signature.writes);
  for (const step of steps) {
    for (const t of step.scalars) {
      if (!inputs.has(t) && !hostOwned(model.tensors[t])) no(`tensor ${t} is a scalar but neither an input nor a counter`);
    }
    step.regions.forEach((number, bit) => {
      const { place, tensor } = regions[number];
      if (!(step.writes >> bit & 1) || place === Place.SCRATCH || place === Place.OUTPUT) return;
      if (place !== Place.STATE) no(`writes region ${number}, an input or a constant`);
      if (tensor >= 0 && !writes.has(tensor)) no(`writes tensor ${tensor}, which the signature does not declare`);
    });
  }
}

// --- WASM modules ----------------------------------------------------------------------------------------------------

const PREFIX = [0, 97, 115, 109, 1, 0, 0, 0, 0, 15, 8, 100, 121, 108, 105, 110, 107, 46, 48, 1, 4, 0, 0, 0, 0]; // \0asm, dylink.0
const IMPORT = [1, 3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2, 0, 1];                                // env.memory
const [IMPORTS, EXPORTS] = [2, 7];
const SECTIONS = [1, IMPORTS, 3, EXPORTS, 10];

/**
 * Refuses a module with any other section, import or export than DESIGN's WASM form has: a module may define a 4 GiB
 * memory, a huge table or a start function of its own.
 * @param {Uint8Array} data
 * @param {string} where
 */
export function checkModule(data, where) {
  const no = (why) => refuse("P10-module", where, why);
  /** An unsigned LEB128 number of at most 32 bits, and where it ends. */
  const number = (at, end) => {
    for (let shift = 0, value = 0; shift < 35; shift += 7) {
      if (at >= end) no("ends inside a number");
      const byte = data[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value < 2 ** 32 ? [value, at] : no("a number has more than 32 bits");
    }
    return no("a number has more than 32 bits");
  };
  if (!PREFIX.every((byte, i) => data[i] === byte)) {
    no("does not begin with the WASM header and the section dylink.0 with four zeros");
  }
  let at = PREFIX.length;
  for (const kind of SECTIONS) {
    if (data[at] !== kind) no(`section ${data[at] ?? "the end"} at byte ${at}, expected ${kind}: allowed are exactly ${SECTIONS} in this order`);
    const [size, start] = number(at + 1, data.length);
    at = start + size;
    if (at > data.length) no(`section ${kind} ends after the module`);
    if (kind === IMPORTS && !(size === IMPORT.length && IMPORT.every((byte, i) => data[start + i] === byte))) {
      no("the one import must be env.memory, unshared, of at least 1 page, without a maximum");
    }
    if (kind === EXPORTS) checkExports(start, at);
  }
  if (at !== data.length) no(`section ${data[at]} after the code section`);

  function checkExports(start, end) {
    let [count, place] = number(start, end), found = false;
    for (; count > 0; count--) {
      const [size, name] = number(place, end);
      place = name + size;
      if (place >= end || data[place] !== 0) no("exports something that is not a function");
      found ||= String.fromCharCode(...data.subarray(name, place)) === "run";
      place = number(place + 1, end)[1];
    }
    if (place !== end || !found) no("the export section does not name the function `run`, or does not end with its last entry");
  }
}
