// A schedule as a team walks it: stages, which are shared out in chunks, and between them segments of straight-line
// work for the one member that finished the stage before: serial calls, loop counters, and where to go next.

import type { BufferArgument, KernelCall, LoopLimit, ScheduleItem } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import { CHUNKS_MAX, LOOP_DEPTH_MAX, STAGE_FAILED } from "./team.ts";

/** A schedule is longer or deeper than a thread team can walk. */
export class ScheduleLimitError extends FidelityError {}

type LoopItem = Extract<ScheduleItem, { readonly kind: "loop" }>;

/** Some chunks of a call, as a part of a stage. */
export interface StagePart {
  readonly call: KernelCall;
  readonly firstChunk: number;
  readonly chunks: number;
}

export interface Stage {
  readonly parts: readonly StagePart[];
  readonly chunks: number;
}

export type SegmentOp =
  | { readonly kind: "serial"; readonly calls: readonly KernelCall[] }
  /** Sets the counter of a loop to 0. */
  | { readonly kind: "enter"; readonly depth: number }
  /** Sets the counter of a loop with a limit to its first iteration; goes to segment `after` where there is none. */
  | {
      readonly kind: "enter-limited";
      readonly depth: number;
      readonly count: number;
      readonly limit: LoopLimit;
      readonly after: number;
    }
  /** Counts an iteration, and goes to segment `segment` unless it was the last, by `count` or what is in memory. */
  | {
      readonly kind: "repeat";
      readonly depth: number;
      readonly count: number;
      readonly segment: number;
      readonly limit?: BufferArgument;
    };

/** What follows a segment's work: a stage, another segment, or nothing. */
export type SegmentEnd =
  | { readonly kind: "stage"; readonly stage: number }
  | { readonly kind: "segment"; readonly segment: number }
  | { readonly kind: "end" };

export interface Segment {
  readonly ops: SegmentOp[];
  end: SegmentEnd;
}

/**
 * The segment after stage `i` is `segments[i]`; those that begin a loop's body, or what follows a loop that may not
 * run, come behind. Stage 0 is empty: the start.
 */
export interface FlatSchedule {
  readonly stages: readonly Stage[];
  readonly segments: readonly Segment[];
  /** Empty stages at which a run of one item of the schedule alone starts: one for each item, or none. */
  readonly starts: readonly number[];
}

/**
 * `withStarts` adds a start for every item, for profiles; where that were too many stages, there are none.
 * Throws `ScheduleLimitError` when there are more stages or loops in each other than a control block has room for.
 */
export function flattenSchedule(
  programName: string,
  schedule: readonly ScheduleItem[],
  withStarts = false,
): FlatSchedule {
  const stages: Stage[] = [{ parts: [], chunks: 1 }];
  const afterStage: Segment[] = [{ ops: [], end: { kind: "end" } }];
  const jumped: Segment[] = [];
  // What is jumped to is numbered behind the stages, whose number is not known before the end: till then from -1 down.
  let open = afterStage[0];
  const newSegment = (): { readonly made: Segment; readonly segment: number } => {
    const made: Segment = { ops: [], end: { kind: "end" } };
    return { made, segment: -jumped.push(made) };
  };
  const walkLoop = ({ count, limit, items }: LoopItem, depth: number): void => {
    const head = newSegment();
    const after = limit && newSegment();
    if (limit && after) open.ops.push({ kind: "enter-limited", depth, count, limit, after: after.segment });
    else open.ops.push({ kind: "enter", depth });
    open.end = { kind: "segment", segment: head.segment };
    open = head.made;
    walk(items, depth + 1);
    const cell = limit?.keeps === "first" ? limit.cell : undefined;
    open.ops.push({ kind: "repeat", depth, count, segment: head.segment, ...(cell && { limit: cell }) });
    if (after === undefined) return;
    open.end = { kind: "segment", segment: after.segment };
    open = after.made;
  };
  const walk = (items: readonly ScheduleItem[], depth: number): void => {
    for (const item of items) {
      if (item.kind === "loop") {
        walkLoop(item, depth);
        continue;
      }
      const shared = item.kind === "parallel" ? splitStages(item.calls) : [];
      if (shared.length === 0) open.ops.push({ kind: "serial", calls: item.calls });
      for (const stage of shared) {
        open.end = { kind: "stage", stage: stages.push(stage) - 1 };
        open = { ops: [], end: { kind: "end" } };
        afterStage.push(open);
      }
    }
  };
  walk(schedule, 0);
  checkLimit(programName, "stages", stages.length, STAGE_FAILED);
  const starts: number[] = [];
  if (withStarts && 2 * stages.length + schedule.length <= STAGE_FAILED) {
    for (const item of schedule) {
      starts.push(stages.push({ parts: [], chunks: 1 }) - 1);
      open = { ops: [], end: { kind: "end" } };
      afterStage.push(open);
      walk([item], 0);
    }
  }
  checkLimit(programName, "loops in each other", loopDepth(schedule), LOOP_DEPTH_MAX);
  const absolute = (segment: number): number => stages.length - 1 - segment;
  const numbered = (op: SegmentOp): SegmentOp => {
    if (op.kind === "repeat") return { ...op, segment: absolute(op.segment) };
    return op.kind === "enter-limited" ? { ...op, after: absolute(op.after) } : op;
  };
  const segments = [...afterStage, ...jumped].map(({ ops, end }) => ({
    ops: ops.map(numbered),
    end: end.kind === "segment" ? { ...end, segment: absolute(end.segment) } : end,
  }));
  return { stages, segments, starts };
}

/** The calls of a parallel item as stages of at most `CHUNKS_MAX` chunks; none when there is nothing to share. */
function splitStages(calls: readonly KernelCall[]): Stage[] {
  const total = calls.reduce((sum, call) => sum + call.chunks, 0);
  if (total === 1) return [];
  const stages: { parts: StagePart[]; chunks: number }[] = [{ parts: [], chunks: 0 }];
  for (const call of calls) {
    for (let firstChunk = 0; firstChunk < call.chunks;) {
      const last = stages[stages.length - 1];
      const chunks = Math.min(call.chunks - firstChunk, CHUNKS_MAX - last.chunks);
      if (chunks === 0) {
        stages.push({ parts: [], chunks: 0 });
        continue;
      }
      last.parts.push({ call, firstChunk, chunks });
      last.chunks += chunks;
      firstChunk += chunks;
    }
  }
  return stages;
}

function loopDepth(items: readonly ScheduleItem[]): number {
  const depths = items.map((item) => (item.kind === "loop" ? 1 + loopDepth(item.items) : 0));
  return depths.reduce((most, depth) => Math.max(most, depth), 0);
}

function checkLimit(programName: string, what: string, got: number, most: number): void {
  if (got <= most) return;
  throw new ScheduleLimitError(`a program has more ${what} than a thread team can walk`, {
    where: programName,
    expected: `${most} or fewer`,
    got: `${got}`,
    hint: "compile it as several programs, or put repeated parts in loops",
  });
}
