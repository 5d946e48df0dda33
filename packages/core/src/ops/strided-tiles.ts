// The copy that exchanges two axes: reads are contiguous along one axis, writes along another. It moves tiles of 4 by 4
// cells through registers, in strips of 16 (one cache line of 4-byte cells), so that each line is read once and whole.

import type { KernelBuilder } from "../loop/builder.ts";
import { I32, loopType } from "../loop/ir.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { LowerContext } from "../op.ts";
import { elementCount } from "../storage.ts";
import type { BoxAxis, BufferSide } from "./strided.ts";
import { rowAddresses } from "./strided.ts";

const TILE = 4;
const STRIP = 16;
const BYTES = 4;

/** The two axes of an exchange. */
interface Exchange {
  /** Contiguous on the side that is read. */
  readonly across: BoxAxis;
  /** Contiguous on the side that is written. */
  readonly along: BoxAxis;
  readonly outer: readonly BoxAxis[];
}

/** Which axes to exchange by tiles, or nothing when another copy is as good. */
export function findExchange(axes: readonly BoxAxis[], cellBytes: number, lanes: number): Exchange | undefined {
  const along = axes[axes.length - 1]!;
  const across = axes.find((axis) => axis.from === 1);
  if (cellBytes !== BYTES || lanes !== TILE || along.to !== 1) return undefined;
  if (across === undefined || across === along || across.size < TILE || along.size < TILE) return undefined;
  return { across, along, outer: axes.filter((axis) => axis !== across && axis !== along) };
}

/** Adds the call that copies by tiles. */
export function lowerExchange(context: LowerContext, exchange: Exchange, from: BufferSide, to: BufferSide): void {
  const { across, along, outer } = exchange;
  const strips = Math.ceil(across.size / STRIP);
  const total = strips * elementCount(outer.map((axis) => axis.size));
  const perChunk = Math.max(1, Math.floor(context.chunkElements / (STRIP * along.size)));
  const work = across.size * along.size * (total / strips);
  context.call("exchange", Math.ceil(total / perChunk), work, [from.buffer, to.buffer], (k, [source, target]) => {
    const read = k.offset(source!, from.offset * BYTES);
    const write = k.offset(target!, to.offset * BYTES);
    const first = k.mul(k.chunk, k.index(perChunk));
    k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(total)), 1, (at) => {
      const [readBox, writeBox] = rowAddresses(k, outer, k.div(at, k.index(strips)), read, write, BYTES);
      const low = k.mul(k.rem(at, k.index(strips)), k.index(STRIP));
      copyStrip(k, exchange, readBox, writeBox, low);
    });
  });
}

/** Copies `across` from `low` on, at most STRIP of it, for all of `along`. */
function copyStrip(
  k: KernelBuilder,
  { across, along }: Exchange,
  read: LoopValue,
  write: LoopValue,
  low: LoopValue,
): void {
  const high = k.min(k.add(low, k.index(STRIP)), k.index(across.size));
  const evenHigh = k.sub(high, k.rem(k.sub(high, low), k.index(TILE)));
  const evenAlong = along.size - (along.size % TILE);
  const address = (base: LoopValue, i: LoopValue, iStride: number, j: LoopValue, jStride: number): LoopValue =>
    k.offset(k.offset(base, i, iStride * BYTES), j, jStride * BYTES);
  const copyCell = (i: LoopValue, j: LoopValue): void => {
    const cell = k.load(I32, address(read, i, 1, j, along.from));
    k.store(cell, address(write, i, across.to, j, 1));
  };
  k.loop(0, evenAlong, TILE, (j) => {
    k.loop(low, evenHigh, TILE, (i) => {
      copyTile(k, address(read, i, 1, j, along.from), along.from, address(write, i, across.to, j, 1), across.to);
    });
    k.loop(evenHigh, high, 1, (i) => k.loop(j, k.add(j, k.index(TILE)), 1, (column) => copyCell(i, column)));
  });
  if (evenAlong < along.size) k.loop(low, high, 1, (i) => k.loop(evenAlong, along.size, 1, (j) => copyCell(i, j)));
}

/** Reads four vectors `readStride` cells apart and writes their transpose, `writeStride` cells apart. */
function copyTile(k: KernelBuilder, read: LoopValue, readStride: number, write: LoopValue, writeStride: number): void {
  const vector = loopType("i32", TILE);
  const [a, b, c, d] = [0, 1, 2, 3].map((i) => k.load(vector, k.offset(read, i * readStride * BYTES))) as [
    LoopValue,
    LoopValue,
    LoopValue,
    LoopValue,
  ];
  const [ab0, ab1] = [k.shuffle(a, b, [0, 4, 1, 5]), k.shuffle(a, b, [2, 6, 3, 7])];
  const [cd0, cd1] = [k.shuffle(c, d, [0, 4, 1, 5]), k.shuffle(c, d, [2, 6, 3, 7])];
  const rows = [
    k.shuffle(ab0, cd0, [0, 1, 4, 5]),
    k.shuffle(ab0, cd0, [2, 3, 6, 7]),
    k.shuffle(ab1, cd1, [0, 1, 4, 5]),
    k.shuffle(ab1, cd1, [2, 3, 6, 7]),
  ];
  rows.forEach((row, i) => k.store(row, k.offset(write, i * writeStride * BYTES)));
}
