import assert from "node:assert/strict";
import { test } from "node:test";

import { Turns } from "../../demo_site/scripts/turns.js";

test("turns are taken in the order of asking, one at a time, also after one that fails", async () => {
  const turns = new Turns();
  const seen = [];
  let inside = 0;
  const take = (name, milliseconds, fails = false) => turns.take(async () => {
    inside += 1;
    await new Promise((resolve) => {
      setTimeout(resolve, milliseconds);
    });
    seen.push([name, inside]);
    inside -= 1;
    if (fails) throw new Error(name);
    return name;
  });
  const [slow, bad, quick] = await Promise.allSettled([take("slow", 20), take("bad", 1, true), take("quick", 0)]);
  assert.deepEqual(seen, [["slow", 1], ["bad", 1], ["quick", 1]]);
  assert.deepEqual([slow.value, bad.reason.message, quick.value], ["slow", "bad", "quick"]);
});
