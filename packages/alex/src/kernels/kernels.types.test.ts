// What the types of kernels refuse before any kernel is compiled. The compiler of TypeScript checks this file.

import { kernel, matrix, t, tensor, ternary, vector } from "./index.ts";
import type { Matrix, Quantity, Tensor, Ternary, Trit, Vector } from "./index.ts";

const scaled = kernel(function scaled(x: Vector<8>, m: Matrix<2, 8>, out: Vector<2, "f64">): number {
  for (let i = 0; i < 2; i++) for (let j = 0; j < 8; j++) out[i] += m[i][j] * x[j];
  return out[0];
});

/** Calls that fit, and calls that do not. */
export function calls(): number {
  const sum: number = scaled(vector(8), matrix(2, 8), vector(2, "f64"));
  // @ts-expect-error: 9 elements, not 8
  scaled(vector(9), matrix(2, 8), vector(2, "f64"));
  // @ts-expect-error: two rows, not three
  scaled(vector(8), matrix(3, 8), vector(2, "f64"));
  // @ts-expect-error: float64, not float32
  scaled(vector(8), matrix(2, 8), vector(2));
  return sum;
}

/** Tensors are lists of rows; ternary weights are read only. */
export function elements(x: Tensor<[2, 3, 4]>, w: Ternary<[2, 3]>): number {
  x[1][2][3] = 1;
  const weight: Trit = w[0][0];
  // @ts-expect-error: weights cannot be written
  w[0][0] = 1;
  // @ts-expect-error: there are two rows of matrices, not four
  const wrong: Tensor<[4, 3, 4]> = x;
  return weight + wrong.length;
}

/** Values fit the types that they are made for. */
export const cube: Tensor<[2, 3, 4], "i32"> = tensor([2, 3, 4], "i32");
export const weights: Ternary<readonly [1, 3]> = ternary([1, 3], [1, 0, -1], 0.5);

/** Units of tensors are told apart; a quantity is a number. */
export function units(a: Vector<3, "f32", "m/s^2">, mass: Quantity<"kg">): number {
  // @ts-expect-error: metres are no accelerations
  const wrong: Vector<3, "f32", "m"> = a;
  return wrong[0] * mass;
}

/** Types as values give the parameters their types. */
export const typed = kernel([t.vector(4), t.i32, t.ternary([2, 4])], (x, n, w) => {
  const length: 4 = x.length;
  const row: 2 = w.length;
  x[0] = n + length + row;
  // @ts-expect-error: a vector of four elements has no rows
  x[0][0] = 1;
});

// @ts-expect-error: a kernel returns a number or nothing
export const wrongResult = kernel((x: Vector<4>) => `${x[0]}`);
