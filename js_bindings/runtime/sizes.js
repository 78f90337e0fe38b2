// Size expressions: the numbers behind symbolic shapes. Twin of `core/program/sizes.py`.
//
// `model.dims` is a list in which every expression refers only to earlier ones, so one forward pass answers all of
// them. Results are whole numbers between 0 and 2^53-1: every operator below is exact or visibly too large there.

import { InvalidArgumentError, ModelError } from "./errors.js";

export const LARGEST = Number.MAX_SAFE_INTEGER;

const NAMES = ["CONST", "SYMBOL", "ADD", "SUB", "MUL", "FLOORDIV", "CEILDIV", "MOD", "MIN", "MAX"];
const [CONST, SYMBOL, ADD, SUB, MUL, FLOORDIV, CEILDIV, , MIN, MAX] = NAMES.keys();

/**
 * Gives the value of every expression. One that needs a symbol without a value gives NaN: `reset` has no inputs, so
 * it binds no batch size.
 * @param {{op: number, a: number, b: number}[]} dims
 * @param {ArrayLike<number> | Record<number, number>} symbolValues  by symbol index
 * @returns {number[]}
 * @throws {InvalidArgumentError} if a value is negative, above 2^53-1 or a division by zero
 */
export function evaluateDims(dims, symbolValues) {
  const values = new Array(dims.length);
  for (let i = 0; i < dims.length; i++) {
    const { op, a, b } = dims[i];
    const value = op === CONST ? a : op === SYMBOL ? symbolValues[a] ?? NaN : apply(op, values[a], values[b]);
    if (value < 0 || value > LARGEST) {
      throw new InvalidArgumentError(
        `size expression dims[${i}] = ${NAMES[op]} ${op <= SYMBOL ? a : `${values[a]} ${values[b]}`} is not between ` +
        `0 and 2^53-1 for the sizes [${Array.from(Object.values(symbolValues))}]. Pass inputs of a size that the model accepts.`);
    }
    values[i] = value;
  }
  return values;
}

/** One operator on two values; -1 stands for a division by zero, so that the caller reports it. */
function apply(op, x, y) {
  if (Number.isNaN(x) || Number.isNaN(y)) return NaN;
  if (op === ADD) return x + y;
  if (op === SUB) return x - y;
  if (op === MUL) return x * y;
  if (op === MIN) return Math.min(x, y);
  if (op === MAX) return Math.max(x, y);
  if (y === 0) return -1;
  if (op === FLOORDIV) return (x - x % y) / y;
  if (op === CEILDIV) return (x - x % y) / y + (x % y ? 1 : 0);
  return x % y;
}

/**
 * The smallest and largest value a symbol can take: its range narrowed to multiples of `multiple_of`.
 * @param {{min: number, max: number, multiple_of: number}} symbol
 * @returns {[number, number]}
 */
export function symbolRange({ min, max, multiple_of: step }) {
  return [apply(CEILDIV, min, step) * step, max - max % step];
}

/**
 * Bounds every expression over its symbols' ranges by interval arithmetic, before anything is evaluated.
 * @param {{op: number, a: number, b: number}[]} dims
 * @param {{min: number, max: number, multiple_of: number}[]} symbols
 * @returns {[number, number][]}
 * @throws {ModelError} rule `P03-size`
 */
export function boundDims(dims, symbols) {
  const ranges = symbols.map(symbolRange);
  /** @type {[number, number][]} */
  const result = [];
  dims.forEach(({ op, a, b }, index) => {
    const refuse = (why) => { throw new ModelError("P03-size", `dims[${index}]`, why); };
    let range;
    if (op <= SYMBOL) {
      if (op === SYMBOL && a >= ranges.length) refuse(`symbol ${a} of ${ranges.length}`);
      if (b) refuse("the second operand is unused and must be 0");
      range = op === CONST ? [a, a] : ranges[a];
    } else {
      if (a >= index || b >= index) refuse(`refers to dims[${Math.max(a, b)}], only earlier ones may be used`);
      range = interval(op, ...result[a], ...result[b]);
      if (!range) refuse("the divisor may be 0");
    }
    if (range[0] < 0 || range[1] > LARGEST) refuse(`may be ${range[0]}..${range[1]}, allowed is 0..2^53-1`);
    result.push(range);
  });
  return result;
}

/** The range of `op` for operands in a..aa and b..bb; null if it may divide by zero. */
function interval(op, a, aa, b, bb) {
  if (op === SUB) return [a - bb, aa - b];
  if (op === ADD || op === MUL || op === MIN || op === MAX) return [apply(op, a, b), apply(op, aa, bb)];
  if (b === 0) return null;
  if (op === FLOORDIV || op === CEILDIV) return [apply(op, a, bb), apply(op, aa, b)];
  if (aa < b) return [a, aa];
  return a === aa && b === bb ? [a % b, a % b] : [0, Math.min(aa, bb - 1)];
}
