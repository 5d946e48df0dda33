// The team on a machine that others use, too: threads that keep cores busy, so that members are preempted anywhere, and
// come to runs that are over, to other programs, other bindings and freed ones. With programs of both targets, whose
// walks follow one protocol.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";
import { SharedArena } from "@fidelity/barewire";
import type { Program } from "@fidelity/core";
import { temporaryNativeTarget, whyNoNative } from "../targets/native/testing.node.ts";
import { ADDRESS_BYTES } from "../targets/team.ts";
import { CpuDevice } from "./device.ts";
import { ProgramTrapError } from "./errors.ts";
import { teamBlockBytes } from "./protocol.ts";
import { ThreadTeam } from "./team.ts";
import { openLoadable } from "./open.node.ts";
import { wasmTarget } from "./target.ts";
import type { CpuTarget } from "./target.ts";
import type { Job } from "./team.ts";
import { spawnWorkerThread } from "./team.node.ts";
import {
  CHAIN_SIGNATURE,
  chainProgram,
  decayProgram,
  f32Type,
  loopProgram,
  signatureOf,
  trapProgram,
} from "./testing.ts";

const LENGTH = 64;

/**
 * What programs become, and how large the teams are. Native code cannot trap without ending the process, so the
 * programs that do so are WebAssembly's there, too, and take turns with native ones.
 */
const TARGETS: { readonly name: string; readonly target: CpuTarget; readonly teams: readonly number[] }[] = [
  { name: "wasm", target: wasmTarget, teams: [2, 4] },
];
if (whyNoNative() === false) {
  const { target: native, remove } = temporaryNativeTarget();
  after(remove);
  const target: CpuTarget = {
    name: "native",
    identity: native.identity,
    memoryBytesMax: wasmTarget.memoryBytesMax,
    restore: (kept) => native.restore(kept),
    compile: (program, pages) => (program.name === "poke" ? wasmTarget : native).compile(program, pages),
    open: openLoadable,
  };
  TARGETS.push({ name: "native", target, teams: [2, 3] });
}

/** Runs a body while some threads do nothing but keep cores busy. */
async function beside(busyThreads: number, body: () => Promise<void>): Promise<void> {
  const busy = Array.from({ length: busyThreads }, () => new Worker("for (;;);", { eval: true }));
  await Promise.all(busy.map((worker) => once(worker, "online")));
  try {
    await body();
  } finally {
    await Promise.all(busy.map((worker) => worker.terminate()));
  }
}

/** A device whose members have started, since those that have not come to no run. */
async function makeDevice(threads: number, target: CpuTarget): Promise<CpuDevice> {
  const compileGraph = (): Program => assert.fail("these tests load programs");
  const device = new CpuDevice({ threads, maximumBytes: 2 ** 26, target, compileGraph, spawn: spawnWorkerThread });
  // A run that fails is one that all members leave before it throws.
  const chunks = 16;
  const trap = await device.load(trapProgram("poke", chunks, 1), signatureOf(1, 1, chunks));
  trap.bind([device.tensor(f32Type(chunks))], [device.tensor(f32Type(chunks))]);
  await assert.rejects(trap.runAsync(), ProgramTrapError);
  return device;
}

/** Tensors for a chain program whose total says which input it was given, and what that total is. */
function makeTensors(device: CpuDevice, value: number, factor: number) {
  const tensors = [device.tensor(f32Type(LENGTH)), device.tensor(f32Type(LENGTH)), device.tensor(f32Type(1))];
  const [input, output, total] = tensors;
  input.f32().fill(value);
  const view = total.f32();
  return {
    parameters: [input],
    results: [output, total],
    expectedTotal: LENGTH * ((value * factor + 1) * 2 + 0.5),
    takeTotal(): number {
      const sum = view[0];
      view[0] = -1;
      return sum;
    },
    free: () => tensors.forEach((tensor) => tensor.free()),
  };
}

