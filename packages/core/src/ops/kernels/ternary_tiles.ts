// Ternary weights times many rows of activations, with matrix registers (TileInst of loop/ir.ts). First, activations
// are brought into tiles of 16 rows and 64 columns, each in 1 KiB of its own; then, as with vectors, blocks of weights
// are unpacked to bytes, whose planes are the rows of the right operand as they are. Four tiles of sums, of 32 rows of
// activations and two blocks, take two loads and two products each step.

import type { KernelBuilder } from "../../loop/builder.ts";
import { I32, TILE, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { BufferHandle } from "../../op.ts";
import { roundUp } from "../../storage.ts";
import { BLOCK_ROWS, finishRow } from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";
import { CHUNK_ROWS, unpackBlocks } from "./ternary_panel.ts";
import type { Panel } from "./ternary_panel.ts";

const TILE_BYTES = TILE.rows * TILE.rowBytes;
/** Tiles of sums in a step, down and across. */
const STEP = { rows: 2, blocks: 2 } as const;

/** Numbers of the matrix registers: four of sums, then the operands. */
const SUMS = (row: number, block: number): number => STEP.blocks * row + block;
const LEFT = (row: number): number => 4 + row;
const RIGHT = (block: number): number => 6 + block;

export function lowerTiles(shapes: TernaryShapes): void {
  const { context, x, w } = shapes;
  // Planes of a panel, and so four times as many columns, up to whole tiles.
  const steps = Math.ceil((w.groups * w.planes) / TILE.rows);
  const rowTiles = roundUp(Math.ceil(x.rows / TILE.rows), STEP.rows);
  const tiled = context.temporary(rowTiles * steps * TILE_BYTES);
  tileActivations(shapes, tiled, rowTiles, steps);
  const blocks = Math.min(STEP.blocks, w.blocks);
  const rowChunks = Math.ceil(x.rows / CHUNK_ROWS);
  const blockChunks = Math.ceil(w.blocks / blocks);
  const buffers = [context.input(0), context.input(1), context.result(0), tiled];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear_tiles", rowChunks * blockChunks, work, buffers, (k, [xBase, wBase, yBase, left]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    // The last chunk begins at a block of the one before where their number is odd, and writes the same again.
    const block = k.min(k.mul(k.rem(k.chunk, k.index(blockChunks)), k.index(blocks)), k.index(w.blocks - blocks));
    const first = k.mul(k.div(k.chunk, k.index(blockChunks)), k.index(CHUNK_ROWS));
    const end = k.min(k.add(first, k.index(CHUNK_ROWS)), k.index(x.rows));
    const panel = unpackBlocks(k, shapes, operands, block, blocks, steps * TILE.rows);
    clearRest(k, shapes, panel, steps);
    const sums = k.allocateScratch(STEP.rows * blocks * TILE_BYTES);
    k.loop(first, end, STEP.rows * TILE.rows, (row) => {
      const tile = k.div(row, k.index(TILE.rows));
      multiply(k, k.offset(left!, tile, steps * TILE_BYTES), panel, steps, sums);
      const height = k.min(k.index(STEP.rows * TILE.rows), k.sub(end, row));
      k.loop(0, height, 1, (i) => {
        for (let b = 0; b < blocks; b++) {
          // Sums lie as [row][block][16].
          const at = k.offset(sums, i, blocks * TILE.rowBytes);
          const vectors = Array.from({ length: shapes.quads }, (_, quad) =>
            k.load(loopType("i32", shapes.lanes), at, b * TILE.rowBytes + quad * shapes.lanes * 4),
          );
          finishRow(k, shapes, operands, k.add(row, i), k.add(block, k.index(b)), vectors);
        }
      });
    });
  });
}

/** Activations as [tile of rows][step][row][64 columns]; what is beyond them is 0. */
function tileActivations(shapes: TernaryShapes, tiled: BufferHandle, rowTiles: number, steps: number): void {
  const { context, x, lanes } = shapes;
  const words = loopType("i32", lanes);
  const wholeSteps = Math.floor(x.rowBytes / TILE.rowBytes);
  context.call(
    "ternary_linear_activations",
    rowTiles,
    rowTiles * steps * TILE_BYTES,
    [context.input(0), tiled],
    (k, [q, to]) => {
      const copyRow = (row: LoopValue, out: LoopValue, isRow: boolean): void => {
        const from = k.offset(q!, row, x.rowBytes);
        const piece = (step: LoopValue, limit: number): void => {
          for (let byte = 0; byte < TILE.rowBytes; byte += 4 * lanes) {
            const at = k.offset(out, step, TILE_BYTES);
            if (byte + 4 * lanes <= limit) {
              k.store(k.load(words, k.offset(from, step, TILE.rowBytes), byte), at, byte);
              continue;
            }
            for (let word = byte; word < byte + 4 * lanes; word += 4) {
              k.store(word < limit ? k.load(I32, k.offset(from, step, TILE.rowBytes), word) : k.i32(0), at, word);
            }
          }
        };
        const whole = isRow ? Math.min(wholeSteps, steps) : 0;
        k.loop(0, whole, 1, (step) => piece(step, TILE.rowBytes));
        k.loop(whole, steps, 1, (step) => piece(step, isRow ? x.rowBytes % TILE.rowBytes : 0));
      };
      const first = k.mul(k.chunk, k.index(TILE.rows));
      const rows = k.sub(k.min(k.add(first, k.index(TILE.rows)), k.max(k.index(x.rows), first)), first);
      const tile = k.offset(to!, k.chunk, steps * TILE_BYTES);
      k.loop(0, rows, 1, (i) => copyRow(k.add(first, i), k.offset(tile, i, TILE.rowBytes), true));
      k.loop(rows, TILE.rows, 1, (i) => copyRow(first, k.offset(tile, i, TILE.rowBytes), false));
    },
  );
}

/** Scratch holds anything; beyond the last plane it is multiplied by zeros, and must hold the same in every run. */
function clearRest(k: KernelBuilder, { lanes, w }: TernaryShapes, panel: Panel, steps: number): void {
  const zero = k.constant(loopType("i32", lanes), 0);
  const from = w.groups * w.planes * panel.lineBytes;
  for (let byte = from; byte < steps * TILE.rows * panel.lineBytes; byte += 4 * lanes) k.store(zero, panel.base, byte);
}

/** The sums of 32 rows of activations and the blocks of a panel, to scratch: [row][block][16]. */
function multiply(k: KernelBuilder, left: LoopValue, panel: Panel, steps: number, sums: LoopValue): void {
  const rows = Array.from({ length: STEP.rows }, (_, row) => row);
  const blocks = Array.from({ length: panel.blocks }, (_, block) => block);
  for (const row of rows) for (const block of blocks) k.tileZero(SUMS(row, block));
  k.loop(0, steps, 1, (step) => {
    const lines = k.offset(panel.base, step, TILE.rows * panel.lineBytes);
    for (const block of blocks) k.tileLoad(RIGHT(block), lines, block * TILE.rowBytes, panel.lineBytes);
    for (const row of rows) {
      k.tileLoad(LEFT(row), k.offset(left, step, TILE_BYTES), row * steps * TILE_BYTES, TILE.rowBytes);
      for (const block of blocks) k.tileMultiply(SUMS(row, block), LEFT(row), RIGHT(block));
    }
  });
  const rowBytes = panel.blocks * TILE.rowBytes;
  for (const row of rows) {
    for (const block of blocks) {
      k.tileStore(SUMS(row, block), sums, row * BLOCK_ROWS * rowBytes + block * TILE.rowBytes, rowBytes);
    }
  }
}
