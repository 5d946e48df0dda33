// What a block of a matrix product asks for while it multiplies, so that memory works meanwhile: the panel of B after
// the present one, which lies in a far cache where all of B was packed before, or else what is packed next; the rows
// of A after the present ones, where they are read in place; and the block of the result that it adds to. Rows of these
// lie apart, which processors do not follow by themselves. Products whose operands pass through the caches spent up to
// a quarter of their time waiting. Left out: what other threads take.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { LINE_BYTES } from "../../storage.ts";
import type { PanelStrides } from "./gemm_pack.ts";
import { UNROLL } from "./register_block.ts";
import { askRow } from "./row_states.ts";

/** What each turn of a block's loop asks for, by its number. */
export type Ask = (turn: LoopValue) => void;

/** One of the blocks that share the requests for a panel: its number, how many they are, and its steps. */
export interface AskingBlock {
  readonly number: LoopValue;
  readonly count: number;
  readonly depth: number;
}

/** Asks for a packed panel of so many bytes. */
export function askPacked(k: KernelBuilder, panel: LoopValue, sizeBytes: number, block: AskingBlock): Ask {
  const turns = Math.floor(block.depth / UNROLL);
  const blockBytes = Math.ceil(sizeBytes / block.count);
  const turnBytes = Math.ceil(blockBytes / turns);
  const own = k.offset(panel, block.number, blockBytes);
  return (turn) => askRun(k, k.offset(own, turn, turnBytes), turnBytes);
}

/** Asks for `width` columns of B that are not packed yet, over as many steps as the block has. */
export function askColumns(
  k: KernelBuilder,
  from: LoopValue,
  { element, depth }: PanelStrides,
  width: number,
  block: AskingBlock,
): Ask {
  const turns = Math.floor(block.depth / UNROLL);
  if (depth < element) {
    const columns = Math.ceil(width / block.count);
    const own = k.offset(from, block.number, columns * element);
    return (turn) => {
      const at = k.offset(own, turn, UNROLL * depth);
      for (let column = 0; column < columns; column++) k.prefetch(at, column * element);
    };
  }
  const steps = Math.ceil(block.depth / block.count);
  const own = k.offset(from, block.number, steps * depth);
  return (turn) => {
    const step = k.div(k.mul(turn, k.index(steps)), k.index(turns));
    askRun(k, k.offset(own, step, depth), width * element);
  };
}

/** Lines of addresses that differ by a multiple of it share a few places of the first cache. */
const SET_BYTES = 4096;

/**
 * Asks for `rows` rows of A, each in one piece: in every turn for as much as it reads of such rows. Undefined where a
 * row is not in one piece, and where rows lie so that those asked for would push the present ones out.
 */
export function askRows(
  k: KernelBuilder,
  from: LoopValue,
  { element, depth }: PanelStrides,
  rows: number,
): Ask | undefined {
  if (element < depth || element % SET_BYTES === 0) return undefined;
  const turnsOfLine = LINE_BYTES / (UNROLL * depth);
  const each = Math.ceil(rows / turnsOfLine);
  return (turn) => {
    const line = k.offset(from, k.div(turn, k.index(turnsOfLine)), LINE_BYTES);
    const first = k.offset(line, k.rem(turn, k.index(turnsOfLine)), each * element);
    for (let row = 0; row < each; row++) k.prefetch(first, row * element);
  };
}

/** Asks for bytes that lie side by side. */
export function askRun(k: KernelBuilder, from: LoopValue, sizeBytes: number): void {
  askRow(k, from, 0, sizeBytes / 4);
}
