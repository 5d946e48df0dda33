// Intents: what parts of a kernel mean, found in its loops and kept with their places, and what was done about each.
// The lowering follows from general plans (side by side, shared out, kept in a variable); an intent says which of them
// met, so that a person, and a target with an instruction for it, can see it.
//   ternary accumulation: s += x or s -= x or nothing, by a weight of -1, 0, 1 (MatMul-free LM, arXiv 2406.02528)
//   recurrence: h[t] = f[t] h[t-1] + i[t], over time
//   reduction: a sum, product, minimum, maximum or dot product
//   elementwise: one element of the result from those at the same place

import type { Span } from "../diagnostics.ts";
import type { KernelExpr, KernelIr, KernelStmt, Local } from "../ir/kernel_ir.ts";
import { visitExpr, visitStmts } from "../ir/kernel_ir.ts";
import type { Affine, Definitions } from "./affine.ts";
import { affineOf } from "./affine.ts";
import { carriedLocals } from "./dependence.ts";
import type { Loop } from "./dependence.ts";
import { findReductions } from "./reductions.ts";
import { sameExpr } from "./same.ts";
import type { Stage } from "./stages.ts";
import type { VectorPlan } from "./vector.ts";

export type IntentName = "ternary_accumulate" | "linear_recurrence" | "reduction" | "elementwise" | "loop";

export interface Intent {
  readonly name: IntentName;
  readonly span: Span;
  /** What was recognised: "sum of products into total", "weights[i][j] into sum". */
  readonly what: string;
  /** How it runs: "16 rows side by side", "4 lanes", "one by one: x is not read side by side". */
  readonly how: string;
}

interface Known {
  readonly ir: KernelIr;
  readonly stages: readonly Stage[];
  readonly vectors: ReadonlyMap<Loop, VectorPlan>;
  readonly scalars: ReadonlyMap<Loop, string>;
  readonly definitions: Definitions;
}

/** The intents of a kernel, in the order of its text. */
export function findIntents(known: Known): Intent[] {
  const intents: Intent[] = [];
  for (const stage of known.stages) {
    for (const stmt of stage.stmts) {
      if (stmt.kind === "for") nestIntents(stmt, stage, [], known, intents);
      else if (stmt.kind === "if") {
        for (const inner of [...stmt.then, ...stmt.else]) {
          if (inner.kind === "for") nestIntents(inner, stage, [], known, intents);
        }
      }
    }
  }
  return intents.sort((a, b) => a.span.start - b.span.start);
}

function nestIntents(loop: Loop, stage: Stage, around: readonly Loop[], known: Known, intents: Intent[]): void {
  const loops = [...around, loop];
  const how = howOf(loops, stage, known);
  const before = intents.length;
  for (const accumulation of ternaryAccumulations(loop, known)) intents.push({ ...accumulation, how });
  const recurrence = recurrenceOf(loop, loops, known);
  // The loop inside sees the same recurrence; the one over time has named it.
  const isNew = !intents.some(({ span }) => span.start === recurrence?.span.start);
  if (recurrence !== undefined && isNew) intents.push({ ...recurrence, how });
  const ternary = new Set(intents.slice(before).map(({ span }) => span.start));
  for (const [local, { op, isDot, stmt }] of findReductions(loop)) {
    if (ternary.size > 0 || recurrence !== undefined) continue;
    const what = `${isDot ? "sum of products" : op} into ${local.name}`;
    intents.push({ name: "reduction", span: stmt.span, what, how });
  }
  const inner = loop.body.filter((stmt): stmt is Loop => stmt.kind === "for");
  for (const one of inner) nestIntents(one, stage, loops, known, intents);
  if (intents.length > before || inner.length > 0 || recurrence !== undefined) return;
  const name = known.vectors.has(loop) ? "elementwise" : "loop";
  intents.push({ name, span: loop.span, what: `loop over ${loop.counter.name}`, how });
}

/** How the innermost of some loops runs. */
function howOf(loops: readonly Loop[], stage: Stage, { vectors, scalars }: Known): string {
  const last = loops.at(-1)!;
  const inner: Loop[] = [];
  visitStmts(last.body, (stmt) => {
    if (stmt.kind === "for") inner.push(stmt);
  });
  const vector = [...loops, ...inner].findLast((loop) => vectors.has(loop));
  const lanes =
    vector === undefined
      ? `one by one${scalars.has(last) ? `: ${scalars.get(last)!}` : ""}`
      : `${loops.includes(vector) && vector !== last ? `${vector.counter.name} ` : ""}side by side`;
  const { sharing } = stage;
  const shared =
    sharing.kind === "parallel"
      ? `shared out by ${[...new Set([...sharing.loops].map(({ counter }) => counter.name))].join(", ")}`
      : `on one thread: ${sharing.reason}`;
  return `${lanes}; ${shared}`;
}

type Found = Omit<Intent, "how">;

/** Ifs that add a value for weight 1 and subtract it for weight -1, in the loop's own body. */
function ternaryAccumulations(loop: Loop, { definitions }: Known): Found[] {
  const found: Found[] = [];
  const visit = (stmts: readonly KernelStmt[]): void => {
    for (const stmt of stmts) {
      if (stmt.kind !== "if") continue;
      const accumulation = accumulationOf(stmt, definitions);
      if (accumulation === undefined) visit([...stmt.then, ...stmt.else]);
      else found.push(accumulation);
    }
  };
  visit(loop.body);
  return found;
}

