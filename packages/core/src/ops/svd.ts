// svd: A = U diag(s) V^T for matrices with at least as many rows as columns; s descending, the columns of U and V
// orthonormal, the largest number of each column of V positive. One-sided Jacobi (Hestenes 1958; Demmel and Veselic
// 1992): columns of A are rotated in pairs until they are orthogonal; small singular values keep their digits. Columns
// of U that belong to singular values of 0 are 0.
// Derivative (Townsend 2016, "Differentiating the singular value decomposition"): with P = U^T dA V, S = diag(s) and
// F_ij = 1 / (s_j^2 - s_i^2) off the diagonal,
//   ds = diag P,  dV = V (F o (S P + P^T S)),  dU = U (F o (P S + S P^T)) + (I - U U^T) dA V S^-1.
// Vectors of equal singular values are not differentiable; F counts as 0 there.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emit } from "../graph.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import { div } from "./div.ts";
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
  prepareMatrices,
  product,
  reciprocalGaps,
  sampleMatrices,
  t,
  times,
  transposed,
} from "./linalg/parts.ts";
import { sub } from "./sub.ts";

/** Results: U [..., m, n], singular values [..., n], V [..., n, n]. */
export const svdOp: OpDef<NoAttrs> = {
  name: "svd",
  summary: "A = U diag(s) V^T, s descending",
  infer(inputs) {
    const a = requireMatrix("svd", inputs, false);
    const [rows, columns] = matrixSize(a);
    requireShape(rows >= columns, "svd", "fewer rows than columns", inputs, "factor the transpose");
    const lead = a.shape.slice(0, -2);
    return [a, { dtype: a.dtype, shape: [...lead, columns] }, { dtype: a.dtype, shape: [...lead, columns, columns] }];
  },
  evaluate([a], _attrs, [uType, sType, vType]) {
    const n = matrixSize(uType!)[1];
    const u = a!.data.slice();
    const [s, v] = [sType, vType].map((type) => new Float64Array(elementCount(type!.shape))) as [
      Float64Array,
      Float64Array,
    ];
    eachMatrix(matrixCount(uType!), [u, s, v], (left, values, right) => {
      for (let i = 0; i < n; i++) right![i * n + i] = 1;
      for (let sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
        for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) orthogonalize(left!, right!, n, p, q);
      }
      for (let j = 0; j < n; j++) {
        values![j] = Math.sqrt(columnProduct(left!, n, j, j));
        const scale = values![j] === 0 ? 0 : 1 / values![j]!;
        for (let at = j; at < left!.length; at += n) left![at]! *= scale;
      }
      sortColumns(values!, [left!, right!], true);
      signColumns(right!, n, [left!]);
    });
    return [
      { type: uType!, data: u },
      { type: sType!, data: s },
      { type: vType!, data: v },
    ];
  },
  derivative: {
    kind: "rules",
    jvp({ results: [u, s, v] }, [da]) {
      const p = product(t(u!), product(da!, v!));
      const [row, column] = [asRow(s!), asColumn(s!)];
      const gaps = reciprocalGaps(times(row, row), times(column, column));
      const sum = (x: Tensor, y: Tensor): Tensor => add(x, y as never) as Tensor;
      const forU = product(u!, times(gaps, sum(times(p, row), times(transposed(p), column))));
      const forV = product(v!, times(gaps, sum(times(p, column), times(transposed(p), row))));
      const [rows, columns] = matrixSize(u!.type);
      if (rows === columns) return [forU, diagonal(p), forV];
      const outside = div(product(da!, v!), row as never) as Tensor;
      const beyond = sub(outside, product(u!, product(t(u!), outside)) as never) as Tensor;
      return [sum(forU, beyond), diagonal(p), forV];
    },
  },
  lowering: { kind: "kernel", lower: lowerSvd },
  sample(draw) {
    const { batch, rows, columns } = sampleMatrices(draw, true);
    return {
      inputs: [{ dtype: "f32", shape: [...batch, rows, columns] }],
      attrs: {},
      prepare: prepareMatrices((own, _mirrored, i, j) => own / 4 + (i === j ? 2 + 2 * ((i * 2) % 5) : 0)),
    };
  },
};

