// How long to wait for an answer before its sender counts as hung: a base, plus ten times the usual.

const KEPT = 21; // answers that "the usual" is the median of

export class Patience {
  /** @param {number} base  milliseconds */
  constructor(base) {
    this.base = base;
    /** @type {number[]} */
    this.times = [];
    this.count = 0;
    this.milliseconds = base;
  }

  /** @param {number} elapsed  of an answer that came, in milliseconds */
  note(elapsed) {
    this.times[this.count++ % KEPT] = elapsed;
    if (this.count > 2 && this.count % 4) return; // sorting after every step would be a waste
    const median = [...this.times].sort((a, b) => a - b)[this.times.length >> 1];
    this.milliseconds = this.base + 10 * median;
  }

  /** For a message, for example "20.3 s". */
  toString() {
    return `${Math.round(this.milliseconds / 100) / 10} s`;
  }
}
