// Expressions as loop IR. A value is `wide` where lanes differ: one vector for each piece of the unrolled loop; or one
// scalar that all lanes share. Scalars are lowered lazily: a choice between values that cost something is a branch.

import { INDEX, loopType } from "@fidelity/core";
import type { KernelBuilder, LoopValue } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Definitions } from "../analysis/affine.ts";
import type { Bounds } from "../analysis/bounds.ts";
import type { Span } from "../diagnostics.ts";
import type { KernelArray, KernelExpr, Local } from "../ir/kernel_ir.ts";
import { operandsOfExpr, visitExpr } from "../ir/kernel_ir.ts";
import type { IndexSource, Place } from "./memory.ts";
import { ELEMENT_BYTES, indexOf, placeOf, ternaryScale, ternaryWeights } from "./memory.ts";
import { binaryOf, compareOf, constantOf, convertOf, selectOf, typeOf, unaryOf } from "./operations.ts";

/** One scalar for all lanes, or one vector a piece. */
export type Wide = readonly LoopValue[];

/** How a vectorised loop runs. */
export interface VectorMode {
  readonly varying: ReadonlySet<Local>;
  readonly counter: Local;
  readonly lanes: number;
  readonly pieces: number;
}

/** What lowering of a stage shares. */
export interface LoweringContext {
  readonly k: KernelBuilder;
  readonly definitions: Definitions;
  readonly guards: Bounds["guards"];
  readonly bases: ReadonlyMap<KernelArray, LoopValue>;
  /** Where a value came from; called for each value that an expression makes. */
  note(value: LoopValue, span: Span): void;
}

/** Lowers expressions. Locals and the mode change as statements are lowered around it. */
export class ExpressionLowering implements IndexSource {
  readonly k: KernelBuilder;
  readonly definitions: Definitions;
  /** Values of locals that are not counters. */
  locals = new Map<Local, Wide>();
  /** Counters as indices; of the first lane in a vectorised loop. */
  readonly counters = new Map<Local, LoopValue>();
  mode: VectorMode | undefined;
  readonly #context: LoweringContext;

  constructor(context: LoweringContext) {
    this.k = context.k;
    this.definitions = context.definitions;
    this.#context = context;
  }

  base(array: KernelArray): LoopValue {
    const base = this.#context.bases.get(array);
    invariant(base !== undefined, `${array.name} has no buffer`);
    return base;
  }

  local(local: Local): LoopValue {
    const counter = this.counters.get(local);
    if (counter !== undefined) return counter;
    const value = this.locals.get(local);
    invariant(value?.length === 1, `${local.name} is no scalar`);
    return this.k.convert(INDEX, value[0]!);
  }

  /** Whether lanes differ in an expression. */
  varies(expr: KernelExpr): boolean {
    if (this.mode === undefined) return false;
    if (expr.kind === "local") return this.mode.varying.has(expr.local);
    if (expr.kind === "let" && this.mode.varying.has(expr.local)) return true;
    return operandsOfExpr(expr).some((operand) => this.varies(operand));
  }

  /** The value of an expression, wide where lanes differ. */
  value(expr: KernelExpr): Wide {
    if (!this.varies(expr)) return [this.scalar(expr)];
    const wide = this.#wide(expr);
    for (const piece of wide) this.#context.note(piece, expr.span);
    return wide;
  }

  /** The value in every lane of every piece. */
  spread(wide: Wide): Wide {
    if (this.mode === undefined || (wide.length === this.mode.pieces && wide[0]!.type.lanes > 1)) return wide;
    const { lanes, pieces } = this.mode;
    const vector = this.k.splat(wide[0]!, lanes);
    return Array.from({ length: pieces }, () => vector);
  }

  scalar(expr: KernelExpr): LoopValue {
    const value = this.#scalar(expr);
    this.#context.note(value, expr.span);
    return value;
  }

