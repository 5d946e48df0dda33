// Arrays of a kernel's own: `const sums = vector(64)`, `matrix(8, 8)`, `tensor([2, 3, 4], "f64")` or
// `new Float32Array(64)`. They start as zeros whenever the kernel runs.

import { refuse } from "../diagnostics.ts";
import type { ElementType } from "../ir/kernel_ir.ts";
import type { Expression } from "../syntax/ast.ts";
import { checkedDim, elementNamed } from "./parameter_types.ts";
import type { TypeNames } from "./parameter_types.ts";
import type { Session } from "./session.ts";

const MAKERS: Readonly<Record<string, ElementType | "by argument">> = {
  vector: "by argument",
  matrix: "by argument",
  tensor: "by argument",
  "new Float32Array": "f32",
  "new Float64Array": "f64",
  "new Int32Array": "i32",
};

/** All local arrays of a kernel together; larger ones are parameters. */
const ELEMENTS_MAX = 2 ** 26;

/** The array that a call makes; undefined for any other expression. Throws `ProblemError`. */
export function arrayOfCall(
  value: Expression,
  names: TypeNames,
  session: Session,
): { readonly element: ElementType; readonly shape: readonly number[] } | undefined {
  if (value.kind !== "call") return undefined;
  const maker = Object.hasOwn(MAKERS, value.callee) ? MAKERS[value.callee] : undefined;
  if (maker === undefined) return undefined;
  const { args, callee, span } = value;
  const dimCount = callee === "matrix" ? 2 : 1;
  const [first] = args;
  const dims = callee === "tensor" ? (first?.kind === "list" ? first.items : []) : args.slice(0, dimCount);
  const shape = dims.map((dim) => {
    const known = dim.kind === "number" ? dim.value : dim.kind === "name" ? names.constant(dim.name) : undefined;
    if (known !== undefined) return checkedDim(known, dim.span);
    return refuse("FK019", dim.span, "the dims of an array are known when the kernel is compiled", {
      expected: "whole numbers, or constants of this file",
    });
  });
  if (shape.length === 0 || (callee === "matrix" && shape.length < 2)) {
    refuse("FK019", span, `${callee} takes the dims of the array`);
  }
  const named = args[dimCount];
  const element =
    maker !== "by argument" ? maker : named?.kind === "string" ? elementNamed(named.value, named.span) : "f32";
  const elements = session.arrays
    .filter(({ role }) => role === "local")
    .reduce((sum, { shape: other }) => sum + other.reduce((product, dim) => product * dim, 1), 0);
  if (elements + shape.reduce((product, dim) => product * dim, 1) > ELEMENTS_MAX) {
    refuse("FK019", span, `the kernel's own arrays have more than ${ELEMENTS_MAX} elements`, {
      hint: "make it a parameter",
    });
  }
  return { element, shape };
}
