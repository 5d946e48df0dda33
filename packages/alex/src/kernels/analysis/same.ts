// Whether two expressions are written alike: the same operations on the same locals and constants. Loads compare by
// array and indices; whether memory changed between them is the caller's question.

import type { KernelExpr } from "../ir/kernel_ir.ts";
import { operandsOfExpr } from "../ir/kernel_ir.ts";

export function sameExpr(a: KernelExpr, b: KernelExpr): boolean {
  if (a.kind !== b.kind || a.type !== b.type) return false;
  if (a.kind === "const" && b.kind === "const") return Object.is(a.value, b.value);
  if (a.kind === "local" && b.kind === "local") return a.local === b.local;
  if ((a.kind === "load" && b.kind === "load") || (a.kind === "scale" && b.kind === "scale")) {
    if (a.array !== b.array) return false;
  } else if ("op" in a && "op" in b && a.op !== b.op) return false;
  else if (a.kind === "let") return false;
  const [left, right] = [operandsOfExpr(a), operandsOfExpr(b)];
  return left.length === right.length && left.every((operand, i) => sameExpr(operand, right[i]!));
}
