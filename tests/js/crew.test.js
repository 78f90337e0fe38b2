import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Worker as Thread } from "node:worker_threads";

import { Crew, Word } from "../../js_bindings/runtime/crew.js";
import { LocalEngine } from "../../js_bindings/runtime/local.js";
import { readModel } from "../../js_bindings/runtime/model.js";
import { Session } from "../../js_bindings/runtime/session.js";
import { Trial } from "../../js_bindings/runtime/trial.js";
import { WasmDevice } from "../../js_bindings/runtime/wasm.js";
import { Place, StepKind } from "../../js_bindings/runtime/tables.js";
import { openCrew, startNodeThread } from "./helpers/crew.js";
import { trainModel } from "./helpers/models.js";

const file = () => new Uint8Array(readFileSync(new URL("./data/network.tide", import.meta.url)));
const pause = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

/** Every step that is in no loop is shared, always. */
const shareAll = (t) =>
  t.mock.method(Trial.prototype, "next", function () {
    const pieces = this.candidates.map((step) => [step, step + 1, true]);
    assert.equal(pieces.length, this.steps, "these programs have no loops");
    return { pieces, times: null };
  });

async function open(t, crew) {
  const session = await Session.create(readModel(file()), { device: new WasmDevice({ crew }) });
  t.after(() => session.close());
  return session;
}

function batch(rows, seed) {
  const x = Float32Array.from({ length: rows * 144 * 4 }, (_, i) => Math.sin(i * 12.9898 + seed));
  return { x: { data: x, shape: [rows, 12, 12, 4] }, y: Int32Array.from({ length: rows }, (_, i) => (i * 7 + seed) % 10) };
}

/** Trains a few steps at several batch sizes, evaluates and predicts; everything that comes of it as one buffer. */
async function train(session, between = async () => {}) {
  const parts = [];
  for (const [step, rows] of [64, 64, 37, 1, 200, 64].entries()) {
    await between();
    const outputs = await (await session.run("train_step", batch(rows, step), true)).read();
    parts.push(...Object.values(outputs));
  }
  const { x, y } = batch(50, 99);
  for (const [name, inputs] of [["evaluate", { x, y }], ["predict", { x }]])
    parts.push(...Object.values(await (await session.run(name, inputs, true)).read()));
  for (const tensor of session.changing()) parts.push({ data: await session.readTensor(tensor) });
  return Buffer.concat(parts.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)));
}

const everyoneJoins = (session) => async () => {
  const { crew } = session.device;
  for (let i = 0; i < 200 && Atomics.load(crew.words, Word.READY) < crew.helpers.length; i++) await pause(5);
};

test("training gives the same bits with any number of threads", async (t) => {
  const expected = await train(await open(t, null));
  shareAll(t);
  for (const threads of [2, 3]) {
    const session = await open(t, await openCrew(threads));
    const actual = await train(session, everyoneJoins(session));
    assert.ok(actual.equals(expected), `${threads} threads`);
  }
});

test("the threads do make shares", async (t) => {
  shareAll(t);
  const session = await open(t, await openCrew(2));
  const wait = everyoneJoins(session);
  let made = 0;
  for (let i = 0; i < 200 && !made; i++) {
    await session.run("train_step", batch(200, i));
    await wait();
    made = Atomics.load(session.device.crew.words, Word.DONE); // of the last step
  }
  assert.ok(made > 0);
});

test("a thread that is late, or never joins, changes nothing", async (t) => {
  const expected = await train(await open(t, null));
  shareAll(t);
  for (const late of [30, 1e6]) {
    const crew = await Crew.open(3, () => {}, () => {
      const helper = startNodeThread();
      const { postMessage } = helper;
      helper.postMessage = (message) => {
        if (message.number === 2) setTimeout(() => postMessage(message), late).unref();
        else postMessage(message);
      };
      return helper;
    });
    assert.ok((await train(await open(t, crew), () => pause(2))).equals(expected), `${late} ms`);
  }
});

test("busy processors change nothing", async (t) => {
  const expected = await train(await open(t, null));
  const burners = [1, 2, 3].map(() => new Thread("for (;;);", { eval: true }));
  t.after(() => Promise.all(burners.map((burner) => burner.terminate())));
  shareAll(t);
  const session = await open(t, await openCrew(2));
  assert.ok((await train(session, everyoneJoins(session))).equals(expected));
});

