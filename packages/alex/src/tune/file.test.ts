// Tuning as it is: a product's schedules measured on a device, remembered in a folder, and followed by the devices that
// are made afterwards; and what becomes of a file that is damaged.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { matmul, tensorType, trace } from "@fidelity/core";
import { compileStages } from "../compile.ts";
import { createDevice } from "../runtime/device.node.ts";
import {
  rememberedSchedules,
  ScheduleFile,
  scheduleFile,
  tunePrograms,
  tuneTasks,
  TUNING_WARNING,
} from "./index.node.ts";

const folder = mkdtempSync(path.join(os.tmpdir(), "fidelity-tune-"));
after(() => rmSync(folder, { recursive: true }));
process.env.FIDELITY_CACHE_DIR = folder;

const { graph } = trace("product", (a, b) => matmul(a, b), [tensorType("f32", [16, 8]), tensorType("f32", [8, 24])]);
const TARGET = { lanes: 4, joinsVectors: true } as const;
const stages = () => compileStages(graph, { target: TARGET, schedules: rememberedSchedules("wasm") });

/** What is told of in the meantime. */
async function warningsOf(work: () => void): Promise<string[]> {
  const heard: string[] = [];
  const listen = ({ name, message }: Error): void => void heard.push(`${name}: ${message}`);
  process.on("warning", listen);
  work();
  process.emitWarning("over", "TestWarning");
  while (!heard.at(-1)?.startsWith("TestWarning")) await once(process, "warning");
  process.off("warning", listen);
  return heard.slice(0, -1);
}

test("what was measured is remembered, and followed by devices that are made from then on", async () => {
  const started: number[] = [];
  const results = await tunePrograms([stages()], {
    target: "wasm",
    threads: 1,
    budgetMs: 60_000,
    onStart: (count) => started.push(count),
  });
  assert.deepEqual(started, [1]);
  assert.equal(results.length, 1);
  assert.ok(tuneTasks([stages()])[0].isTuned);
  assert.deepEqual(await tunePrograms([stages()], { target: "wasm", threads: 1, budgetMs: 60_000 }), []);
  const device = createDevice({ target: "wasm", threads: 1 });
  const executable = await device.compile(graph);
  const [a, b] = executable.parameterTypes.map((type) => device.tensor(type));
  const c = device.tensor(executable.resultTypes[0]);
  a.f32().fill(2);
  b.f32().fill(3);
  executable.bind([a, b], [c]);
  executable.run();
  assert.ok(c.f32().every((value) => value === 48));
  await device.close();
});

test("a damaged file is told of by name, ignored and written anew", async () => {
  const [name] = readdirSync(path.join(folder, "wasm")).filter((file) => file.endsWith(".schedules"));
  const file = path.join(folder, "wasm", name);
  assert.equal(scheduleFile("wasm").path, file);
  const whole = rememberedSchedules("wasm");
  assert.equal(whole.size, 1);
  writeFileSync(file, readFileSync(file).subarray(1));
  const [warning, ...more] = await warningsOf(() => {
    assert.equal(rememberedSchedules("wasm").size, 0);
    assert.equal(rememberedSchedules("wasm").size, 0);
  });
  assert.ok(warning.startsWith(`${TUNING_WARNING}: ${file} is damaged`));
  assert.deepEqual(more, [], "once is enough");
  scheduleFile("wasm").write(whole);
  assert.equal(rememberedSchedules("wasm").size, 1);
});

test("another target has another book, and a folder without one is silent", async () => {
  const place = { directory: path.join(folder, "wasm"), vectors: TARGET };
  const other = new ScheduleFile({ ...place, target: { name: "native", identity: "x" } });
  const [first, ...warnings] = await warningsOf(() => assert.equal(other.read().size, 0));
  assert.equal(first, undefined);
  assert.deepEqual(warnings, []);
  process.env.FIDELITY_CACHE = "off";
  assert.equal(rememberedSchedules("wasm").size, 0);
  delete process.env.FIDELITY_CACHE;
});
