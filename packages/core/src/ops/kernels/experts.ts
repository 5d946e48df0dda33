// Products with the matrices of chosen experts, as loops. Few slots (a token and one of its experts) are bound by
// reading matrices: each is a row product with its expert's matrix in place. Many slots are sorted by expert first, and
// their rows copied in that order; then a chunk is a strip of columns of one expert's matrix, times all rows of that
// expert, so that every matrix is read once, and those nobody chose are not read at all. Orders follow from the ids, so
// that no result depends on the number of threads.

import type { KernelBuilder } from "../../loop/builder.ts";
import { I32, INDEX, loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import { elementCount } from "../../storage.ts";
import type { ExpertDims } from "../expert_linear.ts";
import { clampedIndex, copyCells } from "../strided.ts";
import { rowGroups } from "./attention_blocks.ts";
import { PANEL_SLACK_BYTES, packPanel } from "./gemm_pack.ts";
import type { RowPiece } from "./lanes.ts";
import { pieceOffsets, rowPieces } from "./lanes.ts";
import { multiplyBlock, registerBlocks } from "./register_block.ts";
import { rowProductChunk } from "./row_product.ts";

/** Slots an expert has on average from which sorting them pays, and slots that are never sorted. */
const [SORTED_SLOTS, FEW_SLOTS] = [2, 8];
/** Steps of the inner dimension that are packed at a time. */
const DEPTH = 256;
/** Elements that a chunk of copying covers. */
const COPIED_ELEMENTS = 16384;
/** Outputs of a chunk of the gradient, about. */
const GRADIENT_ROWS = 32;

/** Inputs: rows [N, inner] or [N, k, inner], weights [experts, outputs, inputs], ids [N, k]. */
export function lowerExpertLinear(context: LowerContext, dims: ExpertDims, transposed: boolean): void {
  const { slots, experts } = dims;
  if (slots > FEW_SLOTS && slots >= SORTED_SLOTS * experts) lowerSorted(context, dims, transposed);
  else lowerSlots(context, dims, transposed);
}

/** Elements of a row that comes in, and of one that goes out. */
function rowSizes({ outputs, inputs }: ExpertDims, transposed: boolean): readonly [inner: number, columns: number] {
  return transposed ? [outputs, inputs] : [inputs, outputs];
}

/** A chunk is some columns of a slot. */
function lowerSlots(context: LowerContext, dims: ExpertDims, transposed: boolean): void {
  const { slots, chosen, experts } = dims;
  const [inner, columns] = rowSizes(dims, transposed);
  const product = { batch: 1, m: 1, n: columns, k: inner };
  const chunk = rowProductChunk(context, product, { transposeA: false, transposeB: !transposed }, "f32", "f32");
  const perRow = context.node.inputs[0]!.rank === 2 ? chosen : 1;
  const buffers = [context.input(0), context.input(1), context.input(2), context.result(0)];
  const work = 2 * slots * inner * columns;
  context.call("expert_rows", slots * chunk.count, work, buffers, (k, [x, weight, ids, y]) => {
    const slot = k.div(k.chunk, k.index(chunk.count));
    const expert = clampedIndex(k, k.offset(ids!, slot, 4), experts - 1);
    const at = {
      x: k.offset(x!, k.div(slot, k.index(perRow)), inner * 4),
      b: k.offset(weight!, expert, inner * columns * 4),
      y: k.offset(y!, slot, columns * 4),
    };
    chunk.generate(k, at, k.rem(k.chunk, k.index(chunk.count)));
  });
}

/** i32: where each expert's slots begin in the order, [experts + 1], then the slots in that order, [slots]. */
function sortSlots(context: LowerContext, { slots, experts }: ExpertDims, idsInput: number): BufferHandle {
  const sizeBytes = (experts + 1 + slots) * 4;
  return context.prepare("expert_order", idsInput, sizeBytes, 1, 8 * (slots + experts), (k, [ids, starts]) => {
    const order = k.add(starts!, k.index((experts + 1) * 4));
    const next = k.allocateScratch(experts * 4);
    const one = k.i32(1);
    const expertOf = (slot: LoopValue): LoopValue => clampedIndex(k, k.offset(ids!, slot, 4), experts - 1);
    k.loop(0, experts, 1, (e) => k.store(k.i32(0), k.offset(next, e, 4)));
    k.loop(0, slots, 1, (slot) => {
      const at = k.offset(next, expertOf(slot), 4);
      k.store(k.add(k.load(I32, at), one), at);
    });
    const [total] = k.for(0, experts, 1, [k.i32(0)], (e, [before]) => {
      const at = k.offset(next, e, 4);
      const count = k.load(I32, at);
      k.store(before!, at);
      k.store(before!, k.offset(starts!, e, 4));
      return [k.add(before!, count)];
    });
    k.store(total!, starts!, experts * 4);
    k.loop(0, slots, 1, (slot) => {
      const at = k.offset(next, expertOf(slot), 4);
      const place = k.load(I32, at);
      k.store(k.add(place, one), at);
      k.store(k.convert(I32, slot), k.offset(order, k.convert(INDEX, place), 4));
    });
  });
}

const loadIndex = (k: KernelBuilder, base: LoopValue, at: LoopValue): LoopValue =>
  k.convert(INDEX, k.load(I32, k.offset(base, at, 4)));

/** The rows of all slots in sorted order, [slots, size]. */
function sortRows(context: LowerContext, dims: ExpertDims, order: BufferHandle, input: number): BufferHandle {
  const { slots, experts, chosen } = dims;
  const { shape } = context.node.inputs[input]!;
  const size = shape[shape.length - 1]!;
  const perRow = shape.length === 2 ? chosen : 1;
  const sorted = context.temporary(slots * size * 4);
  const perChunk = Math.max(1, Math.floor(COPIED_ELEMENTS / size));
  const buffers = [context.input(input), order, sorted];
  context.call("expert_gather", Math.ceil(slots / perChunk), slots * size, buffers, (k, [from, starts, to]) => {
    const slotsAt = k.add(starts!, k.index((experts + 1) * 4));
    const first = k.mul(k.chunk, k.index(perChunk));
    k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(slots)), 1, (place) => {
      const row = k.div(loadIndex(k, slotsAt, place), k.index(perRow));
      const [source, target] = [k.offset(from!, row, size * 4), k.offset(to!, place, size * 4)];
      copyCells(k, "f32", context.lanes, source, target, k.index(size));
    });
  });
  return sorted;
}

