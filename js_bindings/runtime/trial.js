// Which steps of a WASM program gain by threads: found by timing them alone and together, at first and every while.
//
// Programs and processors differ too much to know beforehand, and a core that somebody else uses makes every step wait for
// it. Medians decide, step by step, so that a program is never run in a way that was found slower; and means, in which it
// shows that a thread was sometimes waited for.

/** @typedef {[first: number, last: number, shared: boolean]} Piece  steps that are run in one call */

const WARM = 3; // runs in which engines still compile
const LOOKS = 3; // runs in which every step is timed alone
const ROUNDS = 5; // pairs of runs, together and alone
const AGAIN = 200; // runs until the next comparison
const SHORT = 0.015; // milliseconds of a step that is not worth a call to others
const GAIN = 0.9; // of the time alone, which a step must get below

/** Finds out which steps of a program gain by threads. */
export class Trial {
  /** @param {number} steps @param {number[]} single  those that may be shared */
  constructor(steps, single) {
    this.steps = steps;
    this.candidates = single;
    /** @type {number[]} */
    this.kept = [];
    this.run = -WARM;
    this.looking = true;
    /** @type {number[][]} milliseconds, by candidate */
    this.alone = [];
    /** @type {number[][]} */
    this.together = [];
    this.#begin();
  }

  #begin() {
    this.alone = this.candidates.map(() => []);
    this.together = this.candidates.map(() => []);
  }

  /**
   * How to run the program now.
   * @param {boolean} ready  whether the threads are there
   * @returns {{pieces: Piece[], times: number[][] | null}} times: where the time of each piece is to be noted
   */
  next(ready) {
    if (!this.candidates.length || (!ready && this.run >= 0)) return this.#cut([], [], null);
    const run = this.run++;
    if (run < 0) return this.#cut([], [], null);
    if (this.looking) return this.#cut(this.candidates, [], this.alone);
    if (run < 2 * ROUNDS) return this.#cut(this.candidates, run % 2 ? [] : this.candidates, run % 2 ? this.alone : this.together);
    if (run >= AGAIN) this.run = 0;
    return this.#cut(this.kept, this.kept, null);
  }

  /**
   * After a run that was timed: what is the faster way, where that is known now.
   * @returns {{steps: number, alone: number, together: number} | null} steps that are run together, if any; their
   *   milliseconds in either way
   */
  judge() {
    if (this.looking) {
      if (this.run < LOOKS) return null;
      const long = this.alone.map((times) => Math.min(...times) > SHORT);
      this.candidates = this.candidates.filter((_, k) => long[k]);
      this.looking = false;
    } else {
      if (this.run < 2 * ROUNDS) return null;
      const alone = this.alone.map(median), together = this.together.map(median);
      const gains = this.candidates.map(
        (_, k) => together[k] < GAIN * alone[k] && mean(this.together[k]) < mean(this.alone[k]),
      );
      this.kept = this.candidates.filter((_, k) => gains[k]);
      const sum = (/** @type {number[]} */ times) => times.reduce((total, ms, k) => total + (gains[k] ? ms : 0), 0);
      const found = { steps: this.kept.length, alone: sum(alone), together: sum(together) };
      this.#begin();
      return found;
    }
    this.run = 0;
    this.#begin();
    return this.candidates.length ? null : { steps: 0, alone: 0, together: 0 };
  }

  /**
   * The whole program in pieces.
   * @param {number[]} apart  steps that are pieces of their own
   * @param {number[]} shared  which of these are run together
   * @param {number[][] | null} times  of those
   * @returns {{pieces: Piece[], times: number[][] | null}}
   */
  #cut(apart, shared, times) {
    /** @type {Piece[]} */
    const pieces = [];
    /** @type {number[][]} */
    const notes = [];
    const add = (/** @type {Piece} */ piece, /** @type {number[]} */ note) => {
      pieces.push(piece);
      notes.push(note);
    };
    let at = 0;
    apart.forEach((step, k) => {
      if (step > at) add([at, step, false], []);
      add([step, step + 1, shared === apart], times?.[k] ?? []);
      at = step + 1;
    });
    if (this.steps > at) add([at, this.steps, false], []);
    return { pieces, times: times && notes };
  }
}

/** @param {number[]} times */
function median(times) {
  return [...times].sort((a, b) => a - b)[times.length >> 1];
}

/** @param {number[]} times */
function mean(times) {
  return times.reduce((sum, ms) => sum + ms, 0) / times.length;
}
