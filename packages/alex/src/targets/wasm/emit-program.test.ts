// Schedules: a team of one against the evaluator, and teams of worker threads, which must leave the same bytes as one
// member does, however the chunks fall and whoever comes late, over many thousand stages.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { F32, I32, buildKernel, verifyProgram } from "@fidelity/core";
import type { BufferArgument, KernelCall, Program } from "@fidelity/core";
import { ScheduleLimitError } from "../flatten.ts";
import { compileProgramToWasm, scratchStrideBytes } from "./emit-program.ts";
import { ADDRESSES, LAYOUT, PAGES, compareWithEvaluator, exportsOf, runAlone, sharedMemory } from "./testing.node.ts";
import { ADDRESS_BYTES, CONTROL, CONTROL_BYTES, LOOP_DEPTH_MAX, STAGE_ENDED } from "../team.ts";

const CELLS = 24;

/** cell[chunk] = 5 cell[chunk] + total + chunk, by way of scratch memory. */
const step = buildKernel("step", 2, (k, [cells, total]) => {
  const scratch = k.allocateScratch(4);
  const cell = k.offset(cells, k.chunk, 4);
  k.store(k.mul(k.load(I32, cell), k.i32(5)), scratch);
  k.store(k.add(k.add(k.load(I32, scratch), k.load(I32, total)), k.convert(I32, k.chunk)), cell);
});

/** total = 3 total + sum of the cells. */
const sum = buildKernel("sum", 2, (k, [cells, total]) => {
  const [all] = k.for(0, CELLS, 1, [k.mul(k.load(I32, total), k.i32(3))], (i, [sofar]) => [
    k.add(sofar, k.load(I32, k.offset(cells, i, 4))),
  ]);
  k.store(all, total);
});

/** Appends the total to a log. */
const log = buildKernel("log", 2, (k, [total, entry]) => k.store(k.load(I32, total), entry));

const call = (kernel: number, chunks: number, ...args: readonly BufferArgument[]): KernelCall => ({
  kernel,
  chunks,
  args,
  label: `call ${kernel}`,
});

/** `rounds` times: three parallel calls over parts of the cells, then serial items; a serial item leads and one ends. */
function program(rounds: number, logged: number): Program {
  const part = (first: number, count: number): KernelCall =>
    call(0, count, { buffer: 0, offsetBytes: 4 * first }, { buffer: 1, offsetBytes: 0 });
  const total = call(1, 1, { buffer: 0, offsetBytes: 0 }, { buffer: 1, offsetBytes: 0 });
  const entry = (strideBytes: readonly number[]): KernelCall =>
    call(2, 1, { buffer: 1, offsetBytes: 0 }, { buffer: 2, offsetBytes: 4, strideBytes });
  return {
    name: "rounds",
    kernels: [step, sum, log],
    buffers: [
      { name: "cells", sizeBytes: 4 * CELLS, placement: { kind: "arena", offsetBytes: 0 } },
      { name: "total", sizeBytes: 4, placement: { kind: "arena", offsetBytes: 128 } },
      { name: "log", sizeBytes: 4 + 4 * logged * 2, placement: { kind: "arena", offsetBytes: 192 } },
    ],
    bindingCount: 0,
    arenaBytes: 256 + 8 * logged,
    scratchBytes: 64,
    constants: [],
    schedule: [
      { kind: "serial", calls: [total] },
      {
        kind: "loop",
        count: logged,
        items: [
          { kind: "serial", calls: [entry([8])] },
          {
            kind: "loop",
            count: rounds,
            items: [
              { kind: "parallel", calls: [part(0, 7), part(7, 1), part(8, CELLS - 8)] },
              { kind: "serial", calls: [total] },
              { kind: "serial", calls: [total, entry([8, 0])] },
            ],
          },
          { kind: "parallel", calls: [part(3, 5)] },
          { kind: "parallel", calls: [part(0, CELLS)] },
        ],
      },
      { kind: "serial", calls: [total] },
    ],
  };
}

