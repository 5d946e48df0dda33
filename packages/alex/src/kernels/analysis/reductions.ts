// Reductions: a variable that a loop only adds to, multiplies, or takes the minimum or maximum with. Its partial
// results can be kept one a lane and combined at the end, in an order that is fixed when the kernel is compiled.

import type { KernelExpr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { visitExpr, visitExprs, visitStmts } from "../ir/kernel_ir.ts";
import type { Loop } from "./dependence.ts";
import { sameExpr } from "./same.ts";

export interface Reduction {
  readonly op: "sum" | "product" | "min" | "max";
  /** `if (x > m) m = x`: unlike Math.max it passes over NaN. */
  readonly byComparison: boolean;
  /** Whether what is added is a product of two values: a dot product. */
  readonly isDot: boolean;
  readonly stmt: KernelStmt;
}

/** The variables of a loop that are reductions, from outside the loop. */
export function findReductions(loop: Loop): ReadonlyMap<Local, Reduction> {
  const found = new Map<Local, Reduction | undefined>();
  const uses = new Map<Local, number>();
  const declared = new Set<Local>();
  visitExprs(loop.body, (expr) => {
    if (expr.kind === "local") uses.set(expr.local, (uses.get(expr.local) ?? 0) + 1);
  });
  const own = new Map<Local, number>();
  const add = (local: Local, reduction: Reduction | undefined, ownUses: number): void => {
    const known = found.get(local);
    const agrees = !found.has(local) || (known !== undefined && known.op === reduction?.op);
    found.set(local, agrees && known?.byComparison !== true ? reduction : undefined);
    own.set(local, (own.get(local) ?? 0) + ownUses);
  };
  const compared = new Set<KernelStmt>();
  visitStmts(loop.body, (stmt) => {
    const extremum = comparedExtremum(stmt);
    if (extremum !== undefined) {
      compared.add(extremum.set);
      add(extremum.set.local, extremum.reduction, 1);
    }
    if (stmt.kind !== "set" || compared.has(stmt)) return;
    if (stmt.declares) declared.add(stmt.local);
    else add(stmt.local, reductionOf(stmt), 1);
  });
  const reductions = new Map<Local, Reduction>();
  for (const [local, reduction] of found) {
    // Any other use reads a partial result, which lanes do not have.
    const isAlone = uses.get(local) === own.get(local);
    if (reduction !== undefined && isAlone && !declared.has(local)) reductions.set(local, reduction);
  }
  return reductions;
}

/** `local = local + x` and its like, with `x` free of the local. */
function reductionOf(stmt: KernelStmt & { readonly kind: "set" }): Reduction | undefined {
  const { local, value } = stmt;
  if (value.kind !== "binary") return undefined;
  const { op, a, b } = value;
  const isOwn = (expr: KernelExpr): boolean => expr.kind === "local" && expr.local === local;
  const sided = op === "sub" ? isOwn(a) : isOwn(a) !== isOwn(b);
  const other = isOwn(a) ? b : a;
  if (!sided || mentions(other, local)) return undefined;
  const ops = { add: "sum", sub: "sum", mul: "product", min: "min", max: "max" } as const;
  if (!Object.hasOwn(ops, op)) return undefined;
  const isDot = op === "add" && other.kind === "binary" && other.op === "mul";
  return { op: ops[op as keyof typeof ops], byComparison: false, isDot, stmt };
}

/** `if (x > m) m = x`. */
function comparedExtremum(
  stmt: KernelStmt,
): { readonly set: KernelStmt & { readonly kind: "set" }; readonly reduction: Reduction } | undefined {
  if (stmt.kind !== "if" || stmt.then.length !== 1 || stmt.else.length > 0) return undefined;
  const [set] = stmt.then;
  const { condition } = stmt;
  if (set?.kind !== "set" || set.declares || condition.kind !== "compare") return undefined;
  const { local, value } = set;
  const leftIsOwn = condition.a.kind === "local" && condition.a.local === local;
  const rightIsOwn = condition.b.kind === "local" && condition.b.local === local;
  if (leftIsOwn === rightIsOwn || mentions(value, local)) return undefined;
  const other = leftIsOwn ? condition.b : condition.a;
  // Memory cannot change between a condition and its branch.
  if (!sameExpr(other, value)) return undefined;
  const greater = condition.op === "gt" || condition.op === "ge";
  const smaller = condition.op === "lt" || condition.op === "le";
  if (!greater && !smaller) return undefined;
  const op = greater === rightIsOwn ? "max" : "min";
  return { set, reduction: { op, byComparison: true, isDot: false, stmt } };
}

function mentions(expr: KernelExpr, local: Local): boolean {
  let found = false;
  visitExpr(expr, (inner) => {
    if (inner.kind === "local" && inner.local === local) found = true;
  });
  return found;
}
