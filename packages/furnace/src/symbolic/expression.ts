// Scalar expressions as values: immutable and interned, so that equal expressions are one object and a shared part is
// found by identity. A coefficient lives in a sum only (3x is a sum of one term), an exponent in a power only, so that
// like terms and like factors meet. The smart constructors in build.ts are the only ones that call `intern`.

import { FidelityError } from "@fidelity/units";
import type { FunctionName } from "./functions.ts";
import type { Rational } from "./rational.ts";
import { compare as compareRationals } from "./rational.ts";

interface Interned {
  readonly id: number;
  /** Levels below and including this one. */
  readonly depth: number;
}

export interface NumberExpression extends Interned {
  readonly kind: "number";
  readonly value: Rational;
}
export interface ConstantExpression extends Interned {
  readonly kind: "constant";
  readonly name: "pi";
}
export interface VariableExpression extends Interned {
  readonly kind: "variable";
  readonly name: string;
}
export interface Term {
  readonly coefficient: Rational;
  readonly of: Expression;
}
/** A constant and terms with coefficients that are not 0; never a single term with coefficient 1 and no constant. */
export interface SumExpression extends Interned {
  readonly kind: "sum";
  readonly constant: Rational;
  readonly terms: readonly Term[];
}
/** Two factors or more, none of them a number or a product, no base twice. */
export interface ProductExpression extends Interned {
  readonly kind: "product";
  readonly factors: readonly Expression[];
}
export interface PowerExpression extends Interned {
  readonly kind: "power";
  readonly base: Expression;
  readonly exponent: Expression;
}
export interface CallExpression extends Interned {
  readonly kind: "call";
  readonly name: FunctionName;
  readonly args: readonly Expression[];
}
export interface SelectExpression extends Interned {
  readonly kind: "select";
  readonly condition: Condition;
  readonly then: Expression;
  readonly otherwise: Expression;
}

/** A real number that depends on variables. */
export type Expression =
  | NumberExpression
  | ConstantExpression
  | VariableExpression
  | SumExpression
  | ProductExpression
  | PowerExpression
  | CallExpression
  | SelectExpression;

export type Comparison = "<" | "<=" | "==";

export interface CompareCondition extends Interned {
  readonly kind: "compare";
  readonly comparison: Comparison;
  readonly left: Expression;
  readonly right: Expression;
}
export interface LogicalCondition extends Interned {
  readonly kind: "and" | "or";
  readonly left: Condition;
  readonly right: Condition;
}
export interface NotCondition extends Interned {
  readonly kind: "not";
  readonly of: Condition;
}
export interface TruthCondition extends Interned {
  readonly kind: "truth";
  readonly value: boolean;
}

/** What a `select` asks. */
export type Condition = CompareCondition | LogicalCondition | NotCondition | TruthCondition;

export function isCondition(e: Expression | Condition): e is Condition {
  return ["compare", "and", "or", "not", "truth"].includes(e.kind);
}

/** An expression that cannot be read, built, evaluated or drawn; the message says where and what to try. */
export class SymbolicError extends FidelityError {}

/** Beyond this, recursion over expressions would be at the mercy of the stack. */
const DEPTH_MAX = 1000;

type Draft<T> = T extends Interned ? Omit<T, "id" | "depth"> : never;

let nextId = 0;
const table = new Map<string, WeakRef<Expression | Condition>>();
const collected = new FinalizationRegistry((key: string) => {
  if (table.get(key)?.deref() === undefined) table.delete(key);
});

/** The one object for this expression or condition, whose parts are interned already. */
export function intern<T extends Expression | Condition>(draft: Draft<T>): T {
  const { key, parts } = describe(draft as Draft<Expression | Condition>);
  const found = table.get(key)?.deref();
  if (found !== undefined) return found as T;
  const depth = 1 + Math.max(0, ...parts.map((part) => part.depth));
  if (depth > DEPTH_MAX) {
    throw new SymbolicError("an expression is nested too deeply", {
      expected: `at most ${DEPTH_MAX} levels`,
      hint: "differentiate a graph of tensors with grad instead; it has no such limit",
    });
  }
  const made = Object.freeze({ ...draft, id: nextId++, depth }) as unknown as T;
  table.set(key, new WeakRef(made));
  collected.register(made, key);
  return made;
}

