// What `explainProgram` gives: the decisions of a compilation as plain data, which serialises to JSON as it is.
// Numbers are counted from the program (tally.ts), never taken from the estimates that the passes decided by.

import type { Ceilings } from "./ceilings.ts";

/** Arithmetic by what it works on; a multiply-add is two operations. */
export interface Operations {
  readonly f32: number;
  readonly f64: number;
  readonly int8: number;
}

/** A value of the graph, and what computes it. */
export interface OpExplanation {
  /** `%12`: the number of its node. */
  readonly value: string;
  readonly op: string;
  /** `f32[1, 128]`. */
  readonly type: string;
  readonly operands: readonly string[];
  /** Whether the value is written to memory; others stay in registers. */
  readonly isWritten: boolean;
}

/** One unit of the fused graph: ops that share a loop, or one op with loops of its own. */
export interface UnitExplanation {
  readonly id: number;
  readonly kind: "fused" | "kernel" | "loop" | "copy";
  /** What it does, in a few words. */
  readonly title: string;
  /** The part of the model that it belongs to: `blocks.3`, `head`, or "" where it belongs to none. */
  readonly group: string;
  readonly ops: readonly OpExplanation[];
  /** Units whose results it reads. */
  readonly reads: readonly number[];
  /** Names of the graph's inputs that it reads. */
  readonly inputs: readonly string[];
  readonly calls: readonly number[];
  /** Bytes that it moves, and that its ops would move one by one, each from memory and back. */
  readonly bytes: number;
  readonly bytesApart: number;
}

/** A buffer as a call sees it. */
export interface ArgumentExplanation {
  readonly buffer: number;
  /** Bytes of the buffer that the call reads and writes, each counted once. */
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Bytes that other calls touch before this one reads the buffer again, over repeated runs. */
  readonly reuseDistanceBytes: number;
}

export type Limit = "memory" | "arithmetic";

/** One call of a kernel in the schedule. */
export interface CallExplanation {
  readonly id: number;
  readonly unit: number;
  readonly stage: number;
  readonly kernel: number;
  readonly label: string;
  readonly chunks: number;
  /** How often a run makes it: more than once inside of loops. The numbers below are for all of them. */
  readonly repeat: number;
  readonly arguments: readonly ArgumentExplanation[];
  readonly bytes: number;
  readonly operations: Operations;
  /** Operations a byte. */
  readonly intensity: number;
  /** False where the number of iterations depends on data. */
  readonly isExact: boolean;
  /** The least time that the machine's ceilings allow; absent without ceilings. */
  readonly predictedSeconds?: number;
  readonly limit?: Limit;
}

/** An item of the schedule: the team meets behind it. */
export interface StageExplanation {
  readonly id: number;
  readonly kind: "parallel" | "serial";
  /** Numbers of iterations of the loops around, outermost first; 1 where only a run tells. */
  readonly loops: readonly number[];
  readonly calls: readonly number[];
  readonly chunks: number;
}

export interface KernelExplanation {
  readonly id: number;
  readonly name: string;
  readonly calls: readonly number[];
  readonly scratchBytes: number;
  readonly instructions: number;
}

/** Memory of a program that calls work on. */
export interface BufferExplanation {
  readonly id: number;
  readonly name: string;
  readonly kind: "parameter" | "result" | "constant" | "intermediate";
  readonly sizeBytes: number;
  /** Where it lies in the arena, and its life in top-level items of the schedule; for intermediate buffers only. */
  readonly offsetBytes?: number;
  readonly first?: number;
  readonly last?: number;
}

/** A parameter that is updated where it lies, or is not and why that shows: its new value is copied. */
export interface DonationExplanation {
  readonly parameter: string;
  readonly sizeBytes: number;
  readonly isInPlace: boolean;
}

export interface MemoryExplanation {
  readonly arenaBytes: number;
  /** The most that is alive at one time, padding left out: no plan can be smaller. */
  readonly liveBytesMax: number;
  /** What the intermediate buffers would take beside each other. */
  readonly totalBytes: number;
  readonly parameterBytes: number;
  readonly resultBytes: number;
  readonly constantBytes: number;
  readonly scratchBytes: number;
  /** The top-level item at which the most is alive. */
  readonly peakItem: number;
  readonly itemCount: number;
}

/** Ops whose operands or results have a layout of their own, or whose transposition went into a product. */
export interface LayoutExplanation {
  readonly what: string;
  readonly count: number;
  readonly bytes: number;
}

/** How the kernels of equal nodes are cut into blocks and chunks, where there was a choice. */
export interface ScheduleExplanation {
  /** `matmul f32[2048, 128] f32[344, 128] transposeB`. */
  readonly node: string;
  /** Units like it. */
  readonly count: number;
  /** Its numbers and flags, by name. */
  readonly schedule: string;
  /** Whether it was the fastest when it was measured on this machine; otherwise it is the op's default. */
  readonly isTuned: boolean;
  /** Schedules that there were to choose from. */
  readonly candidates: number;
}

export interface Totals {
  readonly bytes: number;
  readonly operations: Operations;
  /** What fusion saves: bytes that the ops of all units would move one by one, less those that units move. */
  readonly savedBytes: number;
  readonly predictedSeconds?: number;
}

export interface Explanation {
  readonly name: string;
  readonly target: { readonly lanes: number; readonly registers: number; readonly joinsVectors: boolean };
  readonly graph: { readonly tracedOps: number; readonly ops: number };
  readonly units: readonly UnitExplanation[];
  readonly calls: readonly CallExplanation[];
  readonly stages: readonly StageExplanation[];
  readonly kernels: readonly KernelExplanation[];
  readonly buffers: readonly BufferExplanation[];
  readonly donations: readonly DonationExplanation[];
  readonly layouts: readonly LayoutExplanation[];
  readonly schedules: readonly ScheduleExplanation[];
  readonly memory: MemoryExplanation;
  readonly totals: Totals;
  readonly ceilings?: Ceilings;
}
