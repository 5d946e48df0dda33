// A program's schedule as kernel launches, one after the other on one stream: an item's calls each become a launch, and
// loops are walked by the host. What is worked out here once, when a program is loaded, is every launch's grid; loops
// that repeat a launch add their strides to its addresses when they come to it.

import type { BufferArgument, KernelCall, LoopLimit, Program, ScheduleItem } from "@fidelity/core";

/** What a GPU can hold, as far as grids depend on it. */
export interface GridLimits {
  readonly multiprocessors: number;
  /** Bytes that the scratch memory of all threads of a launch may take together, about. */
  readonly scratchBytesMax: number;
}

export interface Grid {
  readonly blocks: number;
  readonly blockThreads: number;
}

const BLOCK_THREADS_MAX = 128;
/** Threads of a launch beyond which they would only wait: each multiprocessor holds 2,048. */
const WAVES_MAX = 16 * 2048;

/**
 * The grid of a call. Few chunks are much work each, and are spread over the multiprocessors rather than over the lanes
 * of one; a launch has no more threads than have room for their scratch memory.
 */
export function gridOf(chunks: number, scratchStrideBytes: number, limits: GridLimits): Grid {
  const { multiprocessors, scratchBytesMax } = limits;
  const room = scratchStrideBytes === 0 ? Infinity : Math.floor(scratchBytesMax / scratchStrideBytes);
  const threads = Math.max(1, Math.min(chunks, room, multiprocessors * WAVES_MAX));
  const perMultiprocessor = 2 ** Math.ceil(Math.log2(Math.ceil(threads / multiprocessors)));
  const blockThreads = Math.min(BLOCK_THREADS_MAX, perMultiprocessor);
  return { blocks: Math.ceil(threads / blockThreads), blockThreads };
}

/** A launch: kernel, grid, and the addresses of its buffers at the first turn of all loops around it. */
export interface Launch {
  readonly kernel: number;
  readonly chunks: number;
  readonly grid: Grid;
  readonly addresses: readonly LaunchAddress[];
}

/** An address: that of a binding slot, or of the arena where there is none, plus bytes, plus strides by loop depth. */
export interface LaunchAddress {
  readonly slot: number | undefined;
  readonly offsetBytes: number;
  readonly strideBytes: readonly number[];
}

export type LaunchItem =
  | { readonly kind: "launch"; readonly launch: Launch }
  | {
      readonly kind: "loop";
      readonly count: number;
      readonly limit?: { readonly keeps: LoopLimit["keeps"]; readonly cell: LaunchAddress };
      readonly items: readonly LaunchItem[];
    };

/** The launches of a program, in loops as its schedule has them. */
export function planLaunches(program: Program, scratchStrides: readonly number[], limits: GridLimits): LaunchItem[] {
  const toAddress = ({ buffer, offsetBytes, strideBytes = [] }: BufferArgument): LaunchAddress => {
    const { placement } = program.buffers[buffer];
    return placement.kind === "binding"
      ? { slot: placement.slot, offsetBytes, strideBytes }
      : { slot: undefined, offsetBytes: placement.offsetBytes + offsetBytes, strideBytes };
  };
  const toLaunch = ({ kernel, chunks, args }: KernelCall): LaunchItem => ({
    kind: "launch",
    launch: {
      kernel,
      chunks,
      grid: gridOf(chunks, scratchStrides[kernel], limits),
      addresses: args.map(toAddress),
    },
  });
  const toItems = (item: ScheduleItem): LaunchItem[] => {
    if (item.kind !== "loop") return item.calls.map(toLaunch);
    const { count, limit } = item;
    const cell = limit && { keeps: limit.keeps, cell: toAddress(limit.cell) };
    return [{ kind: "loop", count, ...(cell && { limit: cell }), items: item.items.flatMap(toItems) }];
  };
  return program.schedule.flatMap(toItems);
}

/** Scratch memory that the launches need. */
export function scratchBytesOf(items: readonly LaunchItem[], scratchStrides: readonly number[]): number {
  return items.reduce((most, item) => {
    if (item.kind === "loop") return Math.max(most, scratchBytesOf(item.items, scratchStrides));
    const { kernel, grid } = item.launch;
    return Math.max(most, grid.blocks * grid.blockThreads * scratchStrides[kernel]);
  }, 0);
}

/**
 * Calls `launch` for every launch in order, with the turns of the loops around it, outermost first. `read` gives the
 * number that ends a loop early: it has to wait for what was launched before.
 */
export function runLaunches(
  items: readonly LaunchItem[],
  launch: (launch: Launch, turns: readonly number[]) => void,
  read: (cell: LaunchAddress, turns: readonly number[]) => number,
  turns: number[] = [],
): void {
  for (const item of items) {
    if (item.kind === "launch") {
      launch(item.launch, turns);
      continue;
    }
    const { count, limit } = item;
    const skipped = limit?.keeps === "last" ? Math.max(0, count - read(limit.cell, turns)) : 0;
    const depth = turns.length;
    for (let turn = skipped; turn < count; turn++) {
      if (limit?.keeps === "first" && turn >= read(limit.cell, turns)) break;
      turns[depth] = turn;
      runLaunches(item.items, launch, read, turns);
    }
    turns.length = depth;
  }
}
