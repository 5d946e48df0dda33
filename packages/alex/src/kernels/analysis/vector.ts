// Vectors: which loop of a nest runs several iterations side by side, one a lane. A loop qualifies when its iterations
// are independent but for sums, products, minima and maxima, and when every value that differs between lanes lies
// side by side in memory or is computed from such values. Inner loops may stay inside, as long as all lanes take the
// same number of turns: so a sum over columns runs for several rows at once, in the order in which it is written. After
// Allen and Kennedy, "Automatic translation of FORTRAN programs to vector form" (TOPLAS 1987).

import type { BinaryOp, KernelExpr, KernelStmt, Local, ScalarType } from "../ir/kernel_ir.ts";
import { operandsOfExpr, visitExpr, visitStmts } from "../ir/kernel_ir.ts";
import { affineOf, coefficientOf } from "./affine.ts";
import type { Affine } from "./affine.ts";
import type { Access, Bounds } from "./bounds.ts";
import { arrayDependence, carriedLocals } from "./dependence.ts";
import type { DependenceContext, Loop } from "./dependence.ts";
import { findReductions } from "./reductions.ts";
import type { Range } from "./ranges.ts";
import type { Reduction } from "./reductions.ts";

export interface VectorContext extends DependenceContext {
  readonly guards: Bounds["guards"];
  /** Whether sums may be taken in another order than they are written. */
  readonly reassociates: boolean;
}

export interface VectorPlan {
  /** Locals that differ between lanes. */
  readonly varying: ReadonlySet<Local>;
  readonly reductions: ReadonlyMap<Local, Reduction>;
  /** Bytes of a lane: 4 (f32 and i32 together) or 8 (f64). */
  readonly laneBytes: 4 | 8;
}

/** The plan for a loop, or why there is none, in words for `explain`. */
export function planVector(loop: Loop, context: VectorContext): VectorPlan | string {
  if (loop.step !== 1) return `it counts by ${loop.step}`;
  const reductions = findReductions(loop);
  const carried = carriedLocals(loop.body);
  for (const local of carried) {
    const reduction = reductions.get(local);
    if (reduction === undefined) return `${local.name} is carried from one iteration to the next`;
    if (!context.reassociates && reduction.op !== "min" && reduction.op !== "max") {
      return `${local.name} is summed in the order that is written`;
    }
  }
  const dependence = arrayDependence(loop.body, new Set([loop.counter]), 1, context);
  if (dependence !== undefined) return dependence;
  try {
    return new Planner(loop, context, reductions).plan();
  } catch (error) {
    if (error instanceof NotVector) return error.message;
    throw error;
  }
}

/** Stops planning; the message is the reason. */
class NotVector extends Error {}

class Planner {
  readonly #loop: Loop;
  readonly #context: VectorContext;
  readonly #reductions: ReadonlyMap<Local, Reduction>;
  readonly #varying = new Set<Local>();
  readonly #bytes = new Set<4 | 8>();

  constructor(loop: Loop, context: VectorContext, reductions: ReadonlyMap<Local, Reduction>) {
    this.#loop = loop;
    this.#context = context;
    this.#reductions = reductions;
  }

