// The smart constructors: every expression is made by one of these, in canonical form. Like terms and like factors
// are joined, numbers are folded exactly, and identities of functions that cost nothing are applied. Whatever they
// join, the result has the value of the original wherever that is finite; it may be defined at more places (x/x is 1).

import type { Comparison, Condition, Expression, SumExpression, Term } from "./expression.ts";
import { intern, order } from "./expression.ts";
import type { FunctionName } from "./functions.ts";
import { factsOf } from "./functions.ts";
import type { Rational } from "./rational.ts";
import * as Q from "./rational.ts";

/** A number as an expression; a float64 is taken as the decimal that it prints as. */
export function number(value: Rational | number): Expression {
  return intern({ kind: "number", value: typeof value === "number" ? Q.exactly(value) : value });
}

export const pi: Expression = intern({ kind: "constant", name: "pi" });

export function variable(name: string): Expression {
  return intern({ kind: "variable", name });
}

/** An expression or a plain number, as the constructors take them. */
export type Operand = Expression | number;

export const lift = (operand: Operand): Expression => (typeof operand === "number" ? number(operand) : operand);

/** The value of an expression that is a number. */
export const valueOf = (e: Expression): Rational | undefined => (e.kind === "number" ? e.value : undefined);

/** `e` as coefficient times the rest. */
export function splitCoefficient(e: Expression): Term {
  if (e.kind === "number") return { coefficient: e.value, of: number(1) };
  if (e.kind === "sum" && e.terms.length === 1 && Q.isZero(e.constant)) return e.terms[0]!;
  return { coefficient: Q.ONE, of: e };
}

/** The constant and the terms of `e` read as a sum. */
export function splitSum(e: Expression): Pick<SumExpression, "constant" | "terms"> {
  if (e.kind === "sum") return e;
  if (e.kind === "number") return { constant: e.value, terms: [] };
  return { constant: Q.ZERO, terms: [{ coefficient: Q.ONE, of: e }] };
}

export function sum(...operands: readonly Operand[]): Expression {
  return linear(operands.map((operand) => ({ coefficient: Q.ONE, of: lift(operand) })));
}

/** The sum of terms, each an expression times a number. */
export function linear(terms: readonly Term[]): Expression {
  let constant = Q.ZERO;
  const coefficients = new Map<Expression, Rational>();
  for (const { coefficient, of } of terms) {
    const inner = splitSum(of);
    constant = Q.add(constant, Q.multiply(coefficient, inner.constant));
    for (const term of inner.terms) {
      const before = coefficients.get(term.of) ?? Q.ZERO;
      coefficients.set(term.of, Q.add(before, Q.multiply(coefficient, term.coefficient)));
    }
  }
  const joined = [...coefficients]
    .filter(([, coefficient]) => !Q.isZero(coefficient))
    .map(([of, coefficient]) => ({ coefficient, of }))
    .sort((a, b) => order(a.of, b.of));
  const [first] = joined;
  if (first === undefined) return number(constant);
  if (joined.length === 1 && Q.isZero(constant) && Q.isOne(first.coefficient)) return first.of;
  return intern({ kind: "sum", constant, terms: joined });
}

export const scaled = (coefficient: Rational, of: Operand): Expression => linear([{ coefficient, of: lift(of) }]);
export const negated = (e: Operand): Expression => scaled(Q.rational(-1), e);
export const difference = (a: Operand, b: Operand): Expression => sum(a, negated(b));

export function product(...operands: readonly Operand[]): Expression {
  let coefficient = Q.ONE;
  const exponents = new Map<Expression, Expression[]>();
  const ofE: Expression[] = [];
  const collect = (e: Expression): void => {
    const split = splitCoefficient(e);
    coefficient = Q.multiply(coefficient, split.coefficient);
    for (const factor of split.of.kind === "product" ? split.of.factors : [split.of]) {
      if (factor.kind === "number") continue;
      const exponent = exponentialArgument(factor);
      if (exponent !== undefined) ofE.push(exponent);
      else if (factor.kind !== "power") exponents.set(factor, [...(exponents.get(factor) ?? []), number(1)]);
      else exponents.set(factor.base, [...(exponents.get(factor.base) ?? []), factor.exponent]);
    }
  };
  for (const operand of operands) collect(lift(operand));
  if (Q.isZero(coefficient)) return number(0);
  const powers = [...exponents].flatMap(([base, list]) => joinPowers(base, list));
  if (ofE.length === 0) return ofFactors(coefficient, powers);
  const argument = sum(...ofE);
  const mirrored = mirrorSigmoid(powers, argument);
  if (mirrored !== undefined) return product(number(coefficient), ...mirrored);
  return ofFactors(coefficient, [...powers, call("exp", argument)]);
}

