// Indices as sums: constant + sum of coefficient times variable, over counters and constants of the kernel. What
// bounds, dependence tests and addresses are computed from.

import type { KernelExpr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { operandsOfStmt, visitExpr, visitStmts } from "../ir/kernel_ir.ts";

export interface Affine {
  readonly constant: number;
  /** Coefficients, none of them 0. */
  readonly terms: ReadonlyMap<Local, number>;
}

/** The values of locals that are set once: `const` and what helpers bind. */
export type Definitions = ReadonlyMap<Local, KernelExpr>;

/** The definitions of a kernel's constants. */
export function definitionsOf(stmts: readonly KernelStmt[]): Definitions {
  const definitions = new Map<Local, KernelExpr>();
  visitStmts(stmts, (stmt) => {
    if (stmt.kind === "set" && stmt.local.role === "constant") definitions.set(stmt.local, stmt.value);
    for (const operand of operandsOfStmt(stmt)) {
      visitExpr(operand, (expr) => {
        if (expr.kind === "let") definitions.set(expr.local, expr.value);
      });
    }
  });
  return definitions;
}

const SMALL = 2 ** 40;

/** An i32 expression as a sum; undefined when it is none. Variables that may change are no terms. */
export function affineOf(expr: KernelExpr, definitions: Definitions): Affine | undefined {
  if (expr.type !== "i32") return undefined;
  switch (expr.kind) {
    case "const":
      return { constant: expr.value, terms: new Map() };
    case "local": {
      const { local } = expr;
      if (local.role === "variable") return undefined;
      const value = local.role === "constant" ? definitions.get(local) : undefined;
      return (value && affineOf(value, definitions)) ?? { constant: 0, terms: new Map([[local, 1]]) };
    }
    case "unary": {
      const a = expr.op === "neg" ? affineOf(expr.a, definitions) : undefined;
      return a && scaleAffine(a, -1);
    }
    case "binary": {
      const [a, b] = [affineOf(expr.a, definitions), affineOf(expr.b, definitions)];
      if (a === undefined || b === undefined) return undefined;
      if (expr.op === "add") return addAffine(a, b);
      if (expr.op === "sub") return addAffine(a, scaleAffine(b, -1));
      if (expr.op === "mul" && b.terms.size === 0) return scaleAffine(a, b.constant);
      if (expr.op === "mul" && a.terms.size === 0) return scaleAffine(b, a.constant);
      if (expr.op === "shl" && b.terms.size === 0) return scaleAffine(a, 2 ** (b.constant & 31));
      return undefined;
    }
    case "let":
      return affineOf(expr.body, definitions);
    default:
      return undefined;
  }
}

export function addAffine(a: Affine, b: Affine): Affine | undefined {
  const terms = new Map(a.terms);
  for (const [local, coefficient] of b.terms) {
    const sum = (terms.get(local) ?? 0) + coefficient;
    if (sum === 0) terms.delete(local);
    else terms.set(local, sum);
  }
  return small({ constant: a.constant + b.constant, terms });
}

export function scaleAffine(a: Affine, factor: number): Affine {
  if (factor === 0) return { constant: 0, terms: new Map() };
  return { constant: a.constant * factor, terms: new Map([...a.terms].map(([local, c]) => [local, c * factor])) };
}

/** Sums beyond this are nobody's index, and would lose whole numbers. */
function small(a: Affine): Affine | undefined {
  const fits = Math.abs(a.constant) < SMALL && [...a.terms.values()].every((c) => Math.abs(c) < SMALL);
  return fits ? a : undefined;
}

/** The coefficient of a local; 0 when it does not occur. */
export function coefficientOf(a: Affine, local: Local): number {
  return a.terms.get(local) ?? 0;
}
