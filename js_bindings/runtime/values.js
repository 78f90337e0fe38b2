// Element types: how values of a tensor's dtype become the 4-byte elements that kernels work on, and back.

import { InvalidArgumentError } from "./errors.js";
import { DType as DTYPE } from "./tables.js";

/** TensorFlow's names, by code. */
export const DTYPE_NAMES = [
  "float32",
  "float16",
  "bfloat16",
  "float64",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "bool",
  "string",
];
/** Bytes of one element, by code. */
export const DTYPE_BYTES = [4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1, 0];

/**
 * @typedef {Float32Array | Float64Array | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array |
 *   Int32Array | Uint32Array | BigInt64Array | BigUint64Array} TypedArray
 */

// By code; the 2-byte floats as their bit patterns.
const ARRAYS = [
  Float32Array,
  Uint16Array,
  Uint16Array,
  Float64Array,
  Int8Array,
  Uint8Array,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  BigInt64Array,
  BigUint64Array,
  Uint8Array,
];
const FLOATING = DTYPE.F64; // codes up to this one are floats
/** @type {Record<number, [number, number]>} */
const RANGES = {
  [DTYPE.I8]: [-128, 127],
  [DTYPE.U8]: [0, 255],
  [DTYPE.I16]: [-32768, 32767],
  [DTYPE.U16]: [0, 65535],
  [DTYPE.I32]: [-(2 ** 31), 2 ** 31 - 1],
  [DTYPE.U32]: [0, 2 ** 32 - 1],
  [DTYPE.BOOL]: [0, 1],
};

/**
 * A typed array over `bytes`: a view where alignment allows it, else a copy.
 * @param {Uint8Array} bytes
 * @param {number} dtype
 * @returns {TypedArray}
 */
export function viewAs(bytes, dtype) {
  const Type = ARRAYS[dtype];
  if (!Type) throw new InvalidArgumentError(`dtype ${DTYPE_NAMES[dtype] ?? dtype} has no numeric elements`);
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT ? bytes.slice() : bytes;
  return new Type(
    /** @type {ArrayBuffer} */ (aligned.buffer),
    aligned.byteOffset,
    Math.floor(bytes.length / Type.BYTES_PER_ELEMENT),
  );
}

/** @param {ArrayBufferView} array @returns {Uint8Array} the bytes of a typed array, not copied */
export function bytesOf(array) {
  return new Uint8Array(/** @type {ArrayBuffer} */ (array.buffer), array.byteOffset, array.byteLength);
}

/** @param {number} bits @returns {number} the value of an IEEE half */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

const ONE = new Float32Array(1);
const ONE_BITS = new Uint32Array(ONE.buffer);

/** @param {number} value @returns {number} the bits of the nearest IEEE half, ties to even */
function toHalf(value) {
  const size = Math.abs(value);
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  ONE[0] = size;
  const exponent = Math.max(-14, (ONE_BITS[0] >>> 23) - 127);
  const units = size / 2 ** (exponent - 10); // in units of the last place: exact, both are powers of two apart
  let whole = Math.floor(units);
  const rest = units - whole;
  if (rest > 0.5 || (rest === 0.5 && whole & 1)) whole++;
  return sign | (whole < 1024 ? whole : ((exponent + 14) << 10) + whole); // 1024 units carry into the exponent
}

/** @param {number} value @returns {number} the bits of the nearest bfloat16, ties to even */
function toBrain(value) {
  if (Number.isNaN(value)) return 0x7fc0;
  ONE[0] = value;
  return (ONE_BITS[0] + 0x7fff + ((ONE_BITS[0] >>> 16) & 1)) >>> 16;
}

/**
 * Converts stored bytes of one dtype to another, for example BOOL weights to the u32 that kernels read.
 * @param {Uint8Array} bytes
 * @param {number} from
 * @param {number} to
 * @returns {Uint8Array} `bytes` itself when nothing changes
 */
export function convertBytes(bytes, from, to) {
  if (from === to) return bytes;
  const source = viewAs(bytes, from);
  const result = new ARRAYS[to](source.length);
  const write = to === DTYPE.F16 ? toHalf : to === DTYPE.BF16 ? toBrain : Number;
  for (let i = 0; i < source.length; i++) {
    let value = Number(source[i]);
    if (from === DTYPE.F16) value = fromHalf(value);
    if (from === DTYPE.BF16) {
      ONE_BITS[0] = value << 16;
      value = ONE[0];
    }
    if (to === DTYPE.BOOL) value = value === 0 ? 0 : 1;
    result[i] = to === DTYPE.I64 || to === DTYPE.U64 ? /** @type {any} */ (BigInt(Math.trunc(value))) : write(value);
  }
  return bytesOf(result);
}

/**
 * A downloaded value in the array type that JavaScript expects: int64 stays Int32Array where the device computed
 * in 32 bits.
 * @param {Uint8Array} bytes  as the device stores it
 * @param {number} storage
 * @param {number} dtype
 * @returns {TypedArray}
 */
export function fromDevice(bytes, storage, dtype) {
  const wanted = DTYPE_BYTES[dtype] === 8 || dtype === DTYPE.F16 || dtype === DTYPE.BF16 ? storage : dtype;
  return viewAs(convertBytes(bytes, storage, wanted), wanted);
}

/**
 * Throws the error of a value that does not fit.
 * @param {any} value
 * @param {number} i
 * @param {{name: string, bounded: boolean}} port
 * @param {number} dtype
 * @param {number} lowest
 * @param {number} highest
 */
function refuse(value, i, port, dtype, lowest, highest) {
  throw new InvalidArgumentError(
    `input "${port.name}": value ${value} at position ${i} is not ` +
      `${DTYPE_NAMES[dtype]} between ${lowest} and ${highest}. ` +
      (port.bounded ? "Check the labels: this model was built for that range." : "Convert or clip the data first."),
  );
}

/**
 * Converts a caller's numbers to what a port's region stores, checking each one.
 * @param {ArrayLike<number | bigint | boolean>} values  flat
 * @param {{name: string, min: number, max: number, bounded: boolean}} port
 * @param {number} dtype  of the port's tensor
 * @param {number} storage  of its region
 * @returns {Uint8Array} a view of `values` when nothing has to change
 * @throws {InvalidArgumentError} naming the first value that does not fit, and its position
 */
export function toDevice(values, port, dtype, storage) {
  const Type = ARRAYS[storage];
  if (values instanceof Type && dtype === storage && !port.bounded) return bytesOf(values);
  const result = new Type(values.length);
  if (dtype <= FLOATING) {
    const [lowest, highest] = [Number(port.min), Number(port.max)];
    for (let i = 0; i < values.length; i++) {
      result[i] = Number(values[i]);
      if (port.bounded && !(result[i] >= lowest && result[i] <= highest)) refuse(values[i], i, port, dtype, lowest, highest);
    }
    if (storage <= DTYPE.BF16 && storage !== DTYPE.F32)
      return convertBytes(bytesOf(Float32Array.from(values, Number)), DTYPE.F32, storage);
    return bytesOf(result);
  }
  const [lowest, highest] = port.bounded
    ? [Number(port.min), Number(port.max)]
    : (RANGES[dtype] ?? RANGES[storage] ?? [-Infinity, Infinity]);
  const wide = storage === DTYPE.I64 || storage === DTYPE.U64;
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    if (!(value >= lowest && value <= highest) || !Number.isInteger(value))
      refuse(values[i], i, port, dtype, lowest, highest);
    result[i] = wide ? /** @type {any} */ (BigInt(value)) : value;
  }
  return bytesOf(result);
}