test("a trap in another thread is an error of the run, and the next run goes on", async (t) => {
  shareAll(t);
  const session = await open(t, await openCrew(2));
  const { crew } = session.device;
  await session.run("predict", { x: batch(200, 0).x });
  await everyoneJoins(session)();
  const { address } = crew.scratch;
  crew.scratch.address = 0xfff00000; // its workspace would lie outside the memory
  let failure = null;
  for (let i = 0; i < 100 && !failure; i++)
    await session.run("predict", { x: batch(200, i).x }).catch((error) => {
      failure = error;
    });
  assert.match(failure.message, /a thread trapped in step \d+ of the WASM module/);
  crew.scratch.address = address;
  Atomics.store(crew.words, Word.FAILED, 1); // as a step leaves it whose share in this thread trapped too
  const alone = await open(t, null);
  const [expected, actual] = await Promise.all(
    [alone, session].map(async (each) => (await each.run("predict", { x: batch(200, 1).x }, true)).read()),
  );
  assert.deepEqual(actual, expected);
});

test("no more threads start than a crew may have", async (t) => {
  const ready = () => {
    const helper = { postMessage() {}, terminate() {} };
    queueMicrotask(() => helper.onmessage());
    return helper;
  };
  assert.equal((await Crew.open(1000, () => {}, ready)).threads, 16);
  const usual = Object.getOwnPropertyDescriptor(globalThis, "navigator") ?? { value: undefined, configurable: true };
  t.after(() => Object.defineProperty(globalThis, "navigator", usual));
  Object.defineProperty(globalThis, "navigator", { value: { hardwareConcurrency: 64 }, configurable: true });
  assert.equal((await Crew.open("auto", () => {}, ready)).threads, 8);
});

test("closing the model ends the threads", async (t) => {
  const helpers = [];
  const crew = await Crew.open(3, () => {}, () => {
    helpers.push(startNodeThread());
    return helpers[helpers.length - 1];
  });
  const session = await open(t, crew);
  await session.run("predict", { x: batch(8, 0).x });
  session.close();
  assert.ok(helpers.every(({ ended }) => ended));
  await Promise.all(helpers.map(({ exited }) => exited));
});

test("a file without shares runs with threads at hand", async (t) => {
  const crew = await openCrew(2);
  const session = await Session.create(trainModel(), { device: new WasmDevice({ crew }) });
  t.after(() => session.close());
  const { y } = await (await session.run("train_step", { x: Float32Array.of(1, 2, 3), learning_rate: 0.5 })).read();
  assert.deepEqual([...y.data], [10.5, 11, 11.5]);
});

test("what fits the budget fits it with threads, and workspaces too large for it leave a program to one", async (t) => {
  const plain = await open(t, null);
  const expected = await train(plain);
  const budget = plain.device.memory.buffer.byteLength + 65536;
  for (const [threads, alone] of [[2, false], [16, true]]) {
    const device = new WasmDevice({ budget, crew: await openCrew(threads) });
    const session = await Session.create(readModel(file()), { device });
    t.after(() => session.close());
    assert.ok((await train(session)).equals(expected));
    const bindings = [...session.placement.prepared.values()].flatMap(({ bindings }) => [...bindings.values()]);
    const gangs = bindings.map(({ bound: { gang } }) => gang);
    assert.equal(gangs.some((gang) => gang === null), alone);
  }
});

test("where there can be no threads, the model runs in one and says why", async () => {
  const engine = await LocalEngine.open(file(), { device: "wasm", threads: 2 }); // Node has no `Worker`
  assert.equal(engine.description, "WebAssembly SIMD, one thread: there are no workers here");
  await engine.close();
  globalThis.crossOriginIsolated = false;
  try {
    await assert.rejects(Crew.open(2), /needs? a page that is cross-origin isolated: serve it with Cross-Origin-Opener/);
  } finally {
    delete globalThis.crossOriginIsolated;
  }
  await assert.rejects(Crew.open(1), /there is one processor/);
  const broken = () => {
    const helper = { postMessage() {}, terminate() { helper.ended = true; } };
    queueMicrotask(() => helper.onerror({ message: "404" }));
    return helper;
  };
  await assert.rejects(Crew.open(3, () => {}, broken), /a thread did not start: 404/);
});

test("a device that cannot be opened ends the threads", async (t) => {
  const workers = [];
  globalThis.Worker = class {
    constructor() {
      workers.push(this);
      queueMicrotask(() => this.onmessage());
    }

    terminate() {
      this.ended = true;
    }
  };
  t.after(() => delete globalThis.Worker);
  t.mock.method(WebAssembly, "Module", () => {
    throw new WebAssembly.CompileError("blocked by CSP");
  });
  await assert.rejects(LocalEngine.open(file(), { device: "wasm", threads: 3 }), /cannot be compiled here/);
  assert.deepEqual(workers.map(({ ended }) => ended), [true, true]);
});

// ---- workspaces -----------------------------------------------------------------------------------------------------

