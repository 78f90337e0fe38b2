// The rules for what a file says (class P, and names): indices, sizes, programs, signatures. `docs/format.md` explains
// them; `core/program/rules.py` and `modules.py` are the twins of this file: the same checks in the same order.

import { ITEM_SIZES, checkBindings, checkBound } from "./bindings.js";
import { check } from "./errors.js";
import { sha256 } from "./sha256.js";
import { LARGEST, boundDims, evaluateDims, symbolRange } from "./sizes.js";
import { DType, Place, Role, StepKind, Target } from "./tables.js";

/** @typedef {import("./types.js").FileModel} FileModel */
/** @typedef {import("./types.js").FileProgram} Program */
/** @typedef {import("./types.js").SymbolSize} SymbolSize */
/** @typedef {import("./types.js").Region} Region */
/** @typedef {[number, number]} Interval  the smallest and the largest value of a size */

const hostOwned = (/** @type {import("./types.js").Tensor} */ tensor) => tensor.role === Role.COUNTER || tensor.role === Role.RNG;

/**
 * @param {number[]} values
 * @param {number} length
 * @param {string} where
 * @param {string} what
 * @param {number} [lowest]
 */
function indices(values, length, where, what, lowest = 0) {
  for (const value of values) check(value >= lowest && value < length, "P01-index", where, `${what} ${value} of ${length}`);
}

/**
 * @param {string[]} names
 * @param {string} where
 */
function unique(names, where) {
  const seen = new Set();
  for (const name of names) {
    check(!seen.has(name), "C11-name", where, `${name} occurs twice`);
    seen.add(name);
  }
}

const names = (/** @type {{name: string}[]} */ items) => items.map((item) => item.name);

/**
 * Checks a decoded model.
 * @param {FileModel} model
 * @param {number} maxRegionBytes
 * @throws {ModelError} the first rule that it breaks
 */
export function verifyModel(model, maxRegionBytes) {
  const { symbols, dims, tensors, graphs, programs, signatures, base } = model;
  checkNames(model);
  symbols.forEach((symbol, i) => {
    check(symbol.multiple_of > 0, "P02-symbol", `symbols[${i}]`, "multiple_of is 0");
    checkRange("P02-symbol", `symbols[${i}]`, symbol);
  });
  check(dims[0]?.op === 0 && dims[0].a === 0, "P03-size", "dims[0]", "must be CONST 0");
  const ranges = boundDims(dims, symbols);
  tensors.forEach((tensor, i) => checkTensor(tensor, `tensors[${i}]`, ranges));
  check(base.length === 0 || base.length === 32, "C17-base", "base", `has ${base.length} bytes, expected 0 or 32`);
  graphs.forEach((graph, g) => checkGraph(model, graph, g));
  programs.forEach((program, p) => {
    const where = `programs[${p}]`;
    checkProgram(model, program, where, ranges);
    const values = whenRanges(model, program, where);
    [maxRegionBytes, Infinity].forEach((limit, end) => {
      checkBound(model, program, evaluateDims(dims, values.map((range) => range[end])), where, limit);
    });
  });
  checkState(programs, ranges);
  signatures.forEach((signature, s) => checkSignature(model, signature, `signatures[${s}]`));
}

/**
 * @param {FileModel} model
 */
function checkNames({ symbols, tensors, opcodes, graphs, programs, signatures, metadata }) {
  unique(names(symbols), "symbols");
  unique(names(tensors).filter(Boolean), "tensors");
  unique(opcodes.map((op) => `${op.name} version ${op.version}`), "opcodes");
  unique(names(graphs), "graphs");
  graphs.forEach((graph, g) => graph.nodes.forEach((node, n) => unique(names(node.attrs), `graphs[${g}].nodes[${n}].attrs`)));
  programs.forEach(({ requires }, p) => {
    unique(requires.features, `programs[${p}].requires.features`);
    unique(names(requires.limits), `programs[${p}].requires.limits`);
  });
  unique(names(signatures), "signatures");
  signatures.forEach(({ inputs, outputs }, s) => {
    unique(names(inputs), `signatures[${s}].inputs`);
    unique(names(outputs), `signatures[${s}].outputs`);
  });
  unique(metadata.map((pair) => pair.key), "metadata");
}

/**
 * @param {string} rule
 * @param {string} where
 * @param {SymbolSize | Omit<SymbolSize, "name">} symbol
 * @returns {Interval}
 */