  plan(): VectorPlan {
    this.#varying.add(this.#loop.counter);
    for (const local of this.#reductions.keys()) this.#varying.add(local);
    for (let size = -1; size !== this.#varying.size;) {
      size = this.#varying.size;
      this.#spread(this.#loop.body, false);
    }
    this.#checkBlock(this.#loop.body, false);
    if (this.#bytes.size > 1) throw new NotVector("it mixes f64 with narrower numbers");
    const [laneBytes = 4] = this.#bytes;
    return { varying: this.#varying, reductions: this.#reductions, laneBytes };
  }

  /** Finds the locals that differ between lanes. */
  #spread(stmts: readonly KernelStmt[], masked: boolean): void {
    for (const stmt of stmts) {
      if (stmt.kind === "set") {
        this.#spreadLets(stmt.value);
        if (this.#varies(stmt.value) || (masked && !stmt.declares)) this.#varying.add(stmt.local);
      } else if (stmt.kind === "store") {
        this.#spreadLets(stmt.value);
        stmt.indices.forEach((index) => this.#spreadLets(index));
      } else if (stmt.kind === "for") {
        this.#spread(stmt.body, masked);
      } else {
        this.#spreadLets(stmt.condition);
        const inner = masked || this.#varies(stmt.condition);
        this.#spread(stmt.then, inner);
        this.#spread(stmt.else, inner);
      }
    }
  }

  #spreadLets(expr: KernelExpr): void {
    if (expr.kind === "let" && this.#varies(expr.value)) this.#varying.add(expr.local);
    for (const operand of operandsOfExpr(expr)) this.#spreadLets(operand);
  }

  #varies(expr: KernelExpr): boolean {
    if (expr.kind === "local") return this.#varying.has(expr.local);
    return operandsOfExpr(expr).some((operand) => this.#varies(operand));
  }

  #checkBlock(stmts: readonly KernelStmt[], masked: boolean): void {
    for (const stmt of stmts) {
      switch (stmt.kind) {
        case "set":
          this.#checkExpr(stmt.value, masked);
          if (this.#varying.has(stmt.local)) this.#note(stmt.local.type);
          break;
        case "store":
          this.#checkStore(stmt, masked);
          break;
        case "for":
          if (this.#varies(stmt.first) || this.#varies(stmt.end)) {
            throw new NotVector("an inner loop has different bounds in each iteration");
          }
          if (masked) throw new NotVector("an inner loop runs in some iterations only");
          this.#checkExpr(stmt.first, masked);
          this.#checkExpr(stmt.end, masked);
          this.#checkBlock(stmt.body, masked);
          break;
        case "if": {
          this.#checkExpr(stmt.condition, masked);
          const inner = masked || this.#varies(stmt.condition);
          this.#checkBlock(stmt.then, inner);
          this.#checkBlock(stmt.else, inner);
        }
      }
    }
  }

  #checkStore(stmt: KernelStmt & { readonly kind: "store" }, masked: boolean): void {
    if (this.#context.guards.has(stmt)) throw new NotVector(`a write to ${stmt.array.name} may be outside`);
    this.#checkExpr(stmt.value, masked);
    for (const index of stmt.indices) this.#checkExpr(index, masked, true);
    if (!this.#isContiguous(stmt.indices)) throw new NotVector(`${stmt.array.name} is not written side by side`);
    if (masked) this.#requireInside(stmt);
    if (stmt.array.element !== "ternary") this.#note(stmt.array.element);
  }

  /** Whether the last index moves by 1 with the counter and no other index moves. */
  #isContiguous(indices: readonly KernelExpr[]): boolean {
    return indices.every((index, d) => {
      const isLast = d === indices.length - 1;
      if (!this.#varies(index)) return !isLast;
      const affine = isLast ? affineOf(index, this.#context.definitions) : undefined;
      return affine !== undefined && coefficientOf(affine, this.#loop.counter) === 1 && this.#onlyCounterVaries(affine);
    });
  }

  #onlyCounterVaries(affine: Affine): boolean {
    return [...affine.terms.keys()].every((local) => local === this.#loop.counter || !this.#varying.has(local));
  }

  #checkExpr(expr: KernelExpr, masked: boolean, isIndex = false): void {
    if (!this.#varies(expr)) {
      if (masked) this.#checkAlwaysInside(expr);
      return;
    }
    if (expr.kind === "select" && this.#varies(expr.condition)) {
      this.#checkExpr(expr.condition, masked);
      for (const side of [expr.a, expr.b]) {
        if (this.#varies(side)) this.#checkExpr(side, true);
        else this.#checkAlwaysInside(side);
      }
    } else {
      for (const operand of operandsOfExpr(expr)) this.#checkExpr(operand, masked, isIndex || expr.kind === "load");
    }
    if (expr.kind === "load") this.#checkLoad(expr, masked);
    if (isIndex) return;
    this.#note(expr.type);
    if (expr.kind === "convert") this.#checkConvert(expr);
    if (expr.kind === "binary" && expr.type === "i32") checkIntegers(expr.op, this.#varies(expr.b));
  }

  /** All lanes read, whatever a condition says of some of them: the reads must be inside without it. */
  #checkAlwaysInside(expr: KernelExpr): void {
    visitExpr(expr, (inner) => {
      if (inner.kind === "load" && !this.#context.guards.has(inner)) this.#requireInside(inner);
    });
  }

  #requireInside({ array, indices }: Access): void {
    const inside = indices.every((index, d) => {
      const affine = affineOf(index, this.#context.definitions);
      const range = affine && counterRangeOf(affine, this.#context);
      return range !== undefined && range.low >= 0 && range.high < array.shape[d]!;
    });
    if (!inside) throw new NotVector(`${array.name} is inside its bounds under a condition only`);
  }

  #checkLoad(expr: KernelExpr & { readonly kind: "load" }, masked: boolean): void {
    const { array, indices } = expr;
    if (masked) this.#requireInside(expr);
    if (this.#context.guards.has(expr)) throw new NotVector(`a read of ${array.name} may be outside`);
    if (array.element === "ternary") {
      const row = affineOf(indices[0]!, this.#context.definitions);
      // Rows lie in blocks of 16, so that lanes must begin at a multiple of their number.
      const isAligned = this.#loop.first.kind === "const" && this.#loop.first.value === 0;
      const isRow = isAligned && row !== undefined && row.constant === 0 && row.terms.size === 1;
      if (isRow && coefficientOf(row, this.#loop.counter) === 1 && !this.#varies(indices[1]!)) return;
      throw new NotVector(`${array.name} is packed by rows, and is not read along its rows' numbers`);
    }
    if (!this.#isContiguous(indices)) throw new NotVector(`${array.name} is not read side by side`);
  }

  #checkConvert(expr: KernelExpr & { readonly kind: "convert" }): void {
    const wide = (type: ScalarType): boolean => type === "f64";
    if (wide(expr.type) !== wide(expr.a.type)) throw new NotVector("it mixes f64 with narrower numbers");
  }

  #note(type: ScalarType): void {
    if (type !== "bool") this.#bytes.add(type === "f64" ? 8 : 4);
  }
}

/** The range of a sum of counters, from the loops' bounds alone. */
function counterRangeOf(affine: Affine, { ranges }: DependenceContext): Range | undefined {
  let [low, high] = [affine.constant, affine.constant];
  for (const [local, coefficient] of affine.terms) {
    const range = local.role === "counter" ? ranges.get(local) : undefined;
    if (range === undefined) return undefined;
    low += Math.min(coefficient * range.low, coefficient * range.high);
    high += Math.max(coefficient * range.low, coefficient * range.high);
  }
  return { low, high };
}

/** Vectors of whole numbers have no division, and shift all lanes alike. */
function checkIntegers(op: BinaryOp, countVaries: boolean): void {
  if (op === "div" || op === "rem") throw new NotVector("whole numbers are divided one at a time");
  if ((op === "shl" || op === "shr_s" || op === "shr_u") && countVaries) {
    throw new NotVector("bits are shifted by different counts");
  }
}

/** Whether a loop has loops inside. */
export function hasInnerLoops(loop: Loop): boolean {
  let has = false;
  visitStmts(loop.body, (stmt) => {
    if (stmt.kind === "for") has = true;
  });
  return has;
}
