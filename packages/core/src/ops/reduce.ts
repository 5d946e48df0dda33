// What reductions have in common: they keep the reduced axes with size 1, so that shapes stay aligned in fused loops.

import type { Drop, ReplaceAt, Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { requireShape } from "../op.ts";
import type { CaseDraw, OpCase, OpDef } from "../op.ts";
import { elementCount } from "../storage.ts";
import { broadcastStrides } from "./broadcast.ts";
import type { Untyped } from "./elementwise.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { reshape } from "./reshape.ts";

/**
 * Distinct axes in ascending order. With `skipsNaN`, a maximum may or may not be NaN where an element is, which is
 * cheaper: for one that only keeps exponentials small, whose sum will be NaN in any case.
 */
export type ReduceAttrs = { readonly axes: readonly number[]; readonly skipsNaN?: true };

export function inferReduce(op: string, inputs: readonly TensorType[], { axes }: ReduceAttrs): TensorType[] {
  const x = inputs[0]!;
  requireShape(isFloat(x.dtype), op, `does not work on ${x.dtype}`, inputs);
  const valid = axes.every(
    (axis, i) => Number.isInteger(axis) && axis >= 0 && axis < x.shape.length && axis > (axes[i - 1] ?? -1),
  );
  requireShape(valid, op, `axes [${axes.join(", ")}] are not distinct axes of the input`, inputs);
  return [{ dtype: x.dtype, shape: x.shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)) }];
}

export function evaluateReduce(
  x: HostTensor,
  type: TensorType,
  start: number,
  combine: (accumulator: number, value: number) => number,
): HostTensor {
  const data = new Float64Array(elementCount(type.shape)).fill(start);
  const strides = broadcastStrides(type.shape);
  for (let i = 0; i < x.data.length; i++) {
    let rest = i;
    let to = 0;
    for (let axis = x.type.shape.length - 1; axis >= 0; axis--) {
      const dim = x.type.shape[axis]!;
      to += (rest % dim) * strides[axis]!;
      rest = Math.floor(rest / dim);
    }
    data[to] = combine(data[to]!, x.data[i]!);
  }
  return { type, data };
}

export function sampleReduce(draw: CaseDraw): OpCase {
  const shape = sampleShape(draw);
  const axes = shape.map((_dim, axis) => axis).filter(() => draw.int(0, 1) === 1);
  return { inputs: [{ dtype: "f32", shape }], attrs: { axes: axes.length > 0 ? axes : [shape.length - 1] } };
}

/** The shape without the reduced axes. */
export function reducedShape(shape: readonly number[], axes: readonly number[]): number[] {
  return shape.filter((_dim, axis) => !axes.includes(axis));
}

/** A reduction of a float tensor along one axis, several, or all; negative axes count from the end. */
export interface ReduceFunction {
  <T extends Tensor>(x: Untyped<T>, axes?: number | readonly number[], keepDims?: boolean): Tensor;
  <S extends Shape, D extends FloatDtype, const A extends number>(x: Tensor<S, D>, axis: A): Tensor<Drop<S, A>, D>;
  <S extends Shape, D extends FloatDtype, const A extends number>(
    x: Tensor<S, D>,
    axis: A,
    keepDims: true,
  ): Tensor<ReplaceAt<S, A, [1]>, D>;
  <D extends FloatDtype>(x: Tensor<Shape, D>): Tensor<readonly [], D>;
  <D extends FloatDtype>(x: Tensor<Shape, D>, axes: readonly number[], keepDims?: boolean): Tensor<Shape, D>;
}

/** The front end of a reduction op. */
export function reduceFunction(op: OpDef<ReduceAttrs>): ReduceFunction {
  const reduce = (
    x: Tensor,
    axes: number | readonly number[] = x.shape.map((_dim, axis) => axis),
    keepDims = false,
  ): Tensor => {
    const given = typeof axes === "number" ? [axes] : axes;
    const sorted = given.map((axis) => normalizeAxis(op.name, x, axis)).sort((a, b) => a - b);
    const reduced = sorted.length === 0 ? x : emitOne(op, [x], { axes: sorted });
    return keepDims ? reduced : reshape(reduced, reducedShape(x.shape, sorted));
  };
  return reduce as ReduceFunction;
}
