// Programs that are kept: found by another device without a compiler, made again when anything differs or is damaged.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { add, constant, matmul, softmax, tensorType, trace } from "@fidelity/core";
import type { CompileOptions, Graph } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import { LibraryCache } from "../targets/native/cache.node.ts";
import { createNativeTarget } from "../targets/native/index.node.ts";
import { whyNoNative } from "../targets/native/testing.node.ts";
import { ScheduleBook } from "../tune/schedule-book.ts";
import { CpuDevice } from "./device.ts";
import { decodeKept, decodeRecalled, encodeKept, encodeRecalled } from "./outline.ts";
import { KeptPrograms } from "./program-store.node.ts";
import { wasmTarget } from "./target.ts";
import type { CpuTarget } from "./target.ts";
import { spawnWorkerThread } from "./team.node.ts";

const base = mkdtempSync(path.join(os.tmpdir(), "fidelity-programs-"));
after(() => rmSync(base, { recursive: true }));
let folders = 0;
const freshFolder = (): string => path.join(base, `${folders++}`);

const VECTORS = { lanes: 4, joinsVectors: false };

const exampleTypes = [tensorType("f32", [4, 8]), tensorType("f32", [8, 3])] as const;

/** softmax(x w) + 1, 2, 3: with a product, a row program and a constant. */
function example(): Graph {
  return trace("example", (x, w) => add(softmax(matmul(x, w)), constant([1, 2, 3], [3])), exampleTypes).graph;
}

interface Way {
  readonly directory: string;
  readonly target: CpuTarget;
  readonly leastMs?: number;
  readonly options?: CompileOptions;
  readonly maximumBytes?: number;
}

/**
 * Compiles and runs the example on a device of its own, or recalls it where it can; gives its results, and how often the
 * compiler ran and whether it was recalled.
 */
async function run({ directory, target, leastMs = 0, options = {}, maximumBytes = 2 ** 22 }: Way) {
  let compiled = 0;
  const device = new CpuDevice({
    threads: 1,
    maximumBytes,
    target,
    compileGraph(graph, compileOptions) {
      compiled++;
      return compileGraph(graph, { ...compileOptions, target: VECTORS });
    },
    stores: [new KeptPrograms({ directory, target, vectors: VECTORS, schedules: new ScheduleBook(), leastMs })],
    spawn: spawnWorkerThread,
  });
  const { recipe } = options;
  const recalled = recipe && (await device.recall(recipe, exampleTypes));
  if (recalled !== undefined) assert.deepEqual(recalled.donations, options.donations ?? []);
  const executable = recalled?.executable ?? (await device.compile(example(), options));
  const [x, w] = executable.parameterTypes.map((type) => device.tensor(type));
  const y = device.tensor(executable.resultTypes[0]);
  [x, w].forEach((tensor) => tensor.f32().forEach((_, i, all) => (all[i] = Math.sin(i))));
  executable.bind([x, w], [y]);
  executable.run();
  const results = [...y.f32()];
  await device.close();
  return { results, compiled, ...(recipe && { isRecalled: recalled !== undefined }) };
}

async function keepAndFind(way: Way): Promise<void> {
  const first = await run(way);
  assert.equal(first.compiled, 1);
  assert.ok(Math.abs(first.results.reduce((sum, value) => sum + value, 0) - 4 * 7) < 1e-5);
  assert.deepEqual(await run(way), { ...first, compiled: 0 });
  assert.equal((await run({ ...way, options: { name: "other" } })).compiled, 1);
}

test("a program of WebAssembly is compiled once, and found after that", () =>
  keepAndFind({ directory: freshFolder(), target: wasmTarget }));

test("a native program is compiled once, and found after that", { skip: whyNoNative() }, async () => {
  const directory = freshFolder();
  const target = createNativeTarget({ cache: new LibraryCache(directory) });
  await keepAndFind({ directory, target });
  const { made } = target.statistics;
  for (const name of readdirSync(directory)) if (name.endsWith(".so")) rmSync(path.join(directory, name));
  assert.equal((await run({ directory, target })).compiled, 1, "a program without its library is made again");
  assert.equal(target.statistics.made, made + 1);
});

