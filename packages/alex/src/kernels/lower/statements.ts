// Statements as loop IR: variables become values that loops and branches carry, and each nest is run side by side at
// the loop that the analysis chose for it.

import { INDEX } from "@fidelity/core";
import type { KernelBuilder, LoopValue } from "@fidelity/core";
import { carriedLocals } from "../analysis/dependence.ts";
import type { Loop } from "../analysis/dependence.ts";
import { rangeOf } from "../analysis/ranges.ts";
import type { RangeEnvironment } from "../analysis/ranges.ts";
import type { VectorPlan } from "../analysis/vector.ts";
import type { KernelStmt, Local } from "../ir/kernel_ir.ts";
import { ExpressionLowering } from "./expressions.ts";
import type { LoweringContext, Wide } from "./expressions.ts";
import { binaryOf, selectOf, typeOf } from "./operations.ts";
import { combine, identityOf } from "./reduce.ts";

/** The part of a loop's iterations that a chunk does. */
export interface Part {
  readonly low: LoopValue;
  readonly high: LoopValue;
  /** A number that the length of every part is a multiple of; 1 when nothing is known. */
  readonly multiple: number;
}

export interface StatementContext extends LoweringContext {
  readonly ranges: RangeEnvironment;
  /** float32 lanes. */
  readonly lanes: number;
  /** Which loops run side by side. */
  readonly plans: ReadonlyMap<Loop, VectorPlan>;
  readonly parts: ReadonlyMap<Loop, Part>;
}

/** Pieces of a vector that a loop does at once: enough to keep several sums under way. */
const PIECES_MAX = 4;

export class StatementLowering {
  readonly #context: StatementContext;
  readonly #k: KernelBuilder;
  readonly #expressions: ExpressionLowering;
  /** In a vectorised loop, the lanes that are active; all of them when undefined. */
  #mask: Wide | undefined;

  constructor(context: StatementContext) {
    this.#context = context;
    this.#k = context.k;
    this.#expressions = new ExpressionLowering(context);
  }

  block(stmts: readonly KernelStmt[]): void {
    for (const stmt of stmts) this.#stmt(stmt);
  }

