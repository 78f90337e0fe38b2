// Host-owned tensors: counters, random streams and scalar inputs. A step gets their words; no device writes them.

import { ModelError } from "./errors.js";
import { evaluateDims } from "./sizes.js";
import { Role } from "./tables.js";
import { DTYPE_BYTES, DTYPE_NAMES } from "./values.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {Map<number, Uint32Array>} HostTensors  their words by tensor */

/** @param {Model} model @returns {HostTensors} as the file has them */
export function readHostTensors({ tensors, programs, dims }) {
  const used = new Set(programs.flatMap(({ steps }) => steps.flatMap(({ scalars }) => Array.from(scalars))));
  tensors.forEach(({ role }, i) => {
    if (role === Role.COUNTER || role === Role.RNG) used.add(i);
  });
  const sizes = evaluateDims(dims, []);
  /** @type {HostTensors} */
  const host = new Map();
  for (const index of used) {
    const { name, dtype, shape, data } = tensors[index];
    const bytes = Array.from(shape).reduce((count, dim) => count * sizes[dim], DTYPE_BYTES[dtype]);
    if (!(bytes <= 256) || DTYPE_BYTES[dtype] < 4) {
      throw new ModelError(
        "P08-binding",
        `tensors[${index}]`,
        `"${name}" of ${DTYPE_NAMES[dtype]} and ${bytes} bytes cannot be host-owned`,
      );
    }
    host.set(index, data ? new Uint32Array(data.slice().buffer) : new Uint32Array(bytes / 4));
  }
  return host;
}

/** @param {HostTensors} host @returns {HostTensors} */
export function copyHostTensors(host) {
  return new Map([...host].map(([tensor, words]) => [tensor, words.slice()]));
}

/**
 * Moves counters and random streams on after a run.
 * @param {Model} model
 * @param {HostTensors} host
 * @param {import("./types.js").Signature} signature
 * @param {number[]} sizes
 */
export function advance(model, host, signature, sizes) {
  for (const { tensor, by } of signature.advance) {
    const words = /** @type {Uint32Array} */ (host.get(tensor));
    const { role, dtype } = model.tensors[tensor];
    const low = role === Role.RNG ? 2 : 0; // an RNG is two key words, then a 64-bit counter
    const wide = role === Role.RNG || DTYPE_BYTES[dtype] === 8;
    if (!by) {
      words.fill(0, low); // no size: back to the start
      continue;
    }
    const sum = words[low] + (sizes[by] % 2 ** 32);
    words[low] = sum;
    if (wide) words[low + 1] += Math.floor(sizes[by] / 2 ** 32) + (sum >= 2 ** 32 ? 1 : 0);
  }
}
