// The arrays of ../data.py, bit for bit.

/** @typedef {{name: string, shape: number[], seed: number, low: number, high: number, dtype: string}} Spec */

/** @param {Spec} spec @returns {Float32Array | Int32Array} */
export function values({ shape, seed, low, high, dtype }) {
  const size = shape.reduce((a, b) => a * b, 1);
  const whole = dtype === "int32";
  const made = whole ? new Int32Array(size) : new Float32Array(size);
  const start = Math.imul(seed, 0x9e3779b9);
  const range = high - low;
  for (let i = 0; i < size; i++) {
    let h = (i + start) | 0;
    h ^= h >>> 16;
    h = Math.imul(h, 0x7feb352d);
    h ^= h >>> 15;
    h = Math.imul(h, 0x846ca68b);
    h ^= h >>> 16;
    const x = (h >>> 8) * 2 ** -24 * range + low;
    made[i] = whole ? Math.floor(x) : x;
  }
  return made;
}

/** `count` elements spread over a result: what is compared with the reference. @param {ArrayLike<number>} flat */
export function sample(flat, count = 16) {
  const last = flat.length - 1;
  const take = Math.min(count, flat.length);
  return Array.from({ length: take }, (_, i) => flat[Math.floor((i * last) / Math.max(1, count - 1))]);
}
