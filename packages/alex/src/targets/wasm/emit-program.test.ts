// Schedules: a team of one against the evaluator, and teams of worker threads, which must leave the same bytes as one
// member does, however the chunks fall, over many thousand barriers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { F32, I32, buildKernel, verifyProgram } from "@fidelity/core";
import type { BufferArgument, KernelCall, Program } from "@fidelity/core";
import { compileProgramToWasm, scratchStrideBytes } from "./emit-program.ts";
import { LAYOUT, PAGES, compareWithEvaluator, instantiate, runAlone, sharedMemory } from "./testing.node.ts";
import { CONTROL, CONTROL_BYTES } from "./team.ts";

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
  new Uint32Array(memory.buffer).set([50_000, 60_000], LAYOUT.bindings / 4);
  new Float32Array(memory.buffer)[60_008 / 4] = 2.5;
  runAlone(bound, memory);
  assert.equal(new Float32Array(memory.buffer)[50_004 / 4], 2.5);
});

const WORKER = `
  const { workerData: data } = require("node:worker_threads");
  const { run } = new WebAssembly.Instance(data.module, { env: { memory: data.memory } }).exports;
  for (let i = 0; i < data.runs; i++) run(data.member, data.members, ...data.addresses);
`;

/** Runs a program `runs` times on a team of worker threads; gives the memory they leave. */
async function runOnTeam(source: Program, members: number, runs: number): Promise<WebAssembly.Memory> {
  const memory = sharedMemory();
  const bytes = compileProgramToWasm(source, { maximumPages: PAGES });
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  const addresses = [LAYOUT.bindings, LAYOUT.arena, LAYOUT.scratch, LAYOUT.control];
  const ended = Array.from({ length: members }, (_, member) => {
    const worker = new Worker(WORKER, { eval: true, workerData: { module, memory, member, members, addresses, runs } });
    return new Promise<void>((resolve, reject) => {
      worker.once("error", reject);
      worker.once("exit", () => resolve());
    });
  });
  await Promise.all(ended);
  return memory;
}

const arenaOf = (memory: WebAssembly.Memory, source: Program): Uint8Array =>
  new Uint8Array(memory.buffer, LAYOUT.arena, source.arenaBytes);

for (const { members, rounds, runs } of [
  { members: 2, rounds: 500, runs: 5 },
  { members: 3, rounds: 100, runs: 3 },
]) {
  test(`${members} members leave what one leaves, and the control block as it was`, async () => {
    const source = program(rounds, 4);
    assert.ok(scratchStrideBytes(source) * members <= LAYOUT.arena - LAYOUT.scratch);
    const alone = sharedMemory();
    const run = instantiate(compileProgramToWasm(source, { maximumPages: PAGES }), alone);
    for (let i = 0; i < runs; i++) run(0, 1, LAYOUT.bindings, LAYOUT.arena, LAYOUT.scratch, LAYOUT.control);
    const shared = await runOnTeam(source, members, runs);
    assert.deepEqual(arenaOf(shared, source), arenaOf(alone, source));
    const control = new Int32Array(shared.buffer, LAYOUT.control, CONTROL_BYTES / 4);
    assert.deepEqual(
      [CONTROL.next, CONTROL.arrived, CONTROL.sleepers].map((offset) => control[offset / 4]),
      [0, 0, 0],
    );
    assert.ok(control[CONTROL.generation / 4] >= rounds * runs * 4);
    assert.deepEqual([...new Int32Array(alone.buffer, LAYOUT.control, CONTROL_BYTES / 4)], new Array(64).fill(0));
  });
}
