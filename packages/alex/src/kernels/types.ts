// The types that kernels are written in, and the functions that make their values in plain TypeScript. A vector is a
// typed array, a matrix is a list of its rows, and so on: `m[i][j]` is the element in both worlds. Rows are views of
// one buffer, so that a tensor can be handed to a device in one piece. Dims are literals in the types; nothing of the
// types is left at run time.

import { FidelityError } from "@fidelity/units";

/** Element types of arrays. TypeScript sees `number` for each. */
export type Element = "f32" | "f64" | "i32";

/** Numbers with a precision in compiled code; plain numbers for TypeScript. */
export type f32 = number;
export type f64 = number;
export type i32 = number;

/** A scalar with a unit, `Quantity<"m/s^2">`. The unit is checked when a kernel is compiled and gone when it runs. */
export type Quantity<_Unit extends string, _Type extends Element | number = number> = number;

/** A weight of -1, 0 or 1. */
export type Trit = -1 | 0 | 1;

interface Cells {
  readonly f32: Float32Array;
  readonly f64: Float64Array;
  readonly i32: Int32Array;
}

declare const unit: unique symbol;

/** What tells tensors of different units apart in the type system. */
interface HasUnit<Unit extends string> {
  readonly [unit]?: Unit;
}

/** `N` elements: `Vector<64>`, `Vector<64, "f64">`, `Vector<3, "f32", "m/s^2">`. */
export type Vector<N extends number, E extends Element = "f32", Unit extends string = string> = Cells[E] & {
  readonly length: N;
} & HasUnit<Unit>;

/** `Rows` rows of `Columns` elements, read and written as `m[row][column]`. */
export type Matrix<
  Rows extends number,
  Columns extends number,
  E extends Element = "f32",
  Unit extends string = string,
> = readonly Vector<Columns, E, Unit>[] & { readonly length: Rows };

/** Elements in any number of dims, outermost first: `Tensor<[2, 3, 4]>` is read as `x[a][b][c]`. */
export type Tensor<
  Shape extends readonly number[],
  E extends Element = "f32",
  Unit extends string = string,
> = Shape extends readonly [infer N extends number]
  ? Vector<N, E, Unit>
  : Shape extends readonly [infer N extends number, ...infer Rest extends readonly number[]]
    ? readonly Tensor<Rest, E, Unit>[] & { readonly length: N }
    : never;

/** A row of ternary weights. */
export interface TernaryRow<Columns extends number> {
  readonly length: Columns;
  readonly [column: number]: Trit;
}

/** A matrix of weights -1, 0 and 1 with one scale: `w[row][column]` and `w.scale`. It is read only. */
export type Ternary<Shape extends readonly [number, number], Unit extends string = string> = readonly TernaryRow<
  Shape[1]
>[] & { readonly length: Shape[0]; readonly scale: number } & HasUnit<Unit>;

/** A view has dims or elements that are impossible, or does not fit the type it is for. */
export class KernelValueError extends FidelityError {}

const CELLS = { f32: Float32Array, f64: Float64Array, i32: Int32Array } as const;

/** `length` zeros. */
export function vector<const N extends number, const E extends Element = "f32", const Unit extends string = string>(
  length: N,
  element?: E,
  _unit?: Unit,
): Vector<N, NoInfer<E>, Unit> {
  return tensor<readonly [N], E, Unit>([length], element) as Vector<N, E, Unit>;
}

/** `rows` rows of `columns` zeros. */
export function matrix<
  const R extends number,
  const C extends number,
  const E extends Element = "f32",
  const Unit extends string = string,
>(rows: R, columns: C, element?: E, _unit?: Unit): Matrix<R, C, NoInfer<E>, Unit> {
  return tensor<readonly [R, C], E, Unit>([rows, columns], element) as unknown as Matrix<R, C, E, Unit>;
}

/** Zeros in a shape. Throws `KernelValueError` when a dim is not a whole number from 1. */
export function tensor<
  const S extends readonly number[],
  const E extends Element = "f32",
  const Unit extends string = string,
>(shape: S, element?: E, _unit?: Unit): Tensor<S, NoInfer<E>, Unit> {
  if (shape.length === 0 || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 1)) {
    throw new KernelValueError("a tensor cannot have these dims", {
      expected: "one or more whole numbers from 1",
      got: `[${shape.join(", ")}]`,
    });
  }
  const make = CELLS[element ?? "f32"];
  const cells = new make(shape.reduce((product, dim) => product * dim, 1));
  return nest(cells, shape) as Tensor<S, E, Unit>;
}

type AnyCells = Float32Array | Float64Array | Int32Array | Int8Array;

/** Rows of rows over one typed array; the array itself for one dim. */
export function nest(cells: AnyCells, shape: readonly number[]): unknown {
  if (shape.length <= 1) return cells;
  const [count = 1, ...rest] = shape;
  const step = cells.length / count;
  return Array.from({ length: count }, (_, i) => nest(cells.subarray(i * step, (i + 1) * step), rest));
}

/**
 * Ternary weights from their values in row-major order.
 * @throws KernelValueError when there are too few or too many, or one is not -1, 0 or 1.
 */
export function ternary<const R extends number, const C extends number>(
  shape: readonly [R, C],
  weights: ArrayLike<number>,
  scale = 1,
): Ternary<readonly [R, C]> {
  const [rows, columns] = shape;
  const cells = Int8Array.from(weights);
  const isTrit = (value: number): boolean => value === -1 || value === 0 || value === 1;
  if (cells.length !== rows * columns || !Array.from(weights).every(isTrit)) {
    throw new KernelValueError("these are no ternary weights of this shape", {
      expected: `${rows} x ${columns} values, each -1, 0 or 1`,
      got: `${cells.length} values`,
    });
  }
  return Object.assign(nest(cells, shape) as readonly TernaryRow<C>[], { scale }) as Ternary<readonly [R, C]>;
}
