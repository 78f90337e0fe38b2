import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { align, lifetimes, place, planScratch } from "../../js_bindings/runtime/plan.js";

const corpus = JSON.parse(readFileSync(new URL("../program/plan_corpus.json", import.meta.url), "utf8"));

for (const { name, regions, max_chunk: maxChunk, expect, chunks } of corpus.filter((entry) => "chunks" in entry)) {
  test(`plan corpus: ${name}`, () => {
    assert.deepEqual(place(regions, maxChunk), { places: expect, chunks });
  });
}

for (const { name, regions, max_chunk: maxChunk, error } of corpus.filter((entry) => "error" in entry)) {
  test(`plan corpus: ${name}`, () => {
    assert.throws(() => place(regions, maxChunk), { name: error });
  });
}

test("the corpus is not empty", () => assert.ok(corpus.length > 10));

test("no two regions that live at the same time overlap, in random plans", () => {
  let seed = 7;
  const random = (n) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
  for (let round = 0; round < 50; round++) {
    const regions = Array.from({ length: 40 }, () => {
      const first = random(30);
      return { bytes: random(5000), first, last: first + random(10) };
    });
    const { places, chunks } = place(regions, 8192);
    places.forEach(([chunk, start], i) => {
      const end = start + Math.max(4, regions[i].bytes);
      assert.ok(start % 256 === 0 && end <= chunks[chunk] && chunks[chunk] <= 8192);
      places.forEach(([other, from], j) => {
        const apart = regions[j].first > regions[i].last || regions[j].last < regions[i].first;
        assert.ok(i === j || other !== chunk || apart || from >= end || from + regions[j].bytes <= start);
      });
    });
  }
});

const region = (place, parent = -1) => ({ place, bytes: 1, parent });
const dispatch = (...regions) => ({ kind: 0, regions, body: 0 });
const loop = (body) => ({ kind: 1, regions: [], body });

test("children count for their parents, and a loop counts as a whole", () => {
  const program = {
    regions: [region(0), region(0, 0), region(0), region(0), region(1)],
    steps: [dispatch(1), loop(3), dispatch(2), loop(1), dispatch(2), dispatch(0, 4)],
  };
  assert.deepEqual(lifetimes(program), [
    [0, 5],
    [-1, -1],
    [1, 4],
    [-1, -1],
    [5, 5],
  ]);
  assert.deepEqual(planScratch(program, [0, 300]).places, [
    [0, 0],
    [-1, 0],
    [0, 512],
    [-1, 0],
    [-1, 0],
  ]);
});

test("align rounds up", () =>
  assert.deepEqual(
    [0, 1, 256, 257].map((n) => align(n)),
    [0, 256, 256, 512],
  ));
