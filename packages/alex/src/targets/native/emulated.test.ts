// Code for aarch64 and riscv64, built here and run in an emulator: every operation that it has, as on this processor.

import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluateProgram } from "@fidelity/core";
import type { Program } from "@fidelity/core";
import { operationCases } from "../testing-operations.ts";
import { programOf } from "../wasm/testing.node.ts";
import { machineOf } from "./machine.ts";
import { findEmulator, runEmulated } from "./testing-emulated.node.ts";
import { difference, joinPrograms, whyNoNative } from "./testing.node.ts";

const { cases, inputs, bufferBytes } = operationCases(16);

for (const [name, only] of [["aarch64"], ["aarch64+dotprod", "width"], ["riscv64"]] as const) {
  const machine = machineOf(name);
  const emulator = findEmulator(machine);
  const skip = whyNoNative() || (emulator === undefined && `needs qemu-user for ${name} (tools/setup.sh)`);
  test(`operations have the evaluator's results on ${name}, alone and as a team of one`, { skip }, async () => {
    const kernels = cases.map(({ kernel }) => kernel).filter((kernel) => only === undefined || kernel.name === only);
    const programs = kernels.map((kernel): Program => {
      const program = programOf(kernel, bufferBytes);
      // Two chunks make a stage to claim; both do the same.
      const [item] = program.schedule;
      if (item.kind === "loop") return program;
      return { ...program, schedule: [{ kind: "parallel", calls: [...item.calls, ...item.calls] }] };
    });
    const { joined, placed } = joinPrograms(programs);
    const arena = new Uint8Array(joined.arenaBytes);
    for (const { arena: at } of placed) arena.set(inputs, at);
    const expected = new Uint8Array(joined.arenaBytes + 4096);
    expected.set(arena);
    evaluateProgram(joined, expected.buffer, [], 0, joined.arenaBytes);
    for (const epoch of [0, 1]) {
      const got = await runEmulated(joined, machine, emulator ?? "", arena, epoch);
      assert.equal(got.byteLength, arena.byteLength);
      const differences = programs.flatMap((program, i) => {
        const [a, b] = [got, expected].map(
          ({ buffer, byteOffset }) => new DataView(buffer, byteOffset + placed[i].arena, program.arenaBytes),
        );
        return difference(program.name, a, b);
      });
      assert.deepEqual(differences, []);
    }
  });
}
