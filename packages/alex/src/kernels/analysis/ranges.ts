// Ranges of whole numbers: what values an i32 expression can have, from the bounds of the loops around it and the
// conditions that hold there. Interval arithmetic after Moore, "Interval Analysis" (1966); what may leave i32 has no
// range.

import type { CompareOp, KernelExpr, Local } from "../ir/kernel_ir.ts";

/** All whole numbers from `low` to `high`. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

/** What is known of locals at a place. */
export type RangeEnvironment = ReadonlyMap<Local, Range>;

const I32_LOW = -(2 ** 31);
const I32_HIGH = 2 ** 31 - 1;

function range(low: number, high: number): Range | undefined {
  return low >= I32_LOW && high <= I32_HIGH ? { low: low + 0, high: high + 0 } : undefined;
}

/** The range of an i32 expression; undefined when nothing is known. */
export function rangeOf(expr: KernelExpr, known: RangeEnvironment): Range | undefined {
  if (expr.type !== "i32") return undefined;
  switch (expr.kind) {
    case "const":
      return range(expr.value, expr.value);
    case "local":
      return known.get(expr.local);
    case "load":
      return expr.array.element === "ternary" ? { low: -1, high: 1 } : undefined;
    case "unary": {
      const a = rangeOf(expr.a, known);
      if (a === undefined) return undefined;
      if (expr.op === "neg") return range(-a.high, -a.low);
      if (expr.op === "abs") return range(a.low > 0 ? a.low : 0, Math.max(Math.abs(a.low), Math.abs(a.high)));
      return undefined;
    }
    case "select": {
      const [a, b] = [
        rangeOf(expr.a, refine(known, expr.condition, true)),
        rangeOf(expr.b, refine(known, expr.condition, false)),
      ];
      return a && b && range(Math.min(a.low, b.low), Math.max(a.high, b.high));
    }
    case "let": {
      const value = rangeOf(expr.value, known);
      return rangeOf(expr.body, value === undefined ? known : new Map(known).set(expr.local, value));
    }
    case "binary":
      return binaryRange(expr, known);
    default:
      return undefined;
  }
}

function binaryRange(expr: KernelExpr & { readonly kind: "binary" }, known: RangeEnvironment): Range | undefined {
  const [a, b] = [rangeOf(expr.a, known), rangeOf(expr.b, known)];
  if (b === undefined) return undefined;
  if (expr.op === "and" && b.low === b.high && b.low >= 0) return { low: 0, high: b.high };
  if (expr.op === "rem" && b.low === b.high && b.low !== 0) {
    const most = Math.abs(b.low) - 1;
    if (a === undefined) return { low: -most, high: most };
    return { low: a.low >= 0 ? 0 : Math.max(-most, a.low), high: a.high <= 0 ? 0 : Math.min(most, a.high) };
  }
  if (a === undefined) return undefined;
  switch (expr.op) {
    case "add":
      return range(a.low + b.low, a.high + b.high);
    case "sub":
      return range(a.low - b.high, a.high - b.low);
    case "mul":
      return hull([a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high]);
    case "div":
      return b.low === b.high && b.low !== 0
        ? hull([Math.trunc(a.low / b.low), Math.trunc(a.high / b.low)])
        : undefined;
    case "min":
      return range(Math.min(a.low, b.low), Math.min(a.high, b.high));
    case "max":
      return range(Math.max(a.low, b.low), Math.max(a.high, b.high));
    case "shr_s":
      return b.low === b.high ? range(a.low >> (b.low & 31), a.high >> (b.low & 31)) : undefined;
    case "shl":
      return b.low === b.high ? hull([a.low * 2 ** (b.low & 31), a.high * 2 ** (b.low & 31)]) : undefined;
    default:
      return undefined;
  }
}

function hull(ends: readonly number[]): Range | undefined {
  return range(Math.min(...ends), Math.max(...ends));
}

const INVERSE: Readonly<Record<CompareOp, CompareOp>> = { eq: "ne", ne: "eq", lt: "ge", le: "gt", gt: "le", ge: "lt" };
const SWAPPED: Readonly<Record<CompareOp, CompareOp>> = { eq: "eq", ne: "ne", lt: "gt", le: "ge", gt: "lt", ge: "le" };

/** What is known where a condition holds, or does not. An impossible place has a range with low above high. */
export function refine(known: RangeEnvironment, condition: KernelExpr, holds: boolean): RangeEnvironment {
  if (condition.kind === "unary" && condition.op === "not") return refine(known, condition.a, !holds);
  if (condition.kind === "select") {
    // a && b is select(a, b, false), a || b is select(a, true, b).
    const isAnd = condition.b.kind === "const" && condition.b.value === 0;
    const isOr = condition.a.kind === "const" && condition.a.value === 1;
    if (isAnd && holds) return refine(refine(known, condition.condition, true), condition.a, true);
    if (isOr && !holds) return refine(refine(known, condition.condition, false), condition.b, false);
    return known;
  }
  if (condition.kind !== "compare") return known;
  const op = holds ? condition.op : INVERSE[condition.op];
  return narrow(narrow(known, condition.a, op, condition.b), condition.b, SWAPPED[op], condition.a);
}

/** `local op other` narrows the local, when it can no longer change. */
function narrow(known: RangeEnvironment, subject: KernelExpr, op: CompareOp, other: KernelExpr): RangeEnvironment {
  if (subject.kind !== "local" || subject.type !== "i32" || subject.local.role === "variable") return known;
  const bound = rangeOf(other, known);
  const own = known.get(subject.local) ?? { low: I32_LOW, high: I32_HIGH };
  if (bound === undefined) return known;
  let { low, high } = own;
  if (op === "eq" || op === "ge") low = Math.max(low, bound.low);
  if (op === "gt") low = Math.max(low, bound.low + 1);
  if (op === "eq" || op === "le") high = Math.min(high, bound.high);
  if (op === "lt") high = Math.min(high, bound.high - 1);
  if (op === "ne" && bound.low === bound.high) {
    if (low === bound.low) low++;
    if (high === bound.low) high--;
  }
  return new Map(known).set(subject.local, { low, high });
}

/** Whether a place is never reached. */
export function isImpossible(known: RangeEnvironment): boolean {
  for (const { low, high } of known.values()) if (low > high) return true;
  return false;
}
