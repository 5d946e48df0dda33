// Makes an expression cheaper to evaluate and shorter to read: fractions over one denominator, common factors in front
// of a sum, cos^2 + sin^2 and cosh^2 - sinh^2. Each rule proposes a form, and the cheapest one stays, so that no rule
// makes anything worse. As in build.ts, the value is the original's wherever that is finite.

import {
  call,
  linear,
  number,
  power,
  product,
  rebuild,
  scaled,
  splitCoefficient,
  splitSum,
  sum,
  valueOf,
} from "./build.ts";
import type { Condition, Expression, Term } from "./expression.ts";
import { partsOf } from "./expression.ts";
import type { Rational } from "./rational.ts";
import * as Q from "./rational.ts";

/** Sums that a product is written out to have at most so many terms. */
const EXPANDED_TERMS_MAX = 64;
/** The proposals for larger expressions would cost more than they bring. */
const PARTS_MAX = 500;

/** What evaluating an expression costs, shared parts once; about the cycles of a pipelined processor. */
export function costOf(...roots: readonly Expression[]): number {
  return partsOf(roots).reduce((total, part) => total + ownCost(part), 0);
}

function ownCost(e: Expression | Condition): number {
  switch (e.kind) {
    case "sum": {
      const scalings = e.terms.filter(({ coefficient }) => !Q.isOne(coefficient) && !Q.isOne(Q.negate(coefficient)));
      return e.terms.length + scalings.length - (Q.isZero(e.constant) ? 1 : 0);
    }
    case "product":
      return e.factors.length - 1;
    case "power": {
      const exponent = valueOf(e.exponent);
      if (exponent === undefined) return 20;
      return Q.isInteger(exponent) ? (Q.isNegative(exponent) ? 4 : 1) : 8;
    }
    case "call":
      return 15;
    case "number":
    case "constant":
    case "variable":
    case "truth":
      return 0;
    default:
      return 1;
  }
}

/** The cheapest equal form that the rules find. */
export function simplify(e: Expression): Expression {
  const done = new Map<Expression, Expression>();
  const visit = (part: Expression): Expression => {
    let made = done.get(part);
    if (made === undefined) done.set(part, (made = best(rebuild(part, visit))));
    return made;
  };
  let current = e;
  for (let round = 0; round < 4; round++) {
    done.clear();
    const next = visit(current);
    if (next === current || costOf(next) > costOf(current)) return current;
    current = next;
  }
  return current;
}

function best(e: Expression): Expression {
  if (e.kind !== "sum" && e.kind !== "product") return e;
  if (partsOf([e]).length > PARTS_MAX) return e;
  let chosen = e as Expression;
  let cost = costOf(e);
  for (const proposal of [squares(e), factored(e), together(e), factored(together(e)), expanded(e)]) {
    const proposed = costOf(proposal);
    if (proposed < cost) [chosen, cost] = [proposal, proposed];
  }
  return chosen;
}

/** The factors of an expression with whole exponents, everything else as a factor of its own. */
function factorsOf(e: Expression): Map<Expression, bigint> {
  const factors = new Map<Expression, bigint>();
  for (const factor of e.kind === "product" ? e.factors : [e]) {
    const exponent = factor.kind === "power" ? valueOf(factor.exponent) : undefined;
    const isWhole = factor.kind === "power" && exponent !== undefined && Q.isInteger(exponent);
    const [base, n] = isWhole ? [factor.base, exponent.numerator] : [factor, 1n];
    factors.set(base, n);
  }
  return factors;
}

const wholePower = (base: Expression, exponent: bigint): Expression => power(base, number(Q.rational(exponent)));

