// The schedule over random calls: a call that reads what another writes, or overwrites what another reads or writes,
// never shares a parallel slot with it and never changes places with it.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Call, CallItem, VirtualBuffer } from "../lower/lowering.ts";
import { whole } from "../lower/lowering.ts";
import type { Slot } from "./schedule.ts";
import { buffersOf, schedule } from "./schedule.ts";

const BUFFERS = Array.from({ length: 6 }, (_, id): VirtualBuffer => {
  return { id, name: `b${id}`, sizeBytes: 64, role: { kind: "arena" } };
});

function call(reads: readonly number[], write: number, work: number): Call {
  const views = [...reads, write].map((id) => whole(BUFFERS[id]!));
  return { kind: "call", kernel: 0, chunks: 4, work, label: "", views, writes: 1 };
}

/** Whether the order of two items matters. */
function conflict(a: CallItem, b: CallItem): boolean {
  const [x, y] = [buffersOf(a), buffersOf(b)];
  const meets = (p: Set<VirtualBuffer>, q: Set<VirtualBuffer>): boolean => [...p].some((buffer) => q.has(buffer));
  return meets(x.writes, y.reads) || meets(x.reads, y.writes) || meets(x.writes, y.writes);
}

/** Where each call went: slot, and place within it. */
function placesOf(slots: readonly Slot[]): Map<Call, { slot: number; place: number; kind: Slot["kind"] }> {
  const places = new Map<Call, { slot: number; place: number; kind: Slot["kind"] }>();
  slots.forEach((slot, i) => {
    assert.notEqual(slot.kind, "loop");
    if (slot.kind !== "loop")
      slot.calls.forEach((each, place) => places.set(each, { slot: i, place, kind: slot.kind }));
  });
  return places;
}

const buffer = fc.integer({ min: 0, max: BUFFERS.length - 1 });
const anyCall = fc
  .tuple(fc.array(buffer, { maxLength: 3 }), buffer, fc.constantFrom(100, 1e6))
  .map(([reads, write, work]) => call(reads, write, work));

test("calls keep the order that their memory demands", () => {
  const property = fc.property(fc.array(anyCall, { minLength: 1, maxLength: 30 }), (calls) => {
    const places = placesOf(schedule(calls));
    assert.equal(places.size, calls.length);
    calls.forEach((later, j) => {
      for (const earlier of calls.slice(0, j)) {
        if (!conflict(earlier, later)) continue;
        const [a, b] = [places.get(earlier)!, places.get(later)!];
        const inOrder = a.slot < b.slot || (a.slot === b.slot && a.kind === "serial" && a.place < b.place);
        assert.ok(inOrder, `call ${j} overtook one that it depends on`);
      }
    });
  });
  fc.assert(property, { numRuns: 500, seed: 1 });
});

test("independent large calls share a slot, and so a wait", () => {
  const slots = schedule([call([0], 1, 1e6), call([0], 2, 1e6), call([0], 3, 1e6)]);
  assert.deepEqual(
    slots.map(({ kind }) => kind),
    ["parallel"],
  );
});

test("a run of small calls stays on one member", () => {
  const slots = schedule([call([0], 1, 100), call([1], 2, 100), call([2], 3, 100)]);
  assert.deepEqual(
    slots.map(({ kind }) => kind),
    ["serial"],
  );
});

test("a loop is a slot of its own, and what depends on it waits", () => {
  const items: CallItem[] = [{ kind: "loop", count: 5, items: [call([0], 1, 1e6)] }, call([1], 2, 1e6)];
  assert.deepEqual(
    schedule(items).map(({ kind }) => kind),
    ["loop", "parallel"],
  );
});
