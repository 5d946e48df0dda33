// particle: the control w for which a charged particle, pushed by two fixed charges, meets the origin, by gradient
// descent over w. Its path is Euler's method until it crosses the x axis, with the force as the gradient of a
// potential: a derivative in a loop of unknown length in a derivative in such a loop. The two letters of a function are
// the modes of the outer derivative and of the inner one.

import { add, div, logicalNot, lt, mul, splat, sqrt, square, sub, whileLoop } from "@fidelity/core";
import { oneNumber } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { Scalar64 } from "../programs.ts";
import { argmin, MODES } from "./descent.ts";
import type { Point, Slope } from "./descent.ts";

const STEP = 0.1;
/** Reverse mode keeps the path; one that is longer ends here. */
const STEPS_MAX = 10_000;
const START: readonly number[] = [0, 8];
const START_VELOCITY: readonly number[] = [0.75, 0];

interface Path {
  readonly x: Point;
  readonly v: Point;
}

const number = (value: number): Scalar64 => splat(value, [], "f64");

/** Of the charges at (10, 10 - w) and (10, 0). */
function potential(x: Point, w: Scalar64): Scalar64 {
  const inverseDistance = (y: Scalar64): Scalar64 => div(1, sqrt(add(square(sub(x[0]!, 10)), square(sub(x[1]!, y)))));
  return add(inverseDistance(sub(10, w)), inverseDistance(number(0)));
}

/** The square of the place where the path crosses the x axis. */
function crossing(w: Scalar64, slopeOf: Slope): Scalar64 {
  const ahead = ({ x, v }: Path): Point => x.map((one, i) => add(one, mul(v[i]!, STEP)));
  const path = whileLoop(
    (at: Path) => logicalNot(lt(ahead(at)[1]!, 0)),
    (at: Path): Path => {
      const { slope } = slopeOf((x) => potential(x, w))(at.x);
      return { x: ahead(at), v: at.v.map((one, i) => sub(one, mul(slope[i]!, STEP))) };
    },
    { x: START.map(number), v: START_VELOCITY.map(number) },
    { maxSteps: STEPS_MAX },
  );
  const left = div(mul(path.x[1]!, -1), path.v[1]!);
  return square(add(path.x[0]!, mul(left, path.v[0]!)));
}

const pose =
  (outer: Slope, inner: Slope) =>
  (input: unknown): Problem => ({
    types: [f64()],
    values: [[new InputReader(input).number("w")]],
    fn: (w: Scalar64) => argmin((at) => crossing(at[0]!, inner), [w], outer)[0]!,
    answer: oneNumber,
  });

const { f, r } = MODES;

export const particle: Evaluation = { ff: pose(f, f), fr: pose(f, r), rf: pose(r, f), rr: pose(r, r) };
