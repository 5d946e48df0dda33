// Gradient descent as saddle and particle want it: steps that are halved when they lead nowhere and doubled after ten
// that did, until a step or the gradient is short. A loop whose length is found at run time, and in the function that
// it minimises there may be another one; gradients are by forward or by reverse mode.

import {
  add,
  cond,
  eq,
  logicalAnd,
  logicalNot,
  lt,
  mul,
  select,
  splat,
  sqrt,
  square,
  sub,
  whileLoop,
} from "@fidelity/core";
import { jvp, valueAndGrad } from "@fidelity/furnace";
import type { Tensor } from "@fidelity/core";
import type { Scalar64 } from "../programs.ts";

/** A point, coordinate by coordinate. */
export type Point = readonly Scalar64[];
export type PointFunction = (x: Point) => Scalar64;
type Truth = Tensor<readonly [], "bool">;

/** A function's value and its derivatives in all coordinates. */
export type Slope = (fn: PointFunction) => (x: Point) => { readonly value: Scalar64; readonly slope: Point };

export const MODES: Readonly<Record<"f" | "r", Slope>> = {
  /** Forward mode, one direction after the other. */
  f: (fn) => (x) => {
    const along = x.map((_coordinate, i) => {
      const direction = x.map((_other, j) => splat(i === j ? 1 : 0, [], "f64"));
      return jvp(fn)([x], [direction] as never) as { value: Scalar64; tangent: Scalar64 };
    });
    return { value: along[0]!.value, slope: along.map(({ tangent }) => tangent) };
  },
  /** Reverse mode. */
  r: (fn) => (x) => {
    const { value, grad } = valueAndGrad(fn)(x);
    return { value, slope: grad as Point };
  },
};

/** What is taken for no length. */
const SHORT = 1e-5;
const FIRST_RATE = 1e-5;
/** After so many good steps in a row the rate is doubled. */
const GOOD_STEPS = 10;

interface Descent {
  readonly x: Point;
  readonly value: Scalar64;
  readonly slope: Point;
  readonly rate: Scalar64;
  /** Good steps in a row. */
  readonly good: Scalar64;
}

const norm = (x: Point): Scalar64 => sqrt(x.map((one) => square(one)).reduce((sum, one) => add(sum, one)));
/** Not a number is not long, so that a descent that has lost its way ends. */
const isLong = (x: Point): Truth => lt(SHORT, norm(x)) as Truth;
const stepOf = ({ x, slope, rate }: Descent): Point => x.map((one, i) => sub(one, mul(rate, slope[i]!)));

/** Where `fn` is the least, looked for from `start` on. */
export function argmin(fn: PointFunction, start: Point, slopeOf: Slope): Point {
  const evaluate = slopeOf(fn);
  const isDoubling = ({ good }: Descent): Truth => eq(good, GOOD_STEPS) as Truth;
  const goesOn = (at: Descent): Truth => {
    const step = stepOf(at).map((one, i) => sub(at.x[i]!, one));
    // Doubling the rate takes no step.
    const moves = logicalNot(logicalAnd(logicalNot(isDoubling(at)), logicalNot(isLong(step))));
    return logicalAnd(isLong(at.slope), moves) as Truth;
  };
  const doubled = (at: Descent): Descent => ({ ...at, rate: mul(at.rate, 2), good: splat(0, [], "f64") });
  const stepped = (at: Descent): Descent => {
    const x = stepOf(at);
    const { value, slope } = evaluate(x);
    const isBetter = lt(value, at.value) as Truth;
    const better = (now: Scalar64, before: Scalar64): Scalar64 => select(isBetter, now, before);
    return {
      x: x.map((one, i) => better(one, at.x[i]!)),
      value: better(value, at.value),
      slope: slope.map((one, i) => better(one, at.slope[i]!)),
      rate: better(at.rate, mul(at.rate, 0.5)),
      good: better(add(at.good, 1), splat(0, [], "f64")),
    };
  };
  const init: Descent = {
    x: start,
    ...evaluate(start),
    rate: splat(FIRST_RATE, [], "f64"),
    good: splat(0, [], "f64"),
  };
  return whileLoop(goesOn, (at: Descent) => cond(isDoubling(at), doubled, stepped, at), init).x;
}

/** Where `fn` is the greatest. */
export function argmax(fn: PointFunction, start: Point, slopeOf: Slope): Point {
  return argmin((x) => mul(fn(x), -1), start, slopeOf);
}
