// triangular_solve: X of op(A) X = B by substitution, A lower or upper triangular, op(A) = A or A^T. The other triangle
// of A is not read, and with `unitDiagonal` the diagonal neither, which counts as 1. A zero on the diagonal gives
// infinities.
// It is linear in B; from op(dA) X + op(A) dX = dB follows dX = op(A)^-1 (dB - op(dA) X) (Giles 2008, section 2.2.2).

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { eachMatrix, lowerMatrices, matrixCount, matrixSize, requireMatrix } from "./linalg/kernel.ts";
import {
  lower,
  prepareMatrices,
  product,
  sampleMatrices,
  strictlyLower,
  t,
  transposed,
  upper,
} from "./linalg/parts.ts";
import { neg } from "./neg.ts";
import { sub } from "./sub.ts";

export type TriangularSolveAttrs = {
  readonly lower: boolean;
  /** Solve with the transpose of A. */
  readonly transposed: boolean;
  readonly unitDiagonal: boolean;
};

const NAME = "triangular_solve";

export const triangularSolveOp: OpDef<TriangularSolveAttrs> = {
  name: NAME,
  summary: "X of op(A) X = B, A triangular",
  infer(inputs) {
    const a = requireMatrix(NAME, inputs, true);
    const b = inputs[1]!;
    requireShape(b.dtype === a.dtype, NAME, "dtypes differ", inputs, "cast one of them");
    const fits = b.shape.length === a.shape.length && sameShape(a.shape.slice(0, -1), b.shape.slice(0, -1));
    requireShape(fits && b.shape.at(-1)! > 0, NAME, "the right sides are not [..., n, columns]", inputs);
    return [b];
  },
  evaluate([a, b], attrs, [type]) {
    const [n, columns] = matrixSize(type!);
    const data = new Float64Array(b!.data.length);
    const forward = attrs.lower !== attrs.transposed;
    eachMatrix(matrixCount(type!), [a!.data, b!.data, data], (x, y, z) => {
      const element = (i: number, j: number): number => (attrs.transposed ? x![j * n + i]! : x![i * n + j]!);
      for (let step = 0; step < n; step++) {
        const i = forward ? step : n - 1 - step;
        for (let c = 0; c < columns; c++) {
          let rest = y![i * columns + c]!;
          for (let p = forward ? 0 : i + 1; p < (forward ? i : n); p++) rest -= element(i, p) * z![p * columns + c]!;
          z![i * columns + c] = attrs.unitDiagonal ? rest : rest / element(i, i);
        }
      }
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [a], results: [x] }, [da, db], attrs) {
      if (da === undefined) return [emitOne(triangularSolveOp, [a!, db!], attrs)];
      const moved = product(attrs.transposed ? t(triangle(da, attrs)) : triangle(da, attrs), x!);
      const right =
        db === undefined ? (neg(moved as Tensor<Shape, "f64">) as Tensor) : (sub(db, moved as never) as Tensor);
      return [emitOne(triangularSolveOp, [a!, right], attrs)];
    },
    transpose: ({ inputs: [a] }, [ct], [, inB], attrs) => [
      undefined,
      inB ? emitOne(triangularSolveOp, [a!, ct!], { ...attrs, transposed: !attrs.transposed }) : undefined,
    ],
  },
  lowering: { kind: "kernel", lower: lowerTriangularSolve },
  sample(draw) {
    const { batch, rows } = sampleMatrices(draw);
    const [a, b] = [rows, draw.int(1, 3)].map((columns): TensorType => ({
      dtype: "f32",
      shape: [...batch, rows, columns],
    }));
    const flag = (): boolean => draw.int(0, 1) === 1;
    return {
      inputs: [a!, b!],
      attrs: { lower: flag(), transposed: flag(), unitDiagonal: flag() },
      prepare: prepareMatrices((own, _mirrored, i, j) => (i === j ? 3 + own : own / 2)),
    };
  },
};

/** The part of a tangent of A that is read. */
function triangle(da: Tensor, { lower: isLower, unitDiagonal }: TriangularSolveAttrs): Tensor {
  if (isLower) return unitDiagonal ? strictlyLower(da) : lower(da);
  return unitDiagonal ? transposed(strictlyLower(transposed(da))) : upper(da);
}

function lowerTriangularSolve(context: LowerContext, attrs: TriangularSolveAttrs): void {
  const [n, columns] = matrixSize(context.node.results[0]!.type);
  const forward = attrs.lower !== attrs.transposed;
  lowerMatrices(context, NAME, n * n * columns, [], ({ k, matrices: [a, b, x], sum }) => {
    const element = (i: LoopValue, j: LoopValue): LoopValue => (attrs.transposed ? a!.load(j, i) : a!.load(i, j));
    k.loop(0, n, 1, (step) => {
      const i = forward ? step : k.sub(k.index(n - 1), step);
      const [low, high] = forward ? [k.index(0), i] : [k.add(i, k.index(1)), k.index(n)];
      k.loop(0, columns, 1, (c) => {
        const rest = sum(low, high, (p) => k.unary("neg", k.mul(element(i, p), x!.load(p, c))), b!.load(i, c));
        x!.store(attrs.unitDiagonal ? rest : k.div(rest, element(i, i)), i, c);
      });
    });
  });
}

export interface TriangularSolveOptions {
  /** Whether A is lower triangular; true by default. */
  readonly lower?: boolean;
  /** Solve with the transpose of A. */
  readonly transposed?: boolean;
  /** Take the diagonal of A for ones. */
  readonly unitDiagonal?: boolean;
}

/** X of A X = B for triangular matrices `a` [..., n, n] and right sides `b` [..., n, columns]. */
export function triangularSolve<S extends Shape, D extends FloatDtype>(
  a: Tensor<Shape, D>,
  b: Tensor<S, D>,
  options: TriangularSolveOptions = {},
): Tensor<S, D> {
  const { lower: isLower = true, transposed: isTransposed = false, unitDiagonal = false } = options;
  const attrs = { lower: isLower, transposed: isTransposed, unitDiagonal };
  return emitOne(triangularSolveOp, [a, b], attrs) as unknown as Tensor<S, D>;
}
