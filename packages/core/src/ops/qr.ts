// qr: A = Q R for matrices with at least as many rows as columns, Q with orthonormal columns, R upper triangular with a
// positive diagonal, which makes both unique. Gram-Schmidt, each column twice, which is orthogonal to rounding (Giraud,
// Langou, Rozloznik 2005, "The loss of orthogonality in the Gram-Schmidt orthogonalization process"). Columns that
// depend on those before them have no direction: Q is NaN or rounding noise there.
// Derivative (Walter and Lehmann 2010, arXiv 1001.1654): with C = dA R^-1 and M = Q^T C, the antisymmetric
// W = strictlyLower(M) - strictlyLower(M)^T gives dQ = C - Q M + Q W and dR = (M - W) R.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emit, emitOne } from "../graph.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import type { NoAttrs } from "./elementwise.ts";
import { eachMatrix, lowerMatrices, matrixCount, matrixSize, requireMatrix } from "./linalg/kernel.ts";
import { prepareMatrices, product, sampleMatrices, strictlyLower, t, transposed } from "./linalg/parts.ts";
import { sub } from "./sub.ts";
import { triangularSolveOp } from "./triangular_solve.ts";

export const qrOp: OpDef<NoAttrs> = {
  name: "qr",
  summary: "A = Q R, Q^T Q = I, R upper triangular with a positive diagonal",
  infer(inputs) {
    const a = requireMatrix("qr", inputs, false);
    const [rows, columns] = matrixSize(a);
    requireShape(rows >= columns, "qr", "fewer rows than columns", inputs, "factor the transpose");
    return [a, { dtype: a.dtype, shape: [...a.shape.slice(0, -2), columns, columns] }];
  },
  evaluate([a], _attrs, [qType, rType]) {
    const [rows, columns] = matrixSize(qType!);
    const [qs, rs] = [a!.data.slice(), new Float64Array((a!.data.length / rows) * columns)];
    eachMatrix(matrixCount(qType!), [qs, rs], (q, r) => {
      for (let j = 0; j < columns; j++) {
        for (let round = 0; round < 2; round++) {
          for (let i = 0; i < j; i++) {
            let overlap = 0;
            for (let p = 0; p < rows; p++) overlap += q![p * columns + i]! * q![p * columns + j]!;
            r![i * columns + j]! += overlap;
            for (let p = 0; p < rows; p++) q![p * columns + j]! -= overlap * q![p * columns + i]!;
          }
        }
        let square = 0;
        for (let p = 0; p < rows; p++) square += q![p * columns + j]! ** 2;
        r![j * columns + j] = Math.sqrt(square);
        for (let p = 0; p < rows; p++) q![p * columns + j]! /= r![j * columns + j]!;
      }
    });
    return [
      { type: qType!, data: qs },
      { type: rType!, data: rs },
    ];
  },
  derivative: {
    kind: "rules",
    jvp({ results: [q, r] }, [da]) {
      const solved = emitOne(triangularSolveOp, [r!, transposed(da!)], {
        lower: false,
        transposed: true,
        unitDiagonal: false,
      });
      const c = transposed(solved);
      const m = product(t(q!), c);
      const w = sub(strictlyLower(m), transposed(strictlyLower(m)) as never) as Tensor;
      const rest = sub(m, w as never) as Tensor;
      return [sub(c, product(q!, rest) as never) as Tensor, product(rest, r!)];
    },
  },
  lowering: { kind: "kernel", lower: lowerQr },
  sample(draw) {
    const { batch, rows, columns } = sampleMatrices(draw, true);
    return {
      inputs: [{ dtype: "f32", shape: [...batch, rows, columns] }],
      attrs: {},
      prepare: prepareMatrices((own, _mirrored, i, j) => own / 2 + (i === j ? 3 : 0)),
    };
  },
};

function lowerQr(context: LowerContext): void {
  const [rows, columns] = matrixSize(context.node.inputs[0]!.type);
  lowerMatrices(context, "qr", 4 * rows * columns ** 2, [], ({ k, matrices: [a, q, r], number, sum }) => {
    k.loop(0, columns, 1, (j) => {
      k.loop(0, rows, 1, (p) => q!.store(a!.load(p, j), p, j));
      k.loop(0, columns, 1, (i) => r!.store(number(0), i, j));
      k.loop(0, 2, 1, () => {
        k.loop(0, j, 1, (i) => {
          const overlap = sum(0, rows, (p) => k.mul(q!.load(p, i), q!.load(p, j)));
          r!.store(k.add(r!.load(i, j), overlap), i, j);
          k.loop(0, rows, 1, (p) => q!.store(k.sub(q!.load(p, j), k.mul(overlap, q!.load(p, i))), p, j));
        });
      });
      const norm = k.unary(
        "sqrt",
        sum(0, rows, (p) => k.mul(q!.load(p, j), q!.load(p, j))),
      );
      r!.store(norm, j, j);
      k.loop(0, rows, 1, (p) => q!.store(k.div(q!.load(p, j), norm), p, j));
    });
  });
}

/** Q [..., m, n] with orthonormal columns and upper triangular R [..., n, n] of A = Q R, for A [..., m, n], m >= n. */
export function qr<S extends Shape, D extends FloatDtype>(
  a: Tensor<S, D>,
): { readonly q: Tensor<S, D>; readonly r: Tensor<readonly number[], D> } {
  const [q, r] = emit(qrOp, [a], {});
  return { q: q as unknown as Tensor<S, D>, r: r as unknown as Tensor<readonly number[], D> };
}
