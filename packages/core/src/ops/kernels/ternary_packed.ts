// Packed ternary weights times few rows of activations: bound by reading the weights, once, in order. Planes are masked
// and not shifted down; the sums of those that are too large are shifted once, at the end.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { BLOCK_ROWS, GROUP_BYTES, dotWords, finishRow, packedPlanes, planeShifts } from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";

/** Up to so many rows of activations, weights are used packed. */
export const PACKED_ROWS_MAX = 4;
/**
 * Bounds of the weights of a chunk, an eighth of all of them in between. A chunk of the smallest size takes a
 * microsecond from the cache; in memory, threads that alternate on pieces that short read at a third of the speed.
 */
const CHUNK_WEIGHTS = { least: 65_536, most: 1_048_576 } as const;
/** How far ahead of its use a line of weights is asked for: processors' own prefetching stops at pages of 4 KiB. */
const PREFETCH_BYTES = 4096;

/** How many sums are in registers at a time. */
interface Schedule {
  /** Rows of activations, and blocks of weights that are read side by side. */
  readonly rows: number;
  readonly blocks: number;
  /** By plane, which of a vector's sums its products are added to: planes of one shift may share. */
  readonly sumOf: readonly number[];
  /** By sum, how far it is shifted in the end. */
  readonly shifts: readonly number[];
}

function scheduleOf({ context, x, w, lanes, quads }: TernaryShapes): Schedule {
  const { registers, joinsVectors } = context;
  const budget = registers / 2;
  const vectors = joinsVectors ? quads / 2 : quads;
  const planes = planeShifts(w);
  const shared = [...new Set(planes)];
  const fitting = Math.max(1, Math.floor(budget / (vectors * shared.length)));
  const rows = Math.min(x.rows, fitting);
  const blocks = lanes === BLOCK_ROWS && 2 * rows <= fitting && w.blocks > 1 ? 2 : 1;
  // A sum for each plane shortens the chains of additions that depend on each other.
  const ownSums = rows * blocks * vectors * planes.length <= budget;
  return ownSums
    ? { rows, blocks, sumOf: planes.map((_, plane) => plane), shifts: planes }
    : { rows, blocks, sumOf: planes.map((shift) => shared.indexOf(shift)), shifts: shared };
}

export function lowerPacked(shapes: TernaryShapes): void {
  const { context, x, w } = shapes;
  const schedule = scheduleOf(shapes);
  const { least, most } = CHUNK_WEIGHTS;
  const chunkWeights = Math.min(Math.max((w.rows * w.columns) / 8, least), most);
  const blocksOfWork = Math.max(1, Math.floor(chunkWeights / (BLOCK_ROWS * x.columns)));
  const blocksPerChunk = Math.ceil(blocksOfWork / schedule.blocks) * schedule.blocks;
  const chunks = Math.ceil(w.blocks / blocksPerChunk);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear_packed", chunks, work, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    const first = k.mul(k.chunk, k.index(blocksPerChunk));
    const count = k.min(k.index(blocksPerChunk), k.sub(k.index(w.blocks), first));
    // Side by side are the parts of a chunk, so that each is read in order.
    const part = k.div(count, k.index(schedule.blocks));
    k.loop(0, part, 1, (i) => {
      const blocks = Array.from({ length: schedule.blocks }, (_, b) => k.add(k.add(first, i), k.mul(part, k.index(b))));
      takeBlocks(k, shapes, schedule, operands, blocks);
    });
    if (w.blocks % schedule.blocks === 0) return;
    k.loop(k.mul(part, k.index(schedule.blocks)), count, 1, (i) =>
      takeBlocks(k, shapes, schedule, operands, [k.add(first, i)]),
    );
  });
}

/** All rows of activations times some blocks. */
function takeBlocks(
  k: KernelBuilder,
  shapes: TernaryShapes,
  schedule: Schedule,
  operands: TernaryOperands,
  blocks: readonly LoopValue[],
): void {
  const { x, quads } = shapes;
  for (let firstRow = 0; firstRow < x.rows; firstRow += schedule.rows) {
    const rows = Math.min(schedule.rows, x.rows - firstRow);
    const sums = packedSums(k, shapes, { ...schedule, rows }, operands, k.index(firstRow), blocks);
    for (let row = 0; row < rows; row++) {
      blocks.forEach((block, b) => {
        const at = (row * blocks.length + b) * quads;
        finishRow(k, shapes, operands, k.index(firstRow + row), block, sums.slice(at, at + quads));
      });
    }
  }
}

/** The sums of activations times codes: [row][block][quad]. */
function packedSums(
  k: KernelBuilder,
  shapes: TernaryShapes,
  { rows, sumOf, shifts }: Schedule,
  operands: TernaryOperands,
  firstRow: LoopValue,
  blocks: readonly LoopValue[],
): LoopValue[] {
  const { quads, lanes, x, w } = shapes;
  const words = loopType("i32", lanes);
  const codes = k.offset(operands.x, firstRow, x.rowBytes);
  const weights = blocks.map((block) => k.offset(operands.w, block, w.blockBytes));
  const outputs = rows * blocks.length * quads;
  const zeros = Array.from({ length: outputs * shifts.length }, () => k.constant(words, 0));
  const sums = k.for(0, w.groups, 1, zeros, (group, carried) => {
    const out = [...carried];
    const activations = k.offset(codes, group, w.groupColumns);
    const fours = Array.from({ length: rows }, (_, row) =>
      sumOf.map((_, plane) => k.loadSplat(words, activations, row * x.rowBytes + 4 * plane)),
    );
    weights.forEach((base, b) => {
      const at = k.offset(base, group, GROUP_BYTES);
      k.prefetch(at, PREFETCH_BYTES);
      for (let quad = 0; quad < quads; quad++) {
        const planes = packedPlanes(k, shapes, k.load(words, at, quad * lanes * 4));
        planes.forEach(({ codes: plane }, p) => {
          for (let row = 0; row < rows; row++) {
            const sum = ((row * blocks.length + b) * quads + quad) * shifts.length + sumOf[p]!;
            out[sum] = dotWords(k, fours[row]![p]!, plane, out[sum]!);
          }
        });
      }
    });
    return out;
  });
  return Array.from({ length: outputs }, (_, output) =>
    shifts
      .map((shift, i) => k.shift("shr_s", sums[output * shifts.length + i]!, shift))
      .reduce((total, sum) => k.add(total, sum)),
  );
}
