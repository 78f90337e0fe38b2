// Where state lives: chunks of programs that hold a common tensor are one buffer.

import { ModelError } from "./errors.js";
import { positions } from "./layout.js";
import { Place } from "./tables.js";

/**
 * `regions` are "program.region" keys of the top-level regions in it.
 * @typedef {{
 *   size: number, regions: string[], tensors: number[]
 * }} StateChunk
 */
/** @typedef {{offset: number, size: number, storage: number}} StateTensor  `offset` inside its chunk */

/**
 * Joins the STATE regions of all programs into chunks.
 * @param {import("./types.js").Model} model
 * @param {number[]} programs  the ones that are loaded
 * @param {number[]} sizes  dims without symbols; NaN where a dim depends on one
 * @returns {{tensors: Map<number, StateTensor>, chunks: StateChunk[], privates: StateChunk[]}}
 *   privates: chunks without tensors
 * @throws {ModelError} if two programs place one tensor differently, or a size of state depends on a symbol
 */
export function placeState(model, programs, sizes) {
  /** @type {Map<number, StateTensor>} */
  const tensors = new Map();
  /** @type {Map<number, StateChunk>} */
  const chunkOf = new Map();
  /** @type {Set<StateChunk>} */
  const chunks = new Set();
  for (const index of programs) {
    const { regions } = model.programs[index];
    const where = positions(model.programs[index], sizes);
    /** @type {Map<number, StateChunk>} */
    const own = new Map();
    regions.forEach(({ place, parent, tensor, storage }, region) => {
      if (place !== Place.STATE) return;
      const { top, offset, size } = where[region];
      const field = `programs[${index}].regions[${region}]`;
      if (Number.isNaN(offset + size))
        throw new ModelError("P06-region", field, "the size of state depends on a symbol");
      if (parent < 0) {
        const chunk = { size, regions: [`${index}.${region}`], tensors: [] };
        own.set(region, chunk);
        chunks.add(chunk);
      }
      if (tensor < 0) return;
      const known = tensors.get(tensor);
      if (known && (known.offset !== offset || known.storage !== storage)) {
        throw new ModelError(
          "P06-region",
          field,
          `tensor "${model.tensors[tensor].name}" lies at ${offset}, another program has it at ${known.offset}`,
        );
      }
      tensors.set(tensor, { offset, size, storage });
      const mine = /** @type {StateChunk} */ (own.get(top));
      const other = chunkOf.get(tensor);
      if (!other) {
        mine.tensors.push(tensor);
        chunkOf.set(tensor, mine);
      } else if (other !== mine) {
        merge(mine, other, own, chunkOf);
        chunks.delete(other);
      }
    });
  }
  const all = [...chunks];
  return {
    tensors,
    chunks: all.filter((chunk) => chunk.tensors.length),
    privates: all.filter((chunk) => !chunk.tensors.length),
  };
}

/**
 * Moves everything of `other` into `mine`.
 * @param {StateChunk} mine
 * @param {StateChunk} other
 * @param {Map<number, StateChunk>} own
 * @param {Map<number, StateChunk>} chunkOf
 */
function merge(mine, other, own, chunkOf) {
  mine.size = Math.max(mine.size, other.size);
  mine.regions.push(...other.regions);
  mine.tensors.push(...other.tensors);
  for (const [region, chunk] of own) if (chunk === other) own.set(region, mine);
  for (const tensor of other.tensors) chunkOf.set(tensor, mine);
}
