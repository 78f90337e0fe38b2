// Size expressions: the numbers behind symbolic shapes. Twin of `core/program/sizes.py`.
//
// `model.dims` is a list in which every expression refers only to earlier ones, so one forward pass answers all of
// them. Results are whole numbers between 0 and 2^53-1: every operator below is exact or visibly too large there.

import { InvalidArgumentError, check } from "./errors.js";
import { DimOp } from "./tables.js";

export const LARGEST = Number.MAX_SAFE_INTEGER;
const { CONST, SYMBOL, SUB, FLOORDIV, CEILDIV, MOD } = DimOp;

/**
 * The operators by number (CONST and SYMBOL are not applied); -1 stands for a division by zero, so that the caller reports it.
 * @type {((x: number, y: number) => number)[]}
 */
const APPLY = [
  Number, Number, (x, y) => x + y, (x, y) => x - y, (x, y) => x * y,
  (x, y) => y === 0 ? -1 : (x - x % y) / y, (x, y) => y === 0 ? -1 : (x - x % y) / y + Math.sign(x % y), (x, y) => y === 0 ? -1 : x % y,
  Math.min, Math.max,
];

/**
 * Gives the value of every expression. One that needs a symbol without a value gives NaN: `reset` has no inputs, so
 * it binds no batch size.
 * @param {{op: number, a: number, b: number}[]} dims
 * @param {{readonly [symbol: number]: number}} symbolValues  by symbol index
 * @returns {number[]}
 * @throws {InvalidArgumentError} if a value is negative, above 2^53-1 or a division by zero
 */
export function evaluateDims(dims, symbolValues) {
  /** @type {number[]} */
  const values = [];
  dims.forEach(({ op, a, b }, i) => {
    const x = values[a], y = values[b];
    const value = op === CONST ? a : op === SYMBOL ? symbolValues[a] ?? NaN : x + y >= 0 ? APPLY[op](x, y) : NaN;
    if (value < 0 || value > LARGEST) {
      throw new InvalidArgumentError(`size expression dims[${i}] is ${value}, not between 0 and 2^53-1, for the sizes ` +
        `${JSON.stringify(symbolValues)}. Pass inputs of a size that the model accepts.`);
    }
    values.push(value);
  });
  return values;
}

/**
 * The smallest and largest value a symbol can take: its range narrowed to multiples of `multiple_of`.
 * @param {{min: number, max: number, multiple_of: number}} symbol
 * @returns {[number, number]}
 */
export function symbolRange({ min, max, multiple_of: step }) {
  return [APPLY[CEILDIV](min, step) * step, max - max % step];
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
  dims.forEach(({ op, a, b }, i) => {
    const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "P03-size", `dims[${i}]`, why);
    if (op <= SYMBOL) need(b === 0 && (op === CONST || a < ranges.length), "unknown symbol, or a second operand");
    else need(a < i && b < i, "refers to itself or a later one");
    /** @type {[number, number]} */
    const range = op === CONST ? [a, a] : op === SYMBOL ? ranges[a] : interval(op, ...result[a], ...result[b]);
    need(range[0] >= 0 && range[1] <= LARGEST, `may be ${range[0]}..${range[1]}, allowed is 0..2^53-1, no divisor 0`);
    result.push(range);
  });
  return result;
}

/**
 * The range of `op` for operands in a..aa and b..bb; negative if it may divide by zero.
 * @param {number} op
 * @param {number} a
 * @param {number} aa
 * @param {number} b
 * @param {number} bb
 * @returns {[number, number]}
 */
function interval(op, a, aa, b, bb) {
  if (b === 0 && op >= FLOORDIV && op <= MOD) return [-1, -1];
  if (op === MOD && aa >= b) return a === aa && b === bb ? [a % b, a % b] : [0, Math.min(aa, bb - 1)];
  if (op === MOD) return [a, aa];
  const crossed = op === SUB || op === FLOORDIV || op === CEILDIV;       // the larger b, the smaller the result
  return [APPLY[op](a, crossed ? bb : b), APPLY[op](aa, crossed ? b : bb)];
}
