// A program at one set of sizes: where each region lies and what each step is given. The same for every device.

import { DeviceLimitError, InvalidArgumentError, ModelError } from "./errors.js";
import { ALIGNMENT, topRegions } from "./plan.js";
import { StepKind } from "./tables.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./types.js").Step} Step */
/** @typedef {{buffer: any, offset: number, size: number}} Span  buffer null: no step binds it, so it has no memory */
/**
 * Its uniform slot is `words`, then the host words at the positions `scalars`
 * @typedef {{
 *   step: Step, grid: number[], words: number[], scalars: number[], count: number
 * }} Launch
 */
/** @typedef {{spans: Span[], launches: Launch[], hostWords: number}} Layout */
/** @typedef {{source: Span, target: Span}} Copy */
/** @typedef {{region: number, data: Uint8Array}} Feed */
/** @typedef {{top: number, offset: number, size: number}} Position  `offset` inside the top-level region */

const MOST_STEPS = 2 ** 20;

/**
 * Where each region lies inside its top-level region.
 * @param {Program} program
 * @param {number[]} sizes  the value of every dim; NaN where a symbol has none yet
 * @returns {Position[]}
 * @throws {ModelError} if a child does not lie inside its parent
 */
export function positions(program, sizes) {
  const tops = topRegions(program.regions);
  /** @type {Position[]} */
  const result = [];
  program.regions.forEach(({ parent, bytes, offset }, index) => {
    const size = sizes[bytes];
    if (parent < 0) {
      result.push({ top: index, offset: 0, size });
      return;
    }
    const inside = sizes[offset];
    if (inside % ALIGNMENT > 0 || inside + size > result[parent].size) {
      throw new ModelError(
        "P06-region",
        `regions[${index}]`,
        `bytes ${inside} to ${inside + size} are not ${ALIGNMENT}-aligned inside its parent of ${result[parent].size}`,
      );
    }
    result.push({ top: tops[index], offset: result[parent].offset + inside, size });
  });
  return result;
}

/**
 * Fills in the sizes of every step.
 * @param {Program} program
 * @param {number[]} sizes
 * @param {Map<number, {start: number, length: number}>} host
 *   where each host-owned tensor lies in the vector of host words
 * @returns {Launch[]}
 */
export function buildLaunches(program, sizes, host) {
  return program.steps.map((step) => ({
    step,
    grid: Array.from(step.grid, (dim) => sizes[dim]),
    words: Array.from(step.uniforms, (dim) => sizes[dim]),
    scalars: Array.from(step.scalars).flatMap((tensor) => {
      const { start, length } = /** @type {{start: number, length: number}} */ (host.get(tensor));
      return Array.from({ length }, (_, i) => start + i);
    }),
    count: step.kind === StepKind.LOOP ? sizes[step.count] : 0,
  }));
}

/**
 * Calls `visit(index, iterations)` for every launch of a run, loops unrolled; iterations outermost first.
 * @param {Launch[]} launches
 * @param {(index: number, iterations: number[]) => void} visit
 * @throws {DeviceLimitError} above 2^20 launches
 */
export function unroll(launches, visit) {
  let total = 0;
  /** @type {(start: number, end: number, iterations: number[]) => void} */
  const walk = (start, end, iterations) => {
    for (let index = start; index < end; index++) {
      const { step, count } = launches[index];
      if (step.kind === StepKind.LOOP) {
        for (let i = 0; i < count && step.body > 0; i++) walk(index + 1, index + 1 + step.body, [...iterations, i]);
        index += step.body;
      } else {
        if (++total > MOST_STEPS)
          throw new DeviceLimitError(`the program has more than ${MOST_STEPS} steps after its loops are unrolled.`);
        visit(index, iterations);
      }
    }
  };
  walk(0, launches.length, []);
}

/**
 * For a table in which launch i's slot starts at word `starts[i]`: pairs of positions, `table[targets[k]] =
 * hostWords[sources[k]]`.
 * @param {Launch[]} launches
 * @param {number[]} starts
 * @returns {{targets: number[], sources: number[]}}
 */
export function hostWordIndices(launches, starts) {
  /** @type {number[]} */
  const targets = [];
  /** @type {number[]} */
  const sources = [];
  launches.forEach(({ words, scalars }, i) =>
    scalars.forEach((source, k) => {
      targets.push(starts[i] + words.length + k);
      sources.push(source);
    }),
  );
  return { targets, sources };
}

/**
 * Checks the pairs of sizes that a program was traced with as equal.
 * @param {Program} program
 * @param {number[]} sizes
 */
export function checkEqual(program, sizes) {
  const pairs = Array.from(program.requires?.equal ?? []);
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [a, b] = [sizes[pairs[i]], sizes[pairs[i + 1]]];
    if (a !== b)
      throw new InvalidArgumentError(
        `two sizes that the model ties together differ: ${a} and ${b}. Check the shapes of the inputs.`,
      );
  }
}
