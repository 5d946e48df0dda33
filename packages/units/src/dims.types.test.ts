// Type tests: the compiler checks this file, and it does nothing when run. `Is<A, B>` is true only for identical types.

import type {
  Broadcast,
  Checked,
  Drop,
  Permute,
  ReplaceAt,
  SameShape,
  Shape,
  ShapeError,
  ShowShape,
  SwapLastTwo,
} from "./dims.ts";
import type { Addr, Bytes } from "./quantity.ts";

type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Expect<T extends true> = T;

export type Cases = [
  Expect<Is<ShowShape<["batch", 768]>, "[batch, 768]">>,
  Expect<Is<ShowShape<[]>, "[]">>,
  Expect<Is<Broadcast<["batch", 768], [768]>, ["batch", 768]>>,
  Expect<Is<Broadcast<[1, 3], [2, 1]>, [2, 3]>>,
  Expect<Is<Broadcast<[], [2, "time"]>, [2, "time"]>>,
  Expect<Is<Broadcast<[number, 3], [2, number]>, [2, 3]>>,
  Expect<Is<Broadcast<["batch"], [number]>, ["batch"]>>,
  Expect<Is<Broadcast<Shape, [2]>, Shape>>,
  Expect<Is<Broadcast<[2, 3], [2, 4], "add">, ShapeError<"add: [2, 3] and [2, 4] differ">>>,
  Expect<Is<Broadcast<["batch"], ["time"]>, ShapeError<"broadcast: [batch] and [time] differ">>>,
  Expect<Is<Broadcast<["batch"], [3]>, ShapeError<"broadcast: [batch] and [3] differ">>>,
  Expect<Is<SameShape<["batch", 3], ["batch", number]>, ["batch", 3]>>,
  Expect<Is<SameShape<[1], [3]>, ShapeError<"shapes: [1] and [3] differ">>>,
  Expect<Is<SameShape<[3], [3, 3]>, ShapeError<"shapes: [3] and [3, 3] differ">>>,
  Expect<Is<SameShape<[3, 3], [3]>, ShapeError<"shapes: [3, 3] and [3] differ">>>,
  Expect<Is<Permute<["a", "b", 3], [2, 0, 1]>, [3, "a", "b"]>>,
  Expect<Is<Permute<["a", "b"], [0]>, ShapeError<"permute: [0] does not name every axis of [a, b]">>>,
  Expect<Is<Permute<["a", "b"], number[]>, Shape>>,
  Expect<Is<SwapLastTwo<["batch", 2, 3]>, ["batch", 3, 2]>>,
  Expect<Is<SwapLastTwo<[3]>, ShapeError<"transpose: [3] has fewer than two dims">>>,
  Expect<Is<Drop<["a", "b", "c"], 1>, ["a", "c"]>>,
  Expect<Is<Drop<["a", "b", "c"], -1>, ["a", "b"]>>,
  Expect<Is<Drop<["a", "b", "c"], -3>, ["b", "c"]>>,
  Expect<Is<Drop<["a"], 1>, ShapeError<"axis 1 is outside [a]">>>,
  Expect<Is<Drop<["a"], -2>, ShapeError<"axis -2 is outside [a]">>>,
  Expect<Is<Drop<["a", "b"], number>, Shape>>,
  Expect<Is<ReplaceAt<["a", "b"], 0, [1]>, [1, "b"]>>,
  Expect<Is<ReplaceAt<["a", "b"], -1, [number]>, ["a", number]>>,
];

interface Probe<S extends Shape> {
  readonly shape: S;
}

declare function probe<S extends Shape>(): Probe<S>;
declare function add<A extends Shape, B extends Shape>(
  a: Probe<A>,
  b: Checked<Broadcast<A, B, "add">, Probe<B>>,
): Probe<Broadcast<A, B, "add">>;

/** Never called: its body is what the compiler checks. */
export function calls(): void {
  const wide: Probe<["batch", 768]> = add(probe<["batch", 768]>(), probe<[768]>());
  add(wide, probe<["batch", 1]>());
  // @ts-expect-error add: [batch, 768] and [512] differ
  add(wide, probe<[512]>());
  // @ts-expect-error add: [batch, 768] and [time, 768] differ
  add(wide, probe<["time", 768]>());
  // @ts-expect-error the result is ["batch", 768], not ["batch", 512]
  const wrong: Probe<["batch", 512]> = add(wide, probe<[768]>());
  add(wrong, probe<Shape>());
}

/** A size is no position, and neither comes from a plain number. */
export function brands(size: Bytes, position: Addr): Bytes[] {
  // @ts-expect-error an address is not a size
  const swapped: Bytes = position;
  // @ts-expect-error a plain number is not a size
  const plain: Bytes = size + 1;
  return [swapped, plain];
}

/** Inside generic code an unresolved result is still a shape. */
export function generic<A extends Shape, B extends Shape, Axis extends number>(): [
  Probe<Broadcast<A, B>>,
  Probe<SameShape<A, B>>,
  Probe<Drop<A, Axis>>,
  Probe<SwapLastTwo<A>>,
  Probe<Permute<A, [1, 0]>>,
] {
  return [probe(), probe(), probe(), probe(), probe()];
}
