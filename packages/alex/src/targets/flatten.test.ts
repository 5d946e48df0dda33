// Schedules as stages and segments: where serial work goes, how loops lead back, and what is split.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { KernelCall, ScheduleItem } from "@fidelity/core";
import { flattenSchedule } from "./flatten.ts";
import type { Segment } from "./flatten.ts";
import { CHUNKS_MAX } from "./team.ts";

const call = (label: string, chunks: number): KernelCall => ({ kernel: 0, chunks, args: [], label });
const parallel = (...calls: readonly KernelCall[]): ScheduleItem => ({ kind: "parallel", calls });
const serial = (label: string): ScheduleItem => ({ kind: "serial", calls: [call(label, 1)] });

/**
 * The labels of the calls in the order in which a walk makes them, a stage's chunks as `label x chunks`. `cells` holds
 * what limits of loops say, by buffer.
 */
function walk(schedule: readonly ScheduleItem[], cells: readonly number[] = []): string[] {
  const { stages, segments } = flattenSchedule("test", schedule);
  const told: string[] = [];
  const counters: number[] = [];
  let stage = 0;
  for (;;) {
    for (const part of stages[stage].parts) told.push(`${part.call.label} x ${part.chunks}`);
    for (let at: number | undefined = stage; at !== undefined;) {
      const { ops, end }: Segment = segments[at];
      at = undefined;
      for (const op of ops) {
        if (op.kind === "serial") told.push(...op.calls.map(({ label }) => label));
        else if (op.kind === "enter") counters[op.depth] = 0;
        else if (op.kind === "enter-limited") {
          const turns = cells[op.limit.cell.buffer];
          counters[op.depth] = op.limit.keeps === "first" ? 0 : Math.max(0, op.count - turns);
          if (turns === 0) at = op.after;
        } else {
          const limit = op.limit === undefined ? Infinity : cells[op.limit.buffer];
          if (++counters[op.depth] < Math.min(op.count, limit)) at = op.segment;
        }
        if (at !== undefined) break;
      }
      if (at !== undefined) continue;
      if (end.kind === "end") return told;
      if (end.kind === "segment") at = end.segment;
      else stage = end.stage;
    }
  }
}

test("the walk makes the schedule's calls in order, through loops in loops and loops of serial work", () => {
  const inner: ScheduleItem = { kind: "loop", count: 2, items: [parallel(call("c", 3)), serial("d")] };
  const alone: ScheduleItem = { kind: "loop", count: 3, items: [serial("e")] };
  const outer: ScheduleItem = { kind: "loop", count: 2, items: [serial("b"), inner, alone] };
  const schedule = [serial("a"), outer, parallel(call("f", 2), call("g", 1)), serial("h")];
  const once = ["b", "c x 3", "d", "c x 3", "d", "e", "e", "e"];
  assert.deepEqual(walk(schedule), ["a", ...once, ...once, "f x 2", "g x 1", "h"]);
  assert.deepEqual(walk([]), []);
});

test("a loop with a limit makes the first or the last of its turns, or none, and what follows comes after", () => {
  const limited = (keeps: "first" | "last"): ScheduleItem[] => {
    const limit = { keeps, cell: { buffer: 0, offsetBytes: 0 } };
    const inner: ScheduleItem = { kind: "loop", count: 3, limit, items: [parallel(call("a", 2)), serial("b")] };
    return [{ kind: "loop", count: 2, items: [inner, serial("c")] }, serial("d")];
  };
  const turn = ["a x 2", "b"];
  for (const keeps of ["first", "last"] as const) {
    assert.deepEqual(walk(limited(keeps), [0]), ["c", "c", "d"]);
    assert.deepEqual(walk(limited(keeps), [1]), [...turn, "c", ...turn, "c", "d"]);
    assert.deepEqual(walk(limited(keeps), [9]), [...turn, ...turn, ...turn, "c", ...turn, ...turn, ...turn, "c", "d"]);
  }
});

test("a parallel item of one chunk is serial work", () => {
  const { stages } = flattenSchedule("test", [parallel(call("a", 1)), parallel(call("b", 2))]);
  assert.deepEqual(
    stages.map(({ chunks }) => chunks),
    [1, 2],
  );
});

test("an item of too many chunks becomes several stages, which cover each chunk once", () => {
  const calls = [call("a", CHUNKS_MAX - 1), call("b", 2 * CHUNKS_MAX + 5)];
  const { stages } = flattenSchedule("test", [parallel(...calls)]);
  assert.deepEqual(
    stages.slice(1).map(({ chunks }) => chunks),
    [CHUNKS_MAX, CHUNKS_MAX, CHUNKS_MAX, 4],
  );
  for (const { label, chunks } of calls) {
    let next = 0;
    for (const part of stages.flatMap(({ parts }) => parts)) {
      if (part.call.label !== label) continue;
      assert.equal(part.firstChunk, next);
      next += part.chunks;
    }
    assert.equal(next, chunks);
  }
});
