// A crew of threads for the WASM device: the leader is the thread that the model runs in, the others are workers over the
// same shared memory (thread.js). It is loaded only where threads are asked for.
//
// A step of a large kernel is made in shares, which whoever is free takes one by one: a thread that is late or whose core
// is busy takes fewer, or none. How a step is shared out changes no bit of the result. What pays is found by trying:
// steps are timed alone and together, at first and again every while, and each is run in the faster way.
//
// The leader writes a step and then the number of its shares; whoever decreases LEFT from a number above 0 has taken a
// share, and nobody else has. The next step is not written before all taken shares are done, so nothing is ever read half
// written. When memory or modules change, a new crew of the same workers is formed, with words of its own.

import { unroll } from "./layout.js";
import { align } from "./plan.js";
import { StepKind, Place } from "./tables.js";
import { Trial } from "./trial.js";

/** @typedef {import("./wasm.js").WasmDevice} WasmDevice */
/** @typedef {import("./wasm.js").Bound} Bound */
/** @typedef {import("./wasm.js").Loaded} Loaded */
/** @typedef {import("./wasm.js").Buffer} Buffer */
/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {{privates: number[], room: number, trial: Trial}} Gang  room: bytes of a thread's workspace */
/** @typedef {{postMessage: (message: any) => void, terminate: () => any, onmessage: any, onerror: any}} Helper */

/** Positions in the words by which threads agree. Those that several write often lie in different lines of the cache. */
export const Word = {
  LEFT: 0, // shares that nobody has taken yet; below 0: none, looked for in vain
  DONE: 32, // shares made by others than the leader
  CALLS: 64, // counts steps: who sleeps, sleeps on this
  SLEEPERS: 65,
  LEAVE: 66, // 1: this crew is over
  WAITING: 96, // 1: the leader sleeps until shares are done
  READY: 97, // threads that have joined
  FAILED: 98, // 1: a share ended with a trap
  MODULE: 128,
  TABLE: 129, // address of the leader's table; thread n has its own n * STRIDE bytes after it
  STRIDE: 130,
  STEP: 131,
  SHARES: 132,
};
const WORDS = 160;

export const MOST_THREADS = 16; // a core is often counted twice, so "auto" takes at most half as many
const SHARES = 2; // of a step, for each thread: a late one leaves little to wait for, and each packs factors anew
const SPINS = 2000; // looks at unfinished shares before the leader sleeps
const STARTING = 10000; // milliseconds
const SHARED_MEMORY = [2, 18, 1, 3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2, 3, 1, 128, 128, 4];

/** A worker of the browser's. @returns {Helper} */
function startThread() {
  return new Worker(new URL("./thread.js", import.meta.url), { type: "module" });
}

