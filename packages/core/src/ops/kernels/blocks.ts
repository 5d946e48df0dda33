// Matrices of blocks (storage.ts) in kernels: the codes of a group of columns for vectors of rows, and rows as float32,
// for embeddings and `dequantize`.

import type { BlockDtype } from "../../dtype.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, I32, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { BlockLayout } from "../../storage.ts";
import { BAND_ROWS, blockLayout, GROUP_COLUMNS, LINE_BYTES } from "../../storage.ts";
import { clampedIndex } from "../strided.ts";

/** Words of four codes of a group. */
export const GROUP_WORDS = GROUP_COLUMNS / 4;

/**
 * The words of codes of a group, one after the other: column 4 i and up in word i, for the rows of a vector or for one.
 * `load` reads one line of the group, and is asked for each line once.
 */
export function* codeWords(
  k: KernelBuilder,
  { planes }: BlockLayout,
  type: LoopType,
  load: (line: number) => LoopValue,
): Generator<LoopValue, void, undefined> {
  const lines: LoopValue[] = [];
  for (let word = 0; word < GROUP_WORDS; word++) {
    let [code, first, place]: [LoopValue | undefined, number, number] = [undefined, 0, 0];
    for (const bits of planes) {
      const line = first + Math.floor((word * bits) / 8);
      const field = planeField(k, type, (lines[line] ??= load(line)), bits, (word * bits) % 8, place);
      code = code === undefined ? field : k.binary("or", code, field);
      first += bits;
      place += bits;
    }
    yield code!;
  }
}

/** The field of `bits` bits from bit `from` of every byte on, at bit `to` of it. */
function planeField(
  k: KernelBuilder,
  type: LoopType,
  line: LoopValue,
  bits: number,
  from: number,
  to: number,
): LoopValue {
  if (bits === 8) return line;
  const moved = from >= to ? k.shift("shr_u", line, from - to) : k.shift("shl", line, to - from);
  return k.binary("and", moved, k.constant(type, (((1 << bits) - 1) << to) * 0x01010101));
}

/** Where a row of a tensor of blocks is: its band, and its place in the lines of it. */
interface BlockRow {
  readonly band: LoopValue;
  readonly lane: LoopValue;
}

function rowOf(k: KernelBuilder, { bandBytes }: BlockLayout, base: LoopValue, row: LoopValue): BlockRow {
  const band = k.offset(base, k.div(row, k.index(BAND_ROWS)), bandBytes);
  return { band, lane: k.rem(row, k.index(BAND_ROWS)) };
}

/** Writes a row as float32 to `to`. `scratch` has room for a group of codes. */
function unpackRow(
  k: KernelBuilder,
  layout: BlockLayout,
  lanes: number,
  { band, lane }: BlockRow,
  to: LoopValue,
  scratch: LoopValue,
): void {
  const { recordColumns, recordBytes, groups } = layout;
  const perRecord = recordColumns / GROUP_COLUMNS;
  const record = (number: LoopValue, count: number): void => {
    const at = { band: k.offset(band, number, recordBytes), lane };
    const target = k.offset(to, number, recordColumns * 4);
    for (let group = 0; group < count; group++) {
      unpackGroup(k, layout, lanes, at, group, k.add(target, k.index(group * GROUP_COLUMNS * 4)), scratch);
    }
  };
  const whole = Math.floor(groups / perRecord);
  k.loop(0, whole, 1, (number) => record(number, perRecord));
  if (groups % perRecord > 0) record(k.index(whole), groups % perRecord);
}

/** One group of a row, of the record at `band`: words of codes go through memory, to be read as bytes. */
function unpackGroup(
  k: KernelBuilder,
  layout: BlockLayout,
  lanes: number,
  { band, lane }: BlockRow,
  group: number,
  to: LoopValue,
  scratch: LoopValue,
): void {
  const { codesOffset, groupBytes, scaleColumns, centre } = layout;
  const words = k.offset(band, lane, 4);
  const load = (line: number): LoopValue => k.load(I32, words, codesOffset + group * groupBytes + line * LINE_BYTES);
  let word = 0;
  for (const codes of codeWords(k, layout, I32, load)) k.store(codes, scratch, 4 * word++);
  const width = Math.min(lanes, scaleColumns);
  const [integers, floats] = [loopType("i32", width), loopType("f32", width)];
  for (let part = 0; part < GROUP_COLUMNS / scaleColumns; part++) {
    const { scale, minimum } = scaleOf(k, layout, { band, lane }, (group * GROUP_COLUMNS) / scaleColumns + part);
    const scales = k.splat(scale, width);
    for (let column = part * scaleColumns; column < (part + 1) * scaleColumns; column += width) {
      const codes = k.load(integers, scratch, column, "u8");
      const value = k.mul(k.convert(floats, k.sub(codes, k.constant(integers, centre))), scales);
      k.store(minimum === undefined ? value : k.sub(value, k.splat(minimum, width)), to, column * 4);
    }
  }
}

/** Scale number `index` of a row of a record, and the minimum that goes with it. */
function scaleOf(
  k: KernelBuilder,
  { nested, minima, minimaOffset, scalePartsOffset, minimumPartsOffset }: BlockLayout,
  { band, lane }: BlockRow,
  index: number,
): { readonly scale: LoopValue; readonly minimum: LoopValue | undefined } {
  const number = (halves: number, parts: number): LoopValue => {
    const half = k.load(F32, k.offset(band, lane, 2), halves + (nested ? 0 : index * BAND_ROWS * 2), "f16");
    if (!nested) return half;
    return k.mul(half, k.convert(F32, k.load(I32, k.add(band, lane), parts + index * BAND_ROWS, "i8")));
  };
  const minimum = minima ? number(minimaOffset, minimumPartsOffset) : undefined;
  return { scale: number(0, scalePartsOffset), minimum };
}

/** `dequantize` of a tensor of blocks. */
export function dequantizeBlocks(context: LowerContext, dtype: BlockDtype): void {
  const layout = blockLayout(context.node.inputs[0]!.shape, dtype);
  const { rows, columns } = layout;
  const perChunk = Math.max(1, Math.floor(context.chunkElements / columns));
  const buffers = [context.input(0), context.result(0)];
  context.call(`dequantize_${dtype}`, Math.ceil(rows / perChunk), 2 * rows * columns, buffers, (k, [x, y]) => {
    const scratch = k.allocateScratch(GROUP_COLUMNS);
    const first = k.mul(k.chunk, k.index(perChunk));
    k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(rows)), 1, (row) => {
      unpackRow(k, layout, context.lanes, rowOf(k, layout, x!, row), k.offset(y!, row, columns * 4), scratch);
    });
  });
}

/** `gather` of rows of a matrix of blocks, as float32. */
export function gatherBlocks(context: LowerContext, dtype: BlockDtype, ids: number): void {
  const layout = blockLayout(context.node.inputs[0]!.shape, dtype);
  const { rows, columns } = layout;
  const perChunk = Math.max(1, Math.floor(context.chunkElements / columns));
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call(`gather_${dtype}`, Math.ceil(ids / perChunk), 2 * ids * columns, buffers, (k, [table, idsAt, y]) => {
    const scratch = k.allocateScratch(GROUP_COLUMNS);
    const first = k.mul(k.chunk, k.index(perChunk));
    k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(ids)), 1, (i) => {
      const row = clampedIndex(k, k.offset(idsAt!, i, 4), rows - 1);
      unpackRow(k, layout, context.lanes, rowOf(k, layout, table!, row), k.offset(y!, i, columns * 4), scratch);
    });
  });
}
