// Bounds: every access is proved to be inside its array, or gets a guard, or is refused because it never is. The walk
// also leaves the range of every counter and constant, which later analyses use.

import type { Problem } from "../diagnostics.ts";
import type { KernelArray, KernelExpr, KernelIr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import type { Range, RangeEnvironment } from "./ranges.ts";
import { isImpossible, rangeOf, refine } from "./ranges.ts";

/** A load or a store. */
export type Access = (KernelExpr & { readonly kind: "load" }) | (KernelStmt & { readonly kind: "store" });

export interface Bounds {
  /** Accesses that need a guard, with the dims that do. */
  readonly guards: ReadonlyMap<Access, readonly number[]>;
  /** The widest range of each counter and whole constant. */
  readonly ranges: ReadonlyMap<Local, Range>;
  readonly problems: readonly Problem[];
}

export function analyseBounds(ir: KernelIr): Bounds {
  const analysis = new BoundsAnalysis();
  analysis.block(ir.body, new Map());
  return analysis;
}

class BoundsAnalysis implements Bounds {
  readonly guards = new Map<Access, readonly number[]>();
  readonly ranges = new Map<Local, Range>();
  readonly problems: Problem[] = [];

  block(stmts: readonly KernelStmt[], around: RangeEnvironment): void {
    let known = around;
    for (const stmt of stmts) known = this.#stmt(stmt, known);
  }

  /** What is known after a statement. */
  #stmt(stmt: KernelStmt, known: RangeEnvironment): RangeEnvironment {
    switch (stmt.kind) {
      case "set": {
        this.#expr(stmt.value, known);
        const value = stmt.local.role === "constant" ? rangeOf(stmt.value, known) : undefined;
        return value === undefined ? known : this.#learn(known, stmt.local, value);
      }
      case "store":
        for (const index of stmt.indices) this.#expr(index, known);
        this.#expr(stmt.value, known);
        this.#access(stmt, known);
        return known;
      case "if":
        this.#expr(stmt.condition, known);
        this.block(stmt.then, refine(known, stmt.condition, true));
        this.block(stmt.else, refine(known, stmt.condition, false));
        return known;
      case "for": {
        this.#expr(stmt.first, known);
        this.#expr(stmt.end, known);
        const counted = counterRange(stmt, known);
        this.block(stmt.body, counted === undefined ? known : this.#learn(known, stmt.counter, counted));
        return known;
      }
    }
  }

  #learn(known: RangeEnvironment, local: Local, value: Range): RangeEnvironment {
    this.ranges.set(local, value);
    return new Map(known).set(local, value);
  }

  #expr(expr: KernelExpr, known: RangeEnvironment): void {
    switch (expr.kind) {
      case "const":
      case "local":
      case "scale":
        return;
      case "load":
        for (const index of expr.indices) this.#expr(index, known);
        this.#access(expr, known);
        return;
      case "unary":
      case "convert":
        this.#expr(expr.a, known);
        return;
      case "binary":
      case "compare":
        this.#expr(expr.a, known);
        this.#expr(expr.b, known);
        return;
      case "select":
        this.#expr(expr.condition, known);
        this.#expr(expr.a, refine(known, expr.condition, true));
        this.#expr(expr.b, refine(known, expr.condition, false));
        return;
      case "let": {
        this.#expr(expr.value, known);
        const value = rangeOf(expr.value, known);
        this.#expr(expr.body, value === undefined ? known : this.#learn(known, expr.local, value));
      }
    }
  }

  #access(access: Access, known: RangeEnvironment): void {
    if (isImpossible(known)) return;
    const { array, indices } = access;
    const unproved: number[] = [];
    for (const [d, index] of indices.entries()) {
      const found = rangeOf(index, known);
      const dim = array.shape[d]!;
      if (found !== undefined && found.low >= 0 && found.high < dim) continue;
      if (found !== undefined && (found.low >= dim || found.high < 0)) this.#outside(array, index, found, dim);
      unproved.push(d);
    }
    if (unproved.length > 0) this.guards.set(access, unproved);
  }

  #outside(array: KernelArray, index: KernelExpr, found: Range, dim: number): void {
    this.problems.push({
      code: "FK009",
      span: index.span,
      message: `this index is always outside ${array.name}`,
      expected: `0 to ${dim - 1}`,
      got: found.low === found.high ? `${found.low}` : `${found.low} to ${found.high}`,
    });
  }
}

/** The values that a counter takes inside its loop. */
export function counterRange(loop: KernelStmt & { readonly kind: "for" }, known: RangeEnvironment): Range | undefined {
  const [first, end] = [rangeOf(loop.first, known), rangeOf(loop.end, known)];
  if (first === undefined || end === undefined) return undefined;
  return loop.step > 0 ? { low: first.low, high: end.high - 1 } : { low: end.low + 1, high: first.high };
}
