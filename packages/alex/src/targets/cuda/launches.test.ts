// Launches: grids that cover all chunks with room for every thread's scratch memory, and loops in their order.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loopProgram } from "../../runtime/testing.ts";
import { gridOf, planLaunches, runLaunches, scratchBytesOf } from "./launches.ts";
import type { Launch, LaunchAddress, LaunchItem } from "./launches.ts";

const LIMITS = { multiprocessors: 132, scratchBytesMax: 2 ** 28 };

test("few chunks are spread over the multiprocessors, many fill them", () => {
  assert.deepEqual(gridOf(1, 0, LIMITS), { blocks: 1, blockThreads: 1 });
  assert.deepEqual(gridOf(100, 0, LIMITS), { blocks: 100, blockThreads: 1 });
  assert.deepEqual(gridOf(1000, 0, LIMITS), { blocks: 125, blockThreads: 8 });
  assert.deepEqual(gridOf(1_000_000, 0, LIMITS), { blocks: 7813, blockThreads: 128 });
});

test("a grid has a thread for every chunk unless there is no room for them", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 1e7 }),
    fc.nat(2 ** 21),
    fc.integer({ min: 1, max: 200 }),
    (chunks, stride, multiprocessors) => {
      const scratchBytesMax = 2 ** 24;
      const { blocks, blockThreads } = gridOf(chunks, stride, { multiprocessors, scratchBytesMax });
      const threads = blocks * blockThreads;
      assert.ok(Number.isInteger(blocks) && blocks >= 1 && blockThreads >= 1 && blockThreads <= 128);
      const room = stride === 0 ? Infinity : Math.max(1, Math.floor(scratchBytesMax / stride));
      assert.ok(threads >= Math.min(chunks, room, multiprocessors * 2048));
      assert.ok(threads < Math.min(chunks, room) + blockThreads, "less than a block more than are needed");
    },
  );
  fc.assert(property, { seed: 1 });
});

test("a schedule's loops are walked in order, with their strides", () => {
  const program = loopProgram("loops", 16, 2, 3, 5);
  const items = planLaunches(program, [0, 64], LIMITS);
  assert.equal(scratchBytesOf(items, [0, 64]), 64);
  const told: string[] = [];
  const at = ({ slot, offsetBytes, strideBytes }: LaunchAddress, turns: readonly number[]): string => {
    return `${slot}+${strideBytes.reduce((sum, stride, depth) => sum + stride * turns[depth], offsetBytes)}`;
  };
  const launch = ({ kernel, chunks, addresses }: Launch, turns: readonly number[]): void => {
    told.push(`${kernel}x${chunks}: ${addresses.map((address) => at(address, turns)).join(" ")}`);
  };
  runLaunches(items, launch, () => assert.fail("no loop has a limit"));
  const expected = [0, 1, 2, 3, 4, 5].flatMap((slab) => [
    `0x1: 0+${slab * 64} 1+${slab * 64}`,
    `1x1: 1+${slab * 64} 2+${slab * 4}`,
  ]);
  assert.deepEqual(told, expected);
});

test("a loop with a limit walks the first or the last of its turns, as many as are read when it comes to them", () => {
  const launch: Launch = { kernel: 0, chunks: 1, grid: { blocks: 1, blockThreads: 1 }, addresses: [] };
  const cell: LaunchAddress = { slot: 0, offsetBytes: 0, strideBytes: [4] };
  const walk = (keeps: "first" | "last", limits: readonly number[]): number[][] => {
    const inner: LaunchItem = { kind: "loop", count: 3, limit: { keeps, cell }, items: [{ kind: "launch", launch }] };
    const told: number[][] = [];
    const items: LaunchItem[] = [{ kind: "loop", count: limits.length, items: [inner] }];
    const read = (at: LaunchAddress, turns: readonly number[]): number => limits[(at.strideBytes[0]! * turns[0]!) / 4]!;
    runLaunches(items, (_launch, turns) => told.push([...turns]), read);
    return told;
  };
  assert.deepEqual(walk("first", [2, 0, 9]), [
    [0, 0],
    [0, 1],
    [2, 0],
    [2, 1],
    [2, 2],
  ]);
  assert.deepEqual(walk("last", [2, 0, 9]), [
    [0, 1],
    [0, 2],
    [2, 0],
    [2, 1],
    [2, 2],
  ]);
});
