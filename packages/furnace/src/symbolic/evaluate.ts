// Evaluating expressions many times: a tape of steps over registers, shared parts once. No code is generated, so that
// it also runs in pages with a strict content policy. Where a part overflows, all are computed again with exponents
// of any size (wide_range.ts), so that derivatives of sigmoids do not end in infinity over infinity.

import { invariant } from "@fidelity/units";
import type { Condition, Expression } from "./expression.ts";
import { partsOf, SymbolicError, variablesOf } from "./expression.ts";
import { factsOf } from "./functions.ts";
import * as Q from "./rational.ts";
import { evaluateWide } from "./wide_range.ts";

/** Computes the expressions at one point; the array is the same at every call. */
export type Evaluator = (...values: readonly number[]) => Float64Array;

/**
 * A function of the variables, in the order given, that evaluates all expressions in float64. Throws `SymbolicError`
 * where an expression depends on a variable that is not among them.
 */
export function evaluator(expressions: readonly Expression[], variables: readonly string[]): Evaluator {
  const parts = partsOf(expressions);
  for (const name of new Set(expressions.flatMap(variablesOf))) {
    if (!variables.includes(name)) {
      throw new SymbolicError(`the variable ${name} has no value`, { expected: `one of ${variables.join(", ")}` });
    }
  }
  const registers = new Float64Array(parts.length);
  const places = new Map(parts.map((part, i) => [part, i]));
  const steps = parts.map((part, i) => {
    const read = (operand: Expression | Condition): (() => number) => {
      const at = places.get(operand);
      invariant(at !== undefined, "an operand comes before its user");
      return () => registers[at]!;
    };
    if (part.kind === "variable") return undefined;
    const compute = stepOf(part, read);
    return () => void (registers[i] = compute());
  });
  const inputs = parts.flatMap((part, i) =>
    part.kind === "variable" ? [{ register: i, argument: variables.indexOf(part.name) }] : [],
  );
  const outputs = expressions.map((e) => places.get(e)!);
  const results = new Float64Array(outputs.length);
  return (...values) => {
    for (const { register, argument } of inputs) registers[register] = values[argument] ?? Number.NaN;
    for (const step of steps) step?.();
    if (registers.every(Number.isFinite)) {
      outputs.forEach((register, i) => void (results[i] = registers[register]!));
    } else {
      const found = evaluateWide(parts, (name) => values[variables.indexOf(name)] ?? Number.NaN);
      expressions.forEach((e, i) => void (results[i] = found.get(e)!));
    }
    return results;
  };
}

type Step = () => number;

/** A condition is 1 or 0. */
function stepOf(e: Expression | Condition, read: (operand: Expression | Condition) => Step): Step {
  switch (e.kind) {
    case "variable":
      return read(e);
    case "number": {
      const value = Q.toNumber(e.value);
      return () => value;
    }
    case "constant":
      return () => Math.PI;
    case "truth": {
      const value = Number(e.value);
      return () => value;
    }
    case "sum": {
      const constant = Q.toNumber(e.constant);
      const terms = e.terms.map(({ coefficient, of }) => ({ factor: Q.toNumber(coefficient), term: read(of) }));
      return () => {
        let total = 0;
        for (const { factor, term } of terms) total += factor * term();
        return total + constant;
      };
    }
    case "product": {
      const factors = e.factors.map(read);
      return () => {
        let total = 1;
        for (const factor of factors) total *= factor();
        return total;
      };
    }
    case "power":
      return powerStep(e.exponent, read(e.base), read(e.exponent));
    case "call": {
      const { evaluate } = factsOf(e.name);
      const [a, b] = [read(e.args[0]!), read(e.args[1] ?? e.args[0]!)];
      return () => evaluate(a(), b());
    }
    case "select": {
      const [condition, then, otherwise] = [read(e.condition), read(e.then), read(e.otherwise)];
      return () => (condition() === 1 ? then() : otherwise());
    }
    case "not": {
      const of = read(e.of);
      return () => 1 - of();
    }
    case "and":
    case "or": {
      const [a, b] = [read(e.left), read(e.right)];
      return e.kind === "and" ? () => a() * b() : () => Math.max(a(), b());
    }
    case "compare": {
      const [a, b] = [read(e.left), read(e.right)];
      if (e.comparison === "<") return () => Number(a() < b());
      return e.comparison === "<=" ? () => Number(a() <= b()) : () => Number(a() === b());
    }
  }
}

/** The usual exponents by multiplications and roots, which round better and are faster than `pow`. */
function powerStep(exponent: Expression, base: Step, general: Step): Step {
  const value = exponent.kind === "number" ? Q.toNumber(exponent.value) : undefined;
  if (value === 2) return () => base() ** 2;
  if (value === -1) return () => 1 / base();
  if (value === -2) return () => 1 / base() ** 2;
  if (value === 0.5) return () => Math.sqrt(base());
  if (value === -0.5) return () => 1 / Math.sqrt(base());
  return () => base() ** general();
}
