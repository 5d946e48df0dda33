// Where a function of one variable jumps, bends or has a pole. Each function and each condition tells an expression
// that is zero wherever it may break; the zeros are found by scanning and bisection, and at each of them the function
// and its derivatives are compared on both sides. What looks like a break and is none (abs(x)^2 at 0) is not reported.

import { call, difference, pi, product, sum, valueOf } from "./build.ts";
import { derive } from "./derive.ts";
import { evaluator } from "./evaluate.ts";
import type { Condition, Expression } from "./expression.ts";
import { partsOf, SymbolicError, variablesOf } from "./expression.ts";
import type { FunctionName } from "./functions.ts";
import * as Q from "./rational.ts";
import { simplify } from "./simplify.ts";

/** A place where a derivative (order 0 is the function itself) is not continuous. */
export interface Break {
  readonly at: number;
  /** The lowest order that breaks here. */
  readonly order: number;
  /** A finite step between both sides, unbounded on one of them, or not defined on one of them. */
  readonly kind: "jump" | "pole" | "edge";
  /** Just left and just right of it. */
  readonly left: number;
  readonly right: number;
}

type Guard = (a: Expression, b: Expression) => readonly Expression[];
const none: Guard = () => [];
const own: Guard = (a) => [a];
/** Zero where `a` is a whole number. */
const whole = (a: Expression): Expression => call("sin", product(pi, a));

const GUARDS: Readonly<Record<FunctionName, Guard>> = {
  exp: none,
  expm1: none,
  log: own,
  log1p: (a) => [sum(1, a)],
  sigmoid: none,
  sin: none,
  cos: none,
  tan: (a) => [call("cos", a)],
  asin: (a) => [difference(a, 1), sum(a, 1)],
  acos: (a) => [difference(a, 1), sum(a, 1)],
  atan: none,
  atan2: (a) => [a],
  sinh: none,
  cosh: none,
  tanh: none,
  asinh: none,
  acosh: (a) => [difference(a, 1)],
  atanh: (a) => [difference(a, 1), sum(a, 1)],
  cbrt: own,
  abs: own,
  sign: own,
  floor: (a) => [whole(a)],
  ceil: (a) => [whole(a)],
  trunc: (a) => [whole(a)],
  round: (a) => [whole(sum(a, 0.5))],
  min: (a, b) => [difference(a, b)],
  max: (a, b) => [difference(a, b)],
};

/** What is zero where this part may break. */
function guardsOf(e: Expression | Condition): readonly Expression[] {
  if (e.kind === "call") return GUARDS[e.name](e.args[0]!, e.args[1] ?? e.args[0]!);
  if (e.kind === "compare") return [difference(e.left, e.right)];
  if (e.kind !== "power") return [];
  const exponent = valueOf(e.exponent);
  return exponent !== undefined && Q.isInteger(exponent) && !Q.isNegative(exponent) ? [] : [e.base];
}

export interface BreakOptions {
  readonly from: number;
  readonly to: number;
  /** The highest derivative that is looked at. */
  readonly orders?: number;
  /** Steps of the scan; breaks closer together than one of them may be taken for one. */
  readonly steps?: number;
}

/** The breaks of `e` in its one variable, from left to right. */
export function findBreaks(e: Expression, { from, to, orders = 3, steps = 4096 }: BreakOptions): Break[] {
  const [name = "x", ...others] = variablesOf(e);
  if (others.length > 0)
    throw new SymbolicError("breaks are found in one variable", { got: `${name}, ${others.join(", ")}` });
  const derivatives = [simplify(e)];
  for (let n = 1; n <= orders + 1; n++) derivatives.push(simplify(derive(derivatives[n - 1]!, name)));
  const guards = [...new Set(partsOf([e]).flatMap(guardsOf))];
  const at = [...new Set(guards.flatMap((guard) => zerosOf(guard, name, from, to, steps)))].sort((a, b) => a - b);
  const values = evaluator(derivatives, [name]);
  const width = (to - from) / steps;
  return at.filter((x, i) => i === 0 || x - at[i - 1]! > width * 1e-6).flatMap((x) => breakAt(x, orders, values) ?? []);
}

/** Zeros and points where it stops being defined, by a scan for changes of sign and bisection. */
function zerosOf(e: Expression, name: string, from: number, to: number, steps: number): number[] {
  const value = evaluator([e], [name]);
  const sign = (x: number): number => Math.sign(value(x)[0]!);
  const found: number[] = [];
  let [left, leftSign] = [from, sign(from)];
  if (leftSign === 0) found.push(from);
  for (let i = 1; i <= steps; i++) {
    const right = i === steps ? to : from + ((to - from) * i) / steps;
    const rightSign = sign(right);
    if (rightSign === 0) found.push(right);
    else if (leftSign !== 0 && !Object.is(rightSign, leftSign)) {
      // Guards are rounded, so that the last digits of their zeros mean nothing.
      found.push(Number(bisect(sign, left, right).toPrecision(12)));
    }
    [left, leftSign] = [right, rightSign];
  }
  return found;
}

function bisect(sign: (x: number) => number, left: number, right: number): number {
  const leftSign = sign(left);
  for (;;) {
    const middle = left + (right - left) / 2;
    if (middle <= left || middle >= right) return Math.abs(right) < Math.abs(left) ? right : left;
    const middleSign = sign(middle);
    if (middleSign === 0) return middle;
    if (Object.is(middleSign, leftSign)) left = middle;
    else right = middle;
  }
}

/** Larger than this, close to the place, counts as unbounded. */
const UNBOUNDED = 1e6;

function breakAt(x: number, orders: number, values: (x: number) => Float64Array): Break | undefined {
  // Far enough that what grows towards a pole shows it, near enough that smooth functions hardly change.
  const step = 1e-7 * Math.max(1, Math.abs(x));
  const [left, right, nearLeft, nearRight, here] = [x - step, x + step, x - step / 64, x + step / 64, x].map((at) =>
    Float64Array.from(values(at)),
  ) as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];
  const isUnbounded = (far: number, near: number): boolean =>
    !(Math.abs(near) < UNBOUNDED) || (Math.abs(near) > 100 && Math.abs(near) > 2 * Math.abs(far));
  for (let order = 0; order <= orders; order++) {
    const [a, b] = [left[order]!, right[order]!];
    const found = (kind: Break["kind"]): Break => ({ at: x, order, kind, left: a, right: b });
    if (Math.abs(here[order]!) === Infinity) return found("pole");
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b) ? undefined : found("edge");
    if (isUnbounded(a, nearLeft[order]!) || isUnbounded(b, nearRight[order]!)) return found("pole");
    const slope = Math.max(Math.abs(left[order + 1]!), Math.abs(right[order + 1]!));
    const expected = 4 * step * slope + 1e-6 * (Math.abs(a) + Math.abs(b)) + 1e-9;
    if (Math.abs(b - a) > expected) return found("jump");
  }
  return undefined;
}