test("a team of one runs schedules as the evaluator does", () => {
  const inputs = new Uint8Array(new Int32Array(CELLS).map((_, i) => i * i - 40).buffer);
  verifyProgram(program(3, 4));
  compareWithEvaluator(program(3, 4), inputs);
});

test("bound buffers are found through the table of bindings", () => {
  const copy = buildKernel("copy", 2, (k, [from, to]) => k.store(k.load(F32, from), to));
  const bound: Program = {
    ...program(1, 1),
    kernels: [copy],
    buffers: [
      { name: "from", sizeBytes: 16, placement: { kind: "binding", slot: 1 } },
      { name: "to", sizeBytes: 16, placement: { kind: "binding", slot: 0 } },
    ],
    bindingCount: 2,
    schedule: [{ kind: "serial", calls: [call(0, 1, { buffer: 0, offsetBytes: 8 }, { buffer: 1, offsetBytes: 4 })] }],
  };
  const memory = sharedMemory();
  new Uint32Array(memory.buffer).set([51_200 / ADDRESS_BYTES, 64_000 / ADDRESS_BYTES], LAYOUT.bindings / 4);
  new Float32Array(memory.buffer)[64_008 / 4] = 2.5;
  runAlone(bound, memory);
  assert.equal(new Float32Array(memory.buffer)[51_204 / 4], 2.5);
});

/** Takes part in run after run as soon as it is posted, and in the last one for sure. */
const WORKER = `
  const { workerData: data } = require("node:worker_threads");
  const { run } = new WebAssembly.Instance(data.module, { env: { memory: data.memory } }).exports;
  const posted = new Int32Array(data.memory.buffer, data.posted, 1);
  for (let epoch = 0; epoch !== data.runs;) {
    Atomics.wait(posted, 0, epoch);
    epoch = Atomics.load(posted, 0);
    if (run(data.member, ...data.addresses, epoch) !== 0) throw new Error("the run failed");
  }
`;

const POSTED = 2048;

/** Runs a program `runs` times with this thread as member 0 of a team; gives the memory that they leave. */
async function runOnTeam(source: Program, members: number, runs: number): Promise<WebAssembly.Memory> {
  const memory = sharedMemory();
  const bytes = compileProgramToWasm(source, { maximumPages: PAGES });
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  const ended = Array.from({ length: members - 1 }, (_, i) => {
    const workerData = { module, memory, member: i + 1, addresses: ADDRESSES, runs, posted: POSTED };
    const worker = new Worker(WORKER, { eval: true, workerData });
    return new Promise<void>((resolve, reject) => {
      worker.once("error", reject);
      worker.once("exit", () => resolve());
    });
  });
  const { run, start } = exportsOf(bytes, memory);
  const posted = new Int32Array(memory.buffer, POSTED, 1);
  for (let epoch = 1; epoch <= runs; epoch++) {
    start(LAYOUT.control, epoch);
    Atomics.store(posted, 0, epoch);
    Atomics.notify(posted, 0);
    assert.equal(run(0, ...ADDRESSES, epoch), 0);
    // The workers are still starting in the first runs: then this thread does it all.
    if (epoch === runs >> 1) await setTimeout(100);
  }
  await Promise.all(ended);
  return memory;
}

const arenaOf = (memory: WebAssembly.Memory, source: Program): Uint8Array =>
  new Uint8Array(memory.buffer, LAYOUT.arena, source.arenaBytes);

