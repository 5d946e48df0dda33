// Addresses of elements, and the packed ternary layout. Indices are sums wherever the analysis sees one, so that loops
// over neighbours share an address and differ in a constant.

import { F32, I32, INDEX, loopType, ternaryLayout } from "@fidelity/core";
import type { KernelBuilder, LoopType, LoopValue } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Affine, Definitions } from "../analysis/affine.ts";
import { addAffine, affineOf, scaleAffine } from "../analysis/affine.ts";
import type { KernelArray, KernelExpr, Local } from "../ir/kernel_ir.ts";

export const ELEMENT_BYTES = { f32: 4, f64: 8, i32: 4 } as const;

/** An address and a constant distance from it. */
export interface Place {
  readonly address: LoopValue;
  readonly offset: number;
}

/** What addresses are made from: the values of counters and of whole numbers. */
export interface IndexSource {
  readonly k: KernelBuilder;
  readonly definitions: Definitions;
  base(array: KernelArray): LoopValue;
  /** A counter, or a constant that is a whole number, as an index. */
  local(local: Local): LoopValue;
  /** Any i32 expression with one value for all lanes. */
  scalar(expr: KernelExpr): LoopValue;
}

/** The place of an element; for a vector, of its first lane. */
export function placeOf(source: IndexSource, array: KernelArray, indices: readonly KernelExpr[]): Place {
  const { k } = source;
  invariant(array.element !== "ternary", "ternary weights have no addresses");
  const cellBytes = ELEMENT_BYTES[array.element];
  let sum: Affine = { constant: 0, terms: new Map() };
  let address = source.base(array);
  let strideBytes = array.shape.reduce((product, dim) => product * dim, cellBytes);
  for (const [d, index] of indices.entries()) {
    strideBytes /= array.shape[d]!;
    const affine = affineOf(index, source.definitions);
    const next = affine && addAffine(sum, scaleAffine(affine, strideBytes));
    if (next !== undefined) sum = next;
    else address = k.offset(address, k.convert(INDEX, source.scalar(index)), strideBytes);
  }
  // What is added comes before what is taken away: an address below its array would wrap around.
  const { constant } = sum;
  const goesDown = constant < 0 || [...sum.terms.values()].some((coefficient) => coefficient < 0);
  if (goesDown && constant > 0) address = k.add(address, k.index(constant));
  address = addTerms(source, address, sum);
  if (!goesDown) return { address, offset: constant };
  return { address: constant < 0 ? k.sub(address, k.index(-constant)) : address, offset: 0 };
}

/** Adds the terms of a sum, those that take away last. */
function addTerms(source: IndexSource, to: LoopValue, { terms }: Affine): LoopValue {
  const { k } = source;
  const rising = [...terms].sort(([, a], [, b]) => b - a);
  return rising.reduce((address, [local, coefficient]) => {
    const step = k.mul(source.local(local), k.index(Math.abs(coefficient)));
    return coefficient > 0 ? k.add(address, step) : k.sub(address, step);
  }, to);
}

/** A whole number as an index. */
export function indexOf(source: IndexSource, expr: KernelExpr): LoopValue {
  const { k } = source;
  const affine = affineOf(expr, source.definitions);
  if (affine === undefined) return k.convert(INDEX, source.scalar(expr));
  const sum = addTerms(source, k.index(Math.max(affine.constant, 0)), affine);
  return affine.constant < 0 ? k.sub(sum, k.index(-affine.constant)) : sum;
}

/**
 * Ternary weights of `lanes` rows from `row` on, in one column, as i32. A word of 32 bits holds 16 columns of a row:
 * bits 2p and 2p + 1 of byte j are column 4p + j of the group, as weight + 1.
 */
export function ternaryWeights(
  k: KernelBuilder,
  array: KernelArray,
  base: LoopValue,
  row: LoopValue,
  column: LoopValue,
  lanes: number,
): LoopValue {
  const { blockBytes } = ternaryLayout(array.shape);
  const type: LoopType = loopType("i32", lanes);
  const block = k.offset(base, k.div(row, k.index(16)), blockBytes);
  const group = k.offset(block, k.div(column, k.index(16)), 64);
  const words = k.load(type, k.offset(group, k.rem(row, k.index(16)), 4));
  const inGroup = k.rem(column, k.index(16));
  const byteBits = k.mul(k.rem(inGroup, k.index(4)), k.index(8));
  const bits = k.add(byteBits, k.mul(k.div(inGroup, k.index(4)), k.index(2)));
  const code = k.binary("and", k.binary("shr_u", words, k.convert(I32, bits)), k.constant(type, 3));
  return k.sub(code, k.constant(type, 1));
}

/** The scale of a ternary matrix. */
export function ternaryScale(k: KernelBuilder, array: KernelArray, base: LoopValue): LoopValue {
  return k.load(F32, base, ternaryLayout(array.shape).scaleOffset);
}
