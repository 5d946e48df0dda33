// pad: a tensor inside a larger one that holds one number everywhere else.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { sampleShape } from "./elementwise.ts";
import { slice } from "./slice.ts";
import { copyBox, flatOffset, lowerCopy, lowerFill, rowMajorStrides } from "./strided.ts";

export type PadAttrs = { readonly low: readonly number[]; readonly high: readonly number[]; readonly value: number };

export const padOp: OpDef<PadAttrs> = {
  name: "pad",
  summary: "x with low and high further elements an axis, all equal to value",
  infer(inputs, { low, high }) {
    const x = inputs[0]!;
    requireShape(!isPacked(x.dtype), "pad", `${x.dtype} is packed by rows`, inputs);
    const whole = [...low, ...high].every((count) => Number.isInteger(count) && count >= 0);
    const valid = whole && low.length === x.shape.length && high.length === x.shape.length;
    requireShape(valid, "pad", `cannot add [${low.join(", ")}] before and [${high.join(", ")}] after`, inputs);
    return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => low[i]! + dim + high[i]!) }];
  },
  evaluate([x], { low, value }, [type]) {
    const { shape } = type!;
    const data = new Float64Array(elementCount(shape)).fill(value);
    const to = { offset: flatOffset(shape, low), strides: rowMajorStrides(shape) };
    copyBox(x!.type.shape, x!.data, { offset: 0, strides: rowMajorStrides(x!.type.shape) }, data, to);
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], attrs) => [emitOne(padOp, [dx!], { ...attrs, value: 0 })],
    transpose: ({ inputs: [x] }, [ct], _linear, { low }) => [
      slice(
        ct!,
        low,
        x!.shape.map((dim, i) => low[i]! + dim),
      ),
    ],
  },
  lowering: {
    kind: "kernel",
    lower(context, { low, value }) {
      const [x, y] = [context.node.inputs[0]!, context.node.results[0]!];
      lowerFill(context, y.dtype, elementCount(y.shape), value, context.result(0));
      const from = { buffer: context.input(0), offset: 0, strides: rowMajorStrides(x.shape) };
      const to = { buffer: context.result(0), offset: flatOffset(y.shape, low), strides: rowMajorStrides(y.shape) };
      lowerCopy(context, x.dtype, x.shape, from, to);
    },
  },
  simplify: ([x], { low, high }) => ([...low, ...high].every((count) => count === 0) ? [x!] : undefined),
  sample(draw) {
    const shape = sampleShape(draw);
    const counts = (): number[] => shape.map(() => draw.int(0, 3));
    return { inputs: [{ dtype: "f32", shape }], attrs: { low: counts(), high: counts(), value: draw.int(-1, 1) } };
  },
};

/** `x` with `low[i]` elements before it and `high[i]` after it along axis i, all equal to `value`. */
export function pad<D extends Dtype>(
  x: Tensor<Shape, D>,
  low: readonly number[],
  high: readonly number[],
  value = 0,
): Tensor<readonly number[], D> {
  return emitOne(padOp, [x], { low, high, value }) as unknown as Tensor<readonly number[], D>;
}
