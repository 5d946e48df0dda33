// Symbolic derivatives. Each kind of expression and each function has its rule (Abramowitz and Stegun 1964, sections
// 3.3 and 4); shared parts are differentiated once. Where a function jumps or bends, the rule gives the derivative on
// both sides; breaks.ts tells where that is.

import { call, comparing, difference, negated, number, power, product, quotient, select, sum } from "./build.ts";
import { linear, reciprocal } from "./build.ts";
import type { Expression } from "./expression.ts";
import type { FunctionName } from "./functions.ts";

type Partial = (a: Expression, b: Expression) => Expression;

const square = (a: Expression): Expression => power(a, 2);
const inverseRoot = (a: Expression): Expression => power(a, number({ numerator: -1n, denominator: 2n }));
const flat: Partial = () => number(0);

/** The partial derivatives of each function by its arguments. */
const PARTIALS: Readonly<Record<FunctionName, readonly Partial[]>> = {
  exp: [(a) => call("exp", a)],
  expm1: [(a) => call("exp", a)],
  log: [(a) => reciprocal(a)],
  log1p: [(a) => reciprocal(sum(1, a))],
  sigmoid: [(a) => product(call("sigmoid", a), call("sigmoid", negated(a)))],
  sin: [(a) => call("cos", a)],
  cos: [(a) => negated(call("sin", a))],
  tan: [(a) => sum(1, square(call("tan", a)))],
  asin: [(a) => inverseRoot(difference(1, square(a)))],
  acos: [(a) => negated(inverseRoot(difference(1, square(a))))],
  atan: [(a) => reciprocal(sum(1, square(a)))],
  atan2: [(a, b) => quotient(b, sum(square(a), square(b))), (a, b) => negated(quotient(a, sum(square(a), square(b))))],
  sinh: [(a) => call("cosh", a)],
  cosh: [(a) => call("sinh", a)],
  tanh: [(a) => difference(1, square(call("tanh", a)))],
  asinh: [(a) => inverseRoot(sum(1, square(a)))],
  acosh: [(a) => product(inverseRoot(difference(a, 1)), inverseRoot(sum(a, 1)))],
  atanh: [(a) => reciprocal(difference(1, square(a)))],
  cbrt: [(a) => reciprocal(product(3, square(call("cbrt", a))))],
  abs: [(a) => call("sign", a)],
  sign: [flat],
  floor: [flat],
  ceil: [flat],
  trunc: [flat],
  round: [flat],
  min: [(a, b) => select(comparing(a, "<", b), 1, 0), (a, b) => select(comparing(a, "<", b), 0, 1)],
  max: [(a, b) => select(comparing(b, "<", a), 1, 0), (a, b) => select(comparing(b, "<", a), 0, 1)],
};

/** The derivative of `e` by the variable called `by`, not simplified beyond canonical form. */
export function derive(e: Expression, by: string): Expression {
  const done = new Map<Expression, Expression>();
  const d = (part: Expression): Expression => {
    let made = done.get(part);
    if (made === undefined) done.set(part, (made = rule(part, d, by)));
    return made;
  };
  return d(e);
}

function rule(e: Expression, d: (part: Expression) => Expression, by: string): Expression {
  switch (e.kind) {
    case "number":
    case "constant":
      return number(0);
    case "variable":
      return number(e.name === by ? 1 : 0);
    case "sum":
      return linear(e.terms.map(({ coefficient, of }) => ({ coefficient, of: d(of) })));
    case "product":
      return sum(...e.factors.map((factor, i) => product(d(factor), ...e.factors.filter((_, other) => other !== i))));
    case "power":
      return powerRule(e.base, e.exponent, d);
    case "call": {
      const [a, b] = [e.args[0]!, e.args[1] ?? e.args[0]!];
      return sum(...e.args.map((argument, i) => product(PARTIALS[e.name][i]!(a, b), d(argument))));
    }
    case "select":
      return select(e.condition, d(e.then), d(e.otherwise));
  }
}

/** d(b^e) = e b^(e-1) db + b^e log(b) de; a part whose factor is zero is left out, and its domain with it. */
function powerRule(base: Expression, exponent: Expression, d: (part: Expression) => Expression): Expression {
  const [db, de] = [d(base), d(exponent)];
  const byBase = product(exponent, power(base, difference(exponent, 1)), db);
  if (de === number(0)) return byBase;
  return sum(byBase, product(power(base, exponent), call("log", base), de));
}
