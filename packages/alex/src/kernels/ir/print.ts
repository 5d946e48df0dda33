// The typed IR as text, one line a statement, for reading and for tools: what the checker made of a kernel, with every
// type and conversion that the source leaves unsaid.

import type { Span } from "../diagnostics.ts";
import type { KernelArray, KernelExpr, KernelIr, KernelStmt, Local } from "./kernel_ir.ts";

/** A line of text with the place that it came from. */
export interface PrintedLine {
  readonly text: string;
  readonly span: Span;
}

/** The lines of a kernel. */
export function printKernelIr(ir: KernelIr): PrintedLine[] {
  const parameters = ir.arrays.slice(0, ir.parameterCount).map(printArray).join(", ");
  const own = ir.arrays.slice(ir.parameterCount).map((array) => ({
    text: `  ${array.role} ${printArray(array)}`,
    span: array.span,
  }));
  const head = { text: `kernel ${ir.name}(${parameters}) in ${ir.arithmetic} {`, span: ir.span };
  return [head, ...own, ...printBlock(ir.body, "  "), { text: "}", span: ir.span }];
}

function printArray({ name, element, shape, unit }: KernelArray): string {
  return `${name}: ${element}[${shape.join(", ")}]${unit === undefined ? "" : ` ${unit}`}`;
}

function printBlock(stmts: readonly KernelStmt[], indent: string): PrintedLine[] {
  return stmts.flatMap((stmt) => printStmt(stmt, indent));
}

function printStmt(stmt: KernelStmt, indent: string): PrintedLine[] {
  const { span } = stmt;
  const line = (text: string): PrintedLine => ({ text: indent + text, span });
  switch (stmt.kind) {
    case "set": {
      const word = stmt.declares ? (stmt.local.role === "constant" ? "const " : "let ") : "";
      const type = stmt.declares ? `: ${stmt.local.type}` : "";
      return [line(`${word}${printLocal(stmt.local)}${type} = ${printExpr(stmt.value)}`)];
    }
    case "store":
      return [line(`${printPlace(stmt.array, stmt.indices)} = ${printExpr(stmt.value)}`)];
    case "for": {
      const { counter, first, end, step } = stmt;
      const head = `for ${printLocal(counter)} from ${printExpr(first)} to ${printExpr(end)} by ${step} {`;
      return [line(head), ...printBlock(stmt.body, `${indent}  `), line("}")];
    }
    case "if": {
      const then = printBlock(stmt.then, `${indent}  `);
      const otherwise = stmt.else.length === 0 ? [] : [line("} else {"), ...printBlock(stmt.else, `${indent}  `)];
      return [line(`if ${printExpr(stmt.condition)} {`), ...then, ...otherwise, line("}")];
    }
  }
}

/** Names of the source may be used twice; the number tells them apart. */
function printLocal({ name, id }: Local): string {
  return `${name.replaceAll(" ", "_")}.${id}`;
}

function printPlace(array: KernelArray, indices: readonly KernelExpr[]): string {
  return `${array.name}[${indices.map(printExpr).join(", ")}]`;
}

function printExpr(expr: KernelExpr): string {
  switch (expr.kind) {
    case "const":
      return expr.type === "bool"
        ? String(expr.value !== 0)
        : `${expr.value}${expr.type === "i32" ? "" : `:${expr.type}`}`;
    case "local":
      return printLocal(expr.local);
    case "load":
      return printPlace(expr.array, expr.indices);
    case "scale":
      return `${expr.array.name}.scale`;
    case "unary":
      return `${expr.op}(${printExpr(expr.a)})`;
    case "binary":
    case "compare":
      return `${expr.op}(${printExpr(expr.a)}, ${printExpr(expr.b)})`;
    case "select":
      return `select(${printExpr(expr.condition)}, ${printExpr(expr.a)}, ${printExpr(expr.b)})`;
    case "convert":
      return `${expr.type}(${printExpr(expr.a)})`;
    case "let":
      return `let ${printLocal(expr.local)} = ${printExpr(expr.value)} in ${printExpr(expr.body)}`;
  }
}
