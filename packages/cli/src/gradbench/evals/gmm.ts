// gmm: the logarithm of the posterior of a mixture of Gaussians, and its gradient in the weights alpha [k], the means
// mu [k, d], and the precision matrices, given by the logarithms q [k, d] of the diagonals of their factors Q and by l
// [k, d (d - 1) / 2], what lies below them, column by column:
//   sum over points of logsumexp over k of (alpha + sum of q - |Q (x - mu)|^2 / 2), less n logsumexp(alpha),
// and a Wishart prior. Q x is one product of matrices for all components.

import {
  add,
  broadcastTo,
  concat,
  constant,
  eq,
  exp,
  gather,
  iota,
  matmul,
  mul,
  reduceSum,
  reshape,
  scan,
  select,
  sliceAxis,
  splat,
  square,
  sub,
  transpose,
} from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { asRows, oneNumber } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, I32, Scalar64 } from "../programs.ts";
import { logGamma } from "./log_gamma.ts";
import { logSumExp, logSumExpRows } from "./lse.ts";

const DIMENSION_MAX = 4096;
const COUNT_MAX = 2 ** 24;
/** Elements of Q x that a block of points has about. */
const BLOCK_ELEMENTS = 2 ** 18;

/** What the objective is differentiated in. */
type Independent = { readonly alpha: F64; readonly mu: F64; readonly q: F64; readonly l: F64 };

interface Prior {
  readonly m: number;
  readonly gamma: number;
}

/** The factors Q [k, d, d]. */
function factors({ q, l }: Independent): F64 {
  const [k, d] = q.shape as readonly [number, number];
  const below = l.shape[1]!;
  // Element (i, j) of a factor is one of l below the diagonal, and a 0 that is put behind them elsewhere.
  const places: number[] = [];
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) places.push(j < i ? j * d - (j * (j + 1)) / 2 + (i - j - 1) : below);
  }
  const padded = concat([l, splat(0, [k, 1], "f64") as F64], 1) as F64;
  const columns = gather(transpose(padded, [1, 0]) as F64, constant(places, [d * d], "i32") as I32);
  const lower = reshape(transpose(columns, [1, 0]), [k, d, d]) as F64;
  const row = reshape(iota([d]), [d, 1]);
  const isDiagonal = broadcastTo(eq(row as never, iota([1, d]) as never) as never, [k, d, d]);
  return select(isDiagonal as never, broadcastTo(reshape(exp(q), [k, d, 1]), [k, d, d]), lower) as F64;
}

/** Sum over points [n, d] of the logarithm of their likelihood, but for what does not depend on them. */
function likelihood(x: F64, weights: F64, flat: F64, means: F64): Scalar64 {
  const [k, d] = means.shape as readonly [number, number];
  const projected = reshape(matmul(x, flat, { transposeB: true }), [x.shape[0]!, k, d]) as F64;
  const distances = reduceSum(square(sub(projected, means) as F64), 2);
  return reduceSum(logSumExpRows(sub(weights, mul(distances, 0.5)) as F64));
}

function objective(x: F64, { m, gamma }: Prior): (at: Independent) => Scalar64 {
  return (at) => {
    const [n, d] = x.shape as readonly [number, number];
    const k = at.alpha.shape[0]!;
    const q = factors(at);
    const logDeterminants = reduceSum(at.q, 1) as F64;
    const weights = add(at.alpha, logDeterminants) as F64;
    // Q (x - mu) as Q x - Q mu.
    const means = reduceSum(mul(q, reshape(at.mu, [k, 1, d]) as F64) as F64, 2) as F64;
    const flat = reshape(q, [k * d, d]) as F64;
    const size = Math.max(1, Math.min(n, Math.floor(BLOCK_ELEMENTS / (k * d))));
    const blocks = Math.floor(n / size);
    const points = (from: number, to: number): F64 => sliceAxis(x, 0, from, to) as F64;
    const whole = scan(
      (sum: Scalar64, block: F64) => ({ carry: add(sum, likelihood(block, weights, flat, means)), y: [] }),
      splat(0, [], "f64"),
      reshape(points(0, blocks * size), [blocks, size, d]) as never,
    ).carry;
    const fit = blocks * size === n ? whole : add(whole, likelihood(points(blocks * size, n), weights, flat, means));
    const squares = reduceSum(square(q));
    const degrees = d + m + 1;
    const ofPoints = -n * (d / 2) * Math.log(2 * Math.PI);
    const ofPrior = k * (degrees * d * Math.log(gamma / Math.SQRT2) - logGamma(degrees / 2, d));
    const prior = sub(mul(reduceSum(logDeterminants), m), mul(squares, (gamma * gamma) / 2));
    return add(add(sub(fit, mul(logSumExp(at.alpha), n)), prior), ofPoints + ofPrior);
  };
}

function pose(input: unknown, isGradient: boolean): Problem {
  const reader = new InputReader(input);
  const d = reader.integer("d", 1, DIMENSION_MAX);
  const k = reader.integer("k", 1, COUNT_MAX);
  const n = reader.integer("n", 1, COUNT_MAX);
  const prior = { m: reader.integer("m", 0, COUNT_MAX), gamma: reader.number("gamma") };
  const below = (d * (d - 1)) / 2;
  const alpha = reader.vector("alpha", k);
  const rows = (key: string, count: number, columns: number): Float64Array => reader.matrix(key, count, columns).values;
  const values = [alpha, rows("mu", k, d), rows("q", k, d), rows("l", k, below), rows("x", n, d)];
  const of =
    (fn: (x: F64) => (at: Independent) => unknown) =>
    (...[a, mu, q, l, x]: readonly F64[]) =>
      fn(x!)({ alpha: a!, mu: mu!, q: q!, l: l! });
  return {
    variant: `${prior.m},${prior.gamma}`,
    types: [f64(k), f64(k, d), f64(k, d), f64(k, below), f64(n, d)],
    values,
    fn: of(isGradient ? (x) => grad(objective(x, prior)) : (x) => objective(x, prior)),
    answer: isGradient
      ? (results) => ({
          alpha: results.result(0),
          mu: asRows(results.result(1), k, d),
          q: asRows(results.result(2), k, d),
          l: asRows(results.result(3), k, below),
        })
      : oneNumber,
  };
}

export const gmm: Evaluation = {
  objective: (input) => pose(input, false),
  jacobian: (input) => pose(input, true),
};
