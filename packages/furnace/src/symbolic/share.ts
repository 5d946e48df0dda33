// Common subexpressions by name: which parts of an expression deserve a line of their own when it is printed.

import { valueOf } from "./build.ts";
import type { Condition, Expression } from "./expression.ts";
import { operandsOf, partsOf, variablesOf } from "./expression.ts";
import * as Q from "./rational.ts";

/** Parts with names, each before those that use it. */
export type Names = ReadonlyMap<Expression, string>;

/** Names for what the expressions use more than once, from `t0` on, past names of variables. */
export function commonSubexpressions(roots: readonly Expression[]): Names {
  const uses = new Map<Expression | Condition, number>();
  const parts = partsOf(roots);
  const count = (e: Expression | Condition): void => void (uses.get(e) === undefined ? uses.set(e, 1) : uses.set(e, 2));
  for (const part of parts) {
    // A quiet part's use counts for what it is written around.
    if (!isQuiet(part)) operandsOf(part).map(shown).forEach(count);
  }
  roots.map(shown).forEach(count);
  const taken = new Set(roots.flatMap(variablesOf));
  const names = new Map<Expression, string>();
  let next = 0;
  for (const part of parts) {
    if ((uses.get(part) ?? 0) < 2 || !isWorthAName(part)) continue;
    while (taken.has(`t${next}`)) next++;
    names.set(part, `t${next++}`);
  }
  return names;
}

const isScaling = (e: Expression): boolean => e.kind === "sum" && e.terms.length === 1 && Q.isZero(e.constant);

/** What is printed as a sign, a coefficient or a denominator around another expression. */
function isQuiet(e: Expression | Condition): boolean {
  if (e.kind === "power") {
    const exponent = valueOf(e.exponent);
    return exponent !== undefined && Q.isInteger(exponent) && Q.isNegative(exponent);
  }
  return e.kind === "sum" && isScaling(e);
}

function shown(e: Expression | Condition): Expression | Condition {
  if (!isQuiet(e)) return e;
  return shown(e.kind === "power" ? e.base : operandsOf(e)[0]!);
}

function isWorthAName(e: Expression | Condition): e is Expression {
  return !isQuiet(e) && ["sum", "product", "power", "call", "select"].includes(e.kind);
}
