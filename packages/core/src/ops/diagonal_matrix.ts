// diagonal_matrix: a square matrix with a vector on its diagonal and zeros elsewhere.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { broadcastTo } from "./broadcast.ts";
import { diagonal } from "./diagonal.ts";
import type { NoAttrs } from "./elementwise.ts";
import { eq } from "./eq.ts";
import { iota } from "./iota.ts";
import { select } from "./select.ts";
import { transpose } from "./transpose.ts";

export const diagonalMatrixOp: OpDef<NoAttrs> = {
  name: "diagonal_matrix",
  summary: "y[i, i] = x[i], 0 elsewhere",
  infer(inputs) {
    const x = inputs[0]!;
    requireShape(isFloat(x.dtype), "diagonal_matrix", `does not work on ${x.dtype}`, inputs);
    requireShape(
      x.shape.length === 1 && x.shape[0]! > 0,
      "diagonal_matrix",
      "needs a vector that is not empty",
      inputs,
    );
    return [{ dtype: x.dtype, shape: [x.shape[0]!, x.shape[0]!] }];
  },
  evaluate([x], _attrs, [type]) {
    const size = type!.shape[0]!;
    const data = new Float64Array(size * size);
    x!.data.forEach((value, i) => (data[i * size + i] = value));
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx]) => [diagonalMatrix(dx!)],
    transpose: (_node, [ct]) => [diagonal(ct!)],
  },
  lowering: {
    kind: "expand",
    expand([x]) {
      const size = x!.shape[0]!;
      const columns = iota([size, size]);
      const isDiagonal = eq(columns, transpose(columns) as never) as Tensor<Shape, "bool">;
      return [select(isDiagonal, broadcastTo(x!, [size, size]), 0) as Tensor];
    },
  },
  sample: (draw) => ({ inputs: [{ dtype: "f32", shape: [draw.int(1, 9)] }], attrs: {} }),
};

/** The matrix [n, n] with `x` [n] on its diagonal. */
export function diagonalMatrix<D extends Dtype>(x: Tensor<Shape, D>): Tensor<readonly [number, number], D> {
  return emitOne(diagonalMatrixOp, [x], {}) as unknown as Tensor<readonly [number, number], D>;
}