function checkRange(rule, where, symbol) {
  const [low, high] = symbolRange(symbol);
  check(low <= high, rule, where, `no multiple of ${symbol.multiple_of} in ${symbol.min}..${symbol.max}`);
  return [low, high];
}

/**
 * @param {import("./types.js").FileTensor} tensor
 * @param {string} where
 * @param {Interval[]} ranges
 */
function checkTensor({ shape, dtype, data, quant }, where, ranges) {
  check(shape.length <= 8, "C16-rank", where, `${shape.length} axes, at most 8`);
  indices(shape, ranges.length, where, "dims");
  const [smallest, largest] = [0, 1].map((end) => shape.reduce((n, d) => n * ranges[d][end], ITEM_SIZES[dtype]));
  const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P04-tensor", where, why);
  need(largest <= LARGEST, "more than 2^53-1 bytes");
  if (data) {
    need(dtype !== DType.STRING, "strings cannot have data");
    need(shape.every((d) => ranges[d][0] === ranges[d][1]), "data of a shape that is not constant");
    need(data.length === smallest, `${data.length} bytes of data, its shape and dtype say ${smallest}`);
  }
  if (quant) {
    indices([quant.axis], shape.length, where, "quant.axis", -1);
    need([0, quant.scale.length].includes(quant.zero_point.length), "as many zero points as scales, or none");
  }
}

/**
 * @param {FileModel} model
 * @param {import("./types.js").Graph} graph
 * @param {number} g
 */
function checkGraph({ tensors, opcodes }, { inputs, outputs, nodes }, g) {
  const where = `graphs[${g}]`, count = tensors.length;
  indices([...inputs, ...outputs], count, where, "tensor");
  nodes.forEach((node, n) => {
    const at = `${where}.nodes[${n}]`;
    indices([node.op], opcodes.length, at, "opcode");
    indices(node.inputs, count, at, "tensor", -1);
    indices(node.outputs, count, at, "tensor");
    for (const { value } of node.attrs) if (value.v !== undefined) indices([value.v], g, at, "earlier graph");
  });
}

/**
 * @param {FileModel} model
 * @param {Program} program
 * @param {string} where
 * @param {Interval[]} ranges
 */
function checkProgram(model, program, where, ranges) {
  const { requires, kernels, module } = program, at = `${where}.requires`;
  indices([program.graph], model.graphs.length, where, "graph", -1);
  indices(requires.when.map((range) => range.symbol), model.symbols.length, at, "symbol");
  indices(requires.equal, ranges.length, at, "dims");
  check(requires.equal.length % 2 === 0, "P12-requirement", at, "equal: expected pairs");
  const isWasm = program.target === Target.WASM;
  kernels.forEach((kernel, k) => checkKernel(kernel, isWasm, `${where}.kernels[${k}]`));
  check(isWasm === Boolean(module), "P10-module", where, "a module is for WASM programs, which need one");
  checkRegions(model, program, where, ranges);
  checkSteps(model, program, where, ranges.length);
  checkBindings(model, program, where);
  if (module) checkModule(module, `${where}.module`);
}

/**
 * @param {{code: any, hash: any}} kernel  WGSL and its SHA-256
 * @param {boolean} isWasm
 * @param {string} where
 */
function checkKernel({ code, hash }, isWasm, where) {
  const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P05-kernel", where, why);
  need(isWasm ? !code && !hash.length : code, "code is for WGSL kernels, which need it");
  if (isWasm) return;
  need(!hash.length || hash.length === 32 && sha256(code).every((byte, i) => byte === hash[i]), "wrong hash");
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(code);
  } catch {
    need(false, "not UTF-8");
  }
}

/**
 * @param {FileModel} model
 * @param {Program} program
 * @param {string} where
 * @param {Interval[]} ranges
 */
function checkRegions({ tensors }, { regions }, where, ranges) {
  const held = new Set();
  regions.forEach(({ place, tensor, parent, bytes, offset }, r) => {
    const at = `${where}.regions[${r}]`;
    const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P06-region", at, why);
    indices([bytes, offset], ranges.length, at, "dims");
    indices([tensor], tensors.length, at, "tensor", -1);
    indices([parent], r, at, "earlier region", -1);
    need(parent >= 0 ? regions[parent].place === place : ranges[offset][1] === 0, "an offset without, or another place than, its parent");
    const key = tensor < 0 || `${place} ${tensor}`;
    need(tensor < 0 || !held.has(key), `another region of this place holds tensor ${tensor}`);
    held.add(key);
    need(tensor >= 0 ? place !== Place.CONSTANT || tensors[tensor].data : place < Place.INPUT, "no tensor, or no data");
  });
}

