// llsq: half the sum of squares of s(t) minus a polynomial in t, at n points t from -1 to 1 where s is the sign of t.
// A scan takes a block of points at a time, so that their powers [points, degree] stay in the cache, in the gradient
// too.

import {
  add,
  cast,
  concat,
  div,
  iota,
  lt,
  matmul,
  mul,
  reduceSum,
  reshape,
  scan,
  slice,
  splat,
  square,
  sub,
} from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { numbers, oneNumber } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, Scalar64 } from "../programs.ts";

const POINTS_MAX = 2 ** 24;
const BLOCK_POINTS = 128;

/** [points, degree]: column j is t to the power of j. Each round doubles the columns. */
function powersOf(t: F64, degree: number): F64 {
  const points = t.shape[0]!;
  let powers = splat(1, [points, 1], "f64") as F64;
  let next = reshape(t, [points, 1]) as F64;
  while (powers.shape[1]! < degree) {
    powers = concat([powers, mul(powers, next) as F64], 1) as F64;
    next = square(next);
  }
  return slice(powers, [0, 0], [points, degree]) as F64;
}

/** The objective at the coefficients x [degree]. */
function objective(points: number): (x: F64) => Scalar64 {
  const blocks = Math.ceil(points / BLOCK_POINTS);
  const block = Math.ceil(points / blocks);
  return (x) => {
    const index = iota([blocks * block], "f64") as F64;
    // Points behind the last one fill the last block; they weigh nothing.
    const weight = cast(lt(index, points), "f64") as F64;
    const t = sub(div(mul(index, 2), points - 1), 1) as F64;
    const zero = splat(0, t.shape, "f64") as F64;
    const sign = sub(cast(lt(zero, t), "f64") as F64, cast(lt(t, zero), "f64") as F64) as F64;
    const inBlocks = (all: F64): F64 => reshape(all, [blocks, block]) as F64;
    const { carry } = scan(
      (sum: Scalar64, at: { t: F64; sign: F64; weight: F64 }) => {
        const fit = reshape(matmul(powersOf(at.t, x.shape[0]!), reshape(x, [x.shape[0]!, 1])), [block]) as F64;
        const residual = mul(at.weight, sub(at.sign, fit) as F64) as F64;
        return { carry: add(sum, reduceSum(square(residual))), y: [] };
      },
      splat(0, [], "f64"),
      { t: inBlocks(t), sign: inBlocks(sign), weight: inBlocks(weight) } as never,
    );
    return div(carry, 2);
  };
}

function pose(input: unknown, of: (fn: (x: F64) => Scalar64) => Problem["fn"], answer: Problem["answer"]): Problem {
  const reader = new InputReader(input);
  const x = reader.vector("x");
  const points = reader.integer("n", 2, POINTS_MAX);
  return { variant: `${points}`, types: [f64(x.length)], values: [x], fn: of(objective(points)), answer };
}

export const llsq: Evaluation = {
  primal: (input) => pose(input, (fn) => fn, oneNumber),
  gradient: (input) => pose(input, (fn) => grad(fn), numbers),
};
