import assert from "node:assert/strict";
import { test } from "node:test";

import { addr, bytes, QuantityError } from "@fidelity/units";
import fc from "fast-check";

import { ArenaError, SharedArena } from "../arena.ts";
import { Region, RegionError } from "../region.ts";
import { minus, plus, roundUpTo, times } from "./arithmetic.ts";
import { assertNoCopies, copies, CopyError, copyRegion, copyTotals } from "./copies.ts";
import { GpuRegion, OwnershipError } from "./gpu.ts";
import type { MappableBuffer } from "./gpu.ts";

test("sizes and addresses add up as pointers do, and never below 0 or beyond 2^53", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.constantFrom(1, 64, 4096), (a, b, align) => {
      assert.equal(plus(addr(a), bytes(b)), a + b);
      assert.equal(minus(plus(addr(a), bytes(b)), addr(a)), b);
      const up = roundUpTo(bytes(a), align);
      assert.ok(up >= a && up < a + align && up % align === 0);
    }),
  );
  assert.equal(times(bytes(24), 10), 240);
  assert.throws(() => minus(bytes(1), bytes(2)), QuantityError);
  assert.throws(() => plus(addr(Number.MAX_SAFE_INTEGER), bytes(1)), QuantityError);
});

test("copies between regions are counted, listed and can be ruled out", async () => {
  using arena = SharedArena.create();
  using shared = arena.alloc(64);
  const own = Region.over(new Uint8Array(16).fill(7));
  const before = copyTotals();
  copyRegion(own, shared, "upload");
  assert.deepEqual([shared.u8()[15], shared.u8()[16]], [7, 0]);
  assert.deepEqual(copies().at(-1), { from: "cpu", to: "shared", sizeBytes: 16, label: "upload" });
  assert.equal(copyTotals().crossingBytes - before.crossingBytes, 16);
  assert.throws(() => copyRegion(shared, own, "back"), RegionError);

  assert.equal(
    assertNoCopies(() => own.u8()[3]),
    7,
  );
  const within = (): void => copyRegion(own, Region.over(new Uint8Array(16)), "same space");
  assertNoCopies(within);
  assert.throws(() => assertNoCopies(within, { within: true }), CopyError);
  assert.throws(() => assertNoCopies(() => copyRegion(own, shared, "hot path")), /16 B cpu to shared \(hot path\)/);
  const later = async (): Promise<void> => {
    await Promise.resolve();
    copyRegion(own, shared, "later");
  };
  await assert.rejects(assertNoCopies(later), /cpu to shared \(later\)/);
});

test("what a scope allocates is freed with it, inner scopes included, but for what is kept", () => {
  using arena = SharedArena.create();
  const step = arena.scope("step");
  const a = step.alloc(100);
  const inner = step.scope();
  const b = inner.alloc(64);
  const kept = step.keep(step.alloc(64, 64, "kept"));
  assert.equal(step.liveBytes, 164);
  arena.free(a);
  step[Symbol.dispose]();
  assert.deepEqual([a.isAlive, b.isAlive, kept.isAlive, arena.liveCount], [false, false, true, 1]);
  assert.throws(() => inner.alloc(1), ArenaError);
  arena.free(kept);
});

// WebGPU's mapping states (WebGPU, 5.2) over plain memory: a mapped range is detached by unmapping.
class HostBuffer implements MappableBuffer {
  readonly size: number;
  #bytes: Uint8Array;
  #range: ArrayBuffer | undefined;

  constructor(size: number) {
    this.size = size;
    this.#bytes = new Uint8Array(size);
  }

  async mapAsync(): Promise<void> {
    await Promise.resolve();
    this.#range = this.#bytes.slice().buffer;
  }

  getMappedRange(): ArrayBuffer {
    assert.ok(this.#range, "mapped before");
    return this.#range;
  }

  unmap(): void {
    this.#bytes = new Uint8Array(this.#range!.transfer());
    this.#range = undefined;
  }
}

test("a GPU buffer is owned by one side at a time, and an old value of it throws", async () => {
  const first = GpuRegion.of(new HostBuffer(16));
  const mapped = await first.toCpu("rw");
  const region = mapped.bytes();
  region.f32()[2] = 1.5;
  await assert.rejects(first.toCpu("r"), OwnershipError);
  const given = mapped.toGpu();
  assert.throws(() => mapped.bytes(), OwnershipError);
  assert.throws(() => region.u8(), RegionError);
  const again = await given.toCpu("r");
  assert.equal(again.bytes().f32()[2], 1.5);
});
