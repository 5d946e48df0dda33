// cholesky: A = L L^T for symmetric positive definite A, of which only the lower triangle is read. Where A is not
// positive definite, L has NaN from the first column that shows it.
// Derivative (Giles 2008, "Collected matrix derivative results", section 2.2.1; Murray 2016, arXiv 1602.07527): from
// dA = dL L^T + L dL^T follows L^-1 dA L^-T = P + P^T with P = L^-1 dL lower triangular, so dL = L Phi(L^-1 dA L^-T),
// where Phi takes the lower triangle and half of the diagonal.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { add } from "./add.ts";
import type { NoAttrs } from "./elementwise.ts";
import { eachMatrix, lowerMatrices, matrixCount, matrixSize, requireMatrix } from "./linalg/kernel.ts";
import {
  diagonalPart,
  lower,
  prepareMatrices,
  product,
  sampleMatrices,
  strictlyLower,
  transposed,
} from "./linalg/parts.ts";
import { mul } from "./mul.ts";
import { sub } from "./sub.ts";
import { triangularSolveOp } from "./triangular_solve.ts";

export const choleskyOp: OpDef<NoAttrs> = {
  name: "cholesky",
  summary: "A = L L^T, L lower triangular",
  infer: (inputs) => [requireMatrix("cholesky", inputs, true)],
  evaluate([a], _attrs, [type]) {
    const [n] = matrixSize(type!);
    const data = new Float64Array(a!.data.length);
    eachMatrix(matrixCount(type!), [a!.data, data], (x, l) => {
      for (let j = 0; j < n; j++) {
        for (let i = j; i < n; i++) {
          let rest = x![i * n + j]!;
          for (let p = 0; p < j; p++) rest -= l![i * n + p]! * l![j * n + p]!;
          l![i * n + j] = i === j ? Math.sqrt(rest) : rest / l![j * n + j]!;
        }
      }
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ results: [l] }, [da]) {
      const symmetric = add(lower(da!), transposed(strictlyLower(da!)) as never) as Tensor;
      const solve = (b: Tensor): Tensor =>
        emitOne(triangularSolveOp, [l!, b], { lower: true, transposed: false, unitDiagonal: false });
      const both = solve(transposed(solve(symmetric)));
      return [product(l!, sub(lower(both), mul(diagonalPart(both), 0.5) as never) as Tensor)];
    },
  },
  lowering: {
    kind: "kernel",
    lower(context) {
      const [n] = matrixSize(context.node.inputs[0]!.type);
      lowerMatrices(context, "cholesky", n ** 3 / 3, [], ({ k, matrices: [a, l], number, sum }) => {
        k.loop(0, n, 1, (j) => {
          k.loop(0, j, 1, (i) => l!.store(number(0), i, j));
          const rest = (i: typeof j): typeof j =>
            sum(0, j, (p) => k.unary("neg", k.mul(l!.load(i, p), l!.load(j, p))), a!.load(i, j));
          const pivot = k.unary("sqrt", rest(j));
          l!.store(pivot, j, j);
          k.loop(k.add(j, k.index(1)), n, 1, (i) => l!.store(k.div(rest(i), pivot), i, j));
        });
      });
    },
  },
  sample(draw) {
    const { batch, rows } = sampleMatrices(draw);
    return {
      inputs: [{ dtype: "f32", shape: [...batch, rows, rows] }],
      attrs: {},
      prepare: prepareMatrices((own, mirrored, i, j) => (i === j ? 4 + i + own : (own + mirrored) / 4)),
    };
  },
};

/** The lower triangular L of A = L L^T, for symmetric positive definite matrices [..., n, n]; NaN for others. */
export function cholesky<S extends Shape, D extends FloatDtype>(a: Tensor<S, D>): Tensor<S, D> {
  return emitOne(choleskyOp, [a], {}) as unknown as Tensor<S, D>;
}
