// ternarize as loops, in three calls: sums of magnitudes over fixed pieces, the scale from them in one order, and the
// packing, a block of 16 rows a chunk. Rounding to -1, 0 or 1 is two comparisons with half the scale: what lies exactly
// on it goes to the even code, 0.

import type { TernaryDtype } from "../../dtype.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, F64, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { TernaryLayout } from "../../storage.ts";
import { elementCount, ternaryLayout } from "../../storage.ts";
import { TERNARY_FLOOR } from "../ternarize.ts";
import { foldLanes } from "./lanes.ts";
import { wordsOfTrits } from "./trits.ts";

/** Elements of a partial sum. */
const PIECE = 16384;

export function lowerTernarize(context: LowerContext, { dtype }: { readonly dtype: TernaryDtype }): void {
  const { shape } = context.node.results[0]!;
  const layout = ternaryLayout(shape, dtype);
  const count = elementCount(shape);
  const pieces = Math.ceil(count / PIECE);
  const partials = context.temporary(pieces * 4);
  sumMagnitudes(context, partials, count, pieces);
  context.call("ternarize_scale", 1, pieces, [partials, context.result(0)], (k, [sums, w]) => {
    const [total] = k.for(0, pieces, 1, [k.constant(F64, 0)], (piece, [sum]) => [
      k.add(sum!, k.convert(F64, k.load(F32, k.offset(sums!, piece, 4)))),
    ]);
    const mean = k.convert(F32, k.div(total!, k.constant(F64, count)));
    k.store(k.max(mean, k.constant(F32, TERNARY_FLOOR)), w!, layout.scaleOffset);
    for (let byte = 4; byte < 64; byte += 4) k.store(k.i32(0), w!, layout.scaleOffset + byte);
  });
  const buffers = [context.input(0), context.result(0)];
  context.call("ternarize_pack", layout.blocks, 4 * count, buffers, (k, [x, w]) => packBlock(k, layout, x!, w!));
}

function sumMagnitudes(context: LowerContext, partials: BufferHandle, count: number, pieces: number): void {
  const { lanes } = context;
  const type = loopType("f32", lanes);
  context.call("ternarize_sum", pieces, count, [context.input(0), partials], (k, [x, sums]) => {
    const first = k.mul(k.chunk, k.index(PIECE));
    const length = k.min(k.index(PIECE), k.sub(k.index(count), first));
    const whole = k.sub(length, k.rem(length, k.index(4 * lanes)));
    const base = k.offset(x!, first, 4);
    const zeros = Array.from({ length: 4 }, () => k.constant(type, 0));
    const vectors = k.for(0, whole, 4 * lanes, zeros, (i, carried) => {
      const at = k.offset(base, i, 4);
      return carried.map((sum, v) => k.add(sum, k.unary("abs", k.load(type, at, v * lanes * 4))));
    });
    const folded = k.add(k.add(vectors[0]!, vectors[1]!), k.add(vectors[2]!, vectors[3]!));
    const [sum] = k.for(whole, length, 1, [foldLanes(k, folded, (a, b) => k.add(a, b))], (i, [partial]) => [
      k.add(partial!, k.unary("abs", k.load(F32, k.offset(base, i, 4)))),
    ]);
    k.store(sum!, k.offset(sums!, k.chunk, 4));
  });
}

/** What turns float32 weights into codes 0, 1, 2. */
interface Rounding {
  readonly half: LoopValue;
  readonly minusHalf: LoopValue;
}

// Four lanes whatever the target has: the word of a row in a group is four bytes, one for each of four columns.
const LANES = 4;

function packBlock(k: KernelBuilder, layout: TernaryLayout, x: LoopValue, w: LoopValue): void {
  const { rows, columns, groups, groupColumns, planes, blockBytes, scaleOffset } = layout;
  const half = k.mul(k.load(F32, w, scaleOffset), k.constant(F32, 0.5));
  const rounding: Rounding = { half, minusHalf: k.unary("neg", half) };
  const vectors: Rounding = { half: k.splat(half, LANES), minusHalf: k.splat(rounding.minusHalf, LANES) };
  const firstRow = k.mul(k.chunk, k.index(16));
  const rowsHere = k.min(k.index(16), k.sub(k.index(rows), firstRow));
  const block = k.offset(w, k.chunk, blockBytes);
  k.loop(0, rowsHere, 1, (row) => {
    const values = k.offset(x, k.add(firstRow, row), columns * 4);
    const words = k.offset(block, row, 4);
    k.loop(0, Math.floor(columns / groupColumns), 1, (group) => {
      const at = k.offset(values, group, groupColumns * 4);
      const codes = Array.from({ length: planes }, (_, plane) =>
        codesOf(k, k.load(loopType("f32", LANES), at, plane * 16), vectors),
      );
      k.store(joinCodes(k, codes), k.offset(words, group, 64), 0, "i8");
    });
    if (columns % groupColumns > 0) {
      const codes = lastPlanes(k, layout, values, rounding, vectors);
      k.store(joinCodes(k, codes), words, (groups - 1) * 64, "i8");
    }
  });
  k.loop(rowsHere, 16, 1, (row) => {
    const words = k.offset(block, row, 4);
    k.loop(0, groups, 1, (group) => k.store(k.i32(planes === 4 ? 0x55555555 : 0), k.offset(words, group, 64)));
  });
}

/** 2, 1 or 0 where a weight rounds to 1, 0 or -1. */
function codesOf(k: KernelBuilder, values: LoopValue, { half, minusHalf }: Rounding): LoopValue {
  const { lanes } = values.type;
  const code = (value: number): LoopValue => k.splat(k.i32(value), lanes);
  const below = k.select(k.compare("lt", values, minusHalf), code(0), code(1));
  return k.select(k.compare("gt", values, half), code(2), below);
}

/** Byte j from lane j of each plane: bits 2p and 2p + 1 from plane p, or all from five planes. */
function joinCodes(k: KernelBuilder, planes: readonly LoopValue[]): LoopValue {
  if (planes.length === 5) return wordsOfTrits(k, planes);
  return planes.reduceRight((joined, plane) => k.binary("or", k.shift("shl", joined, 2), plane));
}

/** The planes of the last group, with what storage.ts says of columns beyond the matrix. */
function lastPlanes(
  k: KernelBuilder,
  { columns, groupColumns, planes }: TernaryLayout,
  values: LoopValue,
  scalar: Rounding,
  vectors: Rounding,
): LoopValue[] {
  const first = columns - (columns % groupColumns);
  return Array.from({ length: planes }, (_, plane) => {
    const column = first + 4 * plane;
    if (column + LANES <= columns) return codesOf(k, k.load(loopType("f32", LANES), values, column * 4), vectors);
    let codes = k.splat(k.i32(planes === 4 ? 1 : 0), LANES);
    for (let j = 0; column + j < columns; j++) {
      codes = k.insert(codes, codesOf(k, k.load(F32, values, (column + j) * 4), scalar), j);
    }
    return codes;
  });
}
