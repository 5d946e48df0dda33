// Types that kernels of another file use: what only the compiler of TypeScript can resolve.

import type { Matrix, Tensor, Ternary, Vector } from "../index.ts";

export type Weights = Ternary<[16, 24]>;
export type Channels = Vector<24>;
export interface Shapes {
  readonly table: Matrix<16, 24, "f64">;
  readonly counts: Tensor<[16], "i32">;
}