/** e^-ku sigmoid(u)^n is sigmoid(u)^(n-k) sigmoid(-u)^k, of which no factor overflows; the factors where that is so. */
function mirrorSigmoid(factors: readonly Expression[], argument: Expression): readonly Expression[] | undefined {
  for (const factor of factors) {
    const [base, exponent] = factor.kind === "power" ? [factor.base, valueOf(factor.exponent)] : [factor, Q.ONE];
    if (base.kind !== "call" || base.name !== "sigmoid" || exponent === undefined || !Q.isInteger(exponent)) continue;
    const u = base.args[0]!;
    for (let k = 1n; k <= exponent.numerator; k++) {
      if (scaled(Q.rational(-k), u) !== argument) continue;
      const rest = power(base, number(Q.rational(exponent.numerator - k)));
      const mirrored = power(call("sigmoid", negated(u)), number(Q.rational(k)));
      return [...factors.filter((other) => other !== factor), rest, mirrored];
    }
  }
  return undefined;
}

/** The u of 1 + e^-u. */
function sigmoidArgument(e: Expression): Expression | undefined {
  if (e.kind !== "sum" || e.terms.length !== 1 || !Q.isOne(e.constant)) return undefined;
  const { coefficient, of } = e.terms[0]!;
  const inner = Q.isOne(coefficient) ? exponentialArgument(of) : undefined;
  return inner && negated(inner);
}

/** The u of e^u, which is written exp(v)^n where u is n v. */
function exponentialArgument(e: Expression): Expression | undefined {
  if (e.kind === "call") return e.name === "exp" ? e.args[0] : undefined;
  const inner = e.kind === "power" ? exponentialArgument(e.base) : undefined;
  return e.kind === "power" && inner !== undefined ? product(e.exponent, inner) : undefined;
}

/** e^u, with a whole factor of u as an exponent: then e^x and e^2x share the work. */
function exponential(u: Expression): Expression {
  const { coefficient, of } = splitCoefficient(u);
  const isNegative = Q.isNegative(coefficient);
  const size = isNegative ? Q.negate(coefficient) : coefficient;
  if (!Q.isInteger(size) || Q.isOne(size) || of.kind === "number")
    return intern({ kind: "call", name: "exp", args: [u] });
  const base = intern<Expression>({ kind: "call", name: "exp", args: [isNegative ? negated(of) : of] });
  return intern({ kind: "power", base, exponent: number(size) });
}

/** The product of powers of one base: their exponents added, where that changes no finite value. */
function joinPowers(base: Expression, exponents: readonly Expression[]): Expression[] {
  const numeric = exponents.filter((exponent) => exponent.kind === "number");
  const others = exponents.filter((exponent) => exponent.kind !== "number");
  const isJoined = others.length === 0 || isPositive(base);
  if (isJoined) return [power(base, sum(...exponents))];
  return [...(numeric.length > 0 ? [power(base, sum(...numeric))] : []), power(base, sum(...others))];
}

/** Factors that were made by `power`, which may have folded to numbers, sums or products of their own. */
function ofFactors(coefficient: Rational, made: readonly Expression[]): Expression {
  const factors: Expression[] = [];
  let scale = coefficient;
  let isFlat = true;
  for (const e of made) {
    const split = splitCoefficient(e);
    scale = Q.multiply(scale, split.coefficient);
    if (split.of.kind === "product") isFlat = false;
    if (split.of.kind !== "number") factors.push(split.of);
  }
  if (!isFlat) return product(number(scale), ...factors);
  factors.sort(order);
  const [first] = factors;
  if (first === undefined) return number(scale);
  if (factors.length === 1) return scaled(scale, first);
  return scaled(scale, intern<Expression>({ kind: "product", factors }));
}

