// rope as loops, in two calls: a table of cosines and signed sines for each position and element of a head, then the
// rotation y = x C + partner(x) S of every head by it. Angles are reduced to one turn in float64, so that late
// positions keep their phase in float32. What is not turned is copied.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32, F64, I32, loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { cosOf, sinOf } from "../../loop/math.ts";
import type { LowerContext } from "../../op.ts";
import type { RopeAttrs } from "../rope.ts";
import { ropeFrequency } from "../rope.ts";
import { pieceOffsets, rowPieces } from "./lanes.ts";

const TABLE_ROWS_PER_CHUNK = 16;

export function lowerRope(context: LowerContext, attrs: RopeAttrs): void {
  const [batch, time, heads, size] = context.node.results[0]!.shape as [number, number, number, number];
  const { lanes } = context;
  const { dims = size } = attrs;
  // [positions, 2, dims]: cosines, then sines with the sign that the element's own pair gives them. The layers of a
  // model share it. Where sequences have positions of their own, so many times as many.
  const hasOwn = context.node.inputs[1]!.rank > 0;
  const places = hasOwn ? batch * time : time;
  const [tableBytes, tableWork] = [places * 2 * dims * 4, 16 * places * dims];
  const tableChunks = Math.ceil(places / TABLE_ROWS_PER_CHUNK);
  const table = context.prepare("rope_angles", 1, tableBytes, tableChunks, tableWork, (k, [position, rows]) => {
    const pairs = pairTable(k, attrs, dims, lanes);
    const first = k.mul(k.chunk, k.index(TABLE_ROWS_PER_CHUNK));
    const last = k.min(k.add(first, k.index(TABLE_ROWS_PER_CHUNK)), k.index(places));
    const shared = hasOwn ? undefined : k.load(I32, position!);
    k.loop(first, last, 1, (place) => {
      const start = shared ?? k.load(I32, k.offset(position!, k.div(place, k.index(time)), 4));
      const t = hasOwn ? k.rem(place, k.index(time)) : place;
      const at = k.convert(F64, k.add(start, k.convert(I32, t)));
      tableRow(k, attrs, pairs, at, k.offset(rows!, place, 2 * dims * 4), dims, lanes);
    });
  });
  const rowsPerChunk = Math.max(1, Math.floor(context.chunkElements / (heads * size)));
  const chunks = Math.ceil((batch * time) / rowsPerChunk);
  const buffers = [context.input(0), table, context.result(0)];
  context.call("rope", chunks, 3 * batch * time * heads * size, buffers, (k, [x, angles, y]) => {
    const first = k.mul(k.chunk, k.index(rowsPerChunk));
    const last = k.min(k.add(first, k.index(rowsPerChunk)), k.index(batch * time));
    k.loop(first, last, 1, (row) => {
      const cos = k.offset(angles!, hasOwn ? row : k.rem(row, k.index(time)), 2 * dims * 4);
      const from = k.offset(x!, row, heads * size * 4);
      const to = k.offset(y!, row, heads * size * 4);
      k.loop(0, heads * size * 4, size * 4, (head) => {
        const at: Rotation = { x: k.add(from, head), cos, sin: k.add(cos, k.index(dims * 4)), y: k.add(to, head) };
        if (attrs.pairing === "adjacent") rotateAdjacent(k, at, dims, lanes);
        else rotateHalves(k, at, dims, lanes);
        if (!context.inPlace) copyRest(k, at, dims, size, lanes);
      });
    });
  });
}

/** Scratch rows, one value a pair, padded to whole vectors: frequencies in float64, the rest in float32. */
interface PairTable {
  readonly frequencies: LoopValue;
  readonly angles: LoopValue;
  readonly cosines: LoopValue;
  readonly sines: LoopValue;
}

function pairTable(k: KernelBuilder, attrs: RopeAttrs, dims: number, lanes: number): PairTable {
  const padded = Math.ceil(dims / 2 / lanes) * lanes;
  const frequencies = k.allocateScratch(padded * 8);
  for (let pair = 0; pair < padded; pair++) {
    k.store(k.constant(F64, pair < dims / 2 ? ropeFrequency(attrs, pair, dims) : 0), frequencies, pair * 8);
  }
  const row = (): LoopValue => k.allocateScratch(padded * 4);
  return { frequencies, angles: row(), cosines: row(), sines: row() };
}

