// ternary_linear as loops over the 2-bit layout of storage.ts. With t = code - 1 and codes 0, 1, 2:
//   sum q t = sum q code - sum q,   and quantize_activations has stored sum q.
// A 32-bit word of a block holds one row's codes for 16 columns, four columns to a bit plane, so that four activations
// repeated in every lane meet four codes of each of 16 rows in one instruction (dot4).
//
// Few rows of activations (decoding): codes are used as they come, straight from memory. Two planes are masked but not
// shifted down; their sums are four times too large, which one shift at the end undoes. Many rows: a block is unpacked
// once to bytes in scratch, and a register block of rows runs over it.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { Q8Layout, TernaryLayout } from "../../storage.ts";
import { q8Layout, ternaryLayout } from "../../storage.ts";

const BLOCK_ROWS = 16;
/** Up to so many rows of activations, weights are used packed. */
const PACKED_ROWS_MAX = 4;
/**
 * Bounds of the weights of a chunk when packed, an eighth of all of them in between. A chunk of the smallest size takes
 * a microsecond from the cache; in memory, threads that alternate on pieces that short read at a third of the speed.
 */
const PACKED_CHUNK_WEIGHTS = { least: 65_536, most: 1_048_576 } as const;
/** Rows of activations of a chunk, over which unpacking a block is spread. */
const CHUNK_ROWS = 128;
/** Rows of activations in a register block. */
const STEP_ROWS = 2;

interface Shapes {
  readonly x: Q8Layout;
  readonly w: TernaryLayout;
  /** Vectors that hold the words of a block's 16 rows. */
  readonly quads: number;
  readonly lanes: number;
}

/** Base addresses, and factors and sums are found through the layouts. */
interface Operands {
  readonly x: LoopValue;
  readonly w: LoopValue;
  readonly y: LoopValue;
}

export function lowerTernaryLinear(context: LowerContext): void {
  const [x, w] = context.node.inputs;
  const lanes = Math.min(context.lanes, BLOCK_ROWS);
  const shapes: Shapes = { x: q8Layout(x!.shape), w: ternaryLayout(w!.shape), quads: BLOCK_ROWS / lanes, lanes };
  if (shapes.x.rows <= PACKED_ROWS_MAX) lowerPacked(context, shapes);
  else lowerUnpacked(context, shapes);
}

function lowerPacked(context: LowerContext, shapes: Shapes): void {
  const { x, w } = shapes;
  const { least, most } = PACKED_CHUNK_WEIGHTS;
  const chunkWeights = Math.min(Math.max((w.rows * w.columns) / 8, least), most);
  const blocksPerChunk = Math.max(1, Math.floor(chunkWeights / (BLOCK_ROWS * x.columns)));
  const chunks = Math.ceil(w.blocks / blocksPerChunk);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear_packed", chunks, work, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: Operands = { x: xBase!, w: wBase!, y: yBase! };
    const first = k.mul(k.chunk, k.index(blocksPerChunk));
    const last = k.min(k.add(first, k.index(blocksPerChunk)), k.index(w.blocks));
    k.loop(first, last, 1, (block) => {
      k.loop(0, x.rows, 1, (row) => {
        const sums = packedSums(
          k,
          shapes,
          k.offset(operands.x, row, x.rowBytes),
          k.offset(operands.w, block, w.blockBytes),
        );
        finishRow(k, shapes, operands, row, block, sums);
      });
    });
  });
}

/** The sums of q code over a row of activations, for the 16 rows of a block. */
function packedSums(k: KernelBuilder, shapes: Shapes, codes: LoopValue, block: LoopValue): LoopValue[] {
  const { quads, lanes, w } = shapes;
  const words = loopType("i32", lanes);
  const low = k.splat(k.i32(0x03030303), lanes);
  const next = k.splat(k.i32(0x0c0c0c0c), lanes);
  const zeros = Array.from({ length: 2 * quads }, () => k.constant(words, 0));
  const sums = k.for(0, w.groups, 1, zeros, (group, carried) => {
    const four = [0, 4, 8, 12].map((offset) => k.loadSplat(words, k.offset(codes, group, 16), offset));
    const at = k.offset(block, group, 64);
    const out: LoopValue[] = [];
    for (let quad = 0; quad < quads; quad++) {
      const word = k.load(words, at, quad * lanes * 4);
      const upper = k.shift("shr_u", word, 4);
      const whole = dot(
        k,
        four[2]!,
        k.binary("and", upper, low),
        dot(k, four[0]!, k.binary("and", word, low), carried[2 * quad]!),
      );
      const shifted = dot(
        k,
        four[3]!,
        k.binary("and", upper, next),
        dot(k, four[1]!, k.binary("and", word, next), carried[2 * quad + 1]!),
      );
      out.push(whole, shifted);
    }
    return out;
  });
  return Array.from({ length: quads }, (_, quad) => k.add(sums[2 * quad]!, k.shift("shr_s", sums[2 * quad + 1]!, 2)));
}

function dot(k: KernelBuilder, activations: LoopValue, codes: LoopValue, sum: LoopValue): LoopValue {
  const bytes = loopType("i8", sum.type.lanes * 4);
  return k.dot4(k.bitcast(bytes, activations), k.bitcast(bytes, codes), sum);
}

