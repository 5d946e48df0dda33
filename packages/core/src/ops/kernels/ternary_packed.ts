// Packed ternary weights times few rows of activations: bound by reading the weights, once, in order. Planes are masked
// and not shifted down; sums of codes that are too large are divided once, at the end.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import {
  BLOCK_ROWS,
  GROUP_BYTES,
  PLANE_MOST,
  dotWords,
  finishRow,
  packedPlanes,
  planeScales,
  sumGroups,
  unscale,
} from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";

/** Up to so many times, taking a block apart anew for other rows costs less than to unpack it to memory. */
const PASSES_MAX = 3;
/**
 * Bounds of the weights of a chunk, an eighth of all of them in between. A chunk of the smallest size takes a
 * microsecond from the cache; in memory, threads that alternate on pieces that short read at a third of the speed.
 */
const CHUNK_WEIGHTS = { least: 65_536, most: 1_048_576 } as const;
/** How far ahead of its use a line of weights is asked for: processors' own prefetching stops at pages of 4 KiB. */
const PREFETCH_BYTES = 8192;

/** How many sums are in registers at a time. */
interface Schedule {
  /** Rows of activations that share what is read and masked of the weights. */
  readonly rows: number;
  /** By plane, which of a vector's sums its products are added to: planes of one scale may share. */
  readonly sumOf: readonly number[];
  /** By sum, the scale of its codes. */
  readonly scales: readonly number[];
}

/** Whether there are few rows of activations. */
export function fitsPacked(shapes: TernaryShapes): boolean {
  return shapes.x.rows <= PASSES_MAX * scheduleOf(shapes).rows;
}

function scheduleOf(shapes: TernaryShapes): Schedule {
  const { context, x, quads } = shapes;
  const { registers, joinsVectors } = context;
  const vectors = joinsVectors ? quads / 2 : quads;
  const planes = planeScales(shapes);
  const shared = [...new Set(planes)];
  const rows = Math.min(x.rows, Math.max(1, Math.floor(registers / 2 / (vectors * shared.length))));
  // A sum for each plane shortens the chains of additions that wait for each other.
  const ownSums = rows * vectors * planes.length <= registers / 4;
  return ownSums
    ? { rows, sumOf: planes.map((_, plane) => plane), scales: planes }
    : { rows, sumOf: planes.map((scale) => shared.indexOf(scale)), scales: shared };
}

export function lowerPacked(shapes: TernaryShapes): void {
  const { context, x, w, quads } = shapes;
  const schedule = scheduleOf(shapes);
  const { least, most } = CHUNK_WEIGHTS;
  const chunkWeights = Math.min(Math.max((w.rows * w.columns) / 8, least), most);
  const blocksPerChunk = Math.max(1, Math.floor(chunkWeights / (BLOCK_ROWS * x.columns)));
  const chunks = Math.ceil(w.blocks / blocksPerChunk);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear_packed", chunks, work, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    const first = k.mul(k.chunk, k.index(blocksPerChunk));
    const last = k.min(k.add(first, k.index(blocksPerChunk)), k.index(w.blocks));
    k.loop(first, last, 1, (block) => {
      for (let firstRow = 0; firstRow < x.rows; firstRow += schedule.rows) {
        const rows = Math.min(schedule.rows, x.rows - firstRow);
        const codes = k.add(operands.x, k.index(firstRow * x.rowBytes));
        const sums = packedSums(k, shapes, { ...schedule, rows }, codes, k.offset(operands.w, block, w.blockBytes));
        for (let row = 0; row < rows; row++) {
          finishRow(k, shapes, operands, k.index(firstRow + row), block, sums.slice(row * quads, (row + 1) * quads));
        }
      }
    });
  });
}

/** The sums of rows of activations times the codes of a block: [row][quad]. */
function packedSums(
  k: KernelBuilder,
  shapes: TernaryShapes,
  { rows, sumOf, scales }: Schedule,
  codes: LoopValue,
  block: LoopValue,
): LoopValue[] {
  const { quads, lanes, x, w } = shapes;
  const words = loopType("i32", lanes);
  const planeCounts = scales.map((scale, sum) => scale * sumOf.filter((of) => of === sum).length);
  const most = PLANE_MOST * Math.max(...planeCounts);
  const sums = sumGroups(k, shapes, rows * quads * scales.length, most, (group, carried) => {
    const out = [...carried];
    const activations = k.offset(codes, group, w.groupColumns);
    const load = (row: number, plane: number): LoopValue =>
      k.loadSplat(words, activations, row * x.rowBytes + 4 * plane);
    // Several vectors share a value; for a single one it can be an operand that is read from memory.
    const shared = quads > 1 && Array.from({ length: rows }, (_, row) => sumOf.map((_sum, plane) => load(row, plane)));
    const at = k.offset(block, group, GROUP_BYTES);
    k.prefetch(at, PREFETCH_BYTES);
    for (let quad = 0; quad < quads; quad++) {
      const planes = packedPlanes(k, shapes, k.load(words, at, quad * lanes * 4));
      planes.forEach((plane, p) => {
        for (let row = 0; row < rows; row++) {
          const sum = (row * quads + quad) * scales.length + sumOf[p]!;
          out[sum] = dotWords(k, shared ? shared[row]![p]! : load(row, p), plane.codes, out[sum]!);
        }
      });
    }
    return out;
  });
  return Array.from({ length: rows * quads }, (_, output) =>
    scales
      .map((scale, i) => unscale(k, sums[output * scales.length + i]!, scale))
      .reduce((total, sum) => k.add(total, sum)),
  );
}
