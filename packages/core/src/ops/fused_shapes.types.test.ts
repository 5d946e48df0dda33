// Type tests: shapes of the results of attention and ternaryLinear, and the sentences of their mismatches. The compiler
// checks this file, and it does nothing when run.

import type { Shape, ShapeError } from "@fidelity/units";
import type { AttentionOutput, AttentionShape, AttentionValues } from "./attention.ts";
import type { TernaryLinearShape } from "./ternary_linear.ts";

type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Expect<T extends true> = T;

type ValuesSentence = "attention: values [2, 7, 8] are not [batch, capacity, heads, size]";

export type Cases = [
  Expect<Is<TernaryLinearShape<["batch", "time", 8], [5, 8]>, readonly ["batch", "time", 5]>>,
  Expect<Is<TernaryLinearShape<["batch", number], [5, 8]>, readonly ["batch", 5]>>,
  Expect<Is<TernaryLinearShape<Shape, [5, 8]>, Shape>>,
  Expect<Is<TernaryLinearShape<[2, 8], [5, 9]>, ShapeError<"ternaryLinear: inner dimensions differ: 8 and 9">>>,
  Expect<Is<TernaryLinearShape<[2, 8], [8]>, ShapeError<"ternaryLinear: [8] is not a matrix">>>,
  Expect<Is<AttentionShape<[2, 3, 4, 8], [2, 7, 2, 8]>, [2, 3, 4, 8]>>,
  Expect<Is<AttentionShape<Shape, [2, 7, 2, 8]>, Shape>>,
  Expect<Is<AttentionShape<[2, 3, 4, 8], [1, 7, 2, 8]>, ShapeError<"attention: batches differ: 2 and 1">>>,
  Expect<Is<AttentionShape<[2, 3, 4, 8], [2, 7, 2, 6]>, ShapeError<"attention: head sizes differ: 8 and 6">>>,
  Expect<Is<AttentionValues<[2, 7, 2, 8], [2, 7, 2, 5]>, [2, 7, 2, 5]>>,
  Expect<Is<AttentionValues<[2, 7, 2, 8], [2, 6, 2, 8]>, ShapeError<"attention: capacities differ: 7 and 6">>>,
  Expect<Is<AttentionValues<[2, 7, 2, 8], [2, 7, 8]>, ShapeError<ValuesSentence>>>,
  Expect<Is<AttentionOutput<[2, 3, 4, 8], [2, 7, 2, 8]>, [2, 3, 4, 8]>>,
  Expect<Is<AttentionOutput<[2, "time", 4, 8], [2, 7, 2, 5]>, readonly [2, "time", 4, 5]>>,
  Expect<Is<AttentionOutput<Shape, [2, 7, 2, 5]>, Shape>>,
];
