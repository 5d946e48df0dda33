// saddle: min over x of max over y of (x1^2 + x2^2) - (y1^2 + y2^2), by gradient descent in gradient descent. The two
// letters of a function are the modes of the outer derivative and of the inner one, of the loop that it contains.

import { add, concat, reshape, sliceAxis, square, sub } from "@fidelity/core";
import { numbers } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, Scalar64 } from "../programs.ts";
import { argmax, argmin, MODES } from "./descent.ts";
import type { Point, Slope } from "./descent.ts";

const squares = (x: Point): Scalar64 => add(square(x[0]!), square(x[1]!));
const height = (x: Point, y: Point): Scalar64 => sub(squares(x), squares(y));

/** Both points [4] from the start [2] of all searches. */
function saddlePoint(outer: Slope, inner: Slope): (start: F64) => F64 {
  return (from) => {
    const start = [0, 1].map((i) => reshape(sliceAxis(from, 0, i, i + 1), []) as Scalar64);
    const highest = (x: Point, slope: Slope): Point => argmax((y) => height(x, y), start, slope);
    const x = argmin((at) => height(at, highest(at, inner)), start, outer);
    const y = highest(x, outer);
    return concat(
      [...x, ...y].map((one) => reshape(one, [1]) as F64),
      0,
    ) as F64;
  };
}

const pose =
  (outer: Slope, inner: Slope) =>
  (input: unknown): Problem => ({
    types: [f64(2)],
    values: [new InputReader(input).vector("start", 2)],
    fn: saddlePoint(outer, inner),
    answer: numbers,
  });

const { f, r } = MODES;

export const saddle: Evaluation = { ff: pose(f, f), fr: pose(f, r), rf: pose(r, f), rr: pose(r, r) };
