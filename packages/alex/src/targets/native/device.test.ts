// The native device by itself: no garbage, many programs, processes that exit in the midst of a run, and the traps that
// it does not have. The team's protocol is tested beside wasm's (runtime/stress.test.ts).

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import v8 from "node:v8";
import { gather, tensorType, trace } from "@fidelity/core";
import { compileGraph } from "../../compile.ts";
import { bestTarget, createDevice } from "../../runtime/device.node.ts";
import { SILENT } from "../../runtime/debug.ts";
import type { DebugSink } from "../../runtime/debug.ts";
import { CpuDevice } from "../../runtime/device.ts";
import { spawnWorkerThread } from "../../runtime/team.node.ts";
import { CHAIN_SIGNATURE, chainProgram, f32Type, loopProgram, signatureOf } from "../../runtime/testing.ts";
import { vectorsOf } from "./machine.ts";
import { temporaryNativeTarget, whyNoNative } from "./testing.node.ts";

const skip = whyNoNative();
const { target, remove } = skip === false ? temporaryNativeTarget() : { target: undefined, remove: () => {} };
after(remove);

function makeDevice(threads: number, debug: DebugSink = SILENT, maximumBytes = 2 ** 26): CpuDevice {
  assert.ok(target !== undefined);
  return new CpuDevice({
    threads,
    maximumBytes,
    target,
    compileGraph: (graph, options) => compileGraph(graph, { ...options, target: vectorsOf(target.machine) }),
    spawn: spawnWorkerThread,
    debug,
  });
}

/** Bytes that a call leaves on the heap: the median of some windows, as collections and compiled code blur others. */
function bytesPerCall(call: () => void): number {
  const calls = 2_000;
  globalThis.gc?.();
  const windows = Array.from({ length: 15 }, () => {
    const before = v8.getHeapStatistics().used_heap_size;
    for (let i = 0; i < calls; i++) call();
    return (v8.getHeapStatistics().used_heap_size - before) / calls;
  });
  return windows.sort((a, b) => a - b)[7];
}

for (const threads of [1, 2]) {
  test(`${threads} threads: synchronous native runs allocate nothing`, { skip }, async () => {
    const device = makeDevice(threads);
    assert.equal(device.target, "native");
    const executable = await device.load(chainProgram("chain", 256, 3), CHAIN_SIGNATURE(256));
    executable.bind([device.tensor(f32Type(256))], [device.tensor(f32Type(256)), device.tensor(f32Type(1))]);
    // Calls into native code leave some bytes each until the engine has compiled them.
    for (let i = 0; i < 20_000; i++) executable.run();
    assert.ok(bytesPerCall(() => executable.run()) < 8);
    await device.close();
  });
}

test("programs run over tensors beyond 4 GiB, with their tables and workspace there", { skip }, async () => {
  const device = makeDevice(2, SILENT, 2 ** 33);
  const near = device.tensor(f32Type(256));
  const filler = device.arena.alloc(2 ** 32); // never touched, so that it takes address space only
  const executable = await device.load(chainProgram("chain", 256, 3), CHAIN_SIGNATURE(256));
  const [far, total] = [device.tensor(f32Type(256)), device.tensor(f32Type(1))];
  assert.ok(near.address < 2 ** 32 && far.address > 2 ** 32);
  near.f32().fill(2);
  executable.bind([near], [far, total]);
  executable.run();
  await executable.runAsync();
  assert.equal(total.f32()[0], 256 * ((2 * 3 + 1) * 2 + 0.5));
  device.arena.free(filler);
  await device.close();
});

for (const threads of [1, 2]) {
  test(
    `${threads} threads: each item of a schedule is run and timed by itself, out of one library`,
    { skip },
    async () => {
      assert.ok(target !== undefined);
      const { made, found } = target.statistics;
      const lines: string[] = [];
      const device = makeDevice(threads, { level: 3, line: (text) => lines.push(text) });
      const [length, outer, inner] = [64, 3, 2];
      const programs = [
        { program: chainProgram("items", length, 3), signature: CHAIN_SIGNATURE(length) },
        {
          program: loopProgram("slabs", length, outer, inner, 2),
          signature: signatureOf(1, 2, length * outer * inner),
        },
      ];
      for (const { program, signature } of programs) {
        const executable = await device.load(program, signature);
        const [inputs, outputs] = [signature.parameterTypes, signature.resultTypes].map((types) =>
          types.map((type) => device.tensor(type)),
        );
        executable.bind(inputs, outputs);
        inputs[0].f32().fill(2);
        executable.run();
        await executable.runAsync();
        const expected = program.name === "items" ? (2 * 3 + 1) * 2 + 0.5 : 2 * 2 + 1;
        assert.ok(
          outputs[0].f32().every((value) => value === expected),
          program.name,
        );
        assert.equal(outputs[1].f32()[0], expected * length);
        executable.free();
        const timed = lines.filter((line) => line.startsWith(`${program.name}: `) && line.includes("runs, min"));
        assert.equal(timed.length, program.schedule.length + 1, timed.join("\n"));
      }
      assert.equal(target.statistics.made + target.statistics.found, made + found + programs.length);
      await device.close();
    },
  );
}

test(
  "a graph is compiled and run, with numbers of rows that the table does not have kept inside it",
  { skip },
  async () => {
    const types = [tensorType("f32", [5, 3]), tensorType("i32", [4])] as const;
    const { graph } = trace("rows", (table, ids) => gather(table, ids), types);
    const device = makeDevice(2);
    const executable = await device.compile(graph);
    const [table, ids] = executable.parameterTypes.map((type) => device.tensor(type));
    const rows = device.tensor(executable.resultTypes[0]);
    table.f32().forEach((_, i, all) => (all[i] = i));
    ids.i32().set([-(2 ** 31), -1, 2, 2 ** 31 - 1]);
    executable.bind([table, ids], [rows]);
    await executable.runAsync();
    assert.deepEqual([...rows.f32()], [0, 1, 2, 0, 1, 2, 6, 7, 8, 12, 13, 14]);
    await device.close();
  },
);

test("the best target is native where it can be made, and auto takes it", async () => {
  assert.equal(bestTarget(), skip === false ? "native" : "wasm");
  const device = createDevice({ threads: 1, target: "auto", maximumBytes: 2 ** 22 });
  assert.equal(device.target, bestTarget());
  await device.close();
});

test("a process that exits does not wait for a native run to end", { skip }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), "fidelity-test-"));
  const script = `
    const { createDevice } = await import("./device.node.ts");
    const { f32Type, signatureOf, trapProgram } = await import("./testing.ts");
    const device = createDevice({ threads: 2, target: "native", maximumBytes: 2 ** 22 });
    const long = await device.load(trapProgram("long", 64, 1_000_000_000), signatureOf(1, 1, 64));
    const input = device.tensor(f32Type(64));
    input.f32().fill(-1);
    long.bind([input], [device.tensor(f32Type(64))]);
    void long.runAsync();
    setTimeout(() => process.exit(7), 100);
  `;
  const { status, signal } = spawnSync(process.execPath, ["--input-type=module-typescript", "--eval", script], {
    cwd: path.join(import.meta.dirname, "../../runtime"),
    env: { ...process.env, FIDELITY_CACHE_DIR: directory },
    timeout: 60_000,
  });
  rmSync(directory, { recursive: true, force: true });
  assert.deepEqual([status, signal], [7, null]);
});
