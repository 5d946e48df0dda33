// The reference: a plain walk over the typed IR in float64, as JavaScript computes, rounding where it stores. What the
// interpreter device runs, and the third opinion beside the kernel run as TypeScript and the kernel compiled.
// A read outside an array gives NaN, or 0 for whole numbers, and a write there does nothing, as in compiled code.

import { BINARY_VALUES, COMPARE_VALUES, toI32, UNARY_VALUES } from "../check/values.ts";
import type { KernelArray, KernelExpr, KernelIr, KernelStmt, Local } from "./kernel_ir.ts";

/** What an array holds while a kernel is evaluated: row-major values, and the scale of ternary weights. */
export interface ArrayValues {
  readonly data: Float64Array;
  readonly scale?: number;
}

/** Runs a kernel. `arrays` holds the values of each array by its id, and is written. */
export function evaluateKernelIr(ir: KernelIr, arrays: readonly ArrayValues[]): void {
  new Evaluator(arrays).block(ir.body);
}

class Evaluator {
  readonly #arrays: readonly ArrayValues[];
  readonly #locals: number[] = [];

  constructor(arrays: readonly ArrayValues[]) {
    this.#arrays = arrays;
  }

  block(stmts: readonly KernelStmt[]): void {
    for (const stmt of stmts) this.#stmt(stmt);
  }

  #stmt(stmt: KernelStmt): void {
    switch (stmt.kind) {
      case "set":
        this.#locals[stmt.local.id] = this.#expr(stmt.value);
        return;
      case "store": {
        const at = this.#offset(stmt.array, stmt.indices);
        const value = this.#expr(stmt.value);
        if (at !== undefined) this.#arrays[stmt.array.id]!.data[at] = roundTo(stmt.array, value);
        return;
      }
      case "if":
        this.block(this.#expr(stmt.condition) !== 0 ? stmt.then : stmt.else);
        return;
      case "for":
        this.#for(stmt);
    }
  }

  #for({ counter, first, end, step, body }: KernelStmt & { readonly kind: "for" }): void {
    const last = this.#expr(end);
    for (let i = this.#expr(first); step > 0 ? i < last : i > last; i += step) {
      this.#set(counter, i);
      this.block(body);
    }
  }

  #set(local: Local, value: number): void {
    this.#locals[local.id] = value;
  }

  #offset(array: KernelArray, indices: readonly KernelExpr[]): number | undefined {
    let at = 0;
    let inside = true;
    for (const [d, index] of indices.entries()) {
      const value = this.#expr(index);
      const dim = array.shape[d]!;
      if (value < 0 || value >= dim) inside = false;
      at = at * dim + value;
    }
    return inside ? at : undefined;
  }

  #expr(expr: KernelExpr): number {
    switch (expr.kind) {
      case "const":
        return expr.value;
      case "local":
        return this.#locals[expr.local.id]!;
      case "load": {
        const at = this.#offset(expr.array, expr.indices);
        return at === undefined ? (expr.type === "i32" ? 0 : NaN) : this.#arrays[expr.array.id]!.data[at]!;
      }
      case "scale":
        return this.#arrays[expr.array.id]!.scale ?? 1;
      case "unary": {
        const a = this.#expr(expr.a);
        if (expr.op === "not") return expr.type === "bool" ? 1 - a : ~a;
        const value = UNARY_VALUES[expr.op](a);
        return expr.type === "i32" ? value | 0 : value;
      }
      case "binary":
        return this.#binary(expr);
      case "compare":
        return COMPARE_VALUES[expr.op](this.#expr(expr.a), this.#expr(expr.b)) ? 1 : 0;
      case "select":
        return this.#expr(this.#expr(expr.condition) !== 0 ? expr.a : expr.b);
      case "convert": {
        const a = this.#expr(expr.a);
        return expr.type === "i32" ? toI32(a) : expr.type === "f32" ? Math.fround(a) : a;
      }
      case "let":
        this.#set(expr.local, this.#expr(expr.value));
        return this.#expr(expr.body);
    }
  }

  #binary(expr: KernelExpr & { readonly kind: "binary" }): number {
    const [a, b] = [this.#expr(expr.a), this.#expr(expr.b)];
    if (expr.type !== "i32") return BINARY_VALUES[expr.op](a, b);
    if (expr.op === "mul") return Math.imul(a, b);
    return Math.trunc(BINARY_VALUES[expr.op](a, b)) | 0;
  }
}

/** A value as the array keeps it. */
function roundTo(array: KernelArray, value: number): number {
  return array.element === "f32" ? Math.fround(value) : array.element === "i32" ? toI32(value) : value;
}