function lowerUnpacked(context: LowerContext, shapes: Shapes): void {
  const { x, w } = shapes;
  const rowChunks = Math.ceil(x.rows / CHUNK_ROWS);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear", rowChunks * w.blocks, work, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: Operands = { x: xBase!, w: wBase!, y: yBase! };
    const block = k.rem(k.chunk, k.index(w.blocks));
    const first = k.mul(k.div(k.chunk, k.index(w.blocks)), k.index(CHUNK_ROWS));
    const count = k.min(k.index(CHUNK_ROWS), k.sub(k.index(x.rows), first));
    const panel = k.allocateScratch(w.groups * 256);
    unpackBlock(k, shapes, k.offset(operands.w, block, w.blockBytes), panel);
    const whole = k.add(first, k.sub(count, k.rem(count, k.index(STEP_ROWS))));
    const rows = (row: LoopValue, height: number): void => {
      const sums = panelSums(k, shapes, k.offset(operands.x, row, x.rowBytes), panel, height);
      for (let i = 0; i < height; i++) finishRow(k, shapes, operands, k.add(row, k.index(i)), block, sums[i]!);
    };
    k.loop(first, whole, STEP_ROWS, (row) => rows(row, STEP_ROWS));
    k.loop(whole, k.add(first, count), 1, (row) => rows(row, 1));
  });
}

/** Codes 0, 1, 2 as bytes: [group, plane, row, column of the plane]. */
function unpackBlock(k: KernelBuilder, { quads, lanes, w }: Shapes, block: LoopValue, panel: LoopValue): void {
  const mask = k.splat(k.i32(0x03030303), lanes);
  k.loop(0, w.groups, 1, (group) => {
    const from = k.offset(block, group, 64);
    const to = k.offset(panel, group, 256);
    for (let quad = 0; quad < quads; quad++) {
      const word = k.load(loopType("i32", lanes), from, quad * lanes * 4);
      for (let plane = 0; plane < 4; plane++) {
        k.store(k.binary("and", k.shift("shr_u", word, 2 * plane), mask), to, plane * 64 + quad * lanes * 4);
      }
    }
  });
}

/** The sums of q code for `height` rows of activations and the 16 rows of a block: [height][quads]. */
function panelSums(
  k: KernelBuilder,
  { quads, lanes, x, w }: Shapes,
  codes: LoopValue,
  panel: LoopValue,
  height: number,
): LoopValue[][] {
  const words = loopType("i32", lanes);
  const zeros = Array.from({ length: height * quads }, () => k.constant(words, 0));
  const sums = k.for(0, w.groups, 1, zeros, (group, carried) => {
    const out = [...carried];
    const activations = k.offset(codes, group, 16);
    const from = k.offset(panel, group, 256);
    for (let plane = 0; plane < 4; plane++) {
      const four = Array.from({ length: height }, (_, i) =>
        k.loadSplat(words, activations, i * x.rowBytes + plane * 4),
      );
      for (let quad = 0; quad < quads; quad++) {
        const weights = k.load(words, from, plane * 64 + quad * lanes * 4);
        four.forEach((value, i) => (out[i * quads + quad] = dot(k, value, weights, out[i * quads + quad]!)));
      }
    }
    return out;
  });
  return Array.from({ length: height }, (_, i) => sums.slice(i * quads, (i + 1) * quads));
}

/** Undoes the bias of the codes, applies both scales, and writes what lies within the result. */
function finishRow(
  k: KernelBuilder,
  { lanes, x, w }: Shapes,
  operands: Operands,
  row: LoopValue,
  block: LoopValue,
  sums: readonly LoopValue[],
): void {
  const ofRow = k.offset(operands.x, row, 4);
  const bias = k.splat(k.load(I32, ofRow, x.sumsOffset), lanes);
  const scale = k.mul(k.load(F32, ofRow, x.scalesOffset), k.load(F32, operands.w, w.scaleOffset));
  const scales = k.splat(scale, lanes);
  const values = sums.map((sum) => k.mul(k.convert(loopType("f32", lanes), k.sub(sum, bias)), scales));
  const to = k.offset(k.offset(operands.y, row, w.rows * 4), block, BLOCK_ROWS * 4);
  const write = (count: number) => (): LoopValue[] => {
    values.forEach((value, quad) => storeUpTo(k, value, to, quad * lanes, count));
    return [];
  };
  const rest = w.rows % BLOCK_ROWS;
  if (rest === 0) write(BLOCK_ROWS)();
  else if (w.blocks === 1) write(rest)();
  else k.if(k.compare("eq", block, k.index(w.blocks - 1)), write(rest), write(BLOCK_ROWS));
}

/** Stores the lanes of a vector that begins at element `first` of a run of `count`. */
function storeUpTo(k: KernelBuilder, value: LoopValue, to: LoopValue, first: number, count: number): void {
  const { lanes } = value.type;
  if (first + lanes <= count) {
    k.store(value, to, first * 4);
    return;
  }
  for (let lane = 0; first + lane < count; lane++) k.store(k.extract(value, lane), to, (first + lane) * 4);
}
