// Dependence: whether the iterations of a loop may run in any order, or side by side. An array that the loop writes
// must have a dim whose index moves with the counter by the same steps in every access, further than anything else
// moves it: then two iterations never touch one element. Other tests would prove more; this one proves what kernels are
// made of. After the strong SIV test of Goff, Kennedy and Tseng, "Practical dependence testing" (PLDI 1991).

import type { KernelArray, KernelExpr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { visitExprs, visitStmts } from "../ir/kernel_ir.ts";
import type { Affine, Definitions } from "./affine.ts";
import { affineOf, coefficientOf } from "./affine.ts";
import type { Range, RangeEnvironment } from "./ranges.ts";

export type Loop = KernelStmt & { readonly kind: "for" };

/** What dependence tests know of a kernel. */
export interface DependenceContext {
  readonly definitions: Definitions;
  readonly ranges: RangeEnvironment;
}

/** Why iterations depend on each other, in words for `explain`; undefined when they do not. */
export function dependenceOf(
  loop: Loop,
  counters: ReadonlySet<Local>,
  step: number,
  context: DependenceContext,
): string | undefined {
  const carried = carriedLocals(loop.body);
  const [first] = carried;
  if (first !== undefined) return `${first.name} is carried from one iteration to the next`;
  return arrayDependence(loop.body, counters, step, context);
}

/** Dependence through arrays only. `counters` stand for the one counter whose iterations are to be independent. */
export function arrayDependence(
  body: readonly KernelStmt[],
  counters: ReadonlySet<Local>,
  step: number,
  context: DependenceContext,
): string | undefined {
  const accesses = accessesOf(body);
  const inner = innerCounters(body);
  const varying = localsSetIn(body);
  for (const [array, { indices, isWritten }] of accesses) {
    if (!isWritten) continue;
    const separate = array.shape.some((_, d) =>
      separates(
        indices.map((all) => all[d]!),
        { counters, inner, varying, step, context },
      ),
    );
    if (!separate) return `iterations may meet in ${array.name}`;
  }
  return undefined;
}

/** Locals that a list of statements assigns and does not declare, in order. */
export function carriedLocals(stmts: readonly KernelStmt[]): Local[] {
  const declared = new Set<Local>();
  const assigned = new Set<Local>();
  visitStmts(stmts, (stmt) => {
    if (stmt.kind !== "set") return;
    if (stmt.declares) declared.add(stmt.local);
    else assigned.add(stmt.local);
  });
  return [...assigned].filter((local) => !declared.has(local));
}

interface ArrayAccesses {
  readonly indices: (readonly KernelExpr[])[];
  isWritten: boolean;
}

/** The accesses of each array in some statements. */
export function accessesOf(stmts: readonly KernelStmt[]): ReadonlyMap<KernelArray, ArrayAccesses> {
  const accesses = new Map<KernelArray, ArrayAccesses>();
  const entry = (array: KernelArray): ArrayAccesses => {
    let found = accesses.get(array);
    if (found === undefined) accesses.set(array, (found = { indices: [], isWritten: false }));
    return found;
  };
  visitStmts(stmts, (stmt) => {
    if (stmt.kind !== "store") return;
    const found = entry(stmt.array);
    found.indices.push(stmt.indices);
    found.isWritten = true;
  });
  visitExprs(stmts, (expr) => {
    if (expr.kind === "load") entry(expr.array).indices.push(expr.indices);
  });
  return accesses;
}

/** The counters of the loops inside some statements. */
function innerCounters(stmts: readonly KernelStmt[]): ReadonlySet<Local> {
  const counters = new Set<Local>();
  visitStmts(stmts, (stmt) => {
    if (stmt.kind === "for") counters.add(stmt.counter);
  });
  return counters;
}

function localsSetIn(stmts: readonly KernelStmt[]): ReadonlySet<Local> {
  const locals = new Set<Local>();
  visitStmts(stmts, (stmt) => {
    if (stmt.kind === "set") locals.add(stmt.local);
  });
  visitExprs(stmts, (expr) => {
    if (expr.kind === "let") locals.add(expr.local);
  });
  return locals;
}

interface Separation {
  readonly counters: ReadonlySet<Local>;
  readonly inner: ReadonlySet<Local>;
  readonly varying: ReadonlySet<Local>;
  readonly step: number;
  readonly context: DependenceContext;
}

/** Whether the indices of one dim, over all accesses, keep different iterations apart. */
function separates(indices: readonly KernelExpr[], separation: Separation): boolean {
  const { counters, step, context } = separation;
  let coefficient: number | undefined;
  let fixed: string | undefined;
  let low = Infinity;
  let high = -Infinity;
  for (const index of indices) {
    const affine = affineOf(index, context.definitions);
    if (affine === undefined) return false;
    const own = [...counters].reduce((sum, counter) => sum + coefficientOf(affine, counter), 0);
    coefficient ??= own;
    const rest = restOf(affine, separation);
    if (own === 0 || own !== coefficient || rest === undefined) return false;
    fixed ??= rest.fixed;
    // What does not move during the loop must be the same sum everywhere, or nobody knows how far apart two are.
    if (fixed !== rest.fixed) return false;
    low = Math.min(low, rest.range.low);
    high = Math.max(high, rest.range.high);
  }
  return high - low < Math.abs((coefficient ?? 0) * step);
}

/** An index without the counter: the range that inner loops move it over, and what stays fixed, as a key. */
function restOf(affine: Affine, separation: Separation): { readonly range: Range; readonly fixed: string } | undefined {
  const { counters, inner, varying, context } = separation;
  let low = affine.constant;
  let high = affine.constant;
  const fixed: string[] = [];
  for (const [local, coefficient] of affine.terms) {
    if (counters.has(local)) continue;
    if (!inner.has(local) && !varying.has(local)) {
      fixed.push(`${coefficient}*${local.id}`);
      continue;
    }
    const range = context.ranges.get(local);
    if (range === undefined) return undefined;
    if (range.low > range.high) continue;
    low += Math.min(coefficient * range.low, coefficient * range.high);
    high += Math.max(coefficient * range.low, coefficient * range.high);
  }
  return { range: { low, high }, fixed: fixed.sort().join(" ") };
}
