// Blocks of rows: how a matrix that nobody needs as a whole is worked through.

import { elementCount } from "@fidelity/core";

/** Elements of a block at most: 256 KiB of float32, a good part of a second-level cache. */
const BLOCK_ELEMENTS = 1 << 16;

/** Blocks of fewer elements are not worth a turn of a loop. */
const MIN_BLOCK_ELEMENTS = 1 << 12;

/**
 * How many rows of a matrix of this shape make up a block: a divisor of the number of rows. Nothing for a matrix that
 * is one block itself, for one whose number of rows has no fitting divisor, and for other tensors. A block may have
 * `mostRows` even if it is large then.
 */
export function blockRows(shape: readonly number[], mostRows = 1): number | undefined {
  const [rows, columns] = shape;
  if (shape.length !== 2 || elementCount(shape) <= BLOCK_ELEMENTS) return undefined;
  const most = Math.max(mostRows, Math.floor(BLOCK_ELEMENTS / columns!));
  for (let count = Math.min(most, Math.floor(rows! / 2)); count >= 1; count--) {
    if (rows! % count !== 0) continue;
    return count * columns! >= MIN_BLOCK_ELEMENTS ? count : undefined;
  }
  return undefined;
}
