// lu: P A = L U by elimination with partial pivoting, L unit lower and U upper triangular, packed into one matrix. The
// permutation is given as the row of A that each row of L U comes from. Solving, inverses and determinants stand on it.
// Derivative (Giles 2008; de Hoog, Anderssen, Lukas 2011, "Differentiation of matrix functionals using triangular
// factorization"): with F = L^-1 (P dA) U^-1, dL = L strictlyLower(F) and dU = upper(F) U. The permutation does not
// change in a small neighbourhood.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emit, emitOne } from "../graph.ts";
import { INDEX, I32 } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { elementCount } from "../storage.ts";
import { abs } from "./abs.ts";
import { add } from "./add.ts";
import type { NoAttrs } from "./elementwise.ts";
import { gather } from "./gather.ts";
import { iota } from "./iota.ts";
import { eachMatrix, lowerMatrices, matrixCount, matrixSize, requireMatrix } from "./linalg/kernel.ts";
import {
  diagonal,
  identityLike,
  prepareMatrices,
  product,
  sampleMatrices,
  strictlyLower,
  transposed,
  upper,
} from "./linalg/parts.ts";
import { log } from "./log.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";
import { triangularSolveOp } from "./triangular_solve.ts";

/** Results: L and U in one matrix, and the permutation of rows, i32 [..., n]. */
export const luOp: OpDef<NoAttrs> = {
  name: "lu",
  summary: "A[p] = L U, with L - I + U and the rows p",
  infer(inputs) {
    const a = requireMatrix("lu", inputs, true);
    return [a, { dtype: "i32", shape: a.shape.slice(0, -1) }];
  },
  evaluate([a], _attrs, [type, rowType]) {
    const [n] = matrixSize(type!);
    const data = a!.data.slice();
    const rows = new Float64Array(elementCount(rowType!.shape));
    eachMatrix(matrixCount(type!), [data, rows], (x, order) => {
      for (let i = 0; i < n; i++) order![i] = i;
      for (let j = 0; j < n; j++) {
        let pivot = j;
        for (let i = j + 1; i < n; i++) if (Math.abs(x![i * n + j]!) > Math.abs(x![pivot * n + j]!)) pivot = i;
        [order![j], order![pivot]] = [order![pivot]!, order![j]!];
        for (let p = 0; p < n; p++) [x![j * n + p], x![pivot * n + p]] = [x![pivot * n + p]!, x![j * n + p]!];
        for (let i = j + 1; i < n; i++) {
          const factor = (x![i * n + j]! /= x![j * n + j]!);
          for (let p = j + 1; p < n; p++) x![i * n + p]! -= factor * x![j * n + p]!;
        }
      }
    });
    return [
      { type: type!, data },
      { type: rowType!, data: rows },
    ];
  },
  derivative: {
    kind: "rules",
    jvp({ results: [both, rows] }, [da]) {
      const inner = solveUnitLower(both!, permuteRows(da!, rows!));
      // F = inner U^-1, as the transpose of U^-T inner^T.
      const f = transposed(solveUpper(both!, transposed(inner), true));
      const l = add(strictlyLower(both!), identityLike(both!) as never) as Tensor;
      return [add(product(l, strictlyLower(f)), product(upper(f), upper(both!)) as never) as Tensor, undefined];
    },
  },
  lowering: { kind: "kernel", lower: lowerLu },
  sample(draw) {
    const { batch, rows } = sampleMatrices(draw);
    return {
      inputs: [{ dtype: "f32", shape: [...batch, rows, rows] }],
      attrs: {},
      // Well away from matrices that have two pivots of one size.
      prepare: prepareMatrices((own, _mirrored, i, j) => own / 4 + ((i + 1) % rows === j ? 5 : i === j ? 2 : 0)),
    };
  },
};

