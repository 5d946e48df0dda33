// Everything that is known of a kernel before it is lowered, in the order in which it is found out: bounds, promotion
// of elements to variables, bounds again, stages, the loops that run side by side, intents.

import type { Problem } from "../diagnostics.ts";
import type { KernelArray, KernelIr, KernelStmt } from "../ir/kernel_ir.ts";
import { visitStmts } from "../ir/kernel_ir.ts";
import { definitionsOf } from "./affine.ts";
import type { Definitions } from "./affine.ts";
import { analyseBounds } from "./bounds.ts";
import type { Bounds } from "./bounds.ts";
import { isWrittenFirst } from "./coverage.ts";
import type { DependenceContext, Loop } from "./dependence.ts";
import { findIntents } from "./intents.ts";
import type { Intent } from "./intents.ts";
import { promote } from "./promote.ts";
import { planStages } from "./stages.ts";
import type { Stage } from "./stages.ts";
import { hasInnerLoops, planVector } from "./vector.ts";
import type { VectorContext, VectorPlan } from "./vector.ts";

/** How a parameter takes part: read only, written with what it held before, or written only. */
export type Access = "in" | "inout" | "out";

export interface AnalysisOptions {
  /** Sums in the order that is written, at the price of vectors. */
  readonly strictSums: boolean;
}

export interface KernelAnalysis {
  /** The kernel with promoted elements: what is lowered. */
  readonly ir: KernelIr;
  readonly bounds: Bounds;
  readonly definitions: Definitions;
  readonly stages: readonly Stage[];
  /** Loops that run side by side. */
  readonly vectors: ReadonlyMap<Loop, VectorPlan>;
  /** Why the other innermost loops do not. */
  readonly scalars: ReadonlyMap<Loop, string>;
  readonly accesses: ReadonlyMap<KernelArray, Access>;
  readonly intents: readonly Intent[];
  readonly problems: readonly Problem[];
  /** Whether sums keep the order that is written. */
  readonly strictSums: boolean;
}

export function analyseKernel(source: KernelIr, options: AnalysisOptions): KernelAnalysis {
  const first = analyseBounds(source);
  const ir = promote(source, first);
  const bounds = analyseBounds(ir);
  const definitions = definitionsOf(ir.body);
  const context: DependenceContext = { definitions, ranges: bounds.ranges };
  const stages = planStages(ir, context);
  const vectors = new Map<Loop, VectorPlan>();
  const scalars = new Map<Loop, string>();
  const vectorContext: VectorContext = { ...context, guards: bounds.guards, reassociates: !options.strictSums };
  for (const { stmts } of stages) planVectors(stmts, vectorContext, vectors, scalars);
  const accesses = accessesOf(ir);
  const intents = findIntents({ ir, stages, vectors, scalars, definitions });
  const { problems } = first;
  const { strictSums } = options;
  return { ir, bounds, definitions, stages, vectors, scalars, accesses, intents, problems, strictSums };
}

/**
 * Chooses the loops of a nest that run side by side: the innermost ones if all of them can, else the loop around them,
 * else what can of each.
 */
function planVectors(
  stmts: readonly KernelStmt[],
  context: VectorContext,
  vectors: Map<Loop, VectorPlan>,
  scalars: Map<Loop, string>,
): void {
  for (const stmt of stmts) {
    if (stmt.kind === "if") planVectors([...stmt.then, ...stmt.else], context, vectors, scalars);
    if (stmt.kind !== "for") continue;
    if (!hasInnerLoops(stmt)) {
      const plan = planVector(stmt, context);
      if (typeof plan === "string") scalars.set(stmt, plan);
      else vectors.set(stmt, plan);
      continue;
    }
    const inner = innermostOf(stmt);
    const plans = inner.map((loop) => planVector(loop, context));
    const whole = plans.every((plan) => typeof plan !== "string") ? undefined : planVector(stmt, context);
    if (whole === undefined || typeof whole === "string") planVectors(stmt.body, context, vectors, scalars);
    else vectors.set(stmt, whole);
  }
}

function innermostOf(loop: Loop): Loop[] {
  const found: Loop[] = [];
  visitStmts(loop.body, (stmt) => {
    if (stmt.kind === "for" && !hasInnerLoops(stmt)) found.push(stmt);
  });
  return found;
}

function accessesOf(ir: KernelIr): Map<KernelArray, Access> {
  const written = new Set<KernelArray>();
  visitStmts(ir.body, (stmt) => {
    if (stmt.kind === "store") written.add(stmt.array);
  });
  return new Map(
    ir.arrays.map((array) => {
      if (!written.has(array)) return [array, "in"];
      return [array, array.role === "result" || isWrittenFirst(array, ir.body) ? "out" : "inout"];
    }),
  );
}
