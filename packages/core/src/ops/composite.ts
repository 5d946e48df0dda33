// Composite ops keep their name in the graph until lowering, where they are rewritten to elementwise ops, reductions
// along the last axis and broadcasts, which one fused loop computes. They are differentiated as what they expand to.

import type { Tensor, TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { isFloat } from "../dtype.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { COMPOSITE_DERIVATIVE } from "./composite_tangent.ts";
import type { NoAttrs } from "./elementwise.ts";
import { sampleShape } from "./elementwise.ts";

/** A composite of one float tensor that keeps its type. */
export interface CompositeSpec {
  readonly name: string;
  readonly summary: string;
  /** The reference, row by row along the last axis: reads `x` and fills `y`, both one row. */
  readonly row: (x: Float64Array, y: Float64Array) => void;
  readonly expand: (x: Tensor) => Tensor;
  readonly tolerance?: number;
}

export function composite(spec: CompositeSpec): OpDef<NoAttrs> {
  const { name } = spec;
  const expand = ([x]: readonly Tensor[]): readonly Tensor[] => [spec.expand(x!)];
  return {
    name,
    summary: spec.summary,
    infer(inputs) {
      const x = inputs[0]!;
      requireShape(isFloat(x.dtype), name, `does not work on ${x.dtype}`, inputs, "cast it to f32");
      requireShape(x.shape.length > 0, name, "a scalar has no last axis", inputs, "reshape it to [1]");
      return [x];
    },
    evaluate: ([x], _attrs, [type]) => [evaluateRows(x!, type!, spec.row)],
    derivative: COMPOSITE_DERIVATIVE,
    lowering: { kind: "expand", expand },
    sample: (draw) => ({ inputs: [{ dtype: "f32", shape: sampleShape(draw) }], attrs: {} }),
    ...(spec.tolerance !== undefined && { tolerance: spec.tolerance }),
  };
}

/** Applies a function of a row to every row of a host tensor. */
export function evaluateRows(
  x: HostTensor,
  type: TensorType,
  row: (x: Float64Array, y: Float64Array) => void,
): HostTensor {
  const data = new Float64Array(x.data.length);
  const columns = type.shape[type.shape.length - 1] ?? 1;
  for (let at = 0; at < data.length; at += columns)
    row(x.data.subarray(at, at + columns), data.subarray(at, at + columns));
  return { type, data };
}

/** A row function that works on each number alone. */
export function eachNumber(scalar: (x: number) => number): (x: Float64Array, y: Float64Array) => void {
  return (x, y) => {
    for (let i = 0; i < x.length; i++) y[i] = scalar(x[i]!);
  };
}
