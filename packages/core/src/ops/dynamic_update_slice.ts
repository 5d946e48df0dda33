// dynamic_update_slice: x with a box replaced by an update, from a start along one axis that is known at run time. It
// is how a key-value cache is written, in place where the cache is needed by nobody else afterwards.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { dynamicSlice, hostStart } from "./dynamic_slice.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { zerosLike } from "./splat.ts";
import { copyBox, lowerCopy, rowMajorStrides } from "./strided.ts";

export type DynamicUpdateSliceAttrs = { readonly axis: number };

const NAME = "dynamic_update_slice";

export const dynamicUpdateSliceOp: OpDef<DynamicUpdateSliceAttrs> = {
  name: NAME,
  summary: "y = x, with y[.., start + i, ..] = update[.., i, ..] along axis",
  infer(inputs, { axis }) {
    const [x, update, start] = inputs as [TensorType, TensorType, TensorType];
    requireShape(x.dtype === update.dtype, NAME, "dtypes differ", inputs, "cast the update");
    requireShape(!isPacked(x.dtype), NAME, `${x.dtype} is packed by rows`, inputs);
    requireShape(start.dtype === "i32" && start.shape.length === 0, NAME, "the start is not an i32 scalar", inputs);
    requireShape(axis >= 0 && axis < x.shape.length, NAME, `there is no axis ${axis}`, inputs);
    const fits =
      x.shape.length === update.shape.length &&
      x.shape.every((dim, i) => (i === axis ? update.shape[i]! <= dim : update.shape[i] === dim));
    requireShape(fits, NAME, `the update does not fit along axis ${axis}`, inputs);
    return [x];
  },
  evaluate([x, update, start], { axis }, [type]) {
    const data = x!.data.slice();
    const { shape } = update!.type;
    const strides = rowMajorStrides(type!.shape);
    const offset = hostStart(NAME, start!, shape[axis]!, type!.shape[axis]!) * strides[axis]!;
    copyBox(shape, update!.data, { offset: 0, strides: rowMajorStrides(shape) }, data, { offset, strides });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [x, update, start] }, [dx, dUpdate], attrs) => [
      emitOne(dynamicUpdateSliceOp, [dx ?? zerosLike(x!), dUpdate ?? zerosLike(update!), start!], attrs),
    ],
    transpose({ inputs: [, update, start] }, [ct], [inX, inUpdate], attrs) {
      const { axis } = attrs;
      return [
        inX ? emitOne(dynamicUpdateSliceOp, [ct!, zerosLike(update!), start!], attrs) : undefined,
        inUpdate ? dynamicSlice(ct!, start as Tensor<[], "i32">, axis, update!.shape[axis]!) : undefined,
        undefined,
      ];
    },
  },
  lowering: {
    kind: "kernel",
    inPlace: 0,
    lower(context, { axis }) {
      const [x, update] = context.node.inputs as readonly [Tensor, Tensor];
      const strides = rowMajorStrides(x.shape);
      const whole = { buffer: context.result(0), offset: 0, strides };
      if (!context.inPlace)
        lowerCopy(context, x.dtype, x.shape, { buffer: context.input(0), offset: 0, strides }, whole);
      const from = { buffer: context.input(1), offset: 0, strides: rowMajorStrides(update.shape) };
      const last = x.shape[axis]! - update.shape[axis]!;
      lowerCopy(context, x.dtype, update.shape, from, whole, {
        side: "to",
        start: context.input(2),
        last,
        stride: strides[axis]!,
      });
    },
  },
  sample(draw) {
    const shape = sampleShape(draw);
    const axis = draw.int(0, shape.length - 1);
    const size = draw.int(1, shape[axis]!);
    const update: TensorType = { dtype: "f32", shape: shape.map((dim, i) => (i === axis ? size : dim)) };
    return {
      inputs: [{ dtype: "f32", shape }, update, { dtype: "i32", shape: [] }],
      attrs: { axis },
      ranges: [undefined, undefined, [0, shape[axis]! - size]],
    };
  },
};

/**
 * `x` with `update` in place of what it holds from the i32 scalar `start` on along `axis`; the start is kept where the
 * update fits. Other dims must be equal.
 */
export function dynamicUpdateSlice<S extends Shape, D extends Dtype>(
  x: Tensor<S, D>,
  update: Tensor<Shape, D>,
  start: Tensor<Shape, "i32">,
  axis: number,
): Tensor<S, D> {
  const at = normalizeAxis(NAME, x, axis);
  return emitOne(dynamicUpdateSliceOp, [x, update, start], { axis: at }) as unknown as Tensor<S, D>;
}
