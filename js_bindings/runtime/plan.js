// Plans scratch memory: which chunk and offset each SCRATCH region gets. The twin of `core/program/plan.py`.
//
// Two regions may share bytes only when no step needs both. Largest first, lowest fitting offset: deterministic, so
// Python and JavaScript place every region alike; `tests/program/plan_corpus.json` holds cases that both must
// answer equally.

import { DeviceLimitError } from "./errors.js";
import { Place, StepKind } from "./tables.js";

export const ALIGNMENT = 256; // WebGPU's binding alignment
export const MAX_CHUNK = 128 * 1024 * 1024; // WebGPU's default maxStorageBufferBindingSize

/**
 * Live from step `first` to `last`, both included; `first` -1: never
 * @typedef {{
 *   bytes: number, first: number, last: number
 * }} Scratch
 */
/**
 * `places[i]` is [chunk, offset], [-1, 0] for one that needs no memory
 * @typedef {{
 *   places: [number, number][], chunks: number[]
 * }} Plan
 */

/**
 * `size` rounded up to a multiple of `alignment`.
 * @param {number} size
 * @param {number} [alignment]
 */
export function align(size, alignment = ALIGNMENT) {
  return Math.ceil(size / alignment) * alignment;
}

/**
 * Places regions in chunks of at most `maxChunk` bytes.
 * @param {Scratch[]} regions
 * @param {number} [maxChunk]
 * @returns {Plan}
 * @throws {DeviceLimitError} if one region is larger than a chunk may be
 */
export function place(regions, maxChunk = MAX_CHUNK) {
  /** @type {[number, number][]} */
  const places = regions.map(() => [-1, 0]);
  /** @type {number[]} */
  const chunks = [];
  /** @type {{start: number, end: number, first: number, last: number}[][]} */
  const placed = [];
  const sizes = regions.map((region) => Math.max(region.bytes, 4));
  const order = [...regions.keys()].sort((i, j) => sizes[j] - sizes[i] || i - j);
  for (const index of order) {
    const { first, last } = regions[index];
    if (first < 0) continue;
    const size = sizes[index];
    if (size > maxChunk) {
      throw new DeviceLimitError(
        `scratch region ${index} needs ${size} bytes in one piece, this device binds at most ${maxChunk}. ` +
          `Use a smaller batch, or device: "wasm".`,
      );
    }
    for (let chunk = 0; ; chunk++) {
      if (chunk === chunks.length) {
        chunks.push(0);
        placed.push([]);
      }
      const start = lowestOffset(placed[chunk], first, last, size);
      if (start + size > maxChunk) continue;
      placed[chunk].push({ start, end: start + size, first, last });
      places[index] = [chunk, start];
      chunks[chunk] = Math.max(chunks[chunk], Math.min(align(start + size), maxChunk));
      break;
    }
  }
  return { places, chunks };
}

/**
 * The lowest aligned offset at which `size` bytes meet no placed region alive at the same time.
 * @param {{start: number, end: number, first: number, last: number}[]} placed
 * @param {number} first
 * @param {number} last
 * @param {number} size
 */
function lowestOffset(placed, first, last, size) {
  let offset = 0;
  for (const other of placed.slice().sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (other.first > last || other.last < first || other.end <= offset) continue;
    if (other.start >= offset + size) break;
    offset = align(other.end);
  }
  return offset;
}

/**
 * For each region, the top-level region it lies in (itself, if it has no parent). Parents come before children.
 * @param {{parent: number}[]} regions
 * @returns {number[]}
 */
export function topRegions(regions) {
  /** @type {number[]} */
  const tops = [];
  regions.forEach(({ parent }, index) => tops.push(parent < 0 ? index : tops[parent]));
  return tops;
}

/**
 * First and last step of each region, [-1, -1] if none binds it or a child. A step inside a LOOP counts as the whole
 * outermost loop: an iteration may read what an earlier one wrote.
 * @param {{regions: {parent: number}[], steps: {kind: number, regions: ArrayLike<number>, body: number}[]}} program
 * @returns {[number, number][]}
 */
export function lifetimes(program) {
  const tops = topRegions(program.regions);
  /** @type {[number, number][]} */
  const spans = program.regions.map(() => [-1, -1]);
  let loopStart = 0;
  let loopEnd = -1;
  program.steps.forEach((step, index) => {
    if (step.kind === StepKind.LOOP) {
      if (index > loopEnd) [loopStart, loopEnd] = [index, index + step.body];
      return;
    }
    const inside = index <= loopEnd;
    for (const region of Array.from(step.regions)) {
      const span = spans[tops[region]];
      const first = inside ? loopStart : index;
      span[0] = span[0] < 0 ? first : Math.min(span[0], first);
      span[1] = Math.max(span[1], inside ? loopEnd : index);
    }
  });
  return spans;
}

/**
 * Places a program's top-level SCRATCH regions for evaluated dims; other regions get [-1, 0].
 * @param {Pick<import("./types.js").Program, "regions" | "steps">} program
 * @param {number[]} sizes  the value of every dim
 * @param {number} [maxChunk]
 * @returns {Plan}
 */
export function planScratch(program, sizes, maxChunk = MAX_CHUNK) {
  const spans = lifetimes(program);
  return place(
    program.regions.map((region, index) =>
      region.place === Place.SCRATCH && region.parent < 0
        ? { bytes: sizes[region.bytes], first: spans[index][0], last: spans[index][1] }
        : { bytes: 0, first: -1, last: -1 },
    ),
    maxChunk,
  );
}