function describe(draft: Draft<Expression | Condition>): {
  key: string;
  parts: readonly (Expression | Condition)[];
} {
  const fraction = ({ numerator, denominator }: Rational): string => `${numerator}/${denominator}`;
  const ids = (parts: readonly (Expression | Condition)[]): string => parts.map(({ id }) => id).join(",");
  switch (draft.kind) {
    case "number":
      return { key: `n${fraction(draft.value)}`, parts: [] };
    case "constant":
    case "variable":
      return { key: `${draft.kind} ${draft.name}`, parts: [] };
    case "truth":
      return { key: `truth ${draft.value}`, parts: [] };
    case "sum": {
      const terms = draft.terms.map(({ coefficient, of }) => `${fraction(coefficient)}*${of.id}`);
      return { key: `sum ${fraction(draft.constant)} ${terms.join(",")}`, parts: draft.terms.map(({ of }) => of) };
    }
    case "product":
      return { key: `product ${ids(draft.factors)}`, parts: draft.factors };
    case "power":
      return { key: `power ${ids([draft.base, draft.exponent])}`, parts: [draft.base, draft.exponent] };
    case "call":
      return { key: `${draft.name}(${ids(draft.args)})`, parts: draft.args };
    case "select": {
      const parts = [draft.condition, draft.then, draft.otherwise];
      return { key: `select ${ids(parts)}`, parts };
    }
    case "compare":
      return { key: `${draft.comparison} ${ids([draft.left, draft.right])}`, parts: [draft.left, draft.right] };
    case "and":
    case "or":
      return { key: `${draft.kind} ${ids([draft.left, draft.right])}`, parts: [draft.left, draft.right] };
    case "not":
      return { key: `not ${draft.of.id}`, parts: [draft.of] };
  }
}

/** The expressions right below one, those of its condition included. */
export function operandsOf(e: Expression | Condition): readonly (Expression | Condition)[] {
  return describe(e).parts;
}

/** Every expression and condition that `roots` are made of, parts before wholes, each once. */
export function partsOf(roots: readonly (Expression | Condition)[]): (Expression | Condition)[] {
  const seen = new Set<Expression | Condition>();
  const visit = (e: Expression | Condition): void => {
    if (seen.has(e)) return;
    for (const part of operandsOf(e)) visit(part);
    seen.add(e);
  };
  for (const root of roots) visit(root);
  return [...seen];
}

/** Names of the variables that an expression depends on, sorted. */
export function variablesOf(e: Expression): string[] {
  return partsOf([e])
    .flatMap((part) => (part.kind === "variable" ? [part.name] : []))
    .sort();
}

const KIND_ORDER: Readonly<Record<(Expression | Condition)["kind"], number>> = {
  number: 0,
  constant: 1,
  variable: 2,
  power: 3,
  product: 4,
  call: 5,
  sum: 6,
  select: 7,
  truth: 8,
  compare: 9,
  not: 10,
  and: 11,
  or: 12,
};

/** An order by structure alone, so that what is printed does not depend on what was built before. */
export function order(a: Expression | Condition, b: Expression | Condition): number {
  if (a === b) return 0;
  if (a.kind !== b.kind) return KIND_ORDER[a.kind] - KIND_ORDER[b.kind];
  if (a.kind === "number" && b.kind === "number") return compareRationals(a.value, b.value);
  if (a.kind === "sum" && b.kind === "sum") {
    const constants = compareRationals(a.constant, b.constant);
    if (constants !== 0) return constants;
    for (const [i, term] of a.terms.entries()) {
      const other = b.terms[i];
      if (other === undefined) return 1;
      const difference = order(term.of, other.of) || compareRationals(term.coefficient, other.coefficient);
      if (difference !== 0) return difference;
    }
    return a.terms.length - b.terms.length;
  }
  const names = [nameOf(a), nameOf(b)];
  if (names[0] !== names[1]) return names[0]! < names[1]! ? -1 : 1;
  const [left, right] = [operandsOf(a), operandsOf(b)];
  for (const [i, part] of left.entries()) {
    const other = right[i];
    if (other === undefined) return 1;
    const difference = order(part, other);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function nameOf(e: Expression | Condition): string {
  if (e.kind === "compare") return e.comparison;
  if (e.kind === "truth") return String(e.value);
  return "name" in e ? e.name : "";
}
