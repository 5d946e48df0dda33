// concat: tensors one after the other along an axis.

import type { ReplaceAt, Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape, ShapeMismatchError } from "../op.ts";
import { elementCount } from "../storage.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { sliceAxis } from "./slice.ts";
import { zerosLike } from "./splat.ts";
import { copyBox, lowerCopy, rowMajorStrides } from "./strided.ts";

export type ConcatAttrs = { readonly axis: number };

export const concatOp: OpDef<ConcatAttrs> = {
  name: "concat",
  summary: "inputs one after the other along axis",
  infer(inputs, { axis }) {
    const first = inputs[0];
    requireShape(first !== undefined, "concat", "needs at least one tensor", inputs);
    requireShape(!isPacked(first.dtype), "concat", `${first.dtype} is packed by rows`, inputs);
    requireShape(axis >= 0 && axis < first.shape.length, "concat", `there is no axis ${axis}`, inputs);
    for (const { dtype, shape } of inputs) {
      requireShape(dtype === first.dtype, "concat", "dtypes differ", inputs, "cast one of them");
      const fits = shape.length === first.shape.length && shape.every((dim, i) => i === axis || dim === first.shape[i]);
      requireShape(fits, "concat", `shapes differ outside axis ${axis}`, inputs);
    }
    const total = inputs.reduce((sum, input) => sum + input.shape[axis]!, 0);
    return [{ dtype: first.dtype, shape: first.shape.map((dim, i) => (i === axis ? total : dim)) }];
  },
  evaluate(inputs, { axis }, [type]) {
    const data = new Float64Array(elementCount(type!.shape));
    const strides = rowMajorStrides(type!.shape);
    let start = 0;
    for (const {
      data: part,
      type: { shape },
    } of inputs) {
      copyBox(shape, part, { offset: 0, strides: rowMajorStrides(shape) }, data, {
        offset: start * strides[axis]!,
        strides,
      });
      start += shape[axis]!;
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs }, tangents, attrs) => [
      emitOne(
        concatOp,
        inputs.map((x, i) => tangents[i] ?? zerosLike(x)),
        attrs,
      ),
    ],
    transpose({ inputs }, [ct], linear, { axis }) {
      let start = 0;
      return inputs.map((x, i) => {
        const from = start;
        start += x.shape[axis]!;
        return linear[i] ? sliceAxis(ct!, axis, from, start) : undefined;
      });
    },
  },
  lowering: {
    kind: "kernel",
    lower(context, { axis }) {
      const {
        inputs,
        results: [y],
      } = context.node;
      const strides = rowMajorStrides(y!.shape);
      let start = 0;
      for (const [i, x] of inputs.entries()) {
        const from = { buffer: context.input(i), offset: 0, strides: rowMajorStrides(x.shape) };
        lowerCopy(context, x.dtype, x.shape, from, {
          buffer: context.result(0),
          offset: start * strides[axis]!,
          strides,
        });
        start += x.shape[axis]!;
      }
    },
  },
  simplify: (inputs) => (inputs.length === 1 ? [inputs[0]!] : undefined),
  sample(draw) {
    const shape = sampleShape(draw);
    const axis = draw.int(0, shape.length - 1);
    const inputs = Array.from({ length: draw.int(2, 3) }, () => ({
      dtype: "f32" as const,
      shape: shape.map((dim, i) => (i === axis ? draw.int(1, 5) : dim)),
    }));
    return { inputs, attrs: { axis } };
  },
};

/** The tensors one after the other along `axis` (negative axes count from the end); other dims must be equal. */
export function concat<S extends Shape, D extends Dtype, const A extends number>(
  tensors: readonly [Tensor<S, D>, ...Tensor<Shape, D>[]] | readonly Tensor<S, D>[],
  axis: A,
): Tensor<ReplaceAt<S, A, [number]>, D> {
  const first = tensors[0];
  if (first === undefined) throw new ShapeMismatchError("concat", "needs at least one tensor", []);
  const at = normalizeAxis("concat", first, axis);
  return emitOne(concatOp, tensors, { axis: at }) as unknown as Tensor<ReplaceAt<S, A, [number]>, D>;
}
