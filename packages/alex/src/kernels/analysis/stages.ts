// Stages: a kernel's statements become the calls of a program. Statements that share variables stay together; a stage
// that is one loop with independent iterations is shared out in chunks; a loop over time whose inner loops go over the
// same channels is shared out by channel. Values read once at the beginning (scalars, constants) are read by each
// stage.

import type { KernelExpr, KernelIr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { operandsOfStmt, visitExpr, visitExprs, visitStmts } from "../ir/kernel_ir.ts";
import { arrayDependence, carriedLocals, dependenceOf } from "./dependence.ts";
import type { DependenceContext, Loop } from "./dependence.ts";
import { rangeOf } from "./ranges.ts";

/** How a stage is shared out. `loops` run over a part of 0..count in each chunk. */
export type Sharing =
  | { readonly kind: "serial"; readonly reason: string }
  | { readonly kind: "parallel"; readonly loops: ReadonlySet<Loop>; readonly count: number; readonly inner: boolean };

export interface Stage {
  readonly stmts: readonly KernelStmt[];
  readonly sharing: Sharing;
  /** An estimate of operations. */
  readonly work: number;
}

/** The stages of a kernel, in order. */
export function planStages(ir: KernelIr, context: DependenceContext): Stage[] {
  const written = new Set(writtenIn(ir.body));
  const prelude = new Set<KernelStmt>();
  const fromPrelude = new Set<Local>();
  for (const stmt of ir.body) {
    if (!isRepeatable(stmt, written, fromPrelude)) continue;
    prelude.add(stmt);
    if (stmt.kind === "set") fromPrelude.add(stmt.local);
  }
  const groups = groupByLocals(
    ir.body.filter((stmt) => !prelude.has(stmt)),
    fromPrelude,
  );
  return groups.map((group) => {
    const before = neededOf([...prelude], group);
    const sharing = sharingOf(group, context);
    return { stmts: [...before, ...group], sharing, work: workOf(group, context) };
  });
}

function writtenIn(stmts: readonly KernelStmt[]): ReadonlySet<unknown> {
  const written = new Set<unknown>();
  visitStmts(stmts, (stmt) => {
    if (stmt.kind === "store") written.add(stmt.array);
  });
  return written;
}

/** A constant that every stage may compute for itself: it reads nothing that the kernel writes. */
function isRepeatable(stmt: KernelStmt, written: ReadonlySet<unknown>, known: ReadonlySet<Local>): boolean {
  if (stmt.kind !== "set" || stmt.local.role !== "constant" || !stmt.declares) return false;
  let repeatable = true;
  const bound = new Set<Local>(known);
  visitExpr(stmt.value, (expr) => {
    if (expr.kind === "let") bound.add(expr.local);
    if ((expr.kind === "load" || expr.kind === "scale") && written.has(expr.array)) repeatable = false;
    if (expr.kind === "local" && !bound.has(expr.local)) repeatable = false;
  });
  return repeatable;
}

/** Statements that use the same variables come together, with all that stands between them. */
function groupByLocals(stmts: readonly KernelStmt[], known: ReadonlySet<Local>): KernelStmt[][] {
  const lastUse = new Map<Local, number>();
  const uses = stmts.map((stmt) => localsOf([stmt]));
  uses.forEach((locals, i) => locals.forEach((local) => lastUse.set(local, i)));
  const groups: KernelStmt[][] = [];
  let end = -1;
  for (const [i, stmt] of stmts.entries()) {
    if (i > end) groups.push([]);
    groups.at(-1)!.push(stmt);
    end = Math.max(end, i);
    for (const local of uses[i]!) if (!known.has(local)) end = Math.max(end, lastUse.get(local)!);
  }
  return groups;
}

function localsOf(stmts: readonly KernelStmt[]): ReadonlySet<Local> {
  const locals = new Set<Local>();
  visitStmts(stmts, (stmt) => {
    if (stmt.kind === "set") locals.add(stmt.local);
  });
  visitExprs(stmts, (expr) => {
    if (expr.kind === "local") locals.add(expr.local);
  });
  return locals;
}

/** The statements of `prelude` that a group needs, and those that they need. */
function neededOf(prelude: readonly KernelStmt[], group: readonly KernelStmt[]): KernelStmt[] {
  const needed = new Set(localsOf(group));
  const kept: KernelStmt[] = [];
  for (const stmt of prelude.toReversed()) {
    if (stmt.kind !== "set" || !needed.has(stmt.local)) continue;
    kept.unshift(stmt);
    localsOf([stmt]).forEach((local) => needed.add(local));
  }
  return kept;
}

function sharingOf(group: readonly KernelStmt[], context: DependenceContext): Sharing {
  const [loop] = group;
  if (group.length !== 1 || loop?.kind !== "for") return { kind: "serial", reason: "its statements share variables" };
  const count = tripCount(loop);
  const reason = dependenceOf(loop, new Set([loop.counter]), loop.step, context);
  if (reason === undefined && count !== undefined) {
    return { kind: "parallel", loops: new Set([loop]), count, inner: false };
  }
  return channelsOf(loop, context) ?? { kind: "serial", reason: reason ?? "the bounds of the loop are not constant" };
}

/** Iterations of a loop that counts from 0 by 1 to a constant. */
export function tripCount(loop: Loop): number | undefined {
  const { first, end, step } = loop;
  if (first.kind !== "const" || end.kind !== "const" || first.value !== 0 || step !== 1) return undefined;
  return Math.max(0, end.value);
}

/** A loop whose body is loops over the same channels, each of which can do its channels for all of the outer loop. */
function channelsOf(loop: Loop, context: DependenceContext): Sharing | undefined {
  const inner: Loop[] = [];
  for (const stmt of loop.body) {
    if (stmt.kind === "for") inner.push(stmt);
    else if (stmt.kind !== "set" || stmt.local.role !== "constant") return undefined;
  }
  const count = inner[0] === undefined ? undefined : tripCount(inner[0]);
  if (count === undefined || count < 2 || !inner.every((one) => tripCount(one) === count)) return undefined;
  const hasCarried = carriedLocals(loop.body).length > 0 || inner.some((one) => carriedLocals(one.body).length > 0);
  const counters = new Set(inner.map(({ counter }) => counter));
  if (hasCarried || arrayDependence(loop.body, counters, 1, context) !== undefined) return undefined;
  // What the outer loop computes for all channels must not read what they write.
  const written = writtenIn(loop.body);
  const outer = loop.body.filter((stmt) => stmt.kind === "set");
  let reads = false;
  visitExprs(outer, (expr) => {
    if (expr.kind === "load" && written.has(expr.array)) reads = true;
  });
  return reads ? undefined : { kind: "parallel", loops: new Set(inner), count, inner: true };
}

const UNKNOWN_TRIPS = 64;

/** Operations of some statements, loops multiplied out. */
export function workOf(stmts: readonly KernelStmt[], context: DependenceContext): number {
  return stmts.reduce((sum, stmt) => sum + stmtWork(stmt, context), 0);
}

function stmtWork(stmt: KernelStmt, context: DependenceContext): number {
  let own = 1;
  for (const operand of operandsOfStmt(stmt)) visitExpr(operand, (expr) => (own += exprWork(expr)));
  if (stmt.kind === "for") return own + tripsOf(stmt, context) * (1 + workOf(stmt.body, context));
  if (stmt.kind === "if") return own + workOf(stmt.then, context) + workOf(stmt.else, context);
  return own;
}

function exprWork(expr: KernelExpr): number {
  if (expr.kind === "const" || expr.kind === "local" || expr.kind === "let") return 0;
  const slow = expr.kind === "unary" && /^(exp|log|tanh|sin|cos|sqrt)$/.test(expr.op);
  return slow ? 16 : 1;
}

function tripsOf(loop: Loop, { ranges }: DependenceContext): number {
  const [first, end] = [rangeOf(loop.first, ranges), rangeOf(loop.end, ranges)];
  if (first === undefined || end === undefined) return UNKNOWN_TRIPS;
  const span = loop.step > 0 ? end.high - first.low : first.high - end.low;
  return Math.max(0, Math.ceil(span / Math.abs(loop.step)));
}
