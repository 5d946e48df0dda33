// A program's schedule as tables of 64-bit numbers, which the walk (walk.ts) reads: so that the code of a program is
// its kernels, and a schedule of any length costs no time to compile.

import type { BufferArgument, KernelCall, Program } from "@fidelity/core";
import { flattenSchedule } from "../flatten.ts";
import { STAGE_ENDED, firstHalf } from "../team.ts";

/** Columns of the tables. */
export const STAGE = { firstPart: 0, parts: 1, chunks: 2, columns: 3 } as const;
export const PART = { start: 0, call: 1, firstChunk: 2, half: 3, columns: 4 } as const;
export const CALL = { kernel: 0, chunks: 1, firstArgument: 2, argumentCount: 3, columns: 4 } as const;
/** The slot of an argument in the arena is -1. */
export const ARGUMENT = { slot: 0, offset: 1, firstStride: 2, strides: 3, columns: 4 } as const;
export const SEGMENT = { firstOp: 0, ops: 1, nextSegment: 2, nextStage: 3, columns: 4 } as const;
/**
 * Kinds: calls a to a + b in order; enter a loop at depth a; repeat one at depth a, of b turns, from segment c, while
 * it is below what argument d names, if that is one; enter a loop that keeps its first or its last turns, of b, as many
 * as argument d names, or go to segment c.
 */
export const OP = { kind: 0, a: 1, b: 2, c: 3, d: 4, columns: 5 } as const;
export const OP_KIND = { calls: 0, enter: 1, repeat: 2, enterFirst: 3, enterLast: 4 } as const;
/** In place of an argument where a loop has no limit. */
export const NO_ARGUMENT = -1;

/** The tables of a program, row by row. */
export interface ScheduleTables {
  readonly byName: Readonly<
    Record<"stages" | "parts" | "calls" | "arguments" | "strides" | "segments" | "ops", readonly number[]>
  >;
  /** The most arguments that a call has. */
  readonly argumentsMax: number;
  /** The stage at which a run of one item of the schedule alone starts, for each of them, or none. */
  readonly starts: readonly number[];
}

/** @throws ScheduleLimitError when the schedule is too long or too deep for a team. */
export function scheduleTables(program: Program): ScheduleTables {
  const flat = flattenSchedule(program.name, program.schedule, true);
  const [calls, args, strides]: [number[], number[], number[]] = [[], [], []];
  let argumentsMax = 0;
  // What the whole schedule and the runs of its items have in common, calls with their arguments, is there once.
  const rows = new Map<object, number>();
  const once = (key: object, add: () => void): number => {
    const known = rows.get(key);
    if (known !== undefined) return known;
    const index = calls.length / CALL.columns;
    rows.set(key, index);
    add();
    return index;
  };
  const addCall = ({ kernel, chunks, args: list }: KernelCall): void => {
    calls.push(kernel, chunks, args.length / ARGUMENT.columns, list.length);
    for (const argument of list) addArgument(program, argument, args, strides);
    argumentsMax = Math.max(argumentsMax, list.length);
  };
  const addLimit = (limit: BufferArgument | undefined): number => {
    if (limit === undefined) return NO_ARGUMENT;
    addArgument(program, limit, args, strides);
    return args.length / ARGUMENT.columns - 1;
  };
  const [stages, parts, segments, ops]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (const stage of flat.stages) {
    stages.push(parts.length / PART.columns, stage.parts.length, stage.chunks);
    let start = 0;
    for (const { call, firstChunk, chunks } of stage.parts) {
      parts.push(
        start,
        once(call, () => addCall(call)),
        firstChunk,
        firstHalf(chunks),
      );
      start += chunks;
    }
  }
  for (const { ops: list, end } of flat.segments) {
    const nextSegment = end.kind === "segment" ? end.segment : -1;
    segments.push(ops.length / OP.columns, list.length, nextSegment, end.kind === "stage" ? end.stage : STAGE_ENDED);
    for (const op of list) {
      if (op.kind === "serial") {
        const first = once(op.calls, () => op.calls.forEach(addCall));
        ops.push(OP_KIND.calls, first, op.calls.length, 0, NO_ARGUMENT);
      } else if (op.kind === "enter") {
        ops.push(OP_KIND.enter, op.depth, 0, 0, NO_ARGUMENT);
      } else if (op.kind === "repeat") {
        ops.push(OP_KIND.repeat, op.depth, op.count, op.segment, addLimit(op.limit));
      } else {
        const kind = op.limit.keeps === "first" ? OP_KIND.enterFirst : OP_KIND.enterLast;
        ops.push(kind, op.depth, op.count, op.after, addLimit(op.limit.cell));
      }
    }
  }
  const byName = { stages, parts, calls, arguments: args, strides, segments, ops };
  return { byName, argumentsMax, starts: flat.starts };
}

function addArgument(program: Program, argument: BufferArgument, args: number[], strides: number[]): void {
  const { placement } = program.buffers[argument.buffer];
  const inArena = placement.kind === "arena";
  const offset = argument.offsetBytes + (inArena ? placement.offsetBytes : 0);
  const own = argument.strideBytes ?? [];
  args.push(inArena ? -1 : placement.slot, offset, strides.length, own.length);
  strides.push(...own);
}
