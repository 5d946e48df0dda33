// transpose: the axes in another order.

import type { Checked, Permute, Shape, SwapLastTwo } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { sampleShape } from "./elementwise.ts";
import { copyBox, lowerCopy, rowMajorStrides } from "./strided.ts";

/** Axis i of the result is axis permutation[i] of the input. */
export type TransposeAttrs = { readonly permutation: readonly number[] };

export const transposeOp: OpDef<TransposeAttrs> = {
  name: "transpose",
  summary: "axis i of y is axis permutation[i] of x",
  infer(inputs, { permutation }) {
    const x = inputs[0]!;
    requireShape(!isPacked(x.dtype), "transpose", `${x.dtype} is packed by rows`, inputs);
    const named = new Set(permutation.filter((axis) => Number.isInteger(axis) && axis >= 0 && axis < x.shape.length));
    const valid = permutation.length === x.shape.length && named.size === permutation.length;
    requireShape(valid, "transpose", `[${permutation.join(", ")}] does not name every axis once`, inputs);
    return [{ dtype: x.dtype, shape: permutation.map((axis) => x.shape[axis]!) }];
  },
  evaluate([x], { permutation }, [type]) {
    const data = new Float64Array(x!.data.length);
    const strides = rowMajorStrides(x!.type.shape);
    const from = { offset: 0, strides: permutation.map((axis) => strides[axis]!) };
    copyBox(type!.shape, x!.data, from, data, { offset: 0, strides: rowMajorStrides(type!.shape) });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], attrs) => [emitOne(transposeOp, [dx!], attrs)],
    transpose: (_node, [ct], _linear, { permutation }) => [
      emitOne(transposeOp, [ct!], { permutation: permutation.map((_axis, i) => permutation.indexOf(i)) }),
    ],
  },
  lowering: {
    kind: "kernel",
    lower(context, { permutation }) {
      const [x, y] = [context.node.inputs[0]!, context.node.results[0]!];
      const strides = rowMajorStrides(x.shape);
      const from = { buffer: context.input(0), offset: 0, strides: permutation.map((axis) => strides[axis]!) };
      lowerCopy(context, x.dtype, y.shape, from, {
        buffer: context.result(0),
        offset: 0,
        strides: rowMajorStrides(y.shape),
      });
    },
  },
  simplify([x], { permutation }) {
    if (permutation.every((axis, i) => axis === i)) return permutation.length === x!.rank ? [x!] : undefined;
    if (x!.node.op.name !== "transpose") return undefined;
    const inner = x!.node.attrs["permutation"] as readonly number[];
    return [emitOne(transposeOp, [x!.node.inputs[0]!], { permutation: permutation.map((axis) => inner[axis]!) })];
  },
  sample(draw) {
    const shape = sampleShape(draw);
    const permutation = shape.map((_dim, axis) => axis);
    for (let i = permutation.length - 1; i > 0; i--) {
      const j = draw.int(0, i);
      [permutation[i], permutation[j]] = [permutation[j]!, permutation[i]!];
    }
    return { inputs: [{ dtype: "f32", shape }], attrs: { permutation } };
  },
};

/** What `transpose` takes. */
export interface TransposeFunction {
  /** Exchanges the last two axes. */
  <S extends Shape, D extends Dtype>(x: Tensor<S, D>): Tensor<SwapLastTwo<S>, D>;
  <S extends Shape, D extends Dtype, const P extends readonly number[]>(
    x: Tensor<S, D>,
    permutation: Checked<Permute<S, P>, P>,
  ): Tensor<Permute<S, P>, D>;
}

/** `x` with its axes in the order of `permutation`; without one, the last two are exchanged. */
export const transpose = ((x: Tensor, permutation?: readonly number[]): Tensor => {
  const axes = x.shape.map((_dim, axis) => axis);
  const order = permutation ?? [...axes.slice(0, -2), ...axes.slice(-2).reverse()];
  return emitOne(transposeOp, [x], { permutation: order });
}) as TransposeFunction;
