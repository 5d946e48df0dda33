// dynamic_slice: `size` indices along one axis from a start that is known at run time. The reference refuses a start
// that leaves the input; compiled programs keep it inside, so that no address leaves its buffer.

import type { ReplaceAt, Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { IndexRangeError, requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { dynamicUpdateSlice } from "./dynamic_update_slice.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { zerosLike } from "./splat.ts";
import { copyBox, lowerCopy, rowMajorStrides } from "./strided.ts";

export type DynamicSliceAttrs = { readonly axis: number; readonly size: number };

/** The start of a dynamic slice on the host; throws when the slice leaves the axis. */
export function hostStart(op: string, start: HostTensor, size: number, dim: number): number {
  const value = start.data[0]!;
  if (value < 0 || value + size > dim) {
    throw new IndexRangeError(op, `${size} indices from ${value} are outside an axis of ${dim}`);
  }
  return value;
}

export const dynamicSliceOp: OpDef<DynamicSliceAttrs> = {
  name: "dynamic_slice",
  summary: "y[.., i, ..] = x[.., start + i, ..] for size indices along axis",
  infer(inputs, { axis, size }) {
    const [x, start] = inputs as [TensorType, TensorType];
    requireShape(!isPacked(x.dtype), "dynamic_slice", `${x.dtype} is packed by rows`, inputs);
    requireShape(
      start.dtype === "i32" && start.shape.length === 0,
      "dynamic_slice",
      "the start is not an i32 scalar",
      inputs,
    );
    const fits = axis >= 0 && axis < x.shape.length && size >= 0 && size <= x.shape[axis]!;
    requireShape(fits, "dynamic_slice", `cannot take ${size} indices along axis ${axis}`, inputs);
    return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? size : dim)) }];
  },
  evaluate([x, start], { axis, size }, [type]) {
    const { shape } = x!.type;
    const strides = rowMajorStrides(shape);
    const data = new Float64Array(elementCount(type!.shape));
    const offset = hostStart("dynamic_slice", start!, size, shape[axis]!) * strides[axis]!;
    copyBox(type!.shape, x!.data, { offset, strides }, data, { offset: 0, strides: rowMajorStrides(type!.shape) });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [, start] }, [dx], attrs) => [dx && emitOne(dynamicSliceOp, [dx, start!], attrs)],
    transpose: ({ inputs: [x, start] }, [ct], [inX], { axis }) => [
      inX ? dynamicUpdateSlice(zerosLike(x!, ct!.dtype), ct!, start as Tensor<[], "i32">, axis) : undefined,
      undefined,
    ],
  },
  lowering: {
    kind: "kernel",
    lower(context, { axis, size }) {
      const [x, y] = [context.node.inputs[0]!, context.node.results[0]!];
      const strides = rowMajorStrides(x.shape);
      lowerCopy(
        context,
        x.dtype,
        y.shape,
        { buffer: context.input(0), offset: 0, strides },
        { buffer: context.result(0), offset: 0, strides: rowMajorStrides(y.shape) },
        { side: "from", start: context.input(1), last: x.shape[axis]! - size, stride: strides[axis]! },
      );
    },
  },
  sample(draw) {
    const shape = sampleShape(draw);
    const axis = draw.int(0, shape.length - 1);
    const size = draw.int(1, shape[axis]!);
    return {
      inputs: [
        { dtype: "f32", shape },
        { dtype: "i32", shape: [] },
      ],
      attrs: { axis, size },
      ranges: [undefined, [0, shape[axis]! - size]],
    };
  },
};

/** `size` indices of `x` along `axis`, from the i32 scalar `start`; the start is kept where the slice fits. */
export function dynamicSlice<S extends Shape, D extends Dtype, const A extends number, const N extends number>(
  x: Tensor<S, D>,
  start: Tensor<Shape, "i32">,
  axis: A,
  size: N,
): Tensor<ReplaceAt<S, A, [N]>, D> {
  const at = normalizeAxis("dynamic_slice", x, axis);
  return emitOne(dynamicSliceOp, [x, start], { axis: at, size }) as unknown as Tensor<ReplaceAt<S, A, [N]>, D>;
}