export const reciprocal = (e: Operand): Expression => power(e, -1);
export const quotient = (a: Operand, b: Operand): Expression => product(a, reciprocal(b));
export const squareRoot = (e: Operand): Expression => power(e, number(Q.HALF));

export function power(baseOperand: Operand, exponentOperand: Operand): Expression {
  const [base, exponent] = [lift(baseOperand), lift(exponentOperand)];
  const n = valueOf(exponent);
  if (n !== undefined && Q.isZero(n)) return number(1);
  if (n !== undefined && Q.isOne(n)) return base;
  const b = valueOf(base);
  if (b !== undefined && Q.isOne(b)) return base;
  const folded = b === undefined || n === undefined ? undefined : foldPower(b, n);
  if (folded !== undefined) return number(folded);
  const inner = exponentialArgument(base);
  if (inner !== undefined) return call("exp", product(inner, exponent));
  if (n !== undefined && Q.isInteger(n)) {
    const u = Q.isNegative(n) ? sigmoidArgument(base) : undefined;
    if (u !== undefined) return power(call("sigmoid", u), number(Q.negate(n)));
    if (base.kind === "power") return power(base.base, product(base.exponent, exponent));
    if (base.kind === "product") return product(...base.factors.map((factor) => power(factor, exponent)));
    if (base.kind === "call" && base.name === "abs" && n.numerator % 2n === 0n) return power(base.args[0]!, exponent);
    const split = splitCoefficient(base);
    const scale = base.kind === "sum" ? Q.integerPower(split.coefficient, n.numerator) : undefined;
    if (scale !== undefined && split.of !== base) return product(number(scale), power(split.of, exponent));
  }
  if (n !== undefined && Q.equals(n, Q.HALF) && base.kind === "power" && base.exponent === number(2)) {
    return call("abs", base.base);
  }
  if (base.kind === "power" && isPositive(base.base)) return power(base.base, product(base.exponent, exponent));
  return intern({ kind: "power", base, exponent });
}

function foldPower(base: Rational, exponent: Rational): Rational | undefined {
  if (Q.isInteger(exponent)) return Q.integerPower(base, exponent.numerator);
  const root = exponent.denominator === 2n ? Q.squareRoot(base) : undefined;
  return root === undefined ? undefined : Q.integerPower(root, exponent.numerator);
}

/** Whether it is known to be above zero wherever it is finite. */
export function isPositive(e: Expression): boolean {
  if (e.kind === "number") return e.value.numerator > 0n;
  if (e.kind === "constant") return true;
  if (e.kind === "call") return e.name === "exp" || e.name === "cosh" || e.name === "sigmoid";
  if (e.kind === "product") return e.factors.every(isPositive);
  if (e.kind === "power") return isPositive(e.base);
  if (e.kind !== "sum") return false;
  const hasNoMinus = !Q.isNegative(e.constant) && e.terms.every(({ coefficient }) => !Q.isNegative(coefficient));
  const isStrict = e.constant.numerator > 0n || e.terms.some(({ of }) => isPositive(of));
  return hasNoMinus && isStrict && e.terms.every(({ of }) => isPositive(of) || isEvenPower(of));
}

function isEvenPower(e: Expression): boolean {
  const exponent = e.kind === "power" ? valueOf(e.exponent) : undefined;
  return exponent !== undefined && Q.isInteger(exponent) && exponent.numerator % 2n === 0n;
}

