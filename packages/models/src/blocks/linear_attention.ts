// Causal linear attention: softmax's exp(q . k) is replaced by a product of positive features, phi(q) . phi(k), so that
// what came before is summed up in a matrix whose size does not depend on the position:
//   S_t = S_{t-1} + [v_t 1] phi(k_t)^T,   o_t = (S_t phi(q_t)) without its last row, over that row
// Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236, equations 16 to 20) has phi(x) = elu(x) + 1. The
// Performer (Choromanski et al. 2020, arXiv 2009.14794, lemma 1) approaches softmax itself, with random features
//   phi(x) = exp(W x' - |x'|^2 / 2) / sqrt(m),   x' = x / d^(1/4)
// whose directions, the rows of W, are orthogonal in blocks of d, with the lengths of normal vectors. W is a constant
// that follows from a seed; it is never redrawn.

import type { Tensor } from "@fidelity/core";
import {
  add,
  broadcastTo,
  concat,
  constant,
  div,
  exp,
  generalizedDeltaRule,
  matmul,
  max,
  min,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  slice,
  splat,
  stopGradient,
  sub,
} from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { RandomStream } from "../random.ts";
import type { Mixer } from "./attention.ts";
import type { Heads } from "./cache.ts";

/** Features of queries and of keys, [batch, time, heads, features] each. */
export interface FeatureMap {
  readonly count: number;
  queries(x: Heads): Tensor<Shape, "f32">;
  keys(x: Heads): Tensor<Shape, "f32">;
}

/** Sums of values by features, the last row those of 1: [batch, heads, head size + 1, features]. */
export type LinearAttentionState = { readonly sums: Heads };

/** Keeps 0 / 0 away where all features underflow. */
const SMALLEST_WEIGHT = 1e-30;

export function linearMixer(
  { headCount, headDim }: { readonly headCount: number; readonly headDim: number },
  features: FeatureMap,
): Mixer<LinearAttentionState> {
  return {
    stateTypes: ({ batch }) => ({
      sums: { dtype: "f32", shape: [batch, headCount, headDim + 1, features.count] },
    }),
    mix(queries, keys, values, { state }) {
      const [batch, time] = queries.shape;
      const ones: Tensor<Shape, "f32"> = splat(1, [batch, time, headCount, 1]);
      const { output, state: sums } = generalizedDeltaRule({
        q: features.queries(queries),
        k: features.keys(repeatHeads(keys, headCount)),
        v: concat([repeatHeads(values, headCount), ones], 3),
        logDecay: splat(0, [batch, time, headCount, 1]),
        state: state?.sums,
      });
      const part = (from: number, to: number): Heads =>
        slice(output, [0, 0, 0, from], [batch, time, headCount, to]) as Heads;
      const weight = add(part(headDim, headDim + 1), SMALLEST_WEIGHT);
      return { output: div(part(0, headDim), weight) as Heads, state: { sums: sums as Heads } };
    },
  };
}

/** Each key head as often as queries share it. */
function repeatHeads(x: Heads, headCount: number): Heads {
  const [batch, time, keyHeads, size] = x.shape;
  if (keyHeads === headCount) return x;
  const repeated = [batch, time, keyHeads, headCount / keyHeads, size];
  return reshape(broadcastTo(reshape(x, [batch, time, keyHeads, 1, size]), repeated), [batch, time, headCount, size]);
}

/** elu(x) + 1. */
export function eluFeatures(headDim: number): FeatureMap {
  const features = (x: Heads): Tensor<Shape, "f32"> => add(max(x, 0), exp(min(x, 0)));
  return { count: headDim, queries: features, keys: features };
}

/** Positive random features for softmax, `count` of them. */
export function performerFeatures(headDim: number, count: number, seed: number): FeatureMap {
  const directions = orthogonalDirections(headDim, count, seed);
  // log phi(x) without its constant.
  const exponents = (x: Heads): Tensor<Shape, "f32"> => {
    const scaled = mul(x, headDim ** -0.25);
    const half = mul(reduceSum(mul(scaled, scaled), -1, true), 0.5);
    return sub(matmul(scaled, constant(directions, [count, headDim]), { transposeB: true }), half);
  };
  return {
    count,
    // What a query's features have in common cancels in the quotient.
    queries(x) {
      const exponent = exponents(x);
      return exp(sub(exponent, stopGradient(reduceMax(exponent, [3], true))));
    },
    // exponent <= |row of W|^2 / 2, about headDim / 2, so that heads of up to 160 channels cannot overflow.
    keys: (x) => exp(exponents(x)),
  };
}

/** Rows [count, size]: orthogonal in blocks of `size`, with the lengths of independent normal vectors. */
export function orthogonalDirections(size: number, count: number, seed: number): Float64Array {
  const stream = new RandomStream(seed);
  const rows: Float64Array[] = [];
  const normal = (): Float64Array => {
    const row = new Float64Array(size);
    stream.fillNormal(row, 0, 1);
    return row;
  };
  const length = (row: Float64Array): number => Math.hypot(...row);
  for (let i = 0; i < count; i++) {
    const row = normal();
    for (const other of rows.slice(i - (i % size))) {
      const along = row.reduce((sum, value, j) => sum + value * other[j], 0);
      row.forEach((value, j) => (row[j] = value - along * other[j]));
    }
    const norm = length(row);
    rows.push(row.map((value) => value / norm));
  }
  const result = new Float64Array(count * size);
  rows.forEach((row, i) => {
    const scale = length(normal());
    result.set(
      row.map((value) => value * scale),
      i * size,
    );
  });
  return result;
}
