// dequantize as loops: packed codes to float32.

import { isBlocked, isTernary } from "../../dtype.ts";
import type { TernaryDtype } from "../../dtype.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { TernaryLayout } from "../../storage.ts";
import { q8Layout, ternaryLayout } from "../../storage.ts";
import { dequantizeBlocks } from "./blocks.ts";
import { tritsOfWords } from "./trits.ts";

export function lowerDequantize(context: LowerContext): void {
  const { dtype } = context.node.inputs[0]!;
  if (isTernary(dtype)) dequantizeTernary(context, dtype);
  else if (isBlocked(dtype)) dequantizeBlocks(context, dtype);
  else dequantizeQ8(context);
}

function dequantizeQ8(context: LowerContext): void {
  const layout = q8Layout(context.node.inputs[0]!.shape);
  const { rows, columns, rowBytes } = layout;
  const { lanes } = context;
  const rowsPerChunk = Math.max(1, Math.floor(context.chunkElements / columns));
  const whole = columns - (columns % lanes);
  const buffers = [context.input(0), context.result(0)];
  context.call("dequantize_q8", Math.ceil(rows / rowsPerChunk), 2 * rows * columns, buffers, (k, [q, y]) => {
    const first = k.mul(k.chunk, k.index(rowsPerChunk));
    const last = k.min(k.add(first, k.index(rowsPerChunk)), k.index(rows));
    k.loop(first, last, 1, (row) => {
      const scale = k.load(F32, k.offset(q!, row, 4), layout.scalesOffset);
      const codes = k.offset(q!, row, rowBytes);
      const values = k.offset(y!, row, columns * 4);
      const piece = (column: LoopValue, width: number): void => {
        const code = k.load(loopType("i32", width), k.add(codes, column), 0, "i8");
        k.store(k.mul(k.convert(loopType("f32", width), code), k.splat(scale, width)), k.offset(values, column, 4));
      };
      k.loop(0, whole, lanes, (column) => piece(column, lanes));
      k.loop(whole, columns, 1, (column) => piece(column, 1));
    });
  });
}

// Four lanes whatever the target has: the word of a row in a group is four bytes, one for each of four columns.
const WORD = loopType("i32", 4);
const VALUES = loopType("f32", 4);

/** One chunk is a block of 16 rows; it is walked row by row, so that results are written in order. */
function dequantizeTernary(context: LowerContext, dtype: TernaryDtype): void {
  const layout = ternaryLayout(context.node.inputs[0]!.shape, dtype);
  const { rows, columns, blocks, blockBytes, groupColumns } = layout;
  const wholeGroups = Math.floor(columns / groupColumns);
  context.call("dequantize_ternary", blocks, 2 * rows * columns, [context.input(0), context.result(0)], (k, [w, y]) => {
    const scale = k.load(F32, w!, layout.scaleOffset);
    const scales = k.splat(scale, 4);
    const firstRow = k.mul(k.chunk, k.index(16));
    k.loop(0, k.min(k.index(16), k.sub(k.index(rows), firstRow)), 1, (row) => {
      const words = k.offset(k.offset(w!, k.chunk, blockBytes), row, 4);
      const values = k.offset(y!, k.add(firstRow, row), columns * 4);
      k.loop(0, wholeGroups, 1, (group) => {
        const word = k.load(WORD, k.offset(words, group, 64), 0, "u8");
        const out = k.offset(values, group, groupColumns * 4);
        groupValues(k, layout, word, scales).forEach((four, plane) => k.store(four, out, plane * 16));
      });
      if (columns % groupColumns > 0) lastColumns(k, layout, words, values, scales);
    });
  });
}

/** The weights of each four columns of a group, (code - 1) * scale: exact in float32. */
function groupValues(k: KernelBuilder, { planes }: TernaryLayout, word: LoopValue, scales: LoopValue): LoopValue[] {
  const codes =
    planes === 5
      ? tritsOfWords(k, word)
      : [0, 2, 4, 6].map((shift) => k.binary("and", k.shift("shr_u", word, shift), k.splat(k.i32(3), 4)));
  return codes.map((code) => k.sub(k.mul(k.convert(VALUES, code), scales), scales));
}

/** The columns behind the last whole group. */
function lastColumns(
  k: KernelBuilder,
  layout: TernaryLayout,
  words: LoopValue,
  values: LoopValue,
  scales: LoopValue,
): void {
  const { columns, groupColumns } = layout;
  const group = Math.floor(columns / groupColumns);
  const fours = groupValues(k, layout, k.load(WORD, words, group * 64, "u8"), scales);
  for (let column = group * groupColumns; column < columns; column += 4) {
    const four = fours[(column % groupColumns) / 4]!;
    if (column + 4 <= columns) {
      k.store(four, values, column * 4);
    } else {
      for (let j = 0; column + j < columns; j++) k.store(k.extract(four, j), values, (column + j) * 4);
    }
  }
}
