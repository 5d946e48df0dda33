// How the bytes of packed ternary weights become what meets activations. Planes are codes 0, 1, 2 of four columns to a
// word, at their place in the byte or times a scale: masks of 2-bit codes, look-ups or comparisons of 1.6-bit ones. But
// products need no codes. With the remainders of trits.ts, 256 t_p = 3 b_p - b'_p for the remainders before and after
// code p, so that with q_p the activations of plane p
//   256 sum q_p t_p = 3 sum q_p b_p - sum q_p b'_p:
// ten products of remainders, which additions give, instead of five of codes, which take five operations each.

import { invariant } from "@fidelity/units";
import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { TernaryShapes } from "./ternary_codes.ts";
import { HALVES_PLACES, HALVES_SCALES, TABLE_SCALES, TRITS } from "./trits.ts";
import { remainders, tritOf, tritsByComparison, tritsByHalves, tritsByTables } from "./trits.ts";

/** What products with one vector count for. */
export interface Term {
  /** Its activations: those of the columns 4 plane and up of a group. */
  readonly plane: number;
  readonly weight: number;
  /** The largest of its bytes. */
  readonly most: number;
}

/**
 * sum over columns of activation * (code + excess) = (sum over terms of weight * (activations . vector)) >> shift,
 * exactly.
 */
export interface Decoding {
  readonly terms: readonly Term[];
  readonly shift: number;
  readonly excess: number;
  /** Sums among which the terms of one weight are spread, where they would wait for each other. */
  readonly spread: number;
  /** The vectors of the terms, in their order, made when they are asked for. */
  readonly vectors: (k: KernelBuilder, word: LoopValue) => Iterable<LoopValue>;
}

/** How products with activations come out of a vector of words soonest. */
export function productDecoding(shapes: TernaryShapes): Decoding {
  const { context, x, w } = shapes;
  // 256 times the result is a word.
  const fits = 256 * 2 * 128 * w.columns < 2 ** 31;
  if (w.planes !== TRITS || !context.dot4 || !context.dot4Unsigned || !fits) return planeDecoding(shapes);
  if (!hasTables(shapes)) return BY_REMAINDERS;
  return x.rows === 1 ? BY_HALVES : BY_TABLES;
}

/** How a vector of words becomes planes of codes. */
function planeDecoding(shapes: TernaryShapes): Decoding {
  if (shapes.w.planes === 4) return MASKED;
  return hasTables(shapes) ? BY_TABLES : BY_COMPARISON;
}

/** The planes of a vector of words as codes 0, 1, 2. */
export function codePlanes(k: KernelBuilder, shapes: TernaryShapes, word: LoopValue): LoopValue[] {
  const { terms, shift, vectors } = planeDecoding(shapes);
  const planes: LoopValue[] = [];
  let next = 0;
  for (const vector of vectors(k, word)) {
    const { plane, weight } = terms[next++]!;
    planes[plane] = k.shift("shr_u", vector, shift - Math.log2(weight));
  }
  return planes;
}

/** The code of a plane in a byte of packed weights that have so many planes. */
export function codeOfByte(byte: number, plane: number, planes: number): number {
  return planes === TRITS ? tritOf(byte, plane) : (byte >> (2 * plane)) & 3;
}

function hasTables({ context, lanes }: TernaryShapes): boolean {
  return context.lookupEntries >= 128 && lanes === 16;
}

/** Planes of codes times powers of two. */
function ofScales(scales: readonly number[], vectors: Decoding["vectors"]): Decoding {
  const most = Math.max(...scales);
  invariant(Number.isInteger(Math.log2(most)), "scales are powers of two");
  const terms = scales.map((scale, plane) => ({ plane, weight: most / scale, most: 2 * scale }));
  return { terms, shift: Math.log2(most), excess: 0, spread: 1, vectors };
}

/** What takes bytes, for words. */
function ofBytes(decode: (k: KernelBuilder, bytes: LoopValue) => Iterable<LoopValue>): Decoding["vectors"] {
  return function* (k, word) {
    const bytes = k.bitcast(loopType("i8", 4 * word.type.lanes), word);
    for (const vector of decode(k, bytes)) yield k.bitcast(word.type, vector);
  };
}

const MASKED = ofScales([1, 4, 1, 4], function* (k, word) {
  const field = (value: LoopValue, scale: number): LoopValue =>
    k.binary("and", value, k.constant(word.type, 0x03030303 * scale));
  yield field(word, 1);
  yield field(word, 4);
  const upper = k.shift("shr_u", word, 4);
  yield field(upper, 1);
  yield field(upper, 4);
});

const BY_TABLES = ofScales(TABLE_SCALES, ofBytes(tritsByTables));

/** Planes from the last to the first. */
const FALLING = Array.from({ length: TRITS }, (_, i) => TRITS - 1 - i);

const BY_COMPARISON: Decoding = {
  terms: FALLING.map((plane) => ({ plane, weight: 1, most: 2 })),
  shift: 0,
  excess: 0,
  spread: 1,
  vectors: ofBytes(tritsByComparison),
};

/** Fewest instructions for one row, which shares them with no other. */
const BY_HALVES: Decoding = {
  terms: HALVES_PLACES.map((plane) => ({ plane, weight: 64 / HALVES_SCALES[plane]!, most: 3 * HALVES_SCALES[plane]! })),
  shift: 6,
  excess: 1,
  spread: 1,
  vectors: tritsByHalves,
};

/** A remainder is what one code left behind, and what the next is part of: it meets both codes' activations at once. */
const BY_REMAINDERS: Decoding = {
  terms: [
    { plane: TRITS - 1, weight: 3, most: 255 },
    ...FALLING.slice(1).flatMap((plane) => [
      { plane: plane + 1, weight: -1, most: 255 },
      { plane, weight: 3, most: 255 },
    ]),
    { plane: 0, weight: -1, most: 255 },
  ],
  shift: 8,
  excess: 0,
  spread: 2,
  vectors: ofBytes(function* (k, bytes) {
    let place = TRITS;
    for (const rest of remainders(k, bytes)) {
      if (place < TRITS) yield rest;
      if (place > 0) yield rest;
      place--;
    }
  }),
};