export class Crew {
  /**
   * Starts the threads besides this one.
   * @param {number | "auto"} threads  all together, at most 16; "auto": one for each core, at most 8
   * @param {(event: any) => void} [onEvent]  told which steps run together: {type: "threads", …}
   * @param {() => Helper} [start]
   * @returns {Promise<Crew>}
   * @throws {Error} that says why there can be no threads here
   */
  static async open(threads, onEvent = () => {}, start = startThread) {
    const cores = globalThis.navigator?.hardwareConcurrency ?? 1;
    const count = threads === "auto" ? Math.min(MOST_THREADS / 2, cores) : Math.min(MOST_THREADS, threads);
    if (count < 2) throw new Error("there is one processor");
    if (globalThis.crossOriginIsolated === false || typeof SharedArrayBuffer === "undefined") {
      throw new Error(
        "threads need a page that is cross-origin isolated: serve it with Cross-Origin-Opener-Policy: same-origin and " +
          "Cross-Origin-Embedder-Policy: require-corp",
      );
    }
    if (start === startThread && typeof Worker === "undefined") throw new Error("there are no workers here");
    try {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    } catch {
      throw new Error("the page's own thread must not wait: let the model run in a worker");
    }
    const crew = new Crew(onEvent);
    try {
      await Promise.all(Array.from({ length: count - 1 }, () => crew.#hire(start())));
    } catch (error) {
      crew.close();
      throw error;
    }
    return crew;
  }

  /** @param {(event: any) => void} onEvent */
  constructor(onEvent) {
    this.onEvent = onEvent;
    /** @type {Helper[]} */
    this.helpers = [];
    this.words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
    /** @type {any} the memory and modules that the threads have */
    this.memory = null;
    /** @type {any[]} */
    this.members = [];
    /** @type {{address: number, size: number} | null} workspaces of the threads */
    this.scratch = null;
  }

  /** All threads, this one included. */
  get threads() {
    return this.helpers.length + 1;
  }

  /** @param {Helper} helper */
  #hire(helper) {
    this.helpers.push(helper);
    return new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ why) => reject(new Error(`a thread did not start: ${why}`));
      const timer = setTimeout(() => fail("no answer within 10 s"), STARTING);
      helper.onmessage = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
      helper.onerror = (/** @type {any} */ event) => {
        event.preventDefault?.();
        clearTimeout(timer);
        fail(event.message ?? "its script could not be loaded");
      };
    });
  }

  /**
   * The module with a shared memory in place of an unshared one, which is what files hold.
   * @param {Uint8Array} module
   * @returns {Uint8Array}
   */
  shared(module) {
    let at = 8;
    for (;;) {
      const start = at;
      const kind = module[at++];
      let size = 0;
      for (let factor = 1, byte = 128; byte > 127; factor *= 128) {
        byte = module[at++];
        size += (byte & 127) * factor;
      }
      at += size;
      if (kind === 2) {
        const made = new Uint8Array(start + SHARED_MEMORY.length + module.length - at);
        made.set(module.subarray(0, start));
        made.set(SHARED_MEMORY, start);
        made.set(module.subarray(at), start + SHARED_MEMORY.length);
        return made;
      }
    }
  }

  /**
   * Runs all steps of a program, those together that gain by it.
   * @param {WasmDevice} device
   * @param {Bound} bound
   */
  run(device, bound) {
    const { loaded, table, steps, gang } = bound;
    if (!gang || gang.room * this.helpers.length > (this.scratch?.size ?? 0)) {
      device.walk(bound, 0, steps);
      return;
    }
    const { pieces, times } = gang.trial.next(this.#form(device));
    if (pieces.some(([, , shared]) => shared)) {
      this.#call(); // whoever sleeps needs some time
      this.#lay(device, bound);
    }
    for (let k = 0; k < pieces.length; k++) {
      const [first, last, shared] = pieces[k];
      const start = times ? performance.now() : 0;
      if (shared) this.#together(/** @type {any} */ (loaded.part), table.address, first);
      else device.walk(bound, first, last);
      times?.[k].push(performance.now() - start);
    }
    const found = times && gang.trial.judge();
    if (found) this.onEvent({ type: "threads", threads: this.threads, ...found });
  }

  /**
   * Makes one step with all who are there.
   * @param {(table: number, first: number, last: number, share: number, shares: number) => number} part
   * @param {number} table
   * @param {number} step
   */
  #together(part, table, step) {
    const { words } = this;
    const shares = words[Word.SHARES];
    words[Word.STEP] = step;
    Atomics.store(words, Word.DONE, 0);
    Atomics.store(words, Word.FAILED, 0);
    Atomics.store(words, Word.LEFT, shares);
    this.#call();
    let others = shares;
    try {
      for (let left; (left = Atomics.sub(words, Word.LEFT, 1)) > 0; ) {
        others--;
        part(table, step, step + 1, shares - left, shares);
      }
    } catch (error) {
      this.#wait(others - Math.max(0, Atomics.exchange(words, Word.LEFT, 0)));
      throw error;
    }
    this.#wait(others);
    if (Atomics.load(words, Word.FAILED)) throw new Error(`a thread trapped in step ${step} of the WASM module`);
  }

  /** Wakes those who sleep. */
  #call() {
    Atomics.add(this.words, Word.CALLS, 1);
    if (Atomics.load(this.words, Word.SLEEPERS)) Atomics.notify(this.words, Word.CALLS);
  }

  /** Until the others have made as many shares. @param {number} shares */
  #wait(shares) {
    const { words } = this;
    for (let i = 0; i < SPINS; i++) if (Atomics.load(words, Word.DONE) >= shares) return;
    Atomics.store(words, Word.WAITING, 1);
    for (let done; (done = Atomics.load(words, Word.DONE)) < shares; ) Atomics.wait(words, Word.DONE, done, 100);
    Atomics.store(words, Word.WAITING, 0);
  }

  /**
   * Gives the threads the present memory and modules, where they have not got them yet.
   * @param {WasmDevice} device
   * @returns {boolean} whether all have joined
   */
  #form(device) {
    const members = [...device.loaded].map(({ module }) => module);
    if (this.memory !== device.memory || members.length !== this.members.length || members.some((m, i) => m !== this.members[i])) {
      this.#dismiss();
      this.words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
      this.memory = device.memory;
      this.members = members;
      const modules = [...device.loaded].map(({ module, part }) => (part ? module : null));
      const { memory, words } = this;
      this.helpers.forEach((helper, i) => helper.postMessage({ memory, modules, control: words.buffer, number: i + 1 }));
    }
    return Atomics.load(this.words, Word.READY) === this.helpers.length;
  }

  /** Sends the threads back to their messages. */
  #dismiss() {
    Atomics.store(this.words, Word.LEAVE, 1);
    this.#call();
  }

  /**
   * What a program needs to be run together: workspaces for the threads, and room for their tables after the leader's.
   * @param {WasmDevice} device
   * @param {Loaded} loaded
   * @param {Layout} layout
   * @param {number} size  bytes of a table
   * @returns {{table: Buffer, gang: Gang | null}} gang null: it runs in one thread
   */
  equip(device, { part, program }, { spans, launches }, size) {
    /** @type {number[]} */
    const single = []; // steps that are in no loop
    let steps = 0;
    unroll(launches, (_, iterations) => {
      if (!iterations.length) single.push(steps);
      steps++;
    });
    const privates = privateRegions(program);
    const room = align(privates.reduce((most, r) => Math.max(most, spans[r].size), 0));
    const needed = room * this.helpers.length;
    if (!part || !single.length || needed > this.most(device)) return { table: device.allocate(size), gang: null };
    if ((this.scratch?.size ?? 0) < needed) {
      if (this.scratch) device.release(this.scratch);
      this.scratch = null; // should there be no memory for more
      this.scratch = device.allocate(needed);
    }
    const table = device.allocate(size * this.threads);
    return { table, gang: { privates, room, trial: new Trial(steps, single) } };
  }

  /** How many bytes workspaces may take beside what the model does. @param {WasmDevice} device */
  most({ budget }) {
    return budget / 4;
  }

  /**
   * Lays a table for each thread beside the leader's, with workspaces of its own, and says where.
   * @param {WasmDevice} device
   * @param {Bound} bound
   */
  #lay(device, { loaded, table, words, gang }) {
    const { privates, room } = /** @type {Gang} */ (gang);
    const memory = new Uint32Array(device.memory.buffer);
    this.helpers.forEach((_, i) => {
      const start = table.address / 4 + (i + 1) * words.length;
      memory.set(words, start);
      for (const r of privates) memory[start + r] = /** @type {Buffer} */ (this.scratch).address + i * room;
    });
    this.words[Word.MODULE] = this.members.indexOf(loaded.module);
    this.words[Word.TABLE] = table.address;
    this.words[Word.STRIDE] = words.length * 4;
    this.words[Word.SHARES] = this.threads * SHARES;
  }

  close() {
    this.#dismiss();
    for (const helper of this.helpers) helper.terminate();
    this.helpers = [];
  }
}

/**
 * The regions in which one step works and no other looks: each thread that makes a share of it needs its own.
 * @param {import("./types.js").Program} program
 * @returns {number[]}
 */
function privateRegions({ regions, steps }) {
  /** @type {number[]} */
  const users = regions.map(({ place, parent }) => (place === Place.SCRATCH && parent < 0 ? 0 : 2));
  for (const { parent } of regions) if (parent >= 0) users[parent] = 2;
  let looped = 0; // steps from here on that are in a loop
  for (const { kind, regions: bound, body } of steps) {
    if (kind === StepKind.LOOP) looped = Math.max(looped - 1, body);
    else {
      const runs = looped-- > 0 ? 2 : 1;
      for (const r of bound) users[r] += runs;
    }
  }
  return users.flatMap((count, r) => (count === 1 ? [r] : []));
}