/** What a crew gives for a program of such steps: over regions, or a loop around the next `body` of them. */
function equipped(device, crew, steps, bytes) {
  const { LOOP, DISPATCH } = StepKind;
  const made = steps.map(({ body = 0, regions = [] }) => ({ kind: body ? LOOP : DISPATCH, body, regions }));
  const count = 1 + Math.max(...made.flatMap(({ regions }) => regions));
  const regions = Array.from({ length: count }, () => ({ place: Place.SCRATCH, parent: -1 }));
  const layout = { spans: regions.map(() => ({ size: bytes })), launches: made.map((step) => ({ step, count: 2 })) };
  return crew.equip(device, { part() {}, program: { steps: made, regions } }, layout, 64);
}

test("what a loop holds between its iterations is no thread's own", async (t) => {
  const crew = await openCrew(2);
  t.after(() => crew.close());
  const steps = [{ body: 2 }, { regions: [0, 1] }, { regions: [2] }, { regions: [3] }];
  assert.deepEqual(equipped(new WasmDevice({ crew }), crew, steps, 256).gang.privates, [3]);
});

test("where there was no memory for larger workspaces, nobody works in those given up", async (t) => {
  const crew = await openCrew(2);
  t.after(() => crew.close());
  const device = new WasmDevice({ budget: 2 ** 20, crew });
  const steps = [{ regions: [0] }];
  const small = equipped(device, crew, steps, 4096);
  device.allocate(2 ** 20 + 2 ** 18 - device.top);
  assert.throws(() => equipped(device, crew, steps, 8192), /budget/);
  assert.equal(crew.scratch, null);
  const walk = t.mock.method(device, "walk", () => {});
  crew.run(device, { ...small, loaded: {}, steps: 1 });
  assert.equal(walk.mock.callCount(), 1);
});

// ---- what is shared -------------------------------------------------------------------------------------------------

/** Plays runs of a program of which `costs` are the milliseconds of each step, alone and together. */
function play(trial, costs, runs, ready = true) {
  const found = [];
  let pieces;
  for (let i = 0; i < runs; i++) {
    const plan = trial.next(ready);
    pieces = plan.pieces;
    assert.equal(pieces[0][0], 0);
    pieces.forEach(([first, last], k) => assert.equal(pieces[k + 1]?.[0] ?? costs.length, last, `${first}`));
    pieces.forEach(([first, , shared], k) => plan.times?.[k].push(costs[first][shared ? 1 : 0]));
    const judged = plan.times && trial.judge();
    if (judged) found.push(judged);
  }
  return { found, shared: pieces.filter(([, , shared]) => shared).map(([first]) => first) };
}

test("steps that gain are shared, those that lose, are short, or lie in loops are not", () => {
  const costs = [[1, 0.6], [1, 0.95], [0.01, 0.001], [1, 1.7], [2, 1.1], [9, 1]];
  const trial = new Trial(6, [0, 1, 2, 3, 4]);
  const { found, shared } = play(trial, costs, 40);
  assert.deepEqual(shared, [0, 4]);
  assert.deepEqual(found.map(({ steps }) => steps), [2]);
  assert.ok(Math.abs(found[0].alone - 3) < 1e-9 && Math.abs(found[0].together - 1.7) < 1e-9);
});

test("a step that is mostly faster together, but sometimes waits for a thread, is not shared", () => {
  const trial = new Trial(1, [0]);
  for (let i = 0; i < 40; i++) {
    const { pieces, times } = trial.next(true);
    times?.[0].push(pieces[0][2] ? (i % 6 ? 0.5 : 9) : 1);
    if (times) trial.judge();
  }
  assert.deepEqual(trial.kept, []);
});

test("what pays is looked at again", () => {
  const trial = new Trial(1, [0]);
  assert.deepEqual(play(trial, [[1, 0.6]], 40).shared, [0]);
  assert.deepEqual(play(trial, [[1, 3]], 400).shared, []);
  assert.deepEqual(play(trial, [[1, 0.5]], 400).shared, [0]);
});

test("without the others, and in programs of short steps, nothing is shared", () => {
  assert.deepEqual(play(new Trial(2, [0, 1]), [[1, 0.5], [1, 0.5]], 50, false).shared, []);
  const trial = new Trial(2, [0, 1]);
  const { found, shared } = play(trial, [[0.01, 0.001], [0.012, 0.001]], 500);
  assert.deepEqual([found, shared], [[{ steps: 0, alone: 0, together: 0 }], []]);
  assert.deepEqual(trial.next(true).pieces, [[0, 2, false]]);
});

test("threads join again whenever the memory moves, asleep or not", async (t) => {
  shareAll(t);
  const session = await open(t, await openCrew(3));
  const { crew } = session.device;
  const wait = everyoneJoins(session);
  for (let i = 0; i < 30; i++) {
    await session.run("predict", { x: batch(40 + i * 3, i).x });
    if (i % 3) await pause(i % 7);
    await wait();
    assert.equal(Atomics.load(crew.words, Word.READY), 2, `run ${i}`);
  }
});
