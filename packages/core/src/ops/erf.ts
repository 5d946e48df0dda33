// erf: the error function, 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.

import { erfOf } from "../loop/math.ts";
import { elementwise, unary } from "./elementwise.ts";
import { exp } from "./exp.ts";
import { mul } from "./mul.ts";
import { neg } from "./neg.ts";

const SLOPE = 2 / Math.sqrt(Math.PI);
/** Enough for the last bit where |x| is 2. */
const FRACTION_TERMS = 80;

export const erfOp = elementwise({
  name: "erf",
  summary: "y = erf x",
  arity: 1,
  scalar: errorFunction,
  value: (k, x) => erfOf(k, x),
  derivative: { kind: "rules", jvp: ({ inputs: [x] }, [dx]) => [mul(dx!, mul(exp(neg(mul(x!, x!))), SLOPE))] },
});

/**
 * The error function of a number in float64: near zero, e^(-x^2) times a series all of whose terms have the sign of x;
 * further out, 1 less e^(-x^2) times the continued fraction of Laplace (Abramowitz and Stegun 7.1.6 and 7.1.14).
 */
export function errorFunction(x: number): number {
  const size = Math.abs(x);
  if (!(size < 6)) return Number.isNaN(x) ? NaN : Math.sign(x);
  const bell = Math.exp(-x * x);
  if (size > 2) {
    let fraction = size;
    for (let n = FRACTION_TERMS; n > 0; n--) fraction = size + n / 2 / fraction;
    return Math.sign(x) * (1 - (SLOPE / 2) * (bell / fraction));
  }
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return SLOPE * bell * sum;
}

/** The error function, elementwise. */
export const erf = unary(erfOp);
