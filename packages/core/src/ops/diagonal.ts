// diagonal: the diagonal of a square matrix, the transpose of diagonal_matrix.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { diagonalMatrix } from "./diagonal_matrix.ts";
import type { NoAttrs } from "./elementwise.ts";
import { gather } from "./gather.ts";
import { iota } from "./iota.ts";
import { mul } from "./mul.ts";
import { reshape } from "./reshape.ts";

export const diagonalOp: OpDef<NoAttrs> = {
  name: "diagonal",
  summary: "y[i] = x[i, i]",
  infer(inputs) {
    const x = inputs[0]!;
    requireShape(isFloat(x.dtype), "diagonal", `does not work on ${x.dtype}`, inputs);
    const square = x.shape.length === 2 && x.shape[0] === x.shape[1] && x.shape[0]! > 0;
    requireShape(square, "diagonal", "needs a square matrix that is not empty", inputs);
    return [{ dtype: x.dtype, shape: [x.shape[0]!] }];
  },
  evaluate([x], _attrs, [type]) {
    const size = type!.shape[0]!;
    return [{ type: type!, data: Float64Array.from({ length: size }, (_zero, i) => x!.data[i * size + i]!) }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx]) => [diagonal(dx!)],
    transpose: (_node, [ct]) => [diagonalMatrix(ct!)],
  },
  lowering: {
    kind: "expand",
    expand([x]) {
      const size = x!.shape[0]!;
      const places = mul(iota([size]), size + 1) as Tensor<Shape, "i32">;
      return [reshape(gather(reshape(x!, [size * size, 1]), places), [size])];
    },
  },
  sample(draw) {
    const size = draw.int(1, 9);
    return { inputs: [{ dtype: "f32", shape: [size, size] }], attrs: {} };
  },
};

/** The diagonal [n] of a matrix `x` [n, n]. */
export function diagonal<D extends Dtype>(x: Tensor<Shape, D>): Tensor<readonly [number], D> {
  return emitOne(diagonalOp, [x], {}) as unknown as Tensor<readonly [number], D>;
}
