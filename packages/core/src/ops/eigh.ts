// eigh: A V = V diag(w) for symmetric A, of which only the lower triangle is read; w ascending, V orthogonal, the
// largest number of each vector positive. The cyclic Jacobi method: slower than tridiagonal methods for large matrices,
// and second to none in exactness (Demmel and Veselic 1992, "Jacobi's method is more accurate than QR").
// Derivative (Giles 2008, section 3.1): with M = V^T dA V, dw = diag M and dV = V (F o M), F_ij = 1 / (w_j - w_i) off
// the diagonal. Vectors of equal eigenvalues are not differentiable; F counts as 0 there.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emit } from "../graph.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import type { NoAttrs } from "./elementwise.ts";
import {
  JACOBI_SWEEPS,
  kernelRotation,
  NEGLIGIBLE,
  NEGLIGIBLE_F32,
  rotateColumns,
  rotateKernelColumns,
  rotation,
  signColumns,
  signKernelColumns,
  sortColumns,
  sortKernelColumns,
  sweepPairs,
} from "./linalg/jacobi.ts";
import { eachMatrix, lowerMatrices, matrixCount, matrixSize, requireMatrix } from "./linalg/kernel.ts";
import {
  asColumn,
  asRow,
  diagonal,
  lower,
  prepareMatrices,
  product,
  reciprocalGaps,
  sampleMatrices,
  strictlyLower,
  t,
  times,
  transposed,
} from "./linalg/parts.ts";

/** Results: eigenvalues [..., n], and eigenvectors in the columns of [..., n, n]. */
export const eighOp: OpDef<NoAttrs> = {
  name: "eigh",
  summary: "A V = V diag(w), A symmetric, w ascending",
  infer(inputs) {
    const a = requireMatrix("eigh", inputs, true);
    return [{ dtype: a.dtype, shape: a.shape.slice(0, -1) }, a];
  },
  evaluate([a], _attrs, [valueType, type]) {
    const [n] = matrixSize(type!);
    const values = new Float64Array(elementCount(valueType!.shape));
    const vectors = new Float64Array(a!.data.length);
    eachMatrix(matrixCount(type!), [a!.data, values, vectors], (x, w, v) => {
      const work = x!.map((_own, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        return x![Math.max(i, j) * n + Math.min(i, j)]!;
      });
      for (let i = 0; i < n; i++) v![i * n + i] = 1;
      for (let sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
        for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotatePair(work, v!, n, p, q);
      }
      for (let i = 0; i < n; i++) w![i] = work[i * n + i]!;
      sortColumns(w!, [v!], false);
      signColumns(v!, n, []);
    });
    return [
      { type: valueType!, data: values },
      { type: type!, data: vectors },
    ];
  },
  derivative: {
    kind: "rules",
    jvp({ results: [w, v] }, [da]) {
      const symmetric = add(lower(da!), transposed(strictlyLower(da!)) as never) as Tensor;
      const m = product(t(v!), product(symmetric, v!));
      return [diagonal(m), product(v!, times(reciprocalGaps(asRow(w!), asColumn(w!)), m))];
    },
  },
  lowering: { kind: "kernel", lower: lowerEigh },
  sample(draw) {
    const { batch, rows } = sampleMatrices(draw);
    return {
      inputs: [{ dtype: "f32", shape: [...batch, rows, rows] }],
      attrs: {},
      prepare: prepareMatrices((own, _mirrored, i, j) => (i === j ? 3 * ((i * 2) % 5) + own / 2 : own / 2)),
    };
  },
};

/** Makes element (p, q) of a symmetric matrix 0, and turns the vectors with it. */
function rotatePair(work: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
  const [a, b, g] = [work[p * n + p]!, work[q * n + q]!, work[p * n + q]!];
  if (Math.abs(g) <= NEGLIGIBLE * (Math.abs(a) + Math.abs(b))) return;
  const [cos, sin] = rotation(a, b, g);
  rotateColumns(work, n, p, q, cos, sin);
  for (let i = 0; i < n; i++) {
    const [x, y] = [work[p * n + i]!, work[q * n + i]!];
    work[p * n + i] = cos * x - sin * y;
    work[q * n + i] = sin * x + cos * y;
  }
  rotateColumns(v, n, p, q, cos, sin);
}

function lowerEigh(context: LowerContext): void {
  const { type } = context.node.inputs[0]!;
  const [n] = matrixSize(type);
  const negligible = type.dtype === "f64" ? NEGLIGIBLE : NEGLIGIBLE_F32;
  lowerMatrices(context, "eigh", 30 * n ** 3, [[n, n]], (kernel) => {
    const { k, number } = kernel;
    const [a, w, v, work] = kernel.matrices as [(typeof kernel.matrices)[0], ...typeof kernel.matrices];
    k.loop(0, n, 1, (i) => {
      k.loop(0, n, 1, (j) => {
        work!.store(a.load(k.max(i, j), k.min(i, j)), i, j);
        v!.store(k.select(k.compare("eq", i, j), number(1), number(0)), i, j);
      });
    });
    sweepPairs(kernel, n, (p, q) => {
      const [x, y, g] = [work!.load(p, p), work!.load(q, q), work!.load(p, q)];
      const size = k.mul(number(negligible), k.add(k.unary("abs", x), k.unary("abs", y)));
      k.if(k.compare("gt", k.unary("abs", g), size), () => {
        const angle = kernelRotation(kernel, x, y, g);
        const [cos, sin] = angle;
        rotateKernelColumns(kernel, work!, n, [p, q], angle);
        k.loop(0, n, 1, (i) => {
          const [above, below] = [work!.load(p, i), work!.load(q, i)];
          work!.store(k.sub(k.mul(cos, above), k.mul(sin, below)), p, i);
          work!.store(k.add(k.mul(sin, above), k.mul(cos, below)), q, i);
        });
        rotateKernelColumns(kernel, v!, n, [p, q], angle);
        return [];
      });
    });
    k.loop(0, n, 1, (i) => w!.store(work!.load(i, i), k.index(0), i));
    sortKernelColumns(kernel, w!, n, [{ matrix: v!, rows: n }], false);
    signKernelColumns(kernel, n, [{ matrix: v!, rows: n }]);
  });
}

/** Eigenvalues [..., n], ascending, and eigenvectors (columns) of symmetric matrices `a` [..., n, n]. */
export function eigh<S extends Shape, D extends FloatDtype>(
  a: Tensor<S, D>,
): { readonly values: Tensor<readonly number[], D>; readonly vectors: Tensor<S, D> } {
  const [values, vectors] = emit(eighOp, [a], {});
  return {
    values: values as unknown as Tensor<readonly number[], D>,
    vectors: vectors as unknown as Tensor<S, D>,
  };
}
