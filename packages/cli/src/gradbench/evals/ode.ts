// ode: y' = f(x, y) from 0 to 2 by the classic Runge-Kutta method in s steps, f[0] = x[0] and f[i] = x[i] y[i - 1];
// and the gradient of the last element of the result. The steps are a scan.

import { add, concat, div, mul, reshape, scan, sliceAxis, splat } from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { numbers } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, Scalar64 } from "../programs.ts";

const STEPS_MAX = 2 ** 20;

/** The last y [n] for x [n]. */
function solution(steps: number): (x: F64) => F64 {
  const h = 2 / steps;
  return (x) => {
    const n = x.shape[0]!;
    const one = splat(1, [1], "f64") as F64;
    const slope = (y: F64): F64 => mul(x, n === 1 ? one : (concat([one, sliceAxis(y, 0, 0, n - 1) as F64], 0) as F64));
    const along = (y: F64, k: F64, by: number): F64 => add(y, mul(k, by));
    const step = (y: F64): { carry: F64; y: [] } => {
      const k1 = slope(y);
      const k2 = slope(along(y, k1, h / 2));
      const k3 = slope(along(y, k2, h / 2));
      const k4 = slope(along(y, k3, h));
      const total = add(add(k1, mul(add(k2, k3), 2)), k4);
      return { carry: add(y, div(mul(total, h), 6)), y: [] };
    };
    return scan(step, splat(0, [n], "f64") as F64, [], { length: steps }).carry;
  };
}

const last = (y: F64): Scalar64 => reshape(sliceAxis(y, 0, y.shape[0]! - 1, y.shape[0]!), []) as Scalar64;

function pose(input: unknown, of: (fn: (x: F64) => F64) => Problem["fn"]): Problem {
  const reader = new InputReader(input);
  const x = reader.vector("x");
  const steps = reader.integer("s", 1, STEPS_MAX);
  return { variant: `${steps}`, types: [f64(x.length)], values: [x], fn: of(solution(steps)), answer: numbers };
}

export const ode: Evaluation = {
  primal: (input) => pose(input, (fn) => fn),
  gradient: (input) => pose(input, (fn) => grad((x: F64) => last(fn(x)))),
};
