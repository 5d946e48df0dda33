// Values while they are checked: an expression of the IR with its unit, and the conversions between types.
//
// Types of numbers: whole-number literals and whole-number constants fit every type; i32 with a float gives the float;
// f32 with f64 gives f64. In float64 arithmetic f32 does not occur between loads and stores. TypeScript computes
// everything in float64 and rounds where it stores to a Float32Array, so float64 arithmetic gives the same bits, and
// float32 arithmetic the same to within its rounding.

import { refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { Arithmetic, BinaryOp, CompareOp, KernelExpr, ScalarType, UnaryOp } from "../ir/kernel_ir.ts";
import type { Unit } from "./units.ts";

/** An expression with what only the checker knows of it. */
export interface Value {
  readonly expr: KernelExpr;
  readonly unit: Unit;
}

const NO_UNIT: Unit = new Map();

/** The unit of a value in a product: a literal has none, and says so. */
export function factorUnit({ expr, unit }: Value): Unit {
  return expr.kind === "const" ? NO_UNIT : unit;
}

export function typeName(type: ScalarType): string {
  return type === "bool" ? "boolean" : type;
}

/** A number of the text: i32 when it is whole, else of the kernel's arithmetic. Constants convert freely. */
export function numberExpr(value: number, arithmetic: Arithmetic, span: Span): KernelExpr {
  const isWhole = Number.isInteger(value) && !Object.is(value, -0) && value >= -(2 ** 31) && value < 2 ** 31;
  return { kind: "const", value, type: isWhole ? "i32" : arithmetic, span };
}

export function boolExpr(value: boolean, span: Span): KernelExpr {
  return { kind: "const", value: value ? 1 : 0, type: "bool", span };
}

/** The type that both operands take. Throws `ProblemError` for booleans among numbers. */
export function joinTypes(a: KernelExpr, b: KernelExpr, span: Span): ScalarType {
  if (a.type === b.type) return a.type;
  if (a.type === "bool" || b.type === "bool") {
    refuse("FK013", span, "a boolean and a number do not go together", {
      got: `${typeName(a.type)} and ${typeName(b.type)}`,
      hint: "choose a number with condition ? 1 : 0",
    });
  }
  // A constant takes the type of the other side, unless it would lose its fraction.
  if (a.kind === "const" && (b.type !== "i32" || a.type === "i32")) return b.type;
  if (b.kind === "const" && (a.type !== "i32" || b.type === "i32")) return a.type;
  return widest(a.type, b.type);
}

/** The wider of two number types. */
export function widest(a: ScalarType, b: ScalarType): ScalarType {
  const order: readonly ScalarType[] = ["bool", "i32", "f32", "f64"];
  return order[Math.max(order.indexOf(a), order.indexOf(b))]!;
}

/** An expression as another type; numbers only. Constants are converted here and now. */
export function convertTo(expr: KernelExpr, type: ScalarType): KernelExpr {
  if (expr.type === type) return expr;
  if (expr.kind === "const") return { ...expr, type, value: type === "i32" ? toI32(expr.value) : expr.value };
  // Up and down again is nowhere.
  if (expr.kind === "convert" && expr.a.type === type && expr.type === "f64" && type === "f32") return expr.a;
  return { kind: "convert", a: expr, type, span: expr.span };
}

/** Towards zero, saturating, NaN to 0: the loop IR's conversion. */
export function toI32(value: number): number {
  return Number.isNaN(value) ? 0 : Math.trunc(Math.min(Math.max(value, -(2 ** 31)), 2 ** 31 - 1)) + 0;
}

export function unaryExpr(op: UnaryOp, a: KernelExpr, span: Span, arithmetic: Arithmetic): KernelExpr {
  if (a.kind === "const" && a.type !== "bool" && op !== "not") {
    return { ...numberExpr(UNARY_VALUES[op](a.value), arithmetic, span) };
  }
  if (a.kind === "const" && a.type === "bool" && op === "not") return boolExpr(a.value === 0, span);
  return { kind: "unary", op, a, type: a.type, span };
}

/** The reference of each unary operation, in float64. */
export const UNARY_VALUES: Readonly<Record<Exclude<UnaryOp, "not">, (a: number) => number>> = {
  neg: (a) => -a,
  abs: Math.abs,
  sqrt: Math.sqrt,
  floor: Math.floor,
  ceil: Math.ceil,
  trunc: Math.trunc,
  round: Math.round,
  sign: Math.sign,
  exp: Math.exp,
  log: Math.log,
  tanh: Math.tanh,
  sin: Math.sin,
  cos: Math.cos,
};

/** The reference of each binary operation on numbers, as JavaScript computes it. */
export const BINARY_VALUES: Readonly<Record<BinaryOp, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  rem: (a, b) => a % b,
  min: Math.min,
  max: Math.max,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr_s: (a, b) => a >> b,
  shr_u: (a, b) => a >>> b,
};

export const COMPARE_VALUES: Readonly<Record<CompareOp, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};

/** Both operands in their common type; constants are computed now, as JavaScript would. */
export function binaryExpr(op: BinaryOp, a: KernelExpr, b: KernelExpr, span: Span, arithmetic: Arithmetic): KernelExpr {
  if (a.kind === "const" && b.kind === "const" && a.type !== "bool" && b.type !== "bool") {
    return numberExpr(BINARY_VALUES[op](a.value, b.value), arithmetic, span);
  }
  const type = joinTypes(a, b, span);
  return { kind: "binary", op, a: convertTo(a, type), b: convertTo(b, type), type, span };
}

export function compareExpr(op: CompareOp, a: KernelExpr, b: KernelExpr, span: Span): KernelExpr {
  if (a.kind === "const" && b.kind === "const") return boolExpr(COMPARE_VALUES[op](a.value, b.value), span);
  const type = joinTypes(a, b, span);
  return { kind: "compare", op, a: convertTo(a, type), b: convertTo(b, type), type: "bool", span };
}

/** The sides take their common type; a constant condition chooses now. */
export function selectExpr(condition: KernelExpr, a: KernelExpr, b: KernelExpr, span: Span): KernelExpr {
  const type = joinTypes(a, b, span);
  const [left, right] = [convertTo(a, type), convertTo(b, type)];
  if (condition.kind === "const") return condition.value !== 0 ? left : right;
  return { kind: "select", condition, a: left, b: right, type, span };
}

export function requireBool(expr: KernelExpr): KernelExpr {
  if (expr.type === "bool") return expr;
  refuse("FK013", expr.span, "a condition is a comparison or a boolean", {
    expected: "boolean",
    got: typeName(expr.type),
    hint: "compare it: x !== 0",
  });
}

export function requireNumber(expr: KernelExpr): KernelExpr {
  if (expr.type !== "bool") return expr;
  refuse("FK013", expr.span, "a number is needed here", { got: "boolean", hint: "write condition ? 1 : 0" });
}
