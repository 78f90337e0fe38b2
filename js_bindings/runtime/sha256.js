// SHA-256, synchronous: `crypto.subtle`, several times as fast, is asynchronous and absent outside secure contexts.
// About 125 MB/s in V8, for which every sum ends in `| 0`.

/** The 64 round constants: fractional parts of the cube roots of the first 64 primes. */
const K = new Uint32Array(64);
/** The initial state: fractional parts of the square roots of the first 8 primes. */
const START = new Uint32Array(8);

for (let n = 2, found = 0; found < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) prime &&= n % d !== 0;
  if (!prime) continue;
  if (found < 8) START[found] = fraction(n, 2n);
  K[found++] = fraction(n, 3n);
}

/**
 * The first 32 bits of the fractional part of a root of `n`, in whole numbers: `Math.cbrt` may differ between engines.
 * @param {number} n
 * @param {bigint} power
 */
function fraction(n, power) {
  const wanted = BigInt(n) << (32n * power);
  let root = 0n;
  for (let bit = 1n << 36n; bit; bit >>= 1n) if ((root + bit) ** power <= wanted) root += bit;
  return Number(root & 0xffffffffn) | 0;
}

/**
 * @param {Uint8Array} data
 * @returns {Uint8Array} 32 bytes
 */
export function sha256(data) {
  const state = START.slice();
  const words = new Uint32Array(64);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const whole = data.length - data.length % 64;
  for (let at = 0; at < whole; at += 64) block(state, words, view, at);
  const rest = data.length - whole;
  const tail = new Uint8Array(rest < 56 ? 64 : 128);
  tail.set(data.subarray(whole));
  tail[rest] = 0x80;
  const tailView = new DataView(tail.buffer);
  tailView.setUint32(tail.length - 8, Math.floor(data.length / 0x20000000));
  tailView.setUint32(tail.length - 4, (data.length * 8) % 0x100000000);
  for (let at = 0; at < tail.length; at += 64) block(state, words, tailView, at);
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => out.setUint32(4 * i, word));
  return digest;
}

/**
 * Mixes 64 bytes into the state. Variables are named as in FIPS 180-4.
 * @param {Uint32Array} state
 * @param {Uint32Array} w
 * @param {DataView} view
 * @param {number} at
 */
function block(state, w, view, at) {
  for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15], y = w[i - 2];
    const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
    const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
    w[i] = (w[i - 16] + s0 | 0) + (w[i - 7] + s1 | 0) | 0;
  }
  let a = state[0] | 0, b = state[1] | 0, c = state[2] | 0, d = state[3] | 0;
  let e = state[4] | 0, f = state[5] | 0, g = state[6] | 0, h = state[7] | 0;
  for (let i = 0; i < 64; i++) {
    const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
    const t1 = (h + s1 | 0) + ((g ^ e & (f ^ g)) + (K[i] + w[i] | 0) | 0) | 0;
    const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
    const t2 = s0 + (a & b | c & (a | b)) | 0;
    h = g; g = f; f = e; e = d + t1 | 0; d = c; c = b; b = a; a = t1 + t2 | 0;
  }
  state[0] += a; state[1] += b; state[2] += c; state[3] += d;
  state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}