function tableRow(
  k: KernelBuilder,
  { pairing, inverse, magnitude = 1 }: RopeAttrs,
  pairs: PairTable,
  position: LoopValue,
  row: LoopValue,
  dims: number,
  lanes: number,
): void {
  const padded = Math.ceil(dims / 2 / lanes) * lanes;
  const turn = 2 * Math.PI;
  k.loop(0, padded, 1, (pair) => {
    const angle = k.mul(position, k.load(F64, k.offset(pairs.frequencies, pair, 8)));
    const turns = k.unary("nearest", k.mul(angle, k.constant(F64, 1 / turn)));
    const reduced = k.sub(angle, k.mul(turns, k.constant(F64, turn)));
    k.store(k.convert(F32, reduced), k.offset(pairs.angles, pair, 4));
  });
  k.loop(0, padded * 4, lanes * 4, (offset) => {
    const angle = k.load(loopType("f32", lanes), k.add(pairs.angles, offset));
    const times = (value: LoopValue): LoopValue =>
      magnitude === 1 ? value : k.mul(value, k.constant(value.type, magnitude));
    k.store(times(cosOf(k, angle)), k.add(pairs.cosines, offset));
    k.store(times(sinOf(k, angle)), k.add(pairs.sines, offset));
  });
  const partner = pairing === "adjacent" ? 4 : dims * 2;
  k.loop(0, dims / 2, 1, (pair) => {
    const cos = k.load(F32, k.offset(pairs.cosines, pair, 4));
    const sin = k.load(F32, k.offset(pairs.sines, pair, 4));
    const negative = k.unary("neg", sin);
    const at = k.offset(row, pair, pairing === "adjacent" ? 8 : 4);
    k.store(cos, at);
    k.store(cos, at, partner);
    k.store(inverse ? sin : negative, at, dims * 4);
    k.store(inverse ? negative : sin, at, dims * 4 + partner);
  });
}

/** Addresses of one head. */
interface Rotation {
  readonly x: LoopValue;
  readonly cos: LoopValue;
  readonly sin: LoopValue;
  readonly y: LoopValue;
}

function rotateAdjacent(k: KernelBuilder, at: Rotation, dims: number, lanes: number): void {
  const type = loopType("f32", lanes);
  const swap = Array.from({ length: lanes }, (_, lane) => lane ^ 1);
  const whole = dims - (dims % lanes);
  k.loop(0, whole * 4, lanes * 4, (d) => {
    const x = k.load(type, k.add(at.x, d));
    const turned = k.mul(k.shuffle(x, x, swap), k.load(type, k.add(at.sin, d)));
    k.store(k.fma(x, k.load(type, k.add(at.cos, d)), turned), k.add(at.y, d));
  });
  for (let d = whole; d < dims; d += 2) rotatePair(k, at, F32, d * 4, d * 4 + 4);
}

function rotateHalves(k: KernelBuilder, at: Rotation, dims: number, lanes: number): void {
  const half = dims / 2;
  const whole = half - (half % lanes);
  k.loop(0, whole * 4, lanes * 4, (d) => {
    const moved = { x: k.add(at.x, d), cos: k.add(at.cos, d), sin: k.add(at.sin, d), y: k.add(at.y, d) };
    rotatePair(k, moved, loopType("f32", lanes), 0, half * 4);
  });
  for (let d = whole; d < half; d++) rotatePair(k, at, F32, d * 4, (d + half) * 4);
}

/** The elements of a head that are not turned. */
function copyRest(k: KernelBuilder, at: Rotation, dims: number, size: number, lanes: number): void {
  for (const piece of rowPieces(size - dims, lanes, size)) {
    for (const offset of pieceOffsets(piece))
      k.store(k.load(piece.type, at.x, dims * 4 + offset), at.y, dims * 4 + offset);
  }
}

/** Rotates the values at byte offsets a and b; both are read before either is written, as y may be x. */
function rotatePair(k: KernelBuilder, at: Rotation, type: LoopValue["type"], a: number, b: number): void {
  const [xa, xb] = [k.load(type, at.x, a), k.load(type, at.x, b)];
  const ya = k.fma(xa, k.load(type, at.cos, a), k.mul(xb, k.load(type, at.sin, a)));
  const yb = k.fma(xb, k.load(type, at.cos, b), k.mul(xa, k.load(type, at.sin, b)));
  k.store(ya, at.y, a);
  k.store(yb, at.y, b);
}
