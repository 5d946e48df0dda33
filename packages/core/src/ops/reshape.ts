// reshape: the same elements in the same row-major order under another shape. It moves nothing.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";

export type ReshapeAttrs = { readonly shape: readonly number[] };

export const reshapeOp: OpDef<ReshapeAttrs> = {
  name: "reshape",
  summary: "the same elements in row-major order under another shape",
  infer(inputs, { shape }) {
    const x = inputs[0]!;
    requireShape(!isPacked(x.dtype), "reshape", `${x.dtype} is packed by rows`, inputs);
    const same = elementCount(x.shape) === elementCount(shape);
    requireShape(same, "reshape", `cannot become [${shape.join(", ")}]: element counts differ`, inputs);
    return [{ dtype: x.dtype, shape }];
  },
  evaluate: ([x], _attrs, [type]) => [{ type: type!, data: x!.data }],
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], attrs) => [emitOne(reshapeOp, [dx!], attrs)],
    transpose: (node, [ct]) => [reshape(ct!, node.inputs[0]!.shape)],
  },
  lowering: { kind: "alias" },
  simplify([x], { shape }) {
    if (sameShape(x!.shape, shape)) return [x!];
    return x!.node.op === (reshapeOp as unknown) ? [reshape(x!.node.inputs[0]!, shape)] : undefined;
  },
  sample(draw) {
    const [a, b, c] = [draw.int(1, 5), draw.int(1, 5), draw.int(1, 5)];
    return {
      inputs: [{ dtype: "f32", shape: [a, b * c] }],
      attrs: { shape: draw.pick([[a * b, c], [a, b, c], [a * b * c]]) },
    };
  },
};

/** `x` with the same elements under `shape`. Checked when the graph is built: types do not multiply dims. */
export function reshape<const S extends Shape, D extends Dtype>(x: Tensor<Shape, D>, shape: S): Tensor<S, D> {
  return emitOne(reshapeOp, [x], { shape: shape as unknown as readonly number[] }) as Tensor<S, D>;
}
