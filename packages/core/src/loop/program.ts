// A compiled program before a target prints it: kernels, the buffers they work on, and the schedule that runs them.
// A program is SPMD: every member of a thread team walks the same schedule; `parallel` items hand out chunks one at a
// time, `serial` items run on one member, whichever it is. An item begins when all chunks of the one before are done,
// wherever the members are. Results never depend on who ran which chunk.

import type { Kernel } from "./ir.ts";

/** Where a buffer lives: bound by the caller before a run, or placed in the program's arena by the memory plan. */
export type BufferPlacement =
  | { readonly kind: "binding"; readonly slot: number }
  | { readonly kind: "arena"; readonly offsetBytes: number };

export interface ProgramBuffer {
  readonly name: string;
  readonly sizeBytes: number;
  readonly placement: BufferPlacement;
}

/** A buffer as an argument of a call; inside loops its address advances by `strideBytes[depth]` an iteration. */
export interface BufferArgument {
  readonly buffer: number;
  readonly offsetBytes: number;
  readonly strideBytes?: readonly number[];
}

/** `chunks` runs of one kernel, independent of each other. */
export interface KernelCall {
  readonly kernel: number;
  readonly chunks: number;
  readonly args: readonly BufferArgument[];
  /** What the call is for, in the graph's terms; shown in profiles. */
  readonly label: string;
}

export type ScheduleItem =
  /** Calls that do not depend on each other; their chunks are claimed by all members. */
  | { readonly kind: "parallel"; readonly calls: readonly KernelCall[] }
  /** Calls in order, on one member: too little work to share. */
  | { readonly kind: "serial"; readonly calls: readonly KernelCall[] }
  /** Runs `items` `count` times; `strideBytes` of the arguments inside count iterations by depth, outermost first. */
  | {
      readonly kind: "loop";
      readonly count: number;
      readonly limit?: LoopLimit;
      readonly items: readonly ScheduleItem[];
    };

/**
 * Makes a loop run fewer of its iterations than `count`, by an i32 in memory, taken as unsigned. `first`: only those
 * whose number is below it, looked at before every iteration, so that the loop may change it. `last`: only as many at
 * the end, looked at once, when the loop is entered.
 */
export interface LoopLimit {
  readonly keeps: "first" | "last";
  readonly cell: BufferArgument;
}

export interface Program {
  readonly name: string;
  readonly kernels: readonly Kernel[];
  readonly buffers: readonly ProgramBuffer[];
  readonly bindingCount: number;
  /** Bytes of the arena that the buffers placed there need, and of scratch for each team member. */
  readonly arenaBytes: number;
  readonly scratchBytes: number;
  readonly schedule: readonly ScheduleItem[];
  /** Constant data, and the bound buffers (behind the caller's slots) that hold it from load to unload. */
  readonly constants: readonly { readonly buffer: number; readonly bytes: Uint8Array }[];
}
