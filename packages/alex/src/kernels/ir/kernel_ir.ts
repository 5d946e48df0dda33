// The typed IR of a kernel: what the checker makes of its syntax and what intents, lowering and the interpreter read.
// Names are resolved, helpers are inlined, constants are folded, every value has a type, control flow is structured
// (no break, continue or early return), and each node keeps its place in the source.
//
// Arithmetic is in one float type for the whole kernel unless a value says f64: see `check/`. Left out: pointers,
// calls, loops without a bound.

import type { Span } from "../diagnostics.ts";

export type ScalarType = "bool" | "i32" | "f32" | "f64";

/** How elements lie in memory. `ternary` is packed, see core's storage.ts, and is read only. */
export type ElementType = "f32" | "f64" | "i32" | "ternary";

/** An array: a parameter, or memory of the kernel's own that starts as zeros. Scalars are arrays of rank 0. */
export interface KernelArray {
  readonly id: number;
  readonly name: string;
  readonly role: "parameter" | "local" | "result";
  readonly element: ElementType;
  readonly shape: readonly number[];
  /** The unit that the annotation gives its elements, such as "m/s^2". */
  readonly unit?: string;
  readonly span: Span;
}

/** A scalar variable. Counters of loops and constants are never assigned again. */
export interface Local {
  readonly id: number;
  readonly name: string;
  readonly type: ScalarType;
  readonly role: "counter" | "constant" | "variable";
  readonly span: Span;
}

export type UnaryOp =
  | "neg"
  | "abs"
  | "sqrt"
  | "floor"
  | "ceil"
  | "trunc"
  | "round"
  | "sign"
  | "exp"
  | "log"
  | "tanh"
  | "sin"
  | "cos"
  | "not";

/** On i32, `div` gives the quotient towards zero and `rem` has the sign of its left side. */
export type BinaryOp =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "rem"
  | "min"
  | "max"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr_s"
  | "shr_u";

export type CompareOp = "eq" | "ne" | "lt" | "le" | "gt" | "ge";

export type KernelExpr =
  | { readonly kind: "const"; readonly value: number; readonly type: ScalarType; readonly span: Span }
  | { readonly kind: "local"; readonly local: Local; readonly type: ScalarType; readonly span: Span }
  | {
      readonly kind: "load";
      readonly array: KernelArray;
      readonly indices: readonly KernelExpr[];
      readonly type: ScalarType;
      readonly span: Span;
    }
  /** The one scale of a ternary matrix. */
  | { readonly kind: "scale"; readonly array: KernelArray; readonly type: ScalarType; readonly span: Span }
  | {
      readonly kind: "unary";
      readonly op: UnaryOp;
      readonly a: KernelExpr;
      readonly type: ScalarType;
      readonly span: Span;
    }
  | {
      readonly kind: "binary";
      readonly op: BinaryOp;
      readonly a: KernelExpr;
      readonly b: KernelExpr;
      readonly type: ScalarType;
      readonly span: Span;
    }
  | {
      readonly kind: "compare";
      readonly op: CompareOp;
      readonly a: KernelExpr;
      readonly b: KernelExpr;
      readonly type: "bool";
      readonly span: Span;
    }
  /** Only the chosen side is evaluated; `and` and `or` are written with it. */
  | {
      readonly kind: "select";
      readonly condition: KernelExpr;
      readonly a: KernelExpr;
      readonly b: KernelExpr;
      readonly type: ScalarType;
      readonly span: Span;
    }
  /** To another type; to i32 towards zero, NaN to 0, saturating. */
  | { readonly kind: "convert"; readonly a: KernelExpr; readonly type: ScalarType; readonly span: Span }
  /** `body` with a name for `value`: what an inlined helper leaves. */
  | {
      readonly kind: "let";
      readonly local: Local;
      readonly value: KernelExpr;
      readonly body: KernelExpr;
      readonly type: ScalarType;
      readonly span: Span;
    };

export type KernelStmt =
  /** The first `set` of a local in its block declares it. */
  | {
      readonly kind: "set";
      readonly local: Local;
      readonly value: KernelExpr;
      readonly declares: boolean;
      readonly span: Span;
    }
  | {
      readonly kind: "store";
      readonly array: KernelArray;
      readonly indices: readonly KernelExpr[];
      readonly value: KernelExpr;
      readonly span: Span;
    }
  /** counter = first, first + step, ... while it is below `end` (above, for a negative step). */
  | {
      readonly kind: "for";
      readonly counter: Local;
      readonly first: KernelExpr;
      readonly end: KernelExpr;
      readonly step: number;
      readonly body: readonly KernelStmt[];
      readonly span: Span;
    }
  | {
      readonly kind: "if";
      readonly condition: KernelExpr;
      readonly then: readonly KernelStmt[];
      readonly else: readonly KernelStmt[];
      readonly span: Span;
    };

/** How arithmetic is done where no type says otherwise. */
export type Arithmetic = "f32" | "f64";

export interface KernelIr {
  readonly name: string;
  readonly arithmetic: Arithmetic;
  /** Parameters in order, then the kernel's own arrays, then the array of the returned number if there is one. */
  readonly arrays: readonly KernelArray[];
  readonly parameterCount: number;
  readonly result?: KernelArray;
  readonly body: readonly KernelStmt[];
  readonly span: Span;
}

/** The expressions that an expression reads directly. */
export function operandsOfExpr(expr: KernelExpr): readonly KernelExpr[] {
  switch (expr.kind) {
    case "const":
    case "local":
    case "scale":
      return [];
    case "load":
      return expr.indices;
    case "unary":
    case "convert":
      return [expr.a];
    case "binary":
    case "compare":
      return [expr.a, expr.b];
    case "select":
      return [expr.condition, expr.a, expr.b];
    case "let":
      return [expr.value, expr.body];
  }
}

/** The expressions that a statement reads itself; those of statements inside are not among them. */
export function operandsOfStmt(stmt: KernelStmt): readonly KernelExpr[] {
  switch (stmt.kind) {
    case "set":
      return [stmt.value];
    case "store":
      return [...stmt.indices, stmt.value];
    case "for":
      return [stmt.first, stmt.end];
    case "if":
      return [stmt.condition];
  }
}

/** Calls `visit` for an expression and all below it, outermost first. */
export function visitExpr(expr: KernelExpr, visit: (expr: KernelExpr) => void): void {
  visit(expr);
  for (const operand of operandsOfExpr(expr)) visitExpr(operand, visit);
}

/** The statements inside a statement. */
export function bodiesOf(stmt: KernelStmt): readonly KernelStmt[] {
  return stmt.kind === "for" ? stmt.body : stmt.kind === "if" ? [...stmt.then, ...stmt.else] : [];
}

/** Calls `visit` for each statement of a list and all inside them, outermost first. */
export function visitStmts(stmts: readonly KernelStmt[], visit: (stmt: KernelStmt) => void): void {
  for (const stmt of stmts) {
    visit(stmt);
    visitStmts(bodiesOf(stmt), visit);
  }
}

/** Calls `visit` for each expression in a list of statements. */
export function visitExprs(stmts: readonly KernelStmt[], visit: (expr: KernelExpr) => void): void {
  visitStmts(stmts, (stmt) => operandsOfStmt(stmt).forEach((operand) => visitExpr(operand, visit)));
}