function accumulationOf(stmt: KernelStmt & { readonly kind: "if" }, definitions: Definitions): Found | undefined {
  const first = caseOf(stmt, definitions);
  const [second] = stmt.else;
  const last = second?.kind === "if" && second.else.length === 0 ? caseOf(second, definitions) : undefined;
  if (first === undefined || last === undefined || first.weight !== last.weight) return undefined;
  const opposite = first.value === -last.value && first.sign === -last.sign && first.sign === first.value;
  if (!opposite || first.local !== last.local || !sameExpr(first.added, last.added)) return undefined;
  const what = `${first.weight.array.name} into ${first.local.name}`;
  return { name: "ternary_accumulate", span: stmt.span, what };
}

interface TernaryCase {
  readonly weight: KernelExpr & { readonly kind: "load" };
  readonly value: number;
  readonly local: Local;
  readonly sign: 1 | -1;
  readonly added: KernelExpr;
}

/** `if (weight === value) local += added`. */
function caseOf(stmt: KernelStmt & { readonly kind: "if" }, definitions: Definitions): TernaryCase | undefined {
  const { condition, then } = stmt;
  const [set] = then;
  if (condition.kind !== "compare" || condition.op !== "eq" || condition.b.kind !== "const") return undefined;
  const subject = condition.a.kind === "local" ? definitions.get(condition.a.local) : condition.a;
  if (subject?.kind !== "load" || subject.array.element !== "ternary") return undefined;
  if (then.length !== 1 || set?.kind !== "set" || set.value.kind !== "binary") return undefined;
  const { op, a, b } = set.value;
  const own = a.kind === "local" && a.local === set.local;
  if (!own || (op !== "add" && op !== "sub")) return undefined;
  return { weight: subject, value: condition.b.value, local: set.local, sign: op === "add" ? 1 : -1, added: b };
}

/** A loop whose element at t is a product with the element at t - 1, or with a state, plus an input. */
function recurrenceOf(loop: Loop, loops: readonly Loop[], { definitions }: Known): Found | undefined {
  const carried = new Set(carriedLocals(loop.body));
  let found: Found | undefined;
  const time = loops.map(({ counter }) => counter);
  visitStmts(loop.body, (stmt) => {
    if (found !== undefined) return;
    if (stmt.kind === "set" && carried.has(stmt.local)) {
      const { local, value } = stmt;
      const isState = (expr: KernelExpr): boolean => expr.kind === "local" && expr.local === local;
      if (isLinearIn(value, isState)) {
        found = { name: "linear_recurrence", span: stmt.span, what: `${local.name} over ${loop.counter.name}` };
      }
    }
    if (stmt.kind !== "store") return;
    const own = stmt.indices.map((index) => affineOf(index, definitions));
    const earlier = (expr: KernelExpr): boolean => {
      const read = stateRead(expr, definitions);
      if (read?.array !== stmt.array) return false;
      const indices = read.indices.map((index) => affineOf(index, definitions));
      return isEarlier(own, indices, time);
    };
    if (isLinearIn(stmt.value, earlier)) {
      found = { name: "linear_recurrence", span: stmt.span, what: `${stmt.array.name} over ${time[0]!.name}` };
    }
  });
  return found;
}

/**
 * The element that an expression reads, through a name for it, and where there is one at all: `t > 0 ? h[t - 1] : 0`.
 */
function stateRead(expr: KernelExpr, definitions: Definitions): (KernelExpr & { readonly kind: "load" }) | undefined {
  const named = expr.kind === "local" ? definitions.get(expr.local) : undefined;
  if (named !== undefined) return stateRead(named, definitions);
  if (expr.kind === "select" && expr.b.kind === "const") return stateRead(expr.a, definitions);
  if (expr.kind === "select" && expr.a.kind === "const") return stateRead(expr.b, definitions);
  if (expr.kind === "convert") return stateRead(expr.a, definitions);
  return expr.kind === "load" ? expr : undefined;
}

/** f * state + input, in any order, where neither f nor input has the state. */
function isLinearIn(value: KernelExpr, isState: (expr: KernelExpr) => boolean): boolean {
  if (value.kind === "convert") return isLinearIn(value.a, isState);
  if (value.kind !== "binary" || (value.op !== "add" && value.op !== "sub")) return false;
  const has = (expr: KernelExpr): boolean => {
    let found = false;
    visitExpr(expr, (inner) => (found ||= isState(inner)));
    return found;
  };
  const scaled = (expr: KernelExpr): boolean =>
    expr.kind === "binary" && expr.op === "mul" && isStateAlone(expr.a, isState) !== isStateAlone(expr.b, isState);
  return (scaled(value.a) && !has(value.b)) || (scaled(value.b) && !has(value.a));
}

function isStateAlone(expr: KernelExpr, isState: (expr: KernelExpr) => boolean): boolean {
  return isState(expr.kind === "convert" ? expr.a : expr);
}

/** Indices that are one step back along one counter, or the same element of a state that is updated in place. */
function isEarlier(
  own: readonly (Affine | undefined)[],
  other: readonly (Affine | undefined)[],
  counters: readonly Local[],
): boolean {
  let back = 0;
  for (const [d, affine] of own.entries()) {
    const before = other[d];
    if (affine === undefined || before === undefined) return false;
    const moves = counters.some((counter) => affine.terms.has(counter));
    const sameTerms =
      affine.terms.size === before.terms.size && [...affine.terms].every(([local, c]) => before.terms.get(local) === c);
    if (!sameTerms) return false;
    if (affine.constant === before.constant) continue;
    if (!moves || affine.constant - before.constant !== 1) return false;
    back++;
  }
  // The same element again is a recurrence over a counter that does not choose the element.
  return back === 1 || (back === 0 && counters.length > 1 && !own.some((affine) => affine!.terms.has(counters[0]!)));
}
