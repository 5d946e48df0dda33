import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { ArenaError, LeakError, OutOfMemoryError, SharedArena, WASM_PAGE_BYTES } from "./arena.ts";
import type { Allocation } from "./arena.ts";
import { RegionError } from "./region.ts";

test("regions are aligned, apart, and never at address 0", () => {
  using arena = SharedArena.create();
  using a = arena.alloc(10);
  using b = arena.alloc(100, 4096);
  using c = arena.alloc(1);
  assert.ok(a.byteOffset > 0);
  assert.deepEqual([a.byteOffset % 64, b.byteOffset % 4096, c.byteOffset % 64], [0, 0, 0]);
  a.u8().fill(1);
  b.u8().fill(2);
  c.u8().fill(3);
  assert.ok(a.u8().every((byte) => byte === 1) && b.u8().every((byte) => byte === 2));
  assert.equal(arena.liveCount, 3);
});

test("the memory grows up to its maximum, and regions from before stay valid", () => {
  using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: 2 ** 22 });
  using early = arena.alloc(64);
  const view = early.u8();
  const before = arena.memory.buffer;
  using late = arena.alloc(2 ** 20);
  assert.notEqual(arena.memory.buffer, before);
  view[0] = 7;
  assert.equal(new Uint8Array(arena.memory.buffer)[early.byteOffset], 7);
  late.u8()[late.sizeBytes - 1] = 1;
  assert.throws(
    () => arena.alloc(2 ** 22),
    (error) =>
      error instanceof OutOfMemoryError &&
      error.needBytes === 2 ** 22 &&
      error.limitBytes === 2 ** 22 &&
      error.haveBytes < 2 ** 22 - 2 ** 20,
  );
  assert.equal(arena.memory.buffer.byteLength, 2 ** 22);
});

test("zeroed memory is zero where it was used before, where it is new, and where it is both", () => {
  using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: 2 ** 22 });
  using first = arena.alloc(64);
  first.u8().fill(1);
  const used = arena.alloc(1000);
  used.u8().fill(2);
  arena.free(used);
  for (const sizeBytes of [10, 1000, 5000, 2 ** 20]) {
    const zeroed = arena.allocZeroed(sizeBytes, 64, "zeroed");
    assert.equal(zeroed.byteOffset, used.byteOffset);
    assert.ok(
      zeroed.u8().every((byte) => byte === 0),
      `${sizeBytes} bytes`,
    );
    zeroed.u8().fill(3);
    arena.free(zeroed);
  }
  assert.ok(first.u8().every((byte) => byte === 1));
});

test("freed memory is merged, given out again by best fit, and its regions refuse to be used", () => {
  using arena = SharedArena.create();
  const [a, b, c, d] = [256, 128, 512, 64].map((size) => arena.alloc(size));
  const part = c.sub(0, 64);
  arena.free(c);
  assert.throws(() => c.u8(), RegionError);
  assert.throws(() => part.f32(), /after its memory was freed/);
  arena.free(a);
  using exact = arena.alloc(200);
  assert.equal(exact.byteOffset, a.byteOffset, "256 bytes fit better than 512");
  arena.free(b);
  using merged = arena.alloc(640);
  assert.equal(merged.byteOffset, b.byteOffset, "b and c are one range");
  arena.free(d);
});

test("a memory beyond 4 GiB is written and read like any other", () => {
  using arena = SharedArena.create({ maximumBytes: 2 ** 33 });
  using low = arena.alloc(64);
  using filler = arena.alloc(2 ** 32); // never touched, so that it takes address space only
  using high = arena.alloc(64);
  assert.ok(high.byteOffset > filler.byteOffset + 2 ** 32 - 1);
  low.i32().fill(1);
  high.i32().fill(2);
  assert.deepEqual([low.i32()[15], high.i32()[15]], [1, 2]);
  assert.throws(() => arena.alloc(2 ** 32), OutOfMemoryError);
});

test("misuse has a name", () => {
  using arena = SharedArena.create();
  using other = SharedArena.create();
  const region = arena.alloc(64);
  assert.throws(() => other.free(region), ArenaError);
  arena.free(region);
  assert.throws(() => arena.free(region), /does not hold/);
  for (const size of [-1, 1.5, Number.NaN, Infinity]) assert.throws(() => arena.alloc(size), ArenaError);
  for (const align of [0, 3, -64, 2 ** 31]) assert.throws(() => arena.alloc(64, align), ArenaError);
  assert.throws(() => SharedArena.create({ maximumBytes: 2 ** 35 }), ArenaError);
  assert.throws(() => SharedArena.create({ initialBytes: 2 ** 20, maximumBytes: 2 ** 16 }), ArenaError);
});

test("disposing an arena tells what leaked, by label", () => {
  const arena = SharedArena.create();
  const kept = arena.alloc(100, 64, "kv cache");
  assert.throws(
    () => arena[Symbol.dispose](),
    (error) => error instanceof LeakError && /"kv cache"/.test(error.message),
  );
  assert.throws(() => arena.alloc(1), ArenaError);
  arena.free(kept);
  arena[Symbol.dispose]();
});

test("any sequence of allocations and frees keeps regions apart, and ends with nothing left", () => {
  const step = fc.record({
    sizeBytes: fc.nat(5000),
    align: fc.constantFrom(64, 128, 4096, 65536),
    freeIndex: fc.option(fc.nat(40), { nil: undefined }),
  });
  const property = fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
    using arena = SharedArena.create({ maximumBytes: 2 ** 24 });
    const live: Allocation[] = [];
    for (const { sizeBytes, align, freeIndex } of steps) {
      if (freeIndex !== undefined && freeIndex < live.length) arena.free(live.splice(freeIndex, 1)[0]);
      const region = arena.alloc(sizeBytes, align);
      assert.equal(region.byteOffset % align, 0);
      live.push(region);
      checkApart(live, arena.memory.buffer.byteLength);
    }
    assert.equal(arena.liveCount, live.length);
    for (const region of live) arena.free(region);
    assert.equal(arena.liveBytes, 0);
    // All of it is one free range again: the whole arena but the reserved start can be had.
    arena.free(arena.alloc(2 ** 24 - 64));
  });
  fc.assert(property, { numRuns: 50 });
});

function checkApart(regions: readonly Allocation[], memoryBytes: number): void {
  let end = 64;
  for (const region of regions.toSorted((a, b) => a.byteOffset - b.byteOffset)) {
    assert.ok(region.byteOffset >= end, "regions overlap");
    end = region.byteOffset + Math.max(1, region.sizeBytes);
  }
  assert.ok(end <= memoryBytes);
}
