// From what a caller passes to what a program needs: names checked, sizes bound to symbols, elements converted.

import { InvalidArgumentError } from "./errors.js";
import { evaluateDims } from "./sizes.js";
import { DimOp } from "./tables.js";
import { bytesOf, DTYPE_BYTES, toDevice } from "./values.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Signature} Signature */
/** @typedef {import("./types.js").Port} Port */
/**
 * Shape null: still to be inferred from the element count
 * @typedef {{
 *   data: ArrayLike<any>, shape: number[] | null
 * }} Flat
 */
/** @typedef {{symbols: number[], sizes: number[], data: (Flat | null)[]}} BoundInputs  data null: the port's default */

/** @type {WeakMap<Signature, {shapes: string, symbols: number[], sizes: number[]}>} what the last inputs were bound to */
const lastBound = new WeakMap();

/**
 * Flattens one value: a number, nested arrays, a typed array, or {data, shape}.
 * @param {any} value
 * @param {string} name
 * @returns {Flat}
 */
export function flatten(value, name) {
  if (ArrayBuffer.isView(value)) return { data: /** @type {any} */ (value), shape: null };
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean")
    return { data: [value], shape: [] };
  if (Array.isArray(value)) return flattenNested(value, name);
  if (value && typeof value === "object" && "data" in value) {
    const { data, shape } = value;
    if (!shape) return flatten(data, name);
    const flat = Array.isArray(data) ? data.flat(Infinity) : data;
    const count = Array.from(shape).reduce((a, b) => a * b, 1);
    if (flat.length !== count) {
      throw new InvalidArgumentError(
        `input "${name}": shape [${shape}] has ${count} elements, data has ${flat.length}.`,
      );
    }
    return { data: flat, shape: Array.from(shape) };
  }
  throw new InvalidArgumentError(
    `input "${name}": received ${value === null ? "null" : typeof value}; ` +
      "pass a typed array, nested arrays, a number or {data, shape}.",
  );
}

/** @param {any[]} value @param {string} name @returns {Flat} */
function flattenNested(value, name) {
  /** @type {number[]} */
  const shape = [];
  /** @type {any} */
  let level = value;
  for (; Array.isArray(level) || ArrayBuffer.isView(level); level = /** @type {any} */ (level)[0]) {
    shape.push(/** @type {any} */ (level).length);
  }
  /** @type {any[]} */
  const data = [];
  const collect = (/** @type {any} */ level, /** @type {number} */ depth) => {
    if (depth === shape.length) {
      data.push(level);
      return;
    }
    if (level?.length !== shape[depth]) {
      throw new InvalidArgumentError(
        `input "${name}": ragged arrays: axis ${depth} has sizes ${shape[depth]} and ${level?.length}.`,
      );
    }
    for (let i = 0; i < level.length; i++) collect(level[i], depth + 1);
  };
  collect(value, 0);
  return { data, shape };
}

/** Entry points that learn from rows or measure them: without any, a loss is NaN and a step moves only the counters. */
const NEED_ROWS = ["train_step", "evaluate"];

/**
 * Binds the symbols of a signature to the sizes of its inputs and checks every shape.
 * @param {Model} model
 * @param {Signature} signature
 * @param {Record<string, any>} values  by port name
 * @returns {BoundInputs}
 * @throws {InvalidArgumentError} naming the input, what it has and what it should have
 */
export function bindInputs(model, signature, values) {
  const { inputs } = signature;
  for (const name of Object.keys(values)) {
    if (!inputs.some((port) => port.name === name)) {
      throw new InvalidArgumentError(
        `"${signature.name}" has no input "${name}"; it takes ${inputs.map((p) => p.name).join(", ")}.`,
      );
    }
  }
  const data = inputs.map((port) => {
    const value = values[port.name];
    if (value !== undefined && value !== null) return flatten(value, port.name);
    if (port.optional) return null;
    throw new InvalidArgumentError(`"${signature.name}" needs the input "${port.name}".`);
  });
  const shapes = data.map((value) => (value ? (value.shape ?? `${value.data.length} elements`) : "")).join(";");
  const last = lastBound.get(signature);
  if (last?.shapes === shapes) return { symbols: last.symbols, sizes: last.sizes, data };
  const bound = bindShapes(model, signature, data);
  lastBound.set(signature, { shapes, ...bound });
  return { ...bound, data };
}

/** @param {Model} model @param {Signature} signature @param {(Flat | null)[]} data  null: the port's default */
function bindShapes(model, signature, data) {
  const { inputs } = signature;
  /** @type {number[]} */
  const symbols = new Array(model.symbols.length).fill(NaN);
  inputs.forEach((port, i) => {
    if (data[i]?.shape) bindShape(model, port, /** @type {Flat} */ (data[i]), symbols);
  });
  inputs.forEach((port, i) => {
    if (data[i] && !data[i]?.shape) inferShape(model, port, /** @type {Flat} */ (data[i]), symbols);
  });
  checkSymbols(model, symbols);
  const sizes = evaluateDims(model.dims, symbols);
  inputs.forEach((port, i) => {
    if (!data[i]) return;
    const flat = /** @type {Flat} */ (data[i]);
    checkShape(model, port, flat, sizes);
    if (NEED_ROWS.includes(signature.name) && flat.shape?.[0] === 0) {
      throw new InvalidArgumentError(
        `"${signature.name}": input "${port.name}" of shape [${flat.shape}] has no rows. Leave empty batches out.`,
      );
    }
  });
  return { symbols, sizes };
}