/** A strip of columns of one expert's matrix, and the rows that are multiplied with it. */
interface Strip {
  readonly type: LoopType;
  /** Rows and vectors of a register block. */
  readonly rows: number;
  readonly vectors: number;
  readonly inner: number;
  readonly columns: number;
  readonly transposed: boolean;
  /** Sorted rows of all slots, the slots in that order, and the expert's part of them. */
  readonly x: LoopValue;
  readonly slots: LoopValue;
  readonly from: LoopValue;
  readonly to: LoopValue;
  /** The expert's matrix, the first column, and y at that column. */
  readonly weight: LoopValue;
  readonly column: LoopValue;
  readonly y: LoopValue;
  /** Scratch for a panel [DEPTH][columns of the strip]. */
  readonly panel: LoopValue;
}

function lowerSorted(context: LowerContext, dims: ExpertDims, transposed: boolean): void {
  const { slots, experts, inputs, outputs } = dims;
  const [inner, columns] = rowSizes(dims, transposed);
  const order = sortSlots(context, dims, 2);
  const x = sortRows(context, dims, order, 0);
  const { rows, vectors } = registerBlocks(context.lanes, context)[0]!;
  const width = vectors * context.lanes;
  const strips = Math.ceil(columns / width);
  const buffers = [x, context.input(1), order, context.result(0)];
  const work = 2 * slots * inner * columns;
  context.call("expert_linear", experts * strips, work, buffers, (k, [xBase, weight, starts, y]) => {
    const expert = k.div(k.chunk, k.index(strips));
    const column = k.mul(k.rem(k.chunk, k.index(strips)), k.index(width));
    const strip: Strip = {
      type: loopType("f32", context.lanes),
      rows,
      vectors,
      inner,
      columns,
      transposed,
      x: xBase!,
      slots: k.add(starts!, k.index((experts + 1) * 4)),
      from: loadIndex(k, starts!, expert),
      to: loadIndex(k, starts!, k.add(expert, k.index(1))),
      weight: k.offset(weight!, expert, inputs * outputs * 4),
      column,
      y: k.offset(y!, column, 4),
      panel: k.allocateScratch(transposed ? 4 : DEPTH * width * 4 + PANEL_SLACK_BYTES),
    };
    const multiply = (count: number) => (): readonly LoopValue[] => {
      multiplyStrip(k, strip, count);
      return [];
    };
    k.if(k.compare("lt", strip.from, strip.to), () => {
      const rest = columns % width;
      if (rest === 0) return multiply(width)();
      k.if(k.compare("le", k.add(column, k.index(width)), k.index(columns)), multiply(width), multiply(rest));
      return [];
    });
  });
}

/** The rows of an expert times `count` columns, some steps of the inner dimension at a time. */
function multiplyStrip(k: KernelBuilder, strip: Strip, count: number): void {
  const { inner } = strip;
  const depth = Math.min(DEPTH, inner);
  const whole = inner - (inner % depth);
  multiplySteps(k, strip, count, k.index(0), depth, true);
  if (whole > depth) k.loop(depth, whole, depth, (first) => multiplySteps(k, strip, count, first, depth, false));
  if (inner > whole) multiplySteps(k, strip, count, k.index(whole), inner - whole, false);
}

