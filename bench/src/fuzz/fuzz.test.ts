// Every target, for as many cases as take a moment: the long runs are `npm run fuzz`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { searchTools } from "@fidelity/alex/node";
import { kernelNatives } from "./kernel-natives.ts";
import { fuzz, FuzzFailure } from "./target.ts";
import type { FuzzTarget } from "./target.ts";
import { TARGETS } from "./targets.ts";

const CASES: Readonly<Record<string, number>> = {
  schemas: 1999, // up to the first that is large
  messages: 4000,
  views: 2000,
  containers: 600,
  http: 150,
  "bare-peer": 1000,
  kernels: 300,
  "kernel-runs": 60,
  gguf: 1000,
  safetensors: 1000,
  index: 1000,
  onnx: 1000,
  tokenizers: 250,
  constraints: 150,
  generations: 240,
};

/** Those whose cases take a moment; the other one takes LLVM's time. */
const quick = TARGETS.filter((target) => target !== kernelNatives);
const { missing } = searchTools();

for (const target of quick) {
  test(`${target.name}: ${target.about}`, async () => {
    const { cases, outcomes } = await fuzz(target, { seed: 7, from: 0, cases: CASES[target.name] });
    assert.equal(cases, CASES[target.name]);
    // Damage is refused in many ways, and some of it is none.
    const words = [...outcomes.keys()];
    assert.ok(
      words.some((word) => word.includes("refused")) && words.some((word) => word.includes("read")),
      words.join("; "),
    );
  });
}

const { name, about } = kernelNatives;
test(`${name}: ${about}`, { skip: missing.length > 0 && `needs ${missing.join(", ")}` }, async () => {
  const { outcomes } = await fuzz(kernelNatives, { seed: 7, from: 0, cases: 1 });
  assert.ok([...outcomes.keys()].every((word) => word.includes("read alike")));
});

test("a case is the same when it is run alone", async () => {
  for (const target of quick) {
    const run = target.open(3);
    const words = [];
    for (let index = 0; index < 40; index++) words.push(await run.run(index));
    run.close?.();
    for (const index of [39, 17, 0]) {
      const alone = target.open(3);
      assert.equal(await alone.run(index), words[index], target.name);
      alone.close?.();
    }
  }
});

test("a failure names its case, and what was open is closed", async () => {
  let isOpen = false;
  const target: FuzzTarget = {
    name: "none",
    about: "fails",
    open() {
      isOpen = true;
      return {
        run(index) {
          if (index === 5) throw new RangeError("five");
          return "fine";
        },
        close() {
          isOpen = false;
        },
      };
    },
  };
  const failure = await fuzz(target, { seed: 2, from: 3, cases: 10 }).catch((error: unknown) => error);
  assert.ok(failure instanceof FuzzFailure);
  assert.match(failure.message, /none --seed 2 --from 5 --cases 1$/);
  assert.match(String(failure.cause), /five/);
  assert.equal(isOpen, false);
});