/**
 * State outlives a run and is shared by the programs: its sizes are constant, and all place a tensor alike.
 * @param {Program[]} programs
 * @param {Interval[]} ranges
 */
function checkState(programs, ranges) {
  const known = new Map();
  programs.forEach(({ regions }, p) => {
    /** @type {number[]} */
    const starts = [];
    regions.forEach(({ place, bytes, offset, parent, tensor, storage }, r) => {
      const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P14-state", `programs[${p}].regions[${r}]`, why);
      starts.push(ranges[offset][0] + (starts[parent] ?? 0));
      if (place !== Place.STATE) return;
      need([bytes, offset].every((d) => ranges[d][0] === ranges[d][1]), "the size of state depends on a symbol");
      if (tensor < 0) return;
      const here = `${starts[r]}, storage ${storage}`, there = known.get(tensor) ?? here;
      need(here === there, `tensor ${tensor} lies at ${here}, another program has it at ${there}`);
      known.set(tensor, here);
    });
  });
}

/**
 * @param {FileModel} model
 * @param {Program} program
 * @param {string} where
 * @param {number} numDims
 */
function checkSteps({ tensors }, { steps, kernels, regions }, where, numDims) {
  const ends = [steps.length];              // where each open loop ends
  steps.forEach((step, s) => {
    const at = `${where}.steps[${s}]`;
    const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P07-step", at, why);
    while (ends.length > 1 && s >= ends[0]) ends.shift();
    indices([step.flops, step.count, ...step.grid, ...step.uniforms], numDims, at, "dims");
    if (step.kind === StepKind.LOOP) {
      const lists = [step.regions, step.grid, step.uniforms, step.scalars];
      need(!(step.kernel || step.flops || step.writes || lists.some((list) => list.length)), "a LOOP has only count and body");
      const end = s + 1 + step.body;
      need(step.body > 0 && end <= ends[0], `body: ${step.body} of ${ends[0] - s - 1}`);
      need(ends.unshift(end) <= 5, "loops nest more than 4 deep");
      return;
    }
    need(!step.count && !step.body, "only a LOOP has count and body");
    indices([step.kernel], kernels.length, at, "kernel");
    indices(step.regions, regions.length, at, "region");
    indices(step.scalars, tensors.length, at, "tensor");
    need(step.grid.length > 0 && step.grid.length < 4, "a grid has 1 to 3 sizes");
  });
}

/**
 * The range of each symbol for which the program runs.
 * @param {FileModel} model
 * @param {Program} program
 * @param {string} where
 */
function whenRanges({ symbols }, { requires }, where) {
  const result = symbols.map(symbolRange);
  for (const { symbol, min, max } of requires.when) {
    const { min: least, max: most, multiple_of } = symbols[symbol];
    const both = { min: Math.max(min, least), max: Math.min(max, most), multiple_of };
    result[symbol] = checkRange("P12-requirement", `${where}.requires`, both);
  }
  return result;
}

/**
 * @param {FileModel} model
 * @param {FileModel["signatures"][number]} signature
 * @param {string} where
 */
function checkSignature(model, signature, where) {
  const { tensors, dims, symbols, programs, graphs } = model;
  const need = (/** @type {any} */ ok, /** @type {string} */ at, /** @type {string} */ why) => check(ok, "P11-signature", at, why);
  indices([signature.graph], graphs.length, where, "graph", -1);
  indices(signature.programs, programs.length, where, "program");
  for (const list of /** @type {const} */ (["inputs", "outputs"])) {
    signature[list].forEach(({ tensor, bounded, min, max }, p) => {
      indices([tensor], tensors.length, `${where}.${list}[${p}]`, "tensor");
      need(!bounded || min <= max, `${where}.${list}[${p}]`, `no value in ${min}..${max}`);
    });
  }
  indices([...signature.reads, ...signature.writes], tensors.length, where, "tensor");
  for (const t of signature.writes) need(tensors[t].data && !hostOwned(tensors[t]), where, `writes tensor ${t}: a counter, or without data`);
  signature.advance.forEach(({ tensor, by }, a) => {
    const at = `${where}.advance[${a}]`;
    indices([tensor], tensors.length, at, "tensor");
    indices([by], dims.length, at, "dims");
    need(tensors[tensor].data && hostOwned(tensors[tensor]), at, `tensor ${tensor} is not a counter with data`);
  });
  const inputs = new Set(signature.inputs.map((port) => port.tensor));
  /** @type {Record<number, number>} */
  const lowest = {};                        // of the symbols that occur bare in an input's shape
  for (const t of inputs) {
    for (const d of tensors[t].shape) if (dims[d].op === 1) lowest[dims[d].a] = symbolRange(symbols[dims[d].a])[0];
  }
  const sizes = evaluateDims(dims, lowest);
  for (const p of signature.programs) {
    const at = `${where}.programs[${p}]`;
    checkEntry(tensors, programs[p], signature, inputs, (ok, why) => need(ok, at, why));
    checkBound(model, programs[p], sizes, at);
  }
}

