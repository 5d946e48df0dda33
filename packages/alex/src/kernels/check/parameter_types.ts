// The types of a kernel's parameters, from annotations (`Vector<64>`, `Ternary<[48, 64]>`, an alias of the same file)
// or from values (`t.vector(64)`, read from the text or handed in at run time). Dims are literals or constants.

import { refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { ElementType, ScalarType } from "../ir/kernel_ir.ts";
import type { Expression, TypeSyntax } from "../syntax/ast.ts";
import { parseUnit } from "./units.ts";

/** What a parameter is. A `number` scalar has the type of the kernel's arithmetic. */
export type ParameterType =
  | {
      readonly kind: "array";
      readonly element: ElementType;
      readonly shape: readonly number[];
      readonly unit?: string;
    }
  | { readonly kind: "scalar"; readonly type: ScalarType | "number"; readonly unit?: string };

/** What names in types may stand for. */
export interface TypeNames {
  alias(name: string): TypeSyntax | undefined;
  /** The value of a constant that is a number. */
  constant(name: string): number | undefined;
  /** A type that cannot be read from its text, when somebody can resolve it. */
  resolve?(span: Span): ParameterType | undefined;
}

const SCALARS: Readonly<Record<string, ScalarType | "number">> = {
  number: "number",
  boolean: "bool",
  f32: "f32",
  f64: "f64",
  i32: "i32",
};

export const DIM_MAX = 2 ** 31 - 1;
/** Bytes of one array. */
const ARRAY_BYTES_MAX = 2 ** 32 - 1;
const RANK_MAX = 8;
const ALIAS_DEPTH_MAX = 16;

/** The type of an annotation. Throws `ProblemError`. */
export function typeOfAnnotation(type: TypeSyntax, names: TypeNames, depth = 0): ParameterType {
  if (type.kind !== "reference") return resolveOther(type, names);
  const { name, args, span } = type;
  const scalar = Object.hasOwn(SCALARS, name) ? SCALARS[name] : undefined;
  if (scalar !== undefined) return { kind: "scalar", type: scalar };
  const unitAt = (i: number): { unit?: string } => optionalUnit(args[i], names, depth);
  switch (name) {
    case "Quantity":
      return { kind: "scalar", type: scalarOf(args[1], names), ...unitAt(0) };
    case "Vector":
      return array(span, elementOf(args[1], names, depth), [dimOf(args[0], names, span, depth)], unitAt(2));
    case "Matrix": {
      const shape = [dimOf(args[0], names, span, depth), dimOf(args[1], names, span, depth)];
      return array(span, elementOf(args[2], names, depth), shape, unitAt(3));
    }
    case "Tensor":
      return array(span, elementOf(args[1], names, depth), shapeOf(args[0], names, span, depth), unitAt(2));
    case "Ternary":
      return array(span, "ternary", shapeOf(args[0], names, span, depth), unitAt(1));
    case "Readonly":
      if (args[0] !== undefined) return typeOfAnnotation(args[0], names, depth + 1);
      break;
    default:
      break;
  }
  const alias = names.alias(name);
  if (alias !== undefined && args.length === 0 && depth < ALIAS_DEPTH_MAX) {
    return typeOfAnnotation(alias, names, depth + 1);
  }
  return resolveOther(type, names);
}

/** The type that `t.vector(64)` and its like say. Throws `ProblemError`. */
export function typeOfSpec(spec: Expression, names: TypeNames): ParameterType {
  const { span } = spec;
  const name =
    spec.kind === "call" ? spec.callee : spec.kind === "member" ? `${nameOf(spec.object)}.${spec.property}` : "";
  const scalar = /^t\.(f32|f64|i32|number|boolean)$/.exec(name)?.[1];
  if (spec.kind === "member" && scalar !== undefined) return { kind: "scalar", type: SCALARS[scalar]! };
  if (spec.kind !== "call") unknownSpec(span);
  const numbers = (from: readonly Expression[]): number[] => from.map((item) => dimOfExpression(item, names));
  const { args } = spec;
  const [first] = args;
  const shape = first?.kind === "list" ? numbers(first.items) : [];
  const element = (i: number): ElementType => elementNamed(args[i]?.kind === "string" ? args[i].value : "f32", span);
  const unit = (i: number): { unit?: string } => (args[i]?.kind === "string" ? checkedUnit(args[i].value, span) : {});
  switch (name) {
    case "t.vector":
      return array(span, element(1), numbers(args.slice(0, 1)), unit(2));
    case "t.matrix":
      return array(span, element(2), numbers(args.slice(0, 2)), unit(3));
    case "t.tensor":
      return array(span, element(1), shape, unit(2));
    case "t.ternary":
      return array(span, "ternary", shape, unit(1));
    default:
      return unknownSpec(span);
  }
}

function nameOf(expression: Expression): string {
  return expression.kind === "name" ? expression.name : "";
}

function unknownSpec(span: Span): never {
  refuse("FK005", span, "this is no type of a kernel's parameter", {
    expected: "t.vector(n), t.matrix(rows, columns), t.tensor([...]), t.ternary([rows, columns]), t.f32, t.i32",
  });
}

function resolveOther(type: TypeSyntax, names: TypeNames): ParameterType {
  const resolved = names.resolve?.(type.span);
  if (resolved !== undefined) return resolved;
  const got = type.kind === "reference" ? type.name : "a type that cannot be read from this file";
  refuse("FK005", type.span, "kernels do not know this type", {
    expected: "number, f32, f64, i32, boolean, Vector, Matrix, Tensor, Ternary or Quantity",
    got,
    hint: "write the type here, or an alias of it in this file",
  });
}

function scalarOf(type: TypeSyntax | undefined, names: TypeNames): ScalarType | "number" {
  if (type === undefined) return "number";
  const text = type.kind === "string" ? type.value : type.kind === "reference" ? type.name : "";
  const scalar = Object.hasOwn(SCALARS, text) ? SCALARS[text] : undefined;
  if (scalar !== undefined && scalar !== "bool") return scalar;
  const resolved = resolveOther(type, names);
  return resolved.kind === "scalar" ? resolved.type : "number";
}

function array(
  span: Span,
  element: ElementType,
  shape: readonly number[],
  unit: { readonly unit?: string },
): ParameterType {
  if (shape.length === 0 || shape.length > RANK_MAX) {
    refuse("FK006", span, `an array has from 1 to ${RANK_MAX} dims`, { got: `${shape.length}` });
  }
  if (element === "ternary" && shape.length !== 2) {
    refuse("FK006", span, "ternary weights are a matrix", { expected: "Ternary<[rows, columns]>" });
  }
  const cellBytes = element === "f64" ? 8 : element === "ternary" ? 0.25 : 4;
  const sizeBytes = shape.reduce((product, dim) => product * dim, cellBytes);
  if (sizeBytes > ARRAY_BYTES_MAX) {
    refuse("FK006", span, "the array does not fit into 4 GiB", { got: `${shape.join(" x ")} of ${element}` });
  }
  return { kind: "array", element, shape, ...unit };
}

function shapeOf(type: TypeSyntax | undefined, names: TypeNames, span: Span, depth: number): number[] {
  if (type?.kind === "tuple") return type.items.map((item) => dimOf(item, names, span, depth));
  const alias = type?.kind === "reference" ? names.alias(type.name) : undefined;
  if (alias !== undefined && depth < ALIAS_DEPTH_MAX) return shapeOf(alias, names, span, depth + 1);
  refuse("FK006", type?.span ?? span, "a shape is written as a tuple of dims", { expected: "[4, 8]" });
}

function dimOf(type: TypeSyntax | undefined, names: TypeNames, span: Span, depth: number): number {
  if (type?.kind === "number") return checkedDim(type.value, type.span);
  // `typeof N` is TypeScript; a bare N is what people write first, and it is clear what it means.
  const name = type?.kind === "typeof" || type?.kind === "reference" ? type.name : undefined;
  const value = name === undefined ? undefined : names.constant(name);
  if (type !== undefined && value !== undefined) return checkedDim(value, type.span);
  const alias = type?.kind === "reference" ? names.alias(type.name) : undefined;
  if (alias !== undefined && depth < ALIAS_DEPTH_MAX) return dimOf(alias, names, span, depth + 1);
  refuse("FK006", type?.span ?? span, "a dim is not known when the kernel is compiled", {
    expected: "a whole number, or typeof a constant of this file",
    ...(name !== undefined && { got: name }),
  });
}

function dimOfExpression(expression: Expression, names: TypeNames): number {
  if (expression.kind === "number") return checkedDim(expression.value, expression.span);
  const value = expression.kind === "name" ? names.constant(expression.name) : undefined;
  if (value !== undefined) return checkedDim(value, expression.span);
  refuse("FK006", expression.span, "a dim is not known when the kernel is compiled", {
    expected: "a whole number, or a constant of this file",
  });
}

/** A dim that an array can have. Throws `ProblemError`. */
export function checkedDim(value: number, span: Span): number {
  if (Number.isInteger(value) && value >= 1 && value <= DIM_MAX) return value;
  refuse("FK006", span, `a dim is a whole number from 1 to ${DIM_MAX}`, { got: `${value}` });
}

function elementOf(type: TypeSyntax | undefined, names: TypeNames, depth: number): ElementType {
  if (type === undefined) return "f32";
  if (type.kind === "string") return elementNamed(type.value, type.span);
  if (type.kind === "reference") {
    if (isElement(type.name)) return type.name;
    const alias = names.alias(type.name);
    if (alias !== undefined && depth < ALIAS_DEPTH_MAX) return elementOf(alias, names, depth + 1);
  }
  return elementNamed("", type.span);
}

function isElement(name: string): name is "f32" | "f64" | "i32" {
  return name === "f32" || name === "f64" || name === "i32";
}

/** The element type of that name. Throws `ProblemError`. */
export function elementNamed(name: string, span: Span): "f32" | "f64" | "i32" {
  if (isElement(name)) return name;
  refuse("FK005", span, "kernels do not know this element type", { expected: '"f32", "f64" or "i32"', got: name });
}

function optionalUnit(type: TypeSyntax | undefined, names: TypeNames, depth: number): { unit?: string } {
  if (type === undefined) return {};
  if (type.kind === "string") return checkedUnit(type.value, type.span);
  const alias = type.kind === "reference" ? names.alias(type.name) : undefined;
  return alias !== undefined && depth < ALIAS_DEPTH_MAX ? optionalUnit(alias, names, depth + 1) : {};
}

function checkedUnit(text: string, span: Span): { unit: string } {
  if (parseUnit(text) !== undefined) return { unit: text };
  refuse("FK022", span, "this is no unit", { expected: 'a text such as "m/s^2"', got: JSON.stringify(text) });
}
