// kmeans: the sum over points of the squared distance to their nearest centroid, and the direction of Newton's method,
// gradient / diagonal of the Hessian, which is diagonal: its product with a vector of ones is that diagonal.
// The nearest centroid is found first, without a derivative: then only one distance a point is differentiated, since
// the derivative of a minimum is that of the smallest. A scan takes a block of points at a time, whose distances
// [points, k] stay in the cache; gradient and Hessian share what it finds.

import {
  cast,
  concat,
  div,
  eq,
  gather,
  iota,
  matmul,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  scan,
  select,
  sliceAxis,
  splat,
  square,
  sub,
} from "@fidelity/core";
import { grad, hvp } from "@fidelity/furnace";
import { asRows, oneNumber } from "../evaluation.ts";
import type { Evaluation } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import type { NumberRows } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, I32, Scalar64 } from "../programs.ts";

/** Distances that a block has about. */
const BLOCK_DISTANCES = 2 ** 15;

/** For each of the points [n, d] the number of its nearest centroid [k, d]; of several the last one. */
function nearest(points: F64, centroids: F64): I32 {
  const [n, k] = [points.shape[0]!, centroids.shape[0]!];
  const products = matmul(points, centroids, { transposeB: true }) as F64;
  // |p - c|^2 but for |p|^2, which is the same for all, and negative: the largest is the nearest.
  const closeness = sub(mul(products, 2), reshape(reduceSum(square(centroids), 1), [1, k])) as F64;
  const isNearest = eq(closeness, reduceMax(closeness, 1, true) as F64);
  const numbered = select(isNearest as never, iota([n, k], "f64") as F64, splat(0, [n, k], "f64") as F64) as F64;
  return cast(reduceMax(numbered, 1), "i32") as I32;
}

/** The same for many points, block by block. */
function nearestOfAll(points: F64, centroids: F64): I32 {
  const [n, d] = points.shape as readonly [number, number];
  const size = Math.max(1, Math.min(n, Math.floor(BLOCK_DISTANCES / centroids.shape[0]!)));
  const blocks = Math.floor(n / size);
  const { ys } = scan(
    (carry: [], block: F64) => ({ carry, y: nearest(block, centroids) }),
    [],
    reshape(rowsOf(points, 0, blocks * size), [blocks, size, d]) as never,
  );
  const whole = reshape(ys as I32, [blocks * size]) as I32;
  if (blocks * size === n) return whole;
  return concat([whole, nearest(rowsOf(points, blocks * size, n), centroids)], 0) as I32;
}

/** The sum of squared distances of the points [n, d] to the centroids [k, d] of these numbers [n]. */
function distanceTo(centroids: F64, points: F64, ids: I32): Scalar64 {
  return reduceSum(square(sub(points, gather(centroids, ids)) as F64));
}

function cost(centroids: F64, points: F64): Scalar64 {
  return distanceTo(centroids, points, nearestOfAll(points, centroids));
}

const rowsOf = (x: F64, from: number, to: number): F64 => sliceAxis(x, 0, from, to) as F64;

function direction(centroids: F64, points: F64): F64 {
  const ids = nearestOfAll(points, centroids);
  const costAt = (at: F64): Scalar64 => distanceTo(at, points, ids);
  const ones = splat(1, centroids.shape, "f64") as F64;
  return div(grad(costAt)(centroids) as F64, hvp(costAt)([centroids], ones as never) as F64);
}

function read(input: unknown): { points: NumberRows; centroids: NumberRows } {
  const reader = new InputReader(input);
  const points = reader.matrix("points");
  return { points, centroids: reader.matrix("centroids", undefined, points.columns) };
}

export const kmeans: Evaluation = {
  cost(input) {
    const { points, centroids } = read(input);
    const types = [f64(centroids.rows, centroids.columns), f64(points.rows, points.columns)];
    return { types, values: [centroids.values, points.values], fn: cost, answer: oneNumber };
  },
  dir(input) {
    const { points, centroids } = read(input);
    const types = [f64(centroids.rows, centroids.columns), f64(points.rows, points.columns)];
    const answer = (results: { result(): number[] }): number[][] =>
      asRows(results.result(), centroids.rows, centroids.columns);
    return { types, values: [centroids.values, points.values], fn: direction, answer };
  },
};
