// What marks a function as a kernel. `kernel(fn)` is `fn` itself: it runs as the TypeScript that it is. In a file, its
// types are read from the annotations when the file is compiled; `kernel([t.vector(64)], fn)` gives them as values, so
// that a function made at run time can be compiled from its own text.

import type { ParameterType } from "./check/parameter_types.ts";
import type { Element, Matrix, Tensor, Ternary, Vector } from "./types.ts";
import { KernelValueError } from "./types.ts";

/** The type of a parameter as a value; `Value` is what TypeScript sees. */
export interface KernelType<Value = unknown> {
  readonly parameter: ParameterType;
  readonly _value?: Value;
}

type ValuesOf<Types extends readonly KernelType[]> = {
  [I in keyof Types]: Types[I] extends KernelType<infer Value> ? Value : never;
};

/** Numbers and helper functions from outside that a kernel of run time uses, by the names that it uses. */
export type Captures = Readonly<Record<string, number | boolean | ((...args: never[]) => number | boolean)>>;

/** What is known of a function that was marked at run time. */
export interface KernelMark {
  readonly types: readonly ParameterType[];
  readonly captures: Captures;
}

/** What a kernel may be: it writes to its arguments, or returns one number. */
export type KernelFunction = (...args: never[]) => number | void;

const marks = new WeakMap<KernelFunction, KernelMark>();

/**
 * Marks a function as a kernel, and gives it back.
 * @example export const double = kernel(function double(x: Vector<8>, out: Vector<8>) { ... });
 */
export function kernel<F extends KernelFunction>(fn: F): F;
/**
 * Marks a function with the types of its parameters. What it uses from outside is named in `captures`.
 * @example const double = kernel([t.vector(8), t.vector(8)], (x, out) => { ... });
 */
export function kernel<const T extends readonly KernelType[], R extends number | void>(
  types: T,
  fn: (...args: ValuesOf<T>) => R,
  captures?: Captures,
): (...args: ValuesOf<T>) => R;
export function kernel(
  first: KernelFunction | readonly KernelType[],
  fn?: KernelFunction,
  captures: Captures = {},
): KernelFunction {
  if (typeof first === "function") return first;
  if (typeof fn !== "function") {
    throw new KernelValueError("kernel takes a function, or types and a function", {
      expected: "kernel([t.vector(8)], (x) => { ... })",
    });
  }
  marks.set(fn, { types: first.map(({ parameter }) => parameter), captures });
  return fn;
}

/** What `kernel` was told of a function at run time; undefined when its types are in its file. */
export function markOf(fn: KernelFunction): KernelMark | undefined {
  return marks.get(fn);
}

function scalar<Value>(type: "number" | "f32" | "f64" | "i32" | "bool"): KernelType<Value> {
  return { parameter: { kind: "scalar", type } };
}

/** Types of parameters as values. */
export const t = {
  number: scalar<number>("number"),
  f32: scalar<number>("f32"),
  f64: scalar<number>("f64"),
  i32: scalar<number>("i32"),
  boolean: scalar<boolean>("bool"),
  vector<const N extends number, const E extends Element = "f32", const U extends string = string>(
    length: N,
    element?: E,
    unit?: U,
  ): KernelType<Vector<N, NoInfer<E>, U>> {
    return arrayType(element, [length], unit);
  },
  matrix<
    const R extends number,
    const C extends number,
    const E extends Element = "f32",
    const U extends string = string,
  >(rows: R, columns: C, element?: E, unit?: U): KernelType<Matrix<R, C, NoInfer<E>, U>> {
    return arrayType(element, [rows, columns], unit);
  },
  tensor<const S extends readonly number[], const E extends Element = "f32", const U extends string = string>(
    shape: S,
    element?: E,
    unit?: U,
  ): KernelType<Tensor<S, NoInfer<E>, U>> {
    return arrayType(element, shape, unit);
  },
  ternary<const S extends readonly [number, number]>(shape: S): KernelType<Ternary<S>> {
    return arrayType("ternary", shape);
  },
} as const;

function arrayType<Value>(
  element: Element | "ternary" = "f32",
  shape: readonly number[],
  unit?: string,
): KernelType<Value> {
  const isDim = (dim: number): boolean => Number.isInteger(dim) && dim >= 1 && dim < 2 ** 31;
  if (shape.length === 0 || !shape.every(isDim)) {
    throw new KernelValueError("an array of a kernel cannot have these dims", {
      expected: "one or more whole numbers from 1 to 2^31 - 1",
      got: `[${shape.join(", ")}]`,
    });
  }
  return { parameter: { kind: "array", element, shape, ...(unit !== undefined && { unit }) } };
}