/** What all terms have as a factor, in front of the sum. */
function factored(e: Expression): Expression {
  const { constant, terms } = splitSum(e);
  if (terms.length < 2 || !Q.isZero(constant)) return e;
  const [first, ...others] = terms.map(({ of }) => factorsOf(of));
  const common: Expression[] = [];
  for (const [base, n] of first!) {
    const least = others.reduce((low, factors) => {
      const other = factors.get(base) ?? 0n;
      return other < low ? other : low;
    }, n);
    if (least > 0n || (least < 0n && others.every((factors) => factors.has(base))))
      common.push(wholePower(base, least));
  }
  if (common.length === 0) return e;
  const front = product(...common);
  const rest = terms.map(({ coefficient, of }) => ({ coefficient, of: product(of, power(front, -1)) }));
  return product(front, linear(rest));
}

/** One fraction, with its numerator multiplied out. */
function together(e: Expression): Expression {
  const { constant, terms } = splitSum(e);
  const all: Term[] = Q.isZero(constant) ? [...terms] : [...terms, { coefficient: constant, of: number(1) }];
  const denominators = new Map<Expression, bigint>();
  for (const { of } of all) {
    for (const [base, n] of factorsOf(of)) {
      if (n < (denominators.get(base) ?? 0n)) denominators.set(base, n);
    }
  }
  if (denominators.size === 0) return e;
  const below = product(...[...denominators].map(([base, n]) => wholePower(base, -n)));
  const numerator = linear(all.map(({ coefficient, of }) => ({ coefficient, of: expanded(product(of, below)) })));
  return product(numerator, power(below, -1));
}

/** Products of sums, and small powers of sums, written out. */
function expanded(e: Expression): Expression {
  const { coefficient, of } = splitCoefficient(e);
  if (of.kind !== "product" && of.kind !== "power") {
    return e.kind === "sum" ? linear([...e.terms.map(expandTerm), { coefficient: e.constant, of: number(1) }]) : e;
  }
  let terms: Term[] = [{ coefficient, of: number(1) }];
  for (const [base, n] of factorsOf(of)) {
    const isOpen = base.kind === "sum" && n > 0n && n <= 4n;
    for (let i = 0n; i < (isOpen ? n : 1n); i++) {
      const factor = splitSum(isOpen ? base : wholePower(base, n));
      const inner: readonly Term[] = [...factor.terms, { coefficient: factor.constant, of: number(1) }];
      terms = terms.flatMap((a) => inner.map((b) => timesTerm(a, b)));
      if (terms.length > EXPANDED_TERMS_MAX) return e;
    }
  }
  return linear(terms);
}

const expandTerm = ({ coefficient, of }: Term): Term => ({ coefficient, of: expanded(of) });
const timesTerm = (a: Term, b: Term): Term => ({
  coefficient: Q.multiply(a.coefficient, b.coefficient),
  of: product(a.of, b.of),
});

/** a cos^2 u + a sin^2 u is a, and a cosh^2 u - a sinh^2 u is a. */
function squares(e: Expression): Expression {
  if (e.kind !== "sum") return e;
  for (const [name, partner, sign] of [["sin", "cos", 1] as const, ["sinh", "cosh", -1] as const]) {
    for (const term of e.terms) {
      const found = squareIn(term.of, name);
      if (found === undefined) continue;
      const other = product(found.rest, power(call(partner, found.argument), 2));
      const wanted: Rational = sign === 1 ? term.coefficient : Q.negate(term.coefficient);
      const match = e.terms.find(({ coefficient, of }) => of === other && Q.equals(coefficient, wanted));
      if (match === undefined) continue;
      const left = e.terms.filter((candidate) => candidate !== term && candidate !== match);
      return sum(number(e.constant), linear(left), scaled(wanted, found.rest));
    }
  }
  return e;
}

function squareIn(e: Expression, name: "sin" | "sinh"): { argument: Expression; rest: Expression } | undefined {
  for (const [base, n] of factorsOf(e)) {
    if (base.kind !== "call" || base.name !== name || n !== 2n) continue;
    return { argument: base.args[0]!, rest: product(e, wholePower(base, -2n)) };
  }
  return undefined;
}