for (const { threads, name, target } of TARGETS.flatMap((each) =>
  each.teams.map((threads) => ({ ...each, threads })),
)) {
  test(`${name}, ${threads} threads beside a busy one: 10000 runs are right, synchronous and asynchronous`, async () => {
    const device = await makeDevice(threads, target);
    await beside(1, async () => {
      const executable = await device.load(chainProgram("chain", LENGTH, 3), CHAIN_SIGNATURE(LENGTH));
      const tensors = makeTensors(device, 5, 3);
      executable.bind(tensors.parameters, tensors.results);
      for (let run = 0; run < 10_000; run++) {
        if (run % 10 === 0) await executable.runAsync();
        else executable.run();
        if (tensors.takeTotal() !== tensors.expectedTotal) assert.fail(`run ${run} is wrong`);
      }
    });
    await device.close();
  });

  test(`${name}, ${threads} threads beside two busy ones: programs alternate, are bound anew, freed and replaced`, async () => {
    const device = await makeDevice(threads, target);
    await beside(2, async () => {
      for (let generation = 0; generation < 40; generation++) {
        const factors = [2, 3];
        const executables = await Promise.all(
          factors.map((factor) =>
            device.load(chainProgram(`chain ${factor}`, LENGTH, factor), CHAIN_SIGNATURE(LENGTH)),
          ),
        );
        const tensors = factors.map((factor) => [generation, 7].map((value) => makeTensors(device, value, factor)));
        for (let run = 0; run < 100; run++) {
          for (const which of [0, 1, 0]) {
            const { parameters, results, takeTotal, expectedTotal } = tensors[which][run % 2];
            executables[which].bind(parameters, results);
            executables[which].run();
            if (takeTotal() !== expectedTotal) assert.fail(`generation ${generation}, run ${run} of ${which} is wrong`);
          }
        }
        // What late members might still write would be in memory that the next generation uses.
        for (const executable of executables) executable.free();
        for (const { free } of tensors.flat()) free();
      }
    });
    await device.close();
  });

  test(`${name}, ${threads} threads beside a busy one: loops in each other find their slabs`, async () => {
    const device = await makeDevice(threads, target);
    const [outer, inner] = [3, 5];
    const size = outer * inner * LENGTH;
    const program = loopProgram("loops", LENGTH, outer, inner, 2);
    const types = { parameterTypes: [f32Type(size)], resultTypes: [f32Type(size), f32Type(outer * inner)] };
    const executable = await device.load(program, { ...types, donations: [] });
    const [input, output] = [device.tensor(f32Type(size)), device.tensor(f32Type(size))];
    const totals = device.tensor(f32Type(outer * inner));
    const data = input.f32();
    data.forEach((_, i) => (data[i] = i % 101));
    const expected = data.map((value) => value * 2 + 1);
    const expectedTotals = totals.f32().map((_, slab) => {
      return expected.subarray(slab * LENGTH, (slab + 1) * LENGTH).reduce((sum, value) => sum + value, 0);
    });
    executable.bind([input], [output, totals]);
    await beside(1, async () => {
      for (let run = 0; run < 500; run++) {
        output.f32().fill(-1);
        totals.f32().fill(-1);
        if (run % 5 === 0) await executable.runAsync();
        else executable.run();
        assert.deepEqual(output.f32(), expected);
        assert.deepEqual(totals.f32(), expectedTotals);
      }
    });
    await device.close();
  });

  test(`${name}, ${threads} threads beside a busy one: runs that trap between runs that do not`, async () => {
    const device = await makeDevice(threads, target);
    const chunks = 16;
    const trap = await device.load(trapProgram("poke", chunks, 20), signatureOf(1, 1, chunks));
    const [input, output] = [device.tensor(f32Type(chunks)), device.tensor(f32Type(chunks))];
    trap.bind([input], [output]);
    const chain = await device.load(chainProgram("chain", LENGTH, 3), CHAIN_SIGNATURE(LENGTH));
    const tensors = makeTensors(device, 5, 3);
    chain.bind(tensors.parameters, tensors.results);
    await beside(1, async () => {
      for (let run = 0; run < 200; run++) {
        input.f32()[0] = run % chunks;
        if (run % 4 === 0) await assert.rejects(trap.runAsync(), ProgramTrapError);
        else assert.throws(() => trap.run(), ProgramTrapError);
        for (let after = 0; after < 3; after++) {
          chain.run();
          assert.equal(tensors.takeTotal(), tensors.expectedTotal);
        }
      }
    });
    await device.close();
  });
}

for (const { name, target } of TARGETS) {
  test(`${name}: epochs that begin again find every member outside of the runs that had them`, () =>
    repeatEpochs(target));
}

async function repeatEpochs(target: CpuTarget): Promise<void> {
  const maximumBytes = 2 ** 26;
  const arena = SharedArena.create({ initialBytes: 2 ** 20, maximumBytes });
  const place = (sizeBytes: number): number => {
    const region = arena.alloc(sizeBytes, 64, "test");
    region.u8().fill(0);
    return region.byteOffset;
  };
  const threads = 3;
  const blockBytes = place(teamBlockBytes(threads));
  const team = new ThreadTeam({
    memory: arena.memory,
    blockBytes,
    threads,
    spawn: spawnWorkerThread,
    open: target.open,
    epochs: 3,
  });
  const { loadable } = await target.compile(decayProgram("decay", LENGTH), maximumBytes / 2 ** 16);
  const program = team.load("decay", loadable);
  const workspace = { arena: 0, scratch: 0 };
  const jobs = Array.from({ length: 2 }, () => {
    const values = place(4 * LENGTH);
    const bindings = place(64);
    new Int32Array(arena.memory.buffer, bindings, 1)[0] = values / ADDRESS_BYTES;
    const job: Job = { program, members: threads, bindings: bindings / ADDRESS_BYTES, workspace, start: 0 };
    return { job, values: new Float32Array(arena.memory.buffer, values, LENGTH) };
  });
  await beside(1, async () => {
    for (let run = 0; run < 2_000; run++) {
      const { job, values } = jobs[run % 2];
      values.fill(run);
      if (run % 50 < 10) await team.runAsync(job);
      else team.run(job);
      if (values.some((value) => value !== run * 0.5 + 1)) assert.fail(`run ${run} is wrong`);
    }
  });
  await team.close();
}