  #stmt(stmt: KernelStmt): void {
    switch (stmt.kind) {
      case "set":
        return this.#set(stmt);
      case "store":
        return this.#store(stmt);
      case "if":
        return this.#expressions.varies(stmt.condition) ? this.#masked(stmt) : this.#branch(stmt);
      case "for":
        return this.#for(stmt);
    }
  }

  #set({ local, value, declares }: KernelStmt & { readonly kind: "set" }): void {
    const expressions = this.#expressions;
    let wide = expressions.value(value);
    if (expressions.mode?.varying.has(local) === true) {
      wide = expressions.spread(wide);
      const before = declares ? undefined : expressions.locals.get(local);
      if (before !== undefined) wide = this.#blend(wide, expressions.spread(before));
    }
    expressions.locals.set(local, wide);
  }

  /** New values in the active lanes, old ones in the others. */
  #blend(wide: Wide, before: Wide): Wide {
    const mask = this.#mask;
    return mask === undefined ? wide : wide.map((value, i) => selectOf(this.#k, mask[i]!, value, before[i]!));
  }

  #store(stmt: KernelStmt & { readonly kind: "store" }): void {
    const { array, indices, value } = stmt;
    const k = this.#k;
    const expressions = this.#expressions;
    if (expressions.mode === undefined) {
      const inside = expressions.insideOf(stmt, indices, array);
      const stored = expressions.scalar(value);
      const write = (): LoopValue[] => {
        const { address, offset } = expressions.place(array, indices);
        k.store(stored, address, offset);
        return [];
      };
      if (inside === undefined) write();
      else k.if(inside, write);
      return;
    }
    const places = expressions.places(array, indices);
    const wide = expressions.spread(expressions.value(value));
    places.forEach(({ address, offset }, i) => {
      const piece = wide[i]!;
      const mask = this.#mask?.[i];
      k.store(
        mask === undefined ? piece : selectOf(k, mask, piece, k.load(piece.type, address, offset)),
        address,
        offset,
      );
    });
  }

  /** A branch that only some lanes take: both sides run, each for its lanes. */
  #masked({ condition, then, else: otherwise }: KernelStmt & { readonly kind: "if" }): void {
    const k = this.#k;
    const outer = this.#mask;
    const test = this.#expressions.spread(this.#expressions.value(condition));
    const within = (mask: Wide): Wide =>
      outer === undefined ? mask : mask.map((piece, i) => binaryOf(k, "and", piece, outer[i]!));
    this.#mask = within(test);
    this.block(then);
    if (otherwise.length > 0) {
      this.#mask = within(test.map((piece) => k.unary("not", piece)));
      this.block(otherwise);
    }
    this.#mask = outer;
  }

  #branch({ condition, then, else: otherwise }: KernelStmt & { readonly kind: "if" }): void {
    const { locals } = this.#expressions;
    const carried = carriedLocals([...then, ...otherwise]).filter((local) => locals.has(local));
    const results = this.#k.if(
      this.#expressions.scalar(condition),
      () => this.#inner(then, carried),
      () => this.#inner(otherwise, carried),
    );
    this.#take(carried, results);
  }

  /** Lowers a nested block and gives what it leaves in `carried`, without letting it leak. */
  #inner(stmts: readonly KernelStmt[], carried: readonly Local[]): LoopValue[] {
    const saved = new Map(this.#expressions.locals);
    this.block(stmts);
    const values = carried.flatMap((local) => [...this.#expressions.locals.get(local)!]);
    this.#expressions.locals = saved;
    return values;
  }

  /** Gives carried locals their new values, in as many pieces as they had. */
  #take(carried: readonly Local[], values: readonly LoopValue[]): void {
    let at = 0;
    for (const local of carried) {
      const { length } = this.#expressions.locals.get(local)!;
      this.#expressions.locals.set(local, values.slice(at, at + length));
      at += length;
    }
  }

  #for(loop: Loop): void {
    const plan = this.#expressions.mode === undefined ? this.#context.plans.get(loop) : undefined;
    if (plan === undefined) return this.#serialLoop(loop, this.#bounds(loop));
    this.#vectorLoop(loop, plan);
  }

  /** Where a loop begins and ends as indices, or undefined when it does not count up from 0 or more. */
  #bounds(loop: Loop): Part | undefined {
    const part = this.#context.parts.get(loop);
    if (part !== undefined) return part;
    const { first, end, step } = loop;
    const isNatural = (bound: typeof first): boolean => (rangeOf(bound, this.#context.ranges)?.low ?? -1) >= 0;
    if (step < 0 || !isNatural(first) || !isNatural(end)) return undefined;
    const index = (bound: typeof first): LoopValue => {
      // Constants stay constants, so that the builder can fold with them.
      return bound.kind === "const"
        ? this.#k.index(bound.value)
        : this.#k.convert(INDEX, this.#expressions.scalar(bound));
    };
    const [low, high] = [index(first), index(end)];
    if (first.kind !== "const" || end.kind !== "const") return { low, high: this.#k.max(low, high), multiple: 1 };
    return { low, high: this.#k.max(low, high), multiple: Math.max(end.value - first.value, 0) };
  }

  #serialLoop(loop: Loop, bounds: Part | undefined): void {
    const { locals, counters } = this.#expressions;
    const k = this.#k;
    const carried = carriedLocals(loop.body).filter((local) => locals.has(local));
    const inits = carried.flatMap((local) => [...locals.get(local)!]);
    const run = (counter: LoopValue, values: readonly LoopValue[]): LoopValue[] => {
      counters.set(loop.counter, counter);
      const saved = new Map(this.#expressions.locals);
      this.#take(carried, values);
      const results = this.#inner(loop.body, carried);
      this.#expressions.locals = saved;
      return results;
    };
    if (bounds !== undefined) {
      this.#take(carried, k.for(bounds.low, bounds.high, loop.step, inits, run));
      return;
    }
    // Anything else counts its iterations: first + step * n for n below (end - first) / step.
    const i32 = typeOf("i32");
    const first = this.#expressions.scalar(loop.first);
    const end = this.#expressions.scalar(loop.end);
    const span = loop.step > 0 ? k.sub(end, first) : k.sub(first, end);
    const step = k.i32(Math.abs(loop.step));
    const rounded = k.div(k.add(span, k.i32(Math.abs(loop.step) - 1)), step);
    const runs = loop.step > 0 ? k.compare("lt", first, end) : k.compare("gt", first, end);
    const trips = k.convert(INDEX, k.select(runs, rounded, k.i32(0)));
    const results = k.for(0, trips, 1, inits, (n, values) => {
      const moved = k.mul(k.convert(i32, n), k.i32(loop.step));
      return run(k.convert(INDEX, k.add(first, moved)), values);
    });
    this.#take(carried, results);
  }

  /** Vectors of several pieces, then single vectors, then what is left one by one. */
  #vectorLoop(loop: Loop, plan: VectorPlan): void {
    const k = this.#k;
    const bounds = this.#bounds(loop);
    const lanes = (this.#context.lanes * 4) / plan.laneBytes;
    if (bounds === undefined || lanes < 2) return this.#serialLoop(loop, bounds);
    let rest = bounds;
    for (const pieces of [PIECES_MAX, 1]) {
      const width = lanes * pieces;
      const isConstant = loop.first.kind === "const" && loop.end.kind === "const";
      if (isConstant && loop.end.value - loop.first.value < width) continue;
      const whole = rest.multiple % width === 0;
      const length = k.sub(rest.high, rest.low);
      const end = whole ? rest.high : k.sub(rest.high, k.rem(length, k.index(width)));
      this.#vectorPart(loop, plan, { ...rest, high: end }, lanes, pieces);
      if (whole) return;
      rest = { low: end, high: rest.high, multiple: restMultiple(rest.multiple, width) };
    }
    this.#serialLoop(loop, rest);
  }

  #vectorPart(loop: Loop, plan: VectorPlan, part: Part, lanes: number, pieces: number): void {
    const expressions = this.#expressions;
    const k = this.#k;
    const reductions = [...plan.reductions];
    const inits = reductions.flatMap(([local, reduction]) => {
      const identity = identityOf(k, reduction, local.type, lanes);
      return Array.from({ length: pieces }, () => identity);
    });
    const saved = new Map(expressions.locals);
    const results = k.for(part.low, part.high, lanes * pieces, inits, (iv, carried) => {
      expressions.mode = { varying: plan.varying, counter: loop.counter, lanes, pieces };
      expressions.counters.set(loop.counter, iv);
      reductions.forEach(([local], i) => expressions.locals.set(local, carried.slice(i * pieces, (i + 1) * pieces)));
      this.block(loop.body);
      expressions.mode = undefined;
      return reductions.flatMap(([local]) => [...expressions.locals.get(local)!]);
    });
    expressions.locals = saved;
    reductions.forEach(([local, reduction], i) => {
      const [before] = expressions.locals.get(local)!;
      expressions.locals.set(local, [combine(k, reduction, before!, results.slice(i * pieces, (i + 1) * pieces))]);
    });
  }
}

/** What is known of the rest after whole steps of `width` were taken off a length that is a multiple of `multiple`. */
function restMultiple(multiple: number, width: number): number {
  // A constant length keeps its remainder; for others only common factors are left.
  let [a, b] = [multiple, width];
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
