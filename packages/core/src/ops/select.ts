// select: a where a mask holds, b elsewhere. Linear in a and b together.

import type { Broadcast, Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked, isStorageOnly } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import { loopType } from "../loop/ir.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import type { NoAttrs } from "./elementwise.ts";
import { broadcastShapes, sampleShape } from "./elementwise.ts";
import { broadcastTo } from "./broadcast.ts";
import { splat, zerosLike } from "./splat.ts";

export const selectOp: OpDef<NoAttrs> = {
  name: "select",
  summary: "y = a where mask, else b",
  infer(inputs) {
    const [mask, a, b] = inputs as [TensorType, TensorType, TensorType];
    requireShape(mask.dtype === "bool", "select", "the mask is not a bool tensor", inputs);
    requireShape(a.dtype === b.dtype, "select", "dtypes differ", inputs, "cast one of them");
    requireShape(!isPacked(a.dtype) && !isStorageOnly(a.dtype), "select", `does not work on ${a.dtype}`, inputs);
    const same = sameShape(mask.shape, a.shape) && sameShape(a.shape, b.shape);
    requireShape(same, "select", "shapes differ", inputs, "broadcast them");
    return [a];
  },
  evaluate: ([mask, a, b], _attrs, [type]) => [
    { type: type!, data: mask!.data.map((holds, i) => (holds !== 0 ? a!.data[i]! : b!.data[i]!)) },
  ],
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [mask, a, b] }, [, da, db]) => [
      emitOne(selectOp, [mask!, da ?? zerosLike(a!), db ?? zerosLike(b!)], {}),
    ],
    transpose: ({ inputs: [mask] }, [ct], [, inA, inB]) => [
      undefined,
      inA ? emitOne(selectOp, [mask!, ct!, zerosLike(ct!)], {}) : undefined,
      inB ? emitOne(selectOp, [mask!, zerosLike(ct!), ct!], {}) : undefined,
    ],
  },
  lowering: {
    kind: "elementwise",
    value({ k }, [mask, a, b]) {
      const zero = k.constant(loopType("i32", mask!.type.lanes), 0);
      return k.select(k.compare("ne", mask!, zero), a!, b!);
    },
  },
  simplify: ([, a, b]) => (a === b ? [a!] : undefined),
  sample(draw) {
    const shape = sampleShape(draw);
    const dtype = draw.pick(["f32", "i32"] as const);
    return {
      inputs: [
        { dtype: "bool", shape },
        { dtype, shape },
        { dtype, shape },
      ],
      attrs: {},
    };
  },
};

/** What `select` takes: tensors that broadcast together with the mask, or numbers. */
export interface SelectFunction {
  <M extends Shape>(mask: Tensor<M, "bool">, a: number, b: number): Tensor<M, "f32">;
  <M extends Shape, A extends Shape, D extends Dtype>(
    mask: Tensor<M, "bool">,
    a: Tensor<A, D>,
    b: number,
  ): Tensor<Broadcast<M, A>, D>;
  <M extends Shape, B extends Shape, D extends Dtype>(
    mask: Tensor<M, "bool">,
    a: number,
    b: Tensor<B, D>,
  ): Tensor<Broadcast<M, B>, D>;
  <M extends Shape, A extends Shape, B extends Shape, D extends Dtype>(
    mask: Tensor<M, "bool">,
    a: Tensor<A, D>,
    b: Tensor<B, NoInfer<D>>,
  ): Tensor<Broadcast<M, Broadcast<A, B>>, D>;
}

/** `a` where `mask` holds and `b` elsewhere, with broadcasting; numbers take the dtype of the other one. */
export const select = ((mask: Tensor, a: Tensor | number, b: Tensor | number): Tensor => {
  const dtype = typeof a !== "number" ? a.dtype : typeof b !== "number" ? b.dtype : "f32";
  const tensors = [mask, a, b].filter((value) => typeof value !== "number");
  const shape = broadcastShapes("select", tensors);
  const lift = (value: Tensor | number): Tensor =>
    typeof value === "number" ? splat(value, shape, dtype) : broadcastTo(value, shape);
  return emitOne(selectOp, [lift(mask), lift(a), lift(b)], {});
}) as SelectFunction;
