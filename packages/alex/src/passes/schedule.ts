// schedule: kernel calls, in an order that respects who reads and writes what, become items of a program. Calls that do
// not depend on each other share an item, so that the team waits once for all of them; runs of small calls stay on one
// member, where they need no waiting at all.

import type { Call, CallItem, CallLoop, VirtualBuffer } from "../lower/lowering.ts";

/** A slot of the schedule: what `ScheduleItem` will say once buffers have places. */
export type Slot =
  | { readonly kind: "parallel" | "serial"; readonly calls: Call[] }
  | {
      readonly kind: "loop";
      readonly count: number;
      readonly limit?: CallLoop["limit"];
      readonly slots: readonly Slot[];
    };

/** Below this many operations a call is done before another thread has noticed it. */
const SERIAL_WORK = 20_000;

/** How far back a call may move to join others: further back would keep its results alive for longer. */
const WINDOW = 3;

export function schedule(items: readonly CallItem[]): Slot[] {
  const slots: Slot[] = [];
  const lastWrite = new Map<VirtualBuffer, number>();
  const lastRead = new Map<VirtualBuffer, number>();
  for (const item of items) {
    const { reads, writes } = buffersOf(item);
    // The last slot that this item must not run before; sharing it is fine only if it is serial.
    let after = -1;
    for (const buffer of reads) after = Math.max(after, lastWrite.get(buffer) ?? -1);
    for (const buffer of writes) after = Math.max(after, lastWrite.get(buffer) ?? -1, lastRead.get(buffer) ?? -1);
    const at = item.kind === "loop" ? pushLoop(slots, item) : place(slots, item, after);
    for (const buffer of reads) lastRead.set(buffer, Math.max(at, lastRead.get(buffer) ?? -1));
    for (const buffer of writes) lastWrite.set(buffer, at);
  }
  return slots;
}

function pushLoop(slots: Slot[], { count, limit, items }: CallLoop): number {
  slots.push({ kind: "loop", count, ...(limit && { limit }), slots: schedule(items) });
  return slots.length - 1;
}

/** Puts a call into a slot after `after` and gives its index. */
function place(slots: Slot[], call: Call, after: number): number {
  const small = call.work < SERIAL_WORK;
  for (let i = Math.max(after, slots.length - WINDOW, 0); i < slots.length; i++) {
    const slot = slots[i]!;
    if (slot.kind === "loop" || (i === after && slot.kind === "parallel")) continue;
    if (slot.kind === "serial" && (!small || (i < slots.length - 1 && i === after))) continue;
    slot.calls.push(call);
    return i;
  }
  slots.push({ kind: small ? "serial" : "parallel", calls: [call] });
  return slots.length - 1;
}

/** What an item reads and writes, loops included. */
export function buffersOf(item: CallItem): { reads: Set<VirtualBuffer>; writes: Set<VirtualBuffer> } {
  const reads = new Set<VirtualBuffer>();
  const writes = new Set<VirtualBuffer>();
  const visit = (inner: CallItem): void => {
    if (inner.kind === "loop") {
      if (inner.limit !== undefined) reads.add(inner.limit.view.buffer);
      inner.items.forEach(visit);
      return;
    }
    inner.views.forEach(({ buffer }, i) => (i < inner.views.length - inner.writes ? reads : writes).add(buffer));
  };
  visit(item);
  return { reads, writes };
}
