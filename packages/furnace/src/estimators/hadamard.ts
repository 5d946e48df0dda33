// The Hadamard transform of rows in blocks (Sylvester's matrices): orthogonal, symmetric, its own inverse. It spreads
// each number of a block over the whole of it, so that what comes out is nearer to a normal distribution.

import { constant, matmul, reshape } from "@fidelity/core";
import type { Float } from "./estimator.ts";

/** Blocks are no longer than this; a power of two. */
const BLOCK_MAX = 64;

/** Sylvester's matrix of `size`, a power of two, scaled to be orthogonal, by rows. */
export function hadamardMatrix(size: number): Float64Array {
  const sign = (i: number, j: number): number => {
    let common = i & j;
    let parity = 0;
    for (; common !== 0; common &= common - 1) parity ^= 1;
    return parity === 0 ? 1 : -1;
  };
  return Float64Array.from({ length: size * size }, (_none, at) => {
    return sign(Math.floor(at / size), at % size) / Math.sqrt(size);
  });
}

/** `w` [outputs, inputs] with each row transformed, in blocks of the largest power of two up to 64 that divides it. */
export function hadamardRows(w: Float): Float {
  const [outputs, inputs] = w.shape as [number, number];
  let size = 1;
  while (size < BLOCK_MAX && inputs % (2 * size) === 0) size *= 2;
  const matrix = constant(hadamardMatrix(size), [size, size]) as Float;
  return reshape(matmul(reshape(w, [(outputs * inputs) / size, size]), matrix) as Float, [outputs, inputs]) as Float;
}
