// The memory plan over random schedules: what is alive at the same time never overlaps, and the arena is no larger than
// all buffers together and no smaller than the fullest slot.

import assert from "node:assert/strict";
import { test } from "node:test";
import { roundUp } from "@fidelity/core";
import fc from "fast-check";
import type { Call, VirtualBuffer } from "../lower/lowering.ts";
import { whole } from "../lower/lowering.ts";
import { planMemory } from "./memory_plan.ts";
import type { Slot } from "./schedule.ts";

function arenaBuffer(id: number, sizeBytes: number): VirtualBuffer {
  return { id, name: `b${id}`, sizeBytes, role: { kind: "arena" } };
}

function call(buffers: readonly VirtualBuffer[]): Call {
  return { kind: "call", kernel: 0, chunks: 1, work: 1, label: "", views: buffers.map(whole), writes: 1 };
}

/** Slots of one call each; buffer i is used in the slots that `uses[i]` names. */
function slotsOf(buffers: readonly VirtualBuffer[], uses: readonly (readonly number[])[], count: number): Slot[] {
  return Array.from({ length: count }, (_, slot): Slot => {
    return { kind: "parallel", calls: [call(buffers.filter((_buffer, i) => uses[i]!.includes(slot)))] };
  });
}

const SLOTS = 12;

test("buffers that are alive together lie apart", () => {
  const uses = fc.array(fc.integer({ min: 0, max: SLOTS - 1 }), { minLength: 1, maxLength: 3 });
  const buffer = fc.record({ sizeBytes: fc.integer({ min: 0, max: 5000 }), uses });
  const property = fc.property(fc.array(buffer, { minLength: 1, maxLength: 40 }), (specs) => {
    const buffers = specs.map(({ sizeBytes }, i) => arenaBuffer(i, sizeBytes));
    const { offsets, lifetimes, sizeBytes } = planMemory(
      slotsOf(
        buffers,
        specs.map((spec) => spec.uses),
        SLOTS,
      ),
    );
    assert.equal(offsets.size, buffers.length);
    const end = (of: VirtualBuffer): number => offsets.get(of)! + of.sizeBytes;
    for (const a of lifetimes) {
      assert.equal(offsets.get(a.buffer)! % 64, 0);
      assert.ok(end(a.buffer) <= sizeBytes);
      for (const b of lifetimes) {
        if (a === b || a.last < b.first || b.last < a.first) continue;
        const apart = end(a.buffer) <= offsets.get(b.buffer)! || end(b.buffer) <= offsets.get(a.buffer)!;
        assert.ok(apart, `${a.buffer.name} and ${b.buffer.name} overlap`);
      }
    }
    const padded = (of: VirtualBuffer): number => roundUp(Math.max(1, of.sizeBytes), 64);
    const total = buffers.reduce((sum, each) => sum + padded(each), 0);
    const fullest = Math.max(
      ...Array.from({ length: SLOTS }, (_, slot) =>
        lifetimes.reduce(
          (sum, { buffer: of, first, last }) => sum + (first <= slot && slot <= last ? padded(of) : 0),
          0,
        ),
      ),
    );
    assert.ok(fullest <= sizeBytes && sizeBytes <= total);
  });
  fc.assert(property, { numRuns: 200, seed: 1 });
});

test("a chain of equal buffers needs the memory of two", () => {
  const buffers = Array.from({ length: 10 }, (_, i) => arenaBuffer(i, 1024));
  const uses = buffers.map((_buffer, i) => [i, i + 1]);
  assert.equal(planMemory(slotsOf(buffers, uses, 11)).sizeBytes, 2048);
});

test("what a loop touches lives as long as the loop", () => {
  const [a, b] = [arenaBuffer(0, 64), arenaBuffer(1, 64)];
  const inner: Slot[] = [
    { kind: "parallel", calls: [call([a])] },
    { kind: "parallel", calls: [call([b])] },
  ];
  const { offsets } = planMemory([{ kind: "loop", count: 3, slots: inner }]);
  assert.notEqual(offsets.get(a), offsets.get(b));
});