function columnProduct(x: Float64Array, columns: number, p: number, q: number): number {
  let sum = 0;
  for (let at = 0; at < x.length; at += columns) sum += x[at + p]! * x[at + q]!;
  return sum;
}

/** Rotates two columns of `left` so that they are orthogonal, and those of `right` with them. */
function orthogonalize(left: Float64Array, right: Float64Array, n: number, p: number, q: number): void {
  const [a, b, g] = [columnProduct(left, n, p, p), columnProduct(left, n, q, q), columnProduct(left, n, p, q)];
  if (Math.abs(g) <= NEGLIGIBLE * Math.sqrt(a * b)) return;
  const [cos, sin] = rotation(a, b, g);
  rotateColumns(left, n, p, q, cos, sin);
  rotateColumns(right, n, p, q, cos, sin);
}

function lowerSvd(context: LowerContext): void {
  const { type } = context.node.inputs[0]!;
  const [rows, n] = matrixSize(type);
  const negligible = type.dtype === "f64" ? NEGLIGIBLE : NEGLIGIBLE_F32;
  lowerMatrices(context, "svd", 40 * rows * n ** 2, [], (kernel) => {
    const { k, number, sum } = kernel;
    const [a, u, s, v] = kernel.matrices as [(typeof kernel.matrices)[0], ...typeof kernel.matrices];
    k.loop(0, rows, 1, (i) => k.loop(0, n, 1, (j) => u!.store(a.load(i, j), i, j)));
    k.loop(0, n, 1, (i) => {
      k.loop(0, n, 1, (j) => v!.store(k.select(k.compare("eq", i, j), number(1), number(0)), i, j));
    });
    sweepPairs(kernel, n, (p, q) => {
      const dot = (i: typeof p, j: typeof p): typeof p => sum(0, rows, (at) => k.mul(u!.load(at, i), u!.load(at, j)));
      const [x, y, g] = [dot(p, p), dot(q, q), dot(p, q)];
      const size = k.mul(number(negligible), k.unary("sqrt", k.mul(x, y)));
      k.if(k.compare("gt", k.unary("abs", g), size), () => {
        const angle = kernelRotation(kernel, x, y, g);
        rotateKernelColumns(kernel, u!, rows, [p, q], angle);
        rotateKernelColumns(kernel, v!, n, [p, q], angle);
        return [];
      });
    });
    k.loop(0, n, 1, (j) => {
      const norm = k.unary(
        "sqrt",
        sum(0, rows, (i) => k.mul(u!.load(i, j), u!.load(i, j))),
      );
      const isZero = k.compare("eq", norm, number(0));
      s!.store(norm, k.index(0), j);
      const divisor = k.select(isZero, number(1), norm);
      k.loop(0, rows, 1, (i) => u!.store(k.div(u!.load(i, j), divisor), i, j));
    });
    const both = [
      { matrix: v!, rows: n },
      { matrix: u!, rows },
    ];
    sortKernelColumns(kernel, s!, n, both, true);
    signKernelColumns(kernel, n, both);
  });
}

/** What `svd` gives: A = u diag(s) v^T, with k the smaller of rows and columns. */
export interface Svd<D extends FloatDtype> {
  /** [..., m, k]. */
  readonly u: Tensor<readonly number[], D>;
  /** [..., k], descending. */
  readonly s: Tensor<readonly number[], D>;
  /** [..., n, k]. */
  readonly v: Tensor<readonly number[], D>;
}

/** The singular value decomposition of matrices [..., m, n]. */
export function svd<D extends FloatDtype>(a: Tensor<Shape, D>): Svd<D> {
  const isWide = a.rank >= 2 && a.shape[a.rank - 2]! < a.shape[a.rank - 1]!;
  const [left, s, right] = emit(svdOp, [isWide ? transposed(a) : a], {}) as unknown as Tensor<readonly number[], D>[];
  return isWide ? { u: right!, s: s!, v: left! } : { u: left!, s: s!, v: right! };
}
