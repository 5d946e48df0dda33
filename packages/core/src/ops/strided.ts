// Strided boxes: what transpose, slice, pad, concat and the dynamic slices have in common. Each copies a box of
// elements between two buffers, with a stride an axis on either side. The copy knows nothing of numbers: it moves cells
// of 1, 2, 4 or 8 bytes, vectorised where both sides are contiguous along the last axis that is left after merging.

import { invariant } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { DTYPES } from "../dtype.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import { F64, I32, INDEX, loopType } from "../loop/ir.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../op.ts";
import { elementCount } from "../storage.ts";
import { storeElement } from "./cells.ts";
import { elementLoopType } from "./loop-types.ts";
import { findExchange, lowerExchange } from "./strided-tiles.ts";

/** One side of a copy: element (i, j, ...) of the box is at offset + i * strides[0] + j * strides[1] + ... */
export interface Side {
  readonly offset: number;
  readonly strides: readonly number[];
}

/** A side in a buffer, in elements. */
export interface BufferSide extends Side {
  readonly buffer: BufferHandle;
}

/** Row-major strides in elements. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  return shape.map((_dim, axis) => elementCount(shape.slice(axis + 1)));
}

/** Where an element is, seen from the origin of a row-major tensor. */
export function flatOffset(shape: readonly number[], index: readonly number[]): number {
  return rowMajorStrides(shape).reduce((sum, stride, axis) => sum + stride * index[axis]!, 0);
}

/** The reference copy of a box. */
export function copyBox(shape: readonly number[], x: Float64Array, from: Side, y: Float64Array, to: Side): void {
  const count = elementCount(shape);
  for (let i = 0; i < count; i++) {
    let rest = i;
    let read = from.offset;
    let write = to.offset;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const index = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
      read += index * from.strides[axis]!;
      write += index * to.strides[axis]!;
    }
    y[write] = x[read]!;
  }
}

/** An offset of one side that is only known at run time: an i32 in a buffer, kept within 0..last. */
export interface DynamicStart {
  readonly side: "from" | "to";
  readonly start: BufferHandle;
  readonly last: number;
  /** Elements that the side moves by for each step of the start. */
  readonly stride: number;
}