  #scalar(expr: KernelExpr): LoopValue {
    const { k } = this;
    switch (expr.kind) {
      case "const":
        return constantOf(k, expr.type, expr.value);
      case "local": {
        const counter = this.counters.get(expr.local);
        if (counter !== undefined) return k.convert(typeOf("i32"), counter);
        const value = this.locals.get(expr.local);
        invariant(value?.length === 1, `${expr.local.name} is read before it is set`);
        return value[0]!;
      }
      case "load":
        return this.#guarded(expr);
      case "scale":
        return ternaryScale(k, expr.array, this.base(expr.array));
      case "unary":
        return unaryOf(k, expr.op, this.scalar(expr.a));
      case "binary":
        return binaryOf(k, expr.op, this.scalar(expr.a), this.scalar(expr.b));
      case "compare":
        return compareOf(k, expr.op, this.scalar(expr.a), this.scalar(expr.b));
      case "convert":
        return convertOf(k, expr.type, this.scalar(expr.a));
      case "select":
        return this.#choose(expr);
      case "let":
        this.locals.set(expr.local, [this.scalar(expr.value)]);
        return this.scalar(expr.body);
    }
  }

  #choose(expr: KernelExpr & { readonly kind: "select" }): LoopValue {
    const { k } = this;
    const condition = this.scalar(expr.condition);
    if (isCheap(expr.a) && isCheap(expr.b)) return selectOf(k, condition, this.scalar(expr.a), this.scalar(expr.b));
    const [chosen] = k.if(
      condition,
      () => [this.scalar(expr.a)],
      () => [this.scalar(expr.b)],
    );
    return chosen!;
  }

  /** A load; behind its guard when it has one. */
  #guarded(expr: KernelExpr & { readonly kind: "load" }): LoopValue {
    const inside = this.insideOf(expr, expr.indices, expr.array);
    if (inside === undefined) return this.#load(expr);
    const outside = expr.type === "i32" ? 0 : NaN;
    const [value] = this.k.if(
      inside,
      () => [this.#load(expr)],
      () => [constantOf(this.k, expr.type, outside)],
    );
    return value!;
  }

  /** Whether an access is inside its array, when that is not proved. */
  insideOf(
    access: Parameters<Bounds["guards"]["get"]>[0],
    indices: readonly KernelExpr[],
    array: KernelArray,
  ): LoopValue | undefined {
    const { k } = this;
    const dims = this.#context.guards.get(access);
    if (dims === undefined) return undefined;
    // As unsigned numbers, negative indices are too large as well.
    const tests = dims.map((d) => {
      const index = k.convert(INDEX, this.scalar(indices[d]!));
      return k.compare("lt", index, k.index(array.shape[d]!));
    });
    return tests.reduce((a, b) => k.binary("and", a, b));
  }

  #load(expr: KernelExpr & { readonly kind: "load" }): LoopValue {
    const { array, indices } = expr;
    if (array.element === "ternary") return this.#ternary(expr, indexOf(this, indices[0]!), 1);
    const { address, offset } = placeOf(this, array, indices);
    return this.k.load(typeOf(expr.type), address, offset);
  }

  #ternary({ array, indices }: KernelExpr & { readonly kind: "load" }, row: LoopValue, lanes: number): LoopValue {
    return ternaryWeights(this.k, array, this.base(array), row, indexOf(this, indices[1]!), lanes);
  }

  /** The place of one element. */
  place(array: KernelArray, indices: readonly KernelExpr[]): Place {
    return placeOf(this, array, indices);
  }

  /** The place of each piece of a vector. */
  places(array: KernelArray, indices: readonly KernelExpr[]): Place[] {
    invariant(this.mode !== undefined && array.element !== "ternary", "only vectors have pieces");
    const { lanes, pieces } = this.mode;
    const { address, offset } = placeOf(this, array, indices);
    const pieceBytes = lanes * ELEMENT_BYTES[array.element];
    return Array.from({ length: pieces }, (_, i) => ({ address, offset: offset + i * pieceBytes }));
  }

  #wide(expr: KernelExpr): Wide {
    const { k } = this;
    const each = (operands: readonly KernelExpr[], build: (values: readonly LoopValue[]) => LoopValue): Wide => {
      const wides = operands.map((operand) => this.spread(this.value(operand)));
      return wides[0]!.map((_, piece) => build(wides.map((wide) => wide[piece]!)));
    };
    switch (expr.kind) {
      case "const":
      case "scale":
        return this.spread([this.scalar(expr)]);
      case "local":
        return expr.local === this.mode!.counter ? this.#counter(expr.local) : this.locals.get(expr.local)!;
      case "load":
        return this.#wideLoad(expr);
      case "unary":
        return each([expr.a], ([a]) => unaryOf(k, expr.op, a!));
      case "binary":
        return this.#wideBinary(expr, each);
      case "compare":
        return each([expr.a, expr.b], ([a, b]) => compareOf(k, expr.op, a!, b!));
      case "convert":
        return each([expr.a], ([a]) => convertOf(k, expr.type, a!));
      case "select":
        return this.#wideSelect(expr, each);
      case "let":
        this.locals.set(expr.local, this.value(expr.value));
        return this.spread(this.value(expr.body));
    }
  }

  #wideBinary(expr: KernelExpr & { readonly kind: "binary" }, each: Each): Wide {
    const { k } = this;
    const isShift = expr.op === "shl" || expr.op === "shr_s" || expr.op === "shr_u";
    if (!isShift) return each([expr.a, expr.b], ([a, b]) => binaryOf(k, expr.op, a!, b!));
    const count = this.scalar(expr.b);
    return each([expr.a], ([a]) => binaryOf(k, expr.op, a!, count));
  }

  #wideSelect(expr: KernelExpr & { readonly kind: "select" }, each: Each): Wide {
    const { k } = this;
    if (this.varies(expr.condition)) {
      return each([expr.condition, expr.a, expr.b], ([mask, a, b]) => selectOf(k, mask!, a!, b!));
    }
    // All lanes choose alike.
    return k.if(
      this.scalar(expr.condition),
      () => this.spread(this.value(expr.a)),
      () => this.spread(this.value(expr.b)),
    );
  }

  #wideLoad(expr: KernelExpr & { readonly kind: "load" }): Wide {
    const { k } = this;
    const { lanes, pieces } = this.mode!;
    if (expr.array.element !== "ternary") {
      const type = typeOf(expr.type, lanes);
      return this.places(expr.array, expr.indices).map(({ address, offset }) => k.load(type, address, offset));
    }
    const row = indexOf(this, expr.indices[0]!);
    return Array.from({ length: pieces }, (_, i) => this.#ternary(expr, k.add(row, k.index(i * lanes)), lanes));
  }

  /** The counter in each lane, as whole numbers. */
  #counter(counter: Local): Wide {
    const { k } = this;
    const { lanes, pieces } = this.mode!;
    const type = loopType("i32", lanes);
    let first = k.splat(k.convert(typeOf("i32"), this.counters.get(counter)!), lanes);
    let steps = k.constant(type, 0);
    for (let lane = 1; lane < lanes; lane++) steps = k.insert(steps, k.i32(lane), lane);
    first = k.add(first, steps);
    return Array.from({ length: pieces }, (_, i) => (i === 0 ? first : k.add(first, k.constant(type, i * lanes))));
  }
}

type Each = (operands: readonly KernelExpr[], build: (values: readonly LoopValue[]) => LoopValue) => Wide;

const CHEAP_MAX = 6;

/** Whether computing a value that may not be needed is better than a branch. Loads may be outside, so they are not. */
function isCheap(expr: KernelExpr): boolean {
  let operations = 0;
  let safe = true;
  visitExpr(expr, (inner) => {
    operations++;
    if (inner.kind === "load" || inner.kind === "let") safe = false;
    if (inner.kind === "unary" && !/^(neg|abs|not|floor|sqrt)$/.test(inner.op)) operations += CHEAP_MAX;
  });
  return safe && operations <= CHEAP_MAX;
}
