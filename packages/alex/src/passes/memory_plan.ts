// memory-plan: gives every intermediate buffer an offset in one arena, so that buffers that are alive at the same time
// never overlap. Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020):
// the largest buffer first, each at the lowest gap among those it lives together with.

import { roundUp } from "@fidelity/core";
import type { VirtualBuffer } from "../lower/lowering.ts";
import type { Slot } from "./schedule.ts";

/** A buffer's life in slots of the schedule, both ends included. */
export interface Lifetime {
  readonly buffer: VirtualBuffer;
  first: number;
  last: number;
}

export interface MemoryPlan {
  readonly offsets: ReadonlyMap<VirtualBuffer, number>;
  readonly lifetimes: readonly Lifetime[];
  readonly sizeBytes: number;
}

/** Buffers start on their own cache line. */
const ALIGNMENT = 64;

export function planMemory(slots: readonly Slot[]): MemoryPlan {
  const lifetimes = lifetimesOf(slots);
  const placed: { readonly life: Lifetime; readonly start: number; readonly end: number }[] = [];
  const offsets = new Map<VirtualBuffer, number>();
  let sizeBytes = 0;
  for (const life of [...lifetimes].sort(
    (a, b) => b.buffer.sizeBytes - a.buffer.sizeBytes || a.buffer.id - b.buffer.id,
  )) {
    const size = roundUp(Math.max(1, life.buffer.sizeBytes), ALIGNMENT);
    let start = 0;
    for (const other of placed) {
      if (other.life.last < life.first || other.life.first > life.last) continue;
      if (other.start >= start + size) break;
      start = Math.max(start, other.end);
    }
    const at = placed.findIndex((other) => other.start > start);
    placed.splice(at < 0 ? placed.length : at, 0, { life, start, end: start + size });
    offsets.set(life.buffer, start);
    sizeBytes = Math.max(sizeBytes, start + size);
  }
  return { offsets, lifetimes, sizeBytes };
}

function lifetimesOf(slots: readonly Slot[]): Lifetime[] {
  const lives = new Map<VirtualBuffer, Lifetime>();
  const use = (buffer: VirtualBuffer, index: number): void => {
    if (buffer.role.kind !== "arena") return;
    const life = lives.get(buffer);
    if (life === undefined) lives.set(buffer, { buffer, first: index, last: index });
    else life.last = index;
  };
  const visit = (slot: Slot, index: number): void => {
    if (slot.kind === "loop") {
      if (slot.limit !== undefined) use(slot.limit.view.buffer, index);
      for (const inner of slot.slots) visit(inner, index);
      return;
    }
    for (const { buffer } of slot.calls.flatMap((call) => call.views)) use(buffer, index);
  };
  slots.forEach(visit);
  return [...lives.values()];
}