/**
 * A program of a signature touches only what the signature declares.
 * @param {FileModel["tensors"]} tensors
 * @param {Program} program
 * @param {FileModel["signatures"][number]} signature
 * @param {Set<number>} inputs
 * @param {(ok: any, why: string) => void} need
 */
function checkEntry(tensors, { regions, steps }, { outputs, writes }, inputs, need) {
  const held = new Set(regions.map((region) => region.tensor));
  for (const { place, tensor } of regions) need(place !== Place.INPUT || inputs.has(tensor), `tensor ${tensor} is no input`);
  for (const { tensor, name } of outputs) need(held.has(tensor), `no region for the output ${name}`);
  for (const step of steps) {
    for (const t of step.scalars) need(inputs.has(t) || hostOwned(tensors[t]), `scalar ${t} is neither an input nor a counter`);
    step.regions.forEach((number, bit) => {
      const { place } = regions[number];
      if (!(step.writes >> bit & 1) || place === Place.SCRATCH || place === Place.OUTPUT) return;
      need(place === Place.STATE, `writes region ${number}, an input or a constant`);
      const inside = tensorsIn(regions, number);
      need(!inside.length || inside.some((t) => writes.includes(t)), `writes tensors ${inside}, undeclared`);
    });
  }
}

/**
 * The tensors whose bytes lie in a region: its own or that of an enclosing region, else those of its children.
 * @param {Region[]} regions
 * @param {number} number
 */
function tensorsIn(regions, number) {
  for (let at = number; at >= 0; at = regions[at].parent) if (regions[at].tensor >= 0) return [regions[at].tensor];
  const inside = new Set([number]);
  return regions.filter(({ parent }, r) => inside.has(parent) && inside.add(r)).map((r) => r.tensor).filter((t) => t >= 0);
}

// --- WASM modules ----------------------------------------------------------------------------------------------------

const PREFIX = "\0asm\x01\0\0\0\0\x0f\x08dylink.0\x01\x04\0\0\0\0";
const IMPORT = "\x01\x03env\x06memory\x02\0\x01";
const [IMPORTS, EXPORTS] = [2, 7];

/**
 * Refuses a module with any section, import or export but those of DESIGN's WASM form: it may define a 4 GiB memory, a
 * huge table or a start function of its own.
 * @param {Uint8Array} data
 * @param {string} where
 */
export function checkModule(data, where) {
  const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P10-module", where, why);
  const text = (/** @type {number} */ start, /** @type {number} */ end) => String.fromCharCode(...data.subarray(start, end));
  let at = PREFIX.length;
  /** Reads an unsigned LEB128 number of at most 32 bits that ends before `end`. @param {number} end */
  const number = (end) => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      need(at < end && factor <= 2 ** 28, "not a number of 32 bits");
      const byte = data[at++];
      value += (byte & 127) * factor;
      if (byte < 128) break;
    }
    need(value < 2 ** 32, "not a number of 32 bits");
    return value;
  };
  need(text(0, at) === PREFIX, "no WASM header and section dylink.0 with four zeros");
  for (const kind of [1, IMPORTS, 3, EXPORTS, 10]) {
    need(data[at++] === kind, `section ${data[at - 1]}, expected ${kind}`);
    const size = number(data.length), start = at, end = at + size;
    need(end <= data.length, `section ${kind} ends after the module`);
    need(kind !== IMPORTS || size === IMPORT.length && text(start, end) === IMPORT, "the import must be env.memory of at least 1 page");
    if (kind === EXPORTS) checkExports(end);
    at = end;
  }
  need(at === data.length, `section ${data[at]} after the code`);

  /** @param {number} end */
  function checkExports(end) {
    let found = false;
    for (let count = number(end); count > 0; count--) {
      const size = number(end), name = at;
      at += size;
      need(at < end && data[at] === 0, "exports something that is not a function");
      found ||= size === 3 && text(name, at) === "run";
      at++;
      number(end);
    }
    need(at === end && found, "does not export the function run, or more than it counts");
  }
}