/** @param {Model} model @param {Port} port @param {Flat} value @param {number[]} symbols  filled in */
function bindShape(model, port, value, symbols) {
  const dims = Array.from(model.tensors[port.tensor].shape);
  const shape = /** @type {number[]} */ (value.shape);
  if (shape.length !== dims.length) {
    throw new InvalidArgumentError(
      `input "${port.name}": shape [${shape}] has ${shape.length} axes, expected ${describe(model, dims)}.`,
    );
  }
  dims.forEach((dim, axis) => {
    const { op, a } = model.dims[dim];
    if (op === DimOp.SYMBOL && Number.isNaN(symbols[a])) symbols[a] = shape[axis];
  });
}

/** @param {Model} model @param {Port} port @param {Flat} value  given a shape @param {number[]} symbols  filled in */
function inferShape(model, port, value, symbols) {
  const dims = Array.from(model.tensors[port.tensor].shape);
  const sizes = evaluateDims(model.dims, symbols);
  const open = dims.filter((dim) => Number.isNaN(sizes[dim]));
  const known = dims.filter((dim) => !Number.isNaN(sizes[dim])).reduce((count, dim) => count * sizes[dim], 1);
  if (open.length) {
    const { op, a } = model.dims[open[0]];
    const size = value.data.length / known;
    if (open.length > 1 || op !== DimOp.SYMBOL || !Number.isInteger(size)) {
      throw new InvalidArgumentError(
        `input "${port.name}": ${value.data.length} elements do not tell a shape ${describe(model, dims)}. ` +
          "Pass {data, shape}.",
      );
    }
    symbols[a] = size;
    sizes[open[0]] = size;
  }
  value.shape = dims.map((dim) => sizes[dim]);
  if (value.data.length !== value.shape.reduce((a, b) => a * b, 1)) {
    throw new InvalidArgumentError(
      `input "${port.name}": ${value.data.length} elements, expected ${describe(model, dims)} = [${value.shape}].`,
    );
  }
}

/**
 * What a tensor of fixed size is set to.
 * @param {Model} model
 * @param {number} tensor
 * @param {any} value  its bytes as a Uint8Array, or its elements in any form that an input may have
 * @returns {Uint8Array} in its own dtype
 * @throws {InvalidArgumentError} if shape or values do not fit
 */
export function tensorBytes(model, tensor, value) {
  const { name, dtype, shape: dims } = model.tensors[tensor];
  const sizes = evaluateDims(model.dims, []);
  const shape = Array.from(dims, (dim) => sizes[dim]);
  const count = shape.reduce((a, b) => a * b, 1);
  if (value instanceof Uint8Array && value.length === count * DTYPE_BYTES[dtype]) return bytesOf(value);
  const flat = flatten(value, name);
  const same = flat.shape ? String(flat.shape) === String(shape) : flat.data.length === count;
  if (!same) {
    const received = flat.shape ? `shape [${flat.shape}]` : `${flat.data.length} elements`;
    throw new InvalidArgumentError(`tensor "${name}": received ${received}, expected shape [${shape}].`);
  }
  return toDevice(flat.data, { name, min: 0, max: 0, bounded: false }, dtype, dtype);
}

/** @param {Model} model @param {ArrayLike<number>} symbols  NaN where an absent optional input alone has it */
function checkSymbols(model, symbols) {
  model.symbols.forEach(({ name, min, max, multiple_of: step }, i) => {
    const size = symbols[i];
    if (size < min || (max && size > max) || size % (step || 1) > 0) {
      throw new InvalidArgumentError(
        `size "${name}" is ${size}, the model takes ${min} to ${max || "any"}` +
          `${step > 1 ? ` in multiples of ${step}` : ""}.`,
      );
    }
  });
}

/** @param {Model} model @param {Port} port @param {Flat} value @param {number[]} sizes */
function checkShape(model, port, value, sizes) {
  const dims = Array.from(model.tensors[port.tensor].shape);
  const shape = /** @type {number[]} */ (value.shape);
  dims.forEach((dim, axis) => {
    if (sizes[dim] !== shape[axis]) {
      throw new InvalidArgumentError(
        `input "${port.name}": axis ${axis} of shape [${shape}] is ${shape[axis]}, ` +
          `expected ${sizes[dim]}: the model takes ${describe(model, dims)} here.`,
      );
    }
  });
}

/** @param {Model} model @param {number[]} dims @returns {string} for example "[batch, 28, 28, 1]" */
function describe(model, dims) {
  return `[${dims
    .map((dim) => {
      const { op, a } = model.dims[dim];
      return op === DimOp.CONST ? a : op === DimOp.SYMBOL ? model.symbols[a].name : `dims[${dim}]`;
    })
    .join(", ")}]`;
}
