// Coverage: whether a kernel writes every element of an array before it reads any. Then what the array held before does
// not matter: a parameter is a result and no input, and memory of the kernel's own need not be cleared.

import type { KernelArray, KernelExpr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { operandsOfStmt, visitExpr, visitExprs, visitStmts } from "../ir/kernel_ir.ts";
import { sameExpr } from "./same.ts";
import { tripCount } from "./stages.ts";

type Store = KernelStmt & { readonly kind: "store" };

/** Whether the first loop nest that touches `array` writes all of it, and reads only what it has written. */
export function isWrittenFirst(array: KernelArray, body: readonly KernelStmt[]): boolean {
  const top = body.find((stmt) => touches(stmt, array));
  const store = top === undefined ? undefined : firstStore(array, [top], new Map());
  if (top === undefined || store === undefined) return false;
  let isWritten = false;
  let readsOld = false;
  visitStmts([top], (stmt) => {
    for (const operand of operandsOfStmt(stmt)) {
      visitExpr(operand, (expr) => {
        if (expr.kind !== "load" || expr.array !== array) return;
        // What was just written, or what an earlier turn of the outer loop has written.
        const isSame = isWritten && expr.indices.every((index, d) => sameExpr(index, store.indices[d]!));
        if (!isSame && !isEarlierTurn(expr.indices, store, top)) readsOld = true;
      });
    }
    if (stmt === store) isWritten = true;
  });
  return !readsOld;
}

/** Whether an element is one of an earlier turn of the outermost loop, which has written all of its elements. */
function isEarlierTurn(indices: readonly KernelExpr[], store: Store, top: KernelStmt): boolean {
  return store.indices.some((written, d) => {
    const index = indices[d]!;
    if (top.kind !== "for" || written.kind !== "local" || written.local !== top.counter) return false;
    if (index.kind !== "binary" || index.op !== "sub" || index.b.kind !== "const" || index.b.value <= 0) return false;
    return index.a.kind === "local" && index.a.local === top.counter;
  });
}

/** An unconditional store of a nest that covers the array; `loops` are the full loops around, by counter. */
function firstStore(
  array: KernelArray,
  stmts: readonly KernelStmt[],
  loops: ReadonlyMap<Local, number>,
): Store | undefined {
  for (const stmt of stmts) {
    if (stmt.kind === "store" && stmt.array === array && coversAll(stmt, loops)) return stmt;
    const count = stmt.kind === "for" ? tripCount(stmt) : undefined;
    if (stmt.kind !== "for" || count === undefined) continue;
    const found = firstStore(array, stmt.body, new Map(loops).set(stmt.counter, count));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether each index is the counter of its own loop over the whole dim. */
function coversAll({ array, indices }: Store, loops: ReadonlyMap<Local, number>): boolean {
  const used = new Set<Local>();
  return indices.every((index, d) => {
    const dim = array.shape[d]!;
    if (index.kind === "const") return dim === 1 && index.value === 0;
    if (index.kind !== "local" || used.has(index.local) || loops.get(index.local) !== dim) return false;
    used.add(index.local);
    return true;
  });
}

function touches(stmt: KernelStmt, array: KernelArray): boolean {
  let found = false;
  visitStmts([stmt], (inner) => {
    if (inner.kind === "store" && inner.array === array) found = true;
  });
  visitExprs([stmt], (expr) => {
    if (expr.kind === "load" && expr.array === array) found = true;
  });
  return found;
}