for (const { members, rounds, runs } of [
  { members: 2, rounds: 100, runs: 50 },
  { members: 3, rounds: 50, runs: 20 },
]) {
  test(`${members} members leave what one leaves, and the control block at the end of the last run`, async () => {
    const source = program(rounds, 4);
    assert.ok(scratchStrideBytes(source) * members <= LAYOUT.arena - LAYOUT.scratch);
    const alone = sharedMemory();
    const { run } = exportsOf(compileProgramToWasm(source, { maximumPages: PAGES }), alone);
    for (let i = 0; i < runs; i++) run(0, ...ADDRESSES);
    const shared = await runOnTeam(source, members, runs);
    assert.deepEqual(arenaOf(shared, source), arenaOf(alone, source));
    const [state] = new BigUint64Array(shared.buffer, LAYOUT.control + CONTROL.state, 1);
    assert.equal(state, (BigInt(runs) << 48n) | (BigInt(STAGE_ENDED) << 32n));
    const control = new Int32Array(shared.buffer, LAYOUT.control, CONTROL_BYTES / 4);
    assert.equal(control[CONTROL.sleepers / 4], 0);
    assert.equal(control[CONTROL.ended / 4], runs);
    assert.deepEqual([...new Int32Array(alone.buffer, LAYOUT.control, CONTROL_BYTES / 4)], new Array(64).fill(0));
  });
}

test("a member does all of a run by itself when nobody comes; one that comes late touches nothing", () => {
  const source = program(20, 3);
  const [alone, shared] = [sharedMemory(), sharedMemory()];
  const bytes = compileProgramToWasm(source, { maximumPages: PAGES });
  exportsOf(bytes, alone).run(0, ...ADDRESSES);
  const { run, start } = exportsOf(bytes, shared);
  start(LAYOUT.control, 7);
  assert.equal(run(2, ...ADDRESSES, 7), 0);
  assert.deepEqual(arenaOf(shared, source).slice(), arenaOf(alone, source).slice());
  const after = new Uint8Array(shared.buffer).slice();
  assert.equal(run(1, ...ADDRESSES, 7), 0, "late for this run");
  assert.equal(run(1, ...ADDRESSES, 6), 0, "late for the run before");
  start(LAYOUT.control, 8);
  after.set(new Uint8Array(shared.buffer, LAYOUT.control, CONTROL_BYTES), LAYOUT.control);
  assert.equal(run(1, ...ADDRESSES, 7), 0, "late, with the next run in progress");
  assert.deepEqual(new Uint8Array(shared.buffer).slice(), after);
});

test("a team walks items of more chunks than a stage holds", () => {
  const count = buildKernel("count", 1, (k, [cells]) => {
    const cell = k.offset(cells, k.rem(k.chunk, k.index(CELLS)), 4);
    // A sum, since chunks come in another order; of squares, so that no two chunks stand for two others.
    const chunk = k.convert(I32, k.chunk);
    k.store(k.add(k.add(k.load(I32, cell), k.mul(chunk, chunk)), k.i32(1)), cell);
  });
  const cells = { buffer: 0, offsetBytes: 0 };
  const items = [{ kind: "parallel", calls: [call(0, 5, cells), call(0, 70_000, cells), call(0, 2, cells)] }] as const;
  const source: Program = { ...program(1, 1), kernels: [count], schedule: items };
  const [alone, shared] = [sharedMemory(), sharedMemory()];
  const bytes = compileProgramToWasm(source, { maximumPages: PAGES });
  exportsOf(bytes, alone).run(0, ...ADDRESSES);
  const { run, start } = exportsOf(bytes, shared);
  start(LAYOUT.control, 1);
  assert.equal(run(0, ...ADDRESSES, 1), 0);
  assert.deepEqual(arenaOf(shared, source).slice(), arenaOf(alone, source).slice());
});

test("what a control block has no room for is refused by name", () => {
  const { schedule } = program(1, 1);
  const nest = (depth: number): Program["schedule"] =>
    depth === 0 ? schedule.slice(0, 1) : [{ kind: "loop", count: 1, items: nest(depth - 1) }];
  const compile = (items: Program["schedule"]): Uint8Array =>
    compileProgramToWasm({ ...program(1, 1), schedule: items }, { maximumPages: PAGES });
  compile(nest(LOOP_DEPTH_MAX));
  assert.throws(() => compile(nest(LOOP_DEPTH_MAX + 1)), ScheduleLimitError);
});
