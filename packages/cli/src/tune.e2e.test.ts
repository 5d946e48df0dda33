// `fidelity tune` on a model of a few numbers: what it measures is not looked at, only that it ends and
// remembers.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fidelity, Scratch, startFidelity } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const environment = { ...process.env, FIDELITY_CACHE_DIR: scratch.at("cache"), FIDELITY_CACHE: "" };
const MODEL = ["--architecture", "transformer", "--layers", "1", "--width", "8", "--heads", "2", "--hidden", "8"];
const PROGRAM = [...MODEL, "--vocabulary-size", "16", "--what", "train", "--batch", "1", "--context", "8"];

async function run(env: NodeJS.ProcessEnv, ...args: readonly string[]) {
  return startFidelity([...args, ...PROGRAM, "--threads", "1"], { env }).ended;
}

interface Report {
  readonly kernels: number;
  readonly results: readonly { readonly node: string; readonly schedule: string; readonly speedup: number }[];
}

test("schedules are measured and remembered", async () => {
  const first = await run(environment, "tune", "--seconds", "60", "--json");
  assert.equal(first.code, 0, first.stderr);
  const { kernels, results }: Report = JSON.parse(first.stdout);
  assert.ok(kernels > 0);
  assert.ok(results.length > 0 && results.length <= kernels);
  assert.ok(results.every(({ node, speedup }) => node.startsWith("matmul f32") && speedup >= 1));
  // A busy machine may not have had the time for all of them.
  const more = await run(environment, "tune", "--seconds", "60", "--json");
  assert.equal(JSON.parse(more.stdout).kernels, kernels - results.length);
});

test("without a model, or where nothing may be kept, it says what to do", async () => {
  const nothing = await fidelity("tune");
  assert.equal(nothing.code, 2);
  assert.match(nothing.stderr, /what is to be tuned\?[^]*--architecture/);
  const { code, stderr } = await run({ ...environment, FIDELITY_CACHE: "off" }, "tune");
  assert.equal(code, 2);
  assert.match(stderr, /no place to remember schedules in/);
});
