import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { SharedArena } from "../arena.ts";
import { FileError } from "../file.node.ts";
import { copyTotals } from "./copies.ts";
import { adviseHugeArena, adviseHugePages, hugePageBytes } from "./huge.node.ts";
import { allocCoherent, bindToNode, farNode, numaNodes } from "./numa.node.ts";
import type { NumaNode } from "./numa.node.ts";
import { mapFileWritable } from "./writable-file.node.ts";
import type { HowMapped } from "../map.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-writable-"));
after(() => rmSync(folder, { recursive: true }));

for (const how of ["mapped", "read"] as HowMapped[]) {
  test(`a file that is ${how} for writing keeps what was written, and grows by zeros at the same address`, () => {
    const path = join(folder, `${how}.bin`);
    using arena = SharedArena.create();
    {
      using file = mapFileWritable(path, arena, { sizeBytes: 100, maximumBytes: 2 ** 20, how });
      const early = file.region;
      early.u8()[99] = 1;
      file.grow(200_000);
      const { region } = file;
      assert.deepEqual([region.byteOffset, region.sizeBytes], [early.byteOffset, 200_000]);
      assert.deepEqual([region.u8()[99], region.u8()[100], region.u8()[199_999]], [1, 0, 0]);
      region.u8()[150_000] = 2;
      early.u8()[0] = 3;
      file.flush();
      const written = readFileSync(path);
      assert.deepEqual([written.length, written[0], written[99], written[150_000]], [200_000, 3, 1, 2]);
      region.u8()[5] = 4;
      assert.throws(() => file.grow(100), FileError);
      assert.throws(() => file.grow(2 ** 21), /maximumBytes/);
    }
    assert.equal(arena.liveCount, 0);
    assert.equal(readFileSync(path)[5], 4);
    using again = mapFileWritable(path, arena, { how });
    assert.equal(again.region.u8()[150_000], 2);
    if (process.platform === "linux") assert.equal(again.how, how);
    using fresh = arena.alloc(64);
    assert.equal(fresh.isAlive, true);
  });
}

test("two mappings of one file see each other's writes without a copy", { skip: process.platform !== "linux" }, () => {
  const path = join(folder, "both.bin");
  writeFileSync(path, new Uint8Array(4096));
  using arena = SharedArena.create();
  const before = copyTotals().count;
  using one = mapFileWritable(path, arena);
  using two = mapFileWritable(path, arena);
  one.region.i32()[7] = 1234;
  assert.equal(two.region.i32()[7], 1234);
  assert.equal(copyTotals().count, before);
});

test("files that cannot be written are refused and leave nothing behind", () => {
  using arena = SharedArena.create();
  assert.throws(() => mapFileWritable(join(folder, "none.bin"), arena), /no such file/);
  assert.throws(() => mapFileWritable(folder, arena, { sizeBytes: 8 }), FileError);
  assert.equal(arena.liveCount, 0);
  using file = mapFileWritable(join(folder, "empty.bin"), arena, { sizeBytes: 0, maximumBytes: 8 });
  assert.equal(statSync(join(folder, "empty.bin")).size, 0);
  file.grow(8);
  file.region.u8()[7] = 1;
  file.flush();
  assert.equal(readFileSync(join(folder, "empty.bin"))[7], 1);
});

test("huge pages are granted, or the reason is told; the bytes stay", () => {
  using arena = SharedArena.create();
  using region = arena.alloc(6 * 2 ** 20);
  region.u8()[0] = 9;
  const answer = adviseHugePages(region);
  region.u8().fill(1, 1);
  assert.deepEqual([region.u8()[0], region.u8()[6 * 2 ** 20 - 1]], [9, 1]);
  if (answer.isDone) assert.ok(hugePageBytes(region)! >= 0);
  else assert.match(answer.reason, /\w/);
  using small = arena.alloc(64);
  assert.equal(adviseHugePages(small).isDone, false);
});

test("an arena of huge pages grows, and the bytes stay", () => {
  using arena = SharedArena.create({ maximumBytes: 64 * 2 ** 20 });
  using before = arena.alloc(64);
  before.u8().fill(7);
  const answer = adviseHugeArena(arena);
  using region = arena.alloc(40 * 2 ** 20);
  for (let at = 0; at < region.sizeBytes; at += 4096) region.u8()[at] = 1;
  assert.deepEqual([...before.u8()], new Array<number>(64).fill(7));
  if (answer.isDone) assert.ok(hugePageBytes(region)! >= 0);
  else assert.match(answer.reason, /\w/);
});

test(
  "nodes are read from the system, and binding says why it does nothing",
  { skip: process.platform !== "linux" },
  () => {
    const nodes = numaNodes();
    using arena = SharedArena.create();
    using region = arena.alloc(2 ** 20, 65536);
    for (const node of nodes) assert.ok(node.totalBytes > 0 && node.distances.length >= 1);
    const answer = bindToNode(region, nodes.length < 2 ? 0 : 999);
    assert.ok(!answer.isDone && /one node|no node 999/.test(answer.reason));
  },
);

test("far memory is a node of memory alone, else the farthest, else ordinary memory with the reason", () => {
  const node = (id: number, cpus: string, distance: number): NumaNode => {
    return { id, cpus, totalBytes: 1, freeBytes: 1, distances: [distance] };
  };
  assert.equal(farNode([node(0, "0-3", 10)]), undefined);
  assert.equal(farNode([node(0, "0-3", 10), node(1, "4-7", 21), node(2, "8-11", 32)])?.id, 2);
  assert.equal(farNode([node(0, "0-3", 10), node(1, "4-7", 21), node(2, "", 17)])?.id, 2);
  using arena = SharedArena.create();
  using memory = allocCoherent(arena, 1000, "cache");
  assert.deepEqual([memory.region.space, memory.region.sizeBytes], ["coherent", 1000]);
  memory.region.u8()[999] = 1;
  assert.equal(memory.node === undefined, memory.reason !== undefined);
});