/** A function of `Math` by its name; `sqrt`, `pow` and the like are powers and have constructors of their own. */
export function call(name: FunctionName, ...operands: readonly Operand[]): Expression {
  const args = operands.map(lift);
  const facts = factsOf(name);
  const [first] = args as [Expression];
  const value = valueOf(first);
  if (facts.arity === 1 && value !== undefined && Q.isZero(value) && facts.atZero !== undefined) {
    return number(facts.atZero);
  }
  if (facts.symmetry !== undefined && leadsWithMinus(first)) {
    const mirrored = call(name, negated(first));
    return facts.symmetry === "odd" ? negated(mirrored) : mirrored;
  }
  if (name === "exp") return first.kind === "call" && first.name === "log" ? first.args[0]! : exponential(first);
  if (name === "log") {
    const inner = exponentialArgument(first);
    if (inner !== undefined) return inner;
  }
  if (name === "log" && value !== undefined && Q.isOne(value)) return number(0);
  if (name === "abs" && isPositive(first)) return first;
  if (name === "sign" && isPositive(first)) return number(1);
  return intern({ kind: "call", name, args });
}

/** Whether the first coefficient is below zero: of x - y and y - x one is the canonical argument of an odd function. */
function leadsWithMinus(e: Expression): boolean {
  const { constant, terms } = splitSum(e);
  const [first] = terms;
  return Q.isNegative(first?.coefficient ?? constant);
}

/** `then` where the condition holds, `otherwise` elsewhere; the other branch does not matter, not even by its NaN. */
export function select(condition: Condition, then: Operand, otherwise: Operand): Expression {
  const [a, b] = [lift(then), lift(otherwise)];
  if (condition.kind === "truth") return condition.value ? a : b;
  if (condition.kind === "not") return select(condition.of, b, a);
  return a === b ? a : intern({ kind: "select", condition, then: a, otherwise: b });
}

export function comparing(left: Operand, comparison: Comparison, right: Operand): Condition {
  const [a, b] = [lift(left), lift(right)];
  const [x, y] = [valueOf(a), valueOf(b)];
  if (x === undefined || y === undefined) return intern({ kind: "compare", comparison, left: a, right: b });
  const sign = Q.compare(x, y);
  return truth(comparison === "<" ? sign < 0 : comparison === "<=" ? sign <= 0 : sign === 0);
}

export function not(of: Condition): Condition {
  if (of.kind === "truth") return truth(!of.value);
  return of.kind === "not" ? of.of : intern({ kind: "not", of });
}

export function and(left: Condition, right: Condition): Condition {
  if (left.kind === "truth") return left.value ? right : left;
  if (right.kind === "truth") return right.value ? left : right;
  return left === right ? left : intern({ kind: "and", left, right });
}

export function or(left: Condition, right: Condition): Condition {
  if (left.kind === "truth") return left.value ? left : right;
  if (right.kind === "truth") return right.value ? right : left;
  return left === right ? left : intern({ kind: "or", left, right });
}

const truth = (value: boolean): Condition => intern({ kind: "truth", value });

/** `e` with other operands, in canonical form again. */
export function rebuild(e: Expression, part: (operand: Expression) => Expression): Expression {
  switch (e.kind) {
    case "number":
    case "constant":
    case "variable":
      return e;
    case "sum":
      return sum(number(e.constant), linear(e.terms.map(({ coefficient, of }) => ({ coefficient, of: part(of) }))));
    case "product":
      return product(...e.factors.map(part));
    case "power":
      return power(part(e.base), part(e.exponent));
    case "call":
      return call(e.name, ...e.args.map(part));
    case "select":
      return select(rebuildCondition(e.condition, part), part(e.then), part(e.otherwise));
  }
}

export function rebuildCondition(c: Condition, part: (operand: Expression) => Expression): Condition {
  if (c.kind === "truth") return c;
  if (c.kind === "compare") return comparing(part(c.left), c.comparison, part(c.right));
  if (c.kind === "not") return not(rebuildCondition(c.of, part));
  const [left, right] = [rebuildCondition(c.left, part), rebuildCondition(c.right, part)];
  return c.kind === "and" ? and(left, right) : or(left, right);
}

/** `e` with expressions in the place of variables. */
export function substituteVariables(e: Expression, values: ReadonlyMap<string, Expression>): Expression {
  const done = new Map<Expression, Expression>();
  const visit = (part: Expression): Expression => {
    if (part.kind === "variable") return values.get(part.name) ?? part;
    let made = done.get(part);
    if (made === undefined) done.set(part, (made = rebuild(part, visit)));
    return made;
  };
  return visit(e);
}
