// slice: a box of a tensor, from starts up to and without stops.

import type { ReplaceAt, Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { pad } from "./pad.ts";
import { copyBox, flatOffset, lowerCopy, rowMajorStrides } from "./strided.ts";

export type SliceAttrs = { readonly starts: readonly number[]; readonly stops: readonly number[] };

export const sliceOp: OpDef<SliceAttrs> = {
  name: "slice",
  summary: "y[i...] = x[i... + starts] up to stops",
  infer(inputs, { starts, stops }) {
    const x = inputs[0]!;
    requireShape(!isPacked(x.dtype), "slice", `${x.dtype} is packed by rows`, inputs);
    const ranks = starts.length === x.shape.length && stops.length === x.shape.length;
    const inside = ranks && x.shape.every((dim, i) => starts[i]! >= 0 && starts[i]! <= stops[i]! && stops[i]! <= dim);
    requireShape(inside, "slice", `[${starts.join(", ")}] to [${stops.join(", ")}] is not inside the input`, inputs);
    return [{ dtype: x.dtype, shape: starts.map((start, i) => stops[i]! - start) }];
  },
  evaluate([x], { starts }, [type]) {
    const { shape } = x!.type;
    const data = new Float64Array(elementCount(type!.shape));
    const from = { offset: flatOffset(shape, starts), strides: rowMajorStrides(shape) };
    copyBox(type!.shape, x!.data, from, data, { offset: 0, strides: rowMajorStrides(type!.shape) });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], attrs) => [emitOne(sliceOp, [dx!], attrs)],
    transpose: ({ inputs: [x] }, [ct], _linear, { starts, stops }) => [
      pad(
        ct!,
        starts,
        x!.shape.map((dim, i) => dim - stops[i]!),
      ),
    ],
  },
  lowering: {
    kind: "kernel",
    lower(context, { starts }) {
      const [x, y] = [context.node.inputs[0]!, context.node.results[0]!];
      const from = { buffer: context.input(0), offset: flatOffset(x.shape, starts), strides: rowMajorStrides(x.shape) };
      lowerCopy(context, x.dtype, y.shape, from, {
        buffer: context.result(0),
        offset: 0,
        strides: rowMajorStrides(y.shape),
      });
    },
  },
  simplify([x], { starts, stops }) {
    const whole = starts.length === x!.rank && x!.shape.every((dim, i) => starts[i] === 0 && stops[i] === dim);
    return whole ? [x!] : undefined;
  },
  sample(draw) {
    const shape = sampleShape(draw);
    const starts = shape.map((dim) => draw.int(0, dim - 1));
    return {
      inputs: [{ dtype: "f32", shape }],
      attrs: { starts, stops: shape.map((dim, i) => draw.int(starts[i]! + 1, dim)) },
    };
  },
};

/** The box of `x` from `starts` up to and without `stops`, one number an axis. */
export function slice<D extends Dtype>(
  x: Tensor<Shape, D>,
  starts: readonly number[],
  stops: readonly number[],
): Tensor<readonly number[], D> {
  return emitOne(sliceOp, [x], { starts, stops }) as unknown as Tensor<readonly number[], D>;
}

/** Indices `start` up to and without `stop` along one axis (negative axes count from the end). */
export function sliceAxis<S extends Shape, D extends Dtype, const A extends number>(
  x: Tensor<S, D>,
  axis: A,
  start: number,
  stop: number,
): Tensor<ReplaceAt<S, A, [number]>, D> {
  const at = normalizeAxis("slice", x, axis);
  const starts = x.shape.map((_dim, i) => (i === at ? start : 0));
  const stops = x.shape.map((dim, i) => (i === at ? stop : dim));
  return emitOne(sliceOp, [x], { starts, stops }) as unknown as Tensor<ReplaceAt<S, A, [number]>, D>;
}
