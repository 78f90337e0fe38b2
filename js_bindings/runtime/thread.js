// A thread of a crew (crew.js): it holds instances of the model's modules over the same memory, and makes shares of
// steps until it is told to leave. Its shares have workspaces of their own: the addresses are in a table of its own.

import { Word } from "./crew.js";

const SPINS = 5000; // looks at an empty queue, about 100 us, before it sleeps: the next step may be near

/**
 * Takes shares until the crew changes or ends.
 * @param {Int32Array} control
 * @param {((table: number, first: number, last: number, share: number, shares: number) => number)[]} parts  by module
 * @param {number} number  of this thread; the leader is 0
 */
function serve(control, parts, number) {
  for (let idle = 0; ; ) {
    const seen = Atomics.load(control, Word.CALLS); // before looking: what comes after it ends the sleep
    if (Atomics.load(control, Word.LEAVE)) return;
    if (Atomics.load(control, Word.LEFT) > 0) {
      idle = 0;
      const left = Atomics.sub(control, Word.LEFT, 1);
      if (left > 0) take(control, parts, number, left); // else another thread was faster
    } else if (++idle > SPINS) {
      Atomics.add(control, Word.SLEEPERS, 1);
      Atomics.wait(control, Word.CALLS, seen); // returns at once if there was a call since
      Atomics.sub(control, Word.SLEEPERS, 1);
      idle = 0;
    }
  }
}

/**
 * Makes one share. What the words say stays so until this share is counted as done.
 * @param {Int32Array} control
 * @param {((table: number, first: number, last: number, share: number, shares: number) => number)[]} parts
 * @param {number} number
 * @param {number} left
 */
function take(control, parts, number, left) {
  const step = control[Word.STEP], shares = control[Word.SHARES];
  try {
    parts[control[Word.MODULE]](control[Word.TABLE] + number * control[Word.STRIDE], step, step + 1, shares - left, shares);
  } catch {
    Atomics.store(control, Word.FAILED, 1);
  }
  Atomics.add(control, Word.DONE, 1);
  if (Atomics.load(control, Word.WAITING)) Atomics.notify(control, Word.DONE);
}

addEventListener("message", ({ data: { memory, modules, control, number } }) => {
  const words = new Int32Array(control);
  const parts = modules.map(
    (/** @type {WebAssembly.Module | null} */ module) =>
      module && /** @type {any} */ (new WebAssembly.Instance(module, { env: { memory } }).exports).part,
  );
  Atomics.add(words, Word.READY, 1);
  serve(words, parts, number);
});

postMessage("started");