/** One axis of a box after merging. */
export interface BoxAxis {
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** Drops axes of size 1 and joins axes that both sides step through as if they were one; never empty. */
function mergedAxes(shape: readonly number[], from: readonly number[], to: readonly number[]): BoxAxis[] {
  const merged: BoxAxis[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const next: BoxAxis = { size: shape[axis]!, from: from[axis]!, to: to[axis]! };
    if (next.size === 1) continue;
    const inner = merged[0];
    if (inner !== undefined && next.from === inner.from * inner.size && next.to === inner.to * inner.size) {
      merged[0] = { ...inner, size: inner.size * next.size };
    } else {
      merged.unshift(next);
    }
  }
  return merged.length > 0 ? merged : [{ size: 1, from: 1, to: 1 }];
}

/** How one element moves. */
interface Cell {
  readonly bytes: number;
  load(k: KernelBuilder, address: LoopValue): LoopValue;
  store(k: KernelBuilder, value: LoopValue, address: LoopValue): void;
}

const CELLS: Readonly<Record<number, Cell>> = {
  1: {
    bytes: 1,
    load: (k, address) => k.load(I32, address, 0, "u8"),
    store: (k, value, address) => k.store(value, address, 0, "u8"),
  },
  2: {
    bytes: 2,
    load: (k, address) => k.load(I32, address, 0, "u16"),
    store: (k, value, address) => k.store(value, address, 0, "u16"),
  },
  4: { bytes: 4, load: (k, address) => k.load(I32, address), store: (k, value, address) => k.store(value, address) },
  8: { bytes: 8, load: (k, address) => k.load(F64, address), store: (k, value, address) => k.store(value, address) },
};

/** Adds the call that copies a box of `shape` between two buffers. */
export function lowerCopy(
  context: LowerContext,
  dtype: Dtype,
  shape: readonly number[],
  from: BufferSide,
  to: BufferSide,
  dynamic?: DynamicStart,
): void {
  const count = elementCount(shape);
  if (count === 0) return;
  const cell = cellOf(dtype);
  const axes = mergedAxes(shape, from.strides, to.strides);
  const exchange = dynamic === undefined ? findExchange(axes, cell.bytes, context.lanes) : undefined;
  if (exchange !== undefined) {
    lowerExchange(context, exchange, from, to);
    return;
  }
  const row = axes[axes.length - 1]!;
  const outer = axes.slice(0, -1);
  const rows = count / row.size;
  const rowsPerChunk = Math.max(1, Math.floor(context.chunkElements / row.size));
  const pieceSize = Math.min(row.size, context.chunkElements);
  const pieces = Math.ceil(row.size / pieceSize);
  const buffers = [from.buffer, to.buffer, ...(dynamic === undefined ? [] : [dynamic.start])];
  context.call("copy", Math.ceil(rows / rowsPerChunk) * pieces, count, buffers, (k, [source, target, start]) => {
    const moved = dynamic && k.mul(clampedIndex(k, start!, dynamic.last), k.index(dynamic.stride * cell.bytes));
    const shift = (side: "from" | "to", base: LoopValue): LoopValue =>
      dynamic?.side === side ? k.add(base, moved!) : base;
    const read = shift("from", k.offset(source!, from.offset * cell.bytes));
    const write = shift("to", k.offset(target!, to.offset * cell.bytes));
    const low = k.mul(k.rem(k.chunk, k.index(pieces)), k.index(pieceSize));
    const size = pieces === 1 ? k.index(row.size) : k.min(k.index(pieceSize), k.sub(k.index(row.size), low));
    const firstRow = k.mul(k.div(k.chunk, k.index(pieces)), k.index(rowsPerChunk));
    const lastRow = k.min(k.add(firstRow, k.index(rowsPerChunk)), k.index(rows));
    k.loop(firstRow, lastRow, 1, (at) => {
      const [readRow, writeRow] = rowAddresses(k, outer, at, read, write, cell.bytes);
      const readAt = k.offset(readRow, k.mul(low, k.index(row.from)), cell.bytes);
      const writeAt = k.offset(writeRow, k.mul(low, k.index(row.to)), cell.bytes);
      if (row.from === 1 && row.to === 1) copyCells(k, dtype, context.lanes, readAt, writeAt, size);
      else copyStrided(k, cell, readAt, row.from, writeAt, row.to, size);
    });
  });
}

function cellOf(dtype: Dtype): Cell {
  const cell = CELLS[DTYPES[dtype].elementBytes ?? 0];
  invariant(cell !== undefined, `${dtype} is packed and has no cells`);
  return cell;
}

/** The i32 at `address` as an index, kept within 0..last so that no address leaves its buffer. */
export function clampedIndex(k: KernelBuilder, address: LoopValue, last: number): LoopValue {
  return k.convert(INDEX, k.min(k.max(k.load(I32, address), k.i32(0)), k.i32(last)));
}

/** The addresses on both sides of row `at` of the outer axes. */
export function rowAddresses(
  k: KernelBuilder,
  outer: readonly BoxAxis[],
  at: LoopValue,
  read: LoopValue,
  write: LoopValue,
  bytes: number,
): [LoopValue, LoopValue] {
  let rest = at;
  for (let axis = outer.length - 1; axis >= 0; axis--) {
    const { size, from, to } = outer[axis]!;
    const index = axis === 0 ? rest : k.rem(rest, k.index(size));
    if (axis > 0) rest = k.div(rest, k.index(size));
    read = k.offset(read, index, from * bytes);
    write = k.offset(write, index, to * bytes);
  }
  return [read, write];
}

/** Copies `count` contiguous elements. */
export function copyCells(
  k: KernelBuilder,
  dtype: Dtype,
  lanes: number,
  read: LoopValue,
  write: LoopValue,
  count: LoopValue,
): void {
  const cell = cellOf(dtype);
  const size = k.mul(count, k.index(cell.bytes));
  const whole = k.sub(size, k.rem(size, k.index(4 * lanes)));
  const vector = loopType("i32", lanes);
  k.loop(0, whole, 4 * lanes, (at) => k.store(k.load(vector, k.add(read, at)), k.add(write, at)));
  const rest = CELLS[Math.min(cell.bytes, 4)]!;
  k.loop(whole, size, rest.bytes, (at) => rest.store(k, rest.load(k, k.add(read, at)), k.add(write, at)));
}

function copyStrided(
  k: KernelBuilder,
  cell: Cell,
  read: LoopValue,
  readStride: number,
  write: LoopValue,
  writeStride: number,
  count: LoopValue,
): void {
  k.loop(0, count, 1, (at) => {
    const value = cell.load(k, k.offset(read, at, readStride * cell.bytes));
    cell.store(k, value, k.offset(write, at, writeStride * cell.bytes));
  });
}

/** Adds the call that fills a buffer of `count` elements with one number. */
export function lowerFill(context: LowerContext, dtype: Dtype, count: number, value: number, to: BufferHandle): void {
  if (count === 0) return;
  const lanes = dtype === "f64" ? 1 : context.lanes;
  const even = count - (count % lanes);
  const size = context.chunkElements;
  const bytes = cellOf(dtype).bytes;
  context.call("fill", Math.ceil(count / size), count, [to], (k, [target]) => {
    const first = k.mul(k.chunk, k.index(size));
    const last = k.min(k.add(first, k.index(size)), k.index(count));
    const store = (cells: LoopValue, address: LoopValue): void => storeElement(k, cells, dtype, address);
    const cells = (width: number): LoopValue => k.constant(elementLoopType(dtype, width), value);
    const many = cells(lanes);
    k.loop(first, k.min(last, k.index(even)), lanes, (at) => store(many, k.offset(target!, at, bytes)));
    if (even === count) return;
    const one = cells(1);
    k.loop(k.max(first, k.index(even)), last, 1, (at) => store(one, k.offset(target!, at, bytes)));
  });
}
