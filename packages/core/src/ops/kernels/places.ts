// Matrices that are read once, at several places side by side. Where no instruction asks for memory ahead, only the
// processor does, which sees how addresses go on: of two places it sees both, and asks for more at a time. Measured
// with WebAssembly on one thread of an EPYC, weights of two bits: 0.77 of the bandwidth of reading with one place, 0.93
// and more with two that are half of a matrix apart; two that are 14 KB apart are slower than one.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";

/** How the blocks of a matrix are cut into places, and these into chunks, each with its part of every place. */
export interface Places {
  readonly count: number;
  /** Blocks of a place. */
  readonly length: number;
  readonly blocks: number;
  readonly perChunk: number;
  readonly chunks: number;
}

/** How many are read at once where that is sooner: joined vectors leave registers for the sums of two. */
export function placesAtOnce({ joinsVectors }: LowerContext): number {
  return joinsVectors ? 2 : 1;
}

/** At most `most` places of blocks, with about `perChunk` of all together in a chunk. */
export function placesOf(blocks: number, most: number, perChunk: number): Places {
  const count = Math.min(blocks, most);
  const length = Math.floor(blocks / count);
  const each = Math.max(1, Math.floor(perChunk / count));
  return { count, length, blocks, perChunk: each, chunks: Math.ceil(length / each) };
}

/**
 * Takes the blocks of chunk `chunk`: those of the first place as `block`, which stands for the ones `length` behind it,
 * too, `count` in all. With the last chunk come blocks that are left over, one by one.
 */
export function eachBlock(
  k: KernelBuilder,
  { count, length, blocks, perChunk, chunks }: Places,
  chunk: LoopValue,
  take: (block: LoopValue, count: number) => void,
): void {
  const first = k.mul(chunk, k.index(perChunk));
  k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(length)), 1, (block) => take(block, count));
  if (count * length === blocks) return;
  k.if(k.compare("eq", chunk, k.index(chunks - 1)), () => {
    k.loop(count * length, blocks, 1, (block) => take(block, 1));
    return [];
  });
}