function lowerLu(context: LowerContext): void {
  const [n] = matrixSize(context.node.inputs[0]!.type);
  lowerMatrices(context, "lu", (2 / 3) * n ** 3, [], ({ k, matrices: [a, x, order] }) => {
    const zero = k.index(0);
    k.loop(0, n, 1, (i) => {
      order!.store(k.convert(I32, i), zero, i);
      k.loop(0, n, 1, (j) => x!.store(a!.load(i, j), i, j));
    });
    k.loop(0, n, 1, (j) => {
      const after = k.add(j, k.index(1));
      const start = k.unary("abs", x!.load(j, j));
      const [row] = k.for(after, n, 1, [k.convert(I32, j), start], (i, [best, largest]) => {
        const size = k.unary("abs", x!.load(i, j));
        const isLarger = k.compare("gt", size, largest!);
        return [k.select(isLarger, k.convert(I32, i), best!), k.select(isLarger, size, largest!)];
      });
      const pivot = k.convert(INDEX, row!);
      const [mine, other] = [order!.load(zero, j), order!.load(zero, pivot)];
      order!.store(other, zero, j);
      order!.store(mine, zero, pivot);
      k.loop(0, n, 1, (p) => {
        const [here, there] = [x!.load(j, p), x!.load(pivot, p)];
        x!.store(there, j, p);
        x!.store(here, pivot, p);
      });
      const diagonalValue = x!.load(j, j);
      k.loop(after, n, 1, (i) => {
        const factor = k.div(x!.load(i, j), diagonalValue);
        x!.store(factor, i, j);
        k.loop(after, n, 1, (p) => x!.store(k.sub(x!.load(i, p), k.mul(factor, x!.load(j, p))), i, p));
      });
    });
  });
}

/** Row rows[..., i] of each matrix, for every i. */
function permuteRows(x: Tensor, rows: Tensor): Tensor {
  const [n, columns] = x.shape.slice(-2) as [number, number];
  const count = elementCount(x.shape.slice(0, -2));
  const first = reshape(mul(iota([count]), n) as Tensor<Shape, "i32">, [count, 1]);
  const ids = add(reshape(rows as Tensor<Shape, "i32">, [count, n]), first as never) as Tensor<Shape, "i32">;
  return reshape(gather(reshape(x, [count * n, columns]), ids), x.shape);
}

function solveUnitLower(both: Tensor, b: Tensor): Tensor {
  return emitOne(triangularSolveOp, [both, b], { lower: true, transposed: false, unitDiagonal: true });
}

function solveUpper(both: Tensor, b: Tensor, isTransposed = false): Tensor {
  return emitOne(triangularSolveOp, [both, b], { lower: false, transposed: isTransposed, unitDiagonal: false });
}

/** L and U of P A = L U in one matrix, and the row of A that each of their rows comes from, for A [..., n, n]. */
export function lu<S extends Shape, D extends FloatDtype>(
  a: Tensor<S, D>,
): { readonly lu: Tensor<S, D>; readonly rows: Tensor<readonly number[], "i32"> } {
  const [both, rows] = emit(luOp, [a], {});
  return { lu: both as unknown as Tensor<S, D>, rows: rows as unknown as Tensor<readonly number[], "i32"> };
}

/** X of A X = B for matrices `a` [..., n, n] and right sides `b` [..., n, columns]; not finite if A is singular. */
export function solve<S extends Shape, D extends FloatDtype>(a: Tensor<Shape, D>, b: Tensor<S, D>): Tensor<S, D> {
  const [both, rows] = emit(luOp, [a], {}) as [Tensor, Tensor];
  return solveUpper(both, solveUnitLower(both, permuteRows(b, rows))) as unknown as Tensor<S, D>;
}

/** The inverse of matrices [..., n, n]. `solve` is cheaper and more exact where a product with it is wanted. */
export function inverse<S extends Shape, D extends FloatDtype>(a: Tensor<S, D>): Tensor<S, D> {
  return solve(a, identityLike(a) as Tensor<S, D>);
}

/** ln |det A| of matrices [..., n, n]: [...]. */
export function logdet<D extends FloatDtype>(a: Tensor<Shape, D>): Tensor<readonly number[], D> {
  const [both] = emit(luOp, [a], {}) as [Tensor, Tensor];
  return reduceSum(log(abs(diagonal(both) as Tensor<Shape, D>)), -1) as unknown as Tensor<readonly number[], D>;
}