test("a program is recalled by its recipe, without its graph, until something of the recipe differs", async () => {
  const modules = freshFolder();
  mkdirSync(modules);
  writeFileSync(path.join(modules, "model.ts"), "1");
  const directory = freshFolder();
  const recipe = { source: pathToFileURL(`${modules}/`).href, key: ["example", "1"] };
  const way = { directory, target: wasmTarget, options: { recipe } };
  const { results } = await run(way);
  assert.deepEqual(await run(way), { results, compiled: 0, isRecalled: true });
  const other = { ...way, options: { recipe: { ...recipe, key: ["example1"] } } };
  // Its graph is known, so it is found by that, and then by the recipe, too.
  assert.deepEqual(await run(other), { results, compiled: 0, isRecalled: false });
  assert.deepEqual(await run(other), { results, compiled: 0, isRecalled: true });
  writeFileSync(path.join(modules, "model.ts"), "12");
  assert.deepEqual(await run(way), { results, compiled: 0, isRecalled: false });
  assert.deepEqual(await run(way), { results, compiled: 0, isRecalled: true });
  for (const name of readdirSync(directory)) {
    if (name.endsWith(".program")) writeFileSync(path.join(directory, name), "damaged");
  }
  assert.deepEqual(await run(way), { results, compiled: 1, isRecalled: false });
  for (const source of ["https://example.org/models/", `${recipe.source}none/`, ""]) {
    const elsewhere = { ...way, options: { recipe: { ...recipe, source } } };
    for (const _ of [1, 2]) assert.deepEqual(await run(elsewhere), { results, compiled: 0, isRecalled: false });
  }
});

test("another memory is another program, for WebAssembly has its size in the code", async () => {
  const way = { directory: freshFolder(), target: wasmTarget };
  assert.equal((await run(way)).compiled, 1);
  assert.equal((await run({ ...way, maximumBytes: 2 ** 23 })).compiled, 1);
  assert.equal((await run({ ...way, target: { ...wasmTarget, identity: "another machine" } })).compiled, 1);
});

test("a program that was damaged is made again", async () => {
  const directory = freshFolder();
  const way = { directory, target: wasmTarget };
  const { results } = await run(way);
  const file = path.join(directory, readdirSync(directory).find((name) => name.endsWith(".program")) ?? "");
  const bytes = readFileSync(file);
  for (const at of [0, bytes.length >> 1, bytes.length - 1]) {
    const damaged = Buffer.from(bytes);
    damaged[at] ^= 1;
    writeFileSync(file, damaged);
    assert.deepEqual(await run(way), { results, compiled: 1 });
    assert.ok(readFileSync(file).equals(bytes), "and kept as it was");
  }
  writeFileSync(file, bytes.subarray(0, 100));
  assert.deepEqual(await run(way), { results, compiled: 1 });
});

test("where nothing can be kept, programs run all the same", async () => {
  const directory = freshFolder();
  writeFileSync(directory, "a file, and no folder");
  for (const _ of [1, 2]) assert.equal((await run({ directory, target: wasmTarget })).compiled, 1);
});

test("what took little time is not kept", async () => {
  const directory = freshFolder();
  const way = { directory, target: wasmTarget, leastMs: Infinity };
  for (const _ of [1, 2]) assert.equal((await run(way)).compiled, 1);
});

test("a kept program is read as it was written", () => {
  const outline = {
    name: "p",
    kernels: 1,
    scheduleItems: 2,
    buffers: 3,
    arenaBytes: 2 ** 33,
    scratchBytes: 0,
    largestBytes: 7,
    slotBytes: Float64Array.of(8, 0, 0, 2 ** 32),
    constants: [{ slot: 3, sizeBytes: 4, bytes: Uint8Array.of(1, 2, 3, 4) }],
    members: 9,
    items: [
      { label: "first", members: 9, start: 12 },
      { label: "second", members: 1, start: undefined },
    ],
  };
  const kept = { outline, code: Uint8Array.of(5, 6) };
  assert.deepEqual(decodeKept(encodeKept(kept)), kept);
  const results = {
    resultTypes: [tensorType("f32", []), tensorType("ternary5", [16, 20])],
    donations: [{ parameter: 2, result: 1 }],
  };
  assert.deepEqual(decodeRecalled(encodeRecalled(results, kept)), { results, kept: encodeKept(kept) });
});