/** Sets the sums to, or adds to them, the products of steps `first` to `first + depth`. */
function multiplySteps(
  k: KernelBuilder,
  strip: Strip,
  count: number,
  first: LoopValue,
  depth: number,
  sets: boolean,
): void {
  const { type, rows, vectors, inner, columns, transposed, weight, column, panel, from, to } = strip;
  const width = vectors * type.lanes;
  if (!transposed) {
    const source = k.offset(k.offset(weight, column, inner * 4), first, 4);
    const strides = { element: inner * 4, depth: 4 };
    packPanel(k, { from: source, strides, count, width, depth, to: panel }, type);
  }
  const right = transposed ? k.offset(k.offset(weight, first, columns * 4), column, 4) : panel;
  const rightStepBytes = (transposed ? columns : width) * 4;
  let start = from;
  // Rows that are left over go by smaller and smaller groups.
  for (let height = rows; height >= 1; height = Math.floor(height / 2)) {
    const end = k.sub(to, k.rem(k.sub(to, start), k.index(height)));
    k.loop(start, end, height, (place) => {
      const left = k.offset(k.offset(strip.x, place, inner * 4), first, 4);
      const targets = Array.from({ length: height }, (_, i) =>
        k.offset(strip.y, loadIndex(k, strip.slots, k.add(place, k.index(i))), columns * 4),
      );
      for (const piece of rowPieces(count, type.lanes, vectors)) {
        const each = eachSum(piece, targets);
        const before = each.map(([at, offset]) => (sets ? k.constant(piece.type, 0) : k.load(piece.type, at, offset)));
        const at = k.add(right, k.index(piece.offset));
        const operands = { left, leftRowBytes: inner * 4, leftStepBytes: 4, right: at, rightStepBytes };
        const sums = multiplyBlock(k, operands, height, piece, depth, before);
        sums.forEach((sum, i) => k.store(sum, ...each[i]!));
      }
    });
    start = end;
  }
}

/** Addresses and byte offsets of a piece of some rows. */
function eachSum(piece: RowPiece, rows: readonly LoopValue[]): (readonly [LoopValue, number])[] {
  return rows.flatMap((row) => pieceOffsets(piece).map((offset) => [row, offset] as const));
}

/**
 * Inputs: a [N, outputs] or [N, k, outputs], b [N, inputs] or [N, k, inputs], ids [N, k]. A chunk is some outputs of
 * one expert; experts that nobody chose get zeros.
 */
export function lowerExpertOuter(context: LowerContext, dims: ExpertDims): void {
  const { slots, experts, inputs, outputs } = dims;
  const order = sortSlots(context, dims, 2);
  const [a, b] = [0, 1].map((input) => sortRows(context, dims, order, input));
  const type = loopType("f32", context.lanes);
  const { rows, vectors } = registerBlocks(context.lanes, context)[0]!;
  const width = vectors * type.lanes;
  const blockRows = Math.ceil(GRADIENT_ROWS / rows) * rows;
  const blocks = Math.ceil(outputs / blockRows);
  const buffers = [a!, b!, order, context.result(0)];
  const work = 2 * slots * inputs * outputs + elementCount(context.node.results[0]!.shape);
  context.call("expert_outer", experts * blocks, work, buffers, (k, [aBase, bBase, starts, y]) => {
    const expert = k.div(k.chunk, k.index(blocks));
    const first = k.mul(k.rem(k.chunk, k.index(blocks)), k.index(blockRows));
    const from = loadIndex(k, starts!, expert);
    const depth = k.sub(loadIndex(k, starts!, k.add(expert, k.index(1))), from);
    const matrix = k.offset(y!, expert, outputs * inputs * 4);
    const count = k.min(k.index(blockRows), k.sub(k.index(outputs), first));
    rowGroups(k, count, outputs, rows, (row, height) => {
      const output = k.add(first, row);
      const left = k.offset(k.offset(aBase!, from, outputs * 4), output, 4);
      const target = k.offset(matrix, output, inputs * 4);
      const multiply = (column: LoopValue, piece: RowPiece): void => {
        const rights = k.offset(k.offset(bBase!, from, inputs * 4), column, 4);
        const operands = {
          left,
          leftRowBytes: 4,
          leftStepBytes: outputs * 4,
          right: k.add(rights, k.index(piece.offset)),
          rightStepBytes: inputs * 4,
        };
        const zeros = Array.from({ length: height * piece.count }, () => k.constant(piece.type, 0));
        const to = Array.from({ length: height }, (_, i) => k.offset(k.offset(target, i, inputs * 4), column, 4));
        const sums = multiplyBlock(k, operands, height, piece, depth, zeros);
        const each = eachSum(piece, to);
        sums.forEach((sum, i) => k.store(sum, ...each[i]!));
      };
      const whole = inputs - (inputs % width);
      k.loop(0, whole, width, (column) => multiply(column, { type, count: vectors, offset: 0 }));
      for (const piece of rowPieces(inputs - whole, type.lanes, vectors)) multiply(k.index(whole), piece);
    });
  });
}
