// Promotion: an element that a loop reads and writes over and over (`out[i] += x[j]`) is kept in a variable while the
// loop runs. That is what makes a sum in memory a reduction. The element must be the same in every iteration, provably
// inside its array, and no other access of the loop may touch its array.
// The idea is scalar replacement, Callahan, Carr and Kennedy, "Improving register allocation for subscripted variables"
// (PLDI 1990). A variable has the array's element type, so every rounding stays.

import type { KernelArray, KernelExpr, KernelIr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { visitExpr, visitExprs, visitStmts } from "../ir/kernel_ir.ts";
import type { Access, Bounds } from "./bounds.ts";
import { rangeOf } from "./ranges.ts";
import { sameExpr } from "./same.ts";

type Loop = KernelStmt & { readonly kind: "for" };

/**
 * The kernel with elements promoted, innermost loops first. Bounds are those of `ir`; analyse them again afterwards.
 */
export function promote(ir: KernelIr, bounds: Bounds): KernelIr {
  const promotion = new Promotion(ir, bounds);
  const body = promotion.block(ir.body);
  return { ...ir, body };
}

class Promotion {
  readonly #bounds: Bounds;
  #nextLocal: number;

  constructor(ir: KernelIr, bounds: Bounds) {
    this.#bounds = bounds;
    let most = -1;
    visitStmts(ir.body, (stmt) => {
      if (stmt.kind === "set") most = Math.max(most, stmt.local.id);
      if (stmt.kind === "for") most = Math.max(most, stmt.counter.id);
    });
    visitExprs(ir.body, (expr) => {
      if (expr.kind === "let") most = Math.max(most, expr.local.id);
    });
    this.#nextLocal = most + 1;
  }

  block(stmts: readonly KernelStmt[]): KernelStmt[] {
    return stmts.flatMap((stmt) => {
      if (stmt.kind === "if") return [{ ...stmt, then: this.block(stmt.then), else: this.block(stmt.else) }];
      return stmt.kind === "for" ? this.#loop({ ...stmt, body: this.block(stmt.body) }) : [stmt];
    });
  }

  #loop(loop: Loop): KernelStmt[] {
    let current = loop;
    const before: KernelStmt[] = [];
    const after: KernelStmt[] = [];
    for (const { array, indices } of this.#candidates(loop)) {
      const type = array.element === "ternary" ? "i32" : array.element;
      const { span } = loop;
      const local: Local = { id: this.#nextLocal++, name: `${array.name} element`, type, role: "variable", span };
      const read: KernelExpr = { kind: "load", array, indices, type, span: indices[0]?.span ?? span };
      before.push({ kind: "set", local, value: read, declares: true, span });
      current = { ...current, body: current.body.map((stmt) => replaceInStmt(stmt, array, local)) };
      after.push({ kind: "store", array, indices, value: { kind: "local", local, type, span }, span });
    }
    return [...before, current, ...after];
  }

  /** Elements that every access of their array in the loop is to, at least one of them a store. */
  #candidates(loop: Loop): { readonly array: KernelArray; readonly indices: readonly KernelExpr[] }[] {
    const accesses = new Map<KernelArray, Access[]>();
    const add = (access: Access): void => {
      accesses.set(access.array, [...(accesses.get(access.array) ?? []), access]);
    };
    const changing = new Set<Local>([loop.counter]);
    visitStmts(loop.body, (stmt) => {
      if (stmt.kind === "store") add(stmt);
      if (stmt.kind === "set") changing.add(stmt.local);
      if (stmt.kind === "for") changing.add(stmt.counter);
    });
    visitExprs(loop.body, (expr) => {
      if (expr.kind === "load") add(expr);
      if (expr.kind === "let") changing.add(expr.local);
    });
    return [...accesses].flatMap(([array, all]) => {
      const [first] = all;
      const fits =
        all.some(({ kind }) => kind === "store") &&
        all.every((access) => sameIndices(access.indices, first!.indices)) &&
        first!.indices.every((index, d) => isFixed(index, changing) && this.#isInside(index, array.shape[d]!));
      return fits ? [{ array, indices: first!.indices }] : [];
    });
  }

  /** Proved by the loops around alone: a condition inside the loop would not hold where the element is read. */
  #isInside(index: KernelExpr, dim: number): boolean {
    const range = rangeOf(index, this.#bounds.ranges);
    return range !== undefined && range.low >= 0 && range.high < dim;
  }
}

function sameIndices(a: readonly KernelExpr[], b: readonly KernelExpr[]): boolean {
  return a.every((index, d) => sameExpr(index, b[d]!));
}

/** Whether an expression has one value during the loop: it reads no memory and nothing that changes. */
function isFixed(expr: KernelExpr, changing: ReadonlySet<Local>): boolean {
  let fixed = true;
  visitExpr(expr, (inner) => {
    if (inner.kind === "load" || inner.kind === "let") fixed = false;
    if (inner.kind === "local" && changing.has(inner.local)) fixed = false;
  });
  return fixed;
}

function replaceInStmt(stmt: KernelStmt, array: KernelArray, local: Local): KernelStmt {
  const expr = (inner: KernelExpr): KernelExpr => replaceInExpr(inner, array, local);
  const block = (inner: readonly KernelStmt[]): KernelStmt[] => inner.map((one) => replaceInStmt(one, array, local));
  switch (stmt.kind) {
    case "set":
      return { ...stmt, value: expr(stmt.value) };
    case "store":
      if (stmt.array === array)
        return { kind: "set", local, value: expr(stmt.value), declares: false, span: stmt.span };
      return { ...stmt, indices: stmt.indices.map(expr), value: expr(stmt.value) };
    case "if":
      return { ...stmt, condition: expr(stmt.condition), then: block(stmt.then), else: block(stmt.else) };
    case "for":
      return { ...stmt, first: expr(stmt.first), end: expr(stmt.end), body: block(stmt.body) };
  }
}

function replaceInExpr(expr: KernelExpr, array: KernelArray, local: Local): KernelExpr {
  const inside = (inner: KernelExpr): KernelExpr => replaceInExpr(inner, array, local);
  switch (expr.kind) {
    case "const":
    case "local":
    case "scale":
      return expr;
    case "load":
      if (expr.array === array) return { kind: "local", local, type: local.type, span: expr.span };
      return { ...expr, indices: expr.indices.map(inside) };
    case "unary":
    case "convert":
      return { ...expr, a: inside(expr.a) };
    case "binary":
    case "compare":
      return { ...expr, a: inside(expr.a), b: inside(expr.b) };
    case "select":
      return { ...expr, condition: inside(expr.condition), a: inside(expr.a), b: inside(expr.b) };
    case "let":
      return { ...expr, value: inside(expr.value), body: inside(expr.body) };
  }
}
