// broadcast: repeats along axes of size 1. The front end aligns ranks with a reshape first, so the op sees equal ranks.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { sampleShape } from "./elementwise.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";

export type BroadcastAttrs = { readonly shape: readonly number[] };

export const broadcastOp: OpDef<BroadcastAttrs> = {
  name: "broadcast",
  summary: "y[i...] = x[i... with 0 where x has size 1]",
  infer(inputs, { shape }) {
    const x = inputs[0]!;
    const fits = x.shape.length === shape.length && x.shape.every((dim, i) => dim === shape[i] || dim === 1);
    requireShape(fits, "broadcast", `cannot repeat to [${shape.join(", ")}]`, inputs);
    return [{ dtype: x.dtype, shape }];
  },
  evaluate([x], _attrs, [type]) {
    const data = new Float64Array(elementCount(type!.shape));
    const strides = broadcastStrides(x!.type.shape);
    for (let i = 0; i < data.length; i++) {
      let rest = i;
      let from = 0;
      for (let axis = type!.shape.length - 1; axis >= 0; axis--) {
        const dim = type!.shape[axis]!;
        from += (rest % dim) * strides[axis]!;
        rest = Math.floor(rest / dim);
      }
      data[i] = x!.data[from]!;
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], attrs) => [emitOne(broadcastOp, [dx!], attrs)],
    transpose(node, [ct]) {
      const from = node.inputs[0]!.shape;
      return [
        reduceSum(
          ct!,
          ct!.shape.flatMap((dim, axis) => (dim === from[axis] ? [] : [axis])),
          true,
        ),
      ];
    },
  },
  lowering: { kind: "broadcast" },
  simplify: ([x], { shape }) => (sameShape(x!.shape, shape) ? [x!] : undefined),
  sample(draw) {
    const shape = sampleShape(draw);
    return { inputs: [{ dtype: "f32", shape: shape.map((dim) => (draw.int(0, 1) ? dim : 1)) }], attrs: { shape } };
  },
};

/** Row-major strides in elements, 0 along axes of size 1. */
export function broadcastStrides(shape: readonly number[]): number[] {
  let stride = 1;
  return shape
    .map((dim) => dim)
    .reverse()
    .map((dim) => {
      const own = dim === 1 ? 0 : stride;
      stride *= dim;
      return own;
    })
    .reverse();
}

/** Repeats `x` to `shape` by NumPy's rule: aligned at the last axis, size 1 repeats. */
export function broadcastTo<const S extends Shape, D extends Dtype>(x: Tensor<Shape, D>, shape: S): Tensor<S, D> {
  const dims = shape as unknown as readonly number[];
  if (sameShape(x.shape, dims)) return x as unknown as Tensor<S, D>;
  const splatted = x.node.op.name === "splat";
  const source = splatted ? x.node : undefined;
  if (source !== undefined) return emitOne(source.op, [], { ...source.attrs, shape: dims }) as Tensor<S, D>;
  requireShape(x.rank <= dims.length, "broadcast", `cannot repeat to [${dims.join(", ")}]`, [x.type]);
  const aligned = reshape(x, [...Array<number>(dims.length - x.rank).fill(1), ...x.shape]);
  return emitOne(broadcastOp, [aligned], { shape: dims }) as Tensor<S, D>;
}
