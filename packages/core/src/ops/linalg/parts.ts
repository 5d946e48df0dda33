// Small expressions over batches of matrices that derivative rules of linear algebra are made of.

import type { Shape } from "@fidelity/units";
import type { Tensor } from "../../graph.ts";
import { emitOne } from "../../graph.ts";
import type { CaseDraw, OpCase } from "../../op.ts";
import type { HostTensor } from "../../host.ts";
import { cast } from "../cast.ts";
import { div } from "../div.ts";
import { eq } from "../eq.ts";
import { broadcastTo } from "../broadcast.ts";
import { iota } from "../iota.ts";
import { le } from "../le.ts";
import { lt } from "../lt.ts";
import { matmulOp } from "../matmul.ts";
import { mul } from "../mul.ts";
import { reduceSum } from "../reduce_sum.ts";
import { reshape } from "../reshape.ts";
import { select } from "../select.ts";
import { sub } from "../sub.ts";
import { transpose } from "../transpose.ts";

/** A matrix of a batch, or its transpose. */
export interface Factor {
  readonly matrix: Tensor;
  readonly transposed: boolean;
}

/** The transpose of the last two axes, to be folded into a product. */
export function t(matrix: Tensor): Factor {
  return { matrix, transposed: true };
}

const factorOf = (of: Tensor | Factor): Factor => ("matrix" in of ? of : { matrix: of, transposed: false });

/** The product of two batches of matrices. */
export function product(left: Tensor | Factor, right: Tensor | Factor): Tensor {
  const [a, b] = [factorOf(left), factorOf(right)];
  return emitOne(matmulOp, [a.matrix, b.matrix], { transposeA: a.transposed, transposeB: b.transposed });
}

/** The last two axes exchanged. */
export function transposed(x: Tensor): Tensor {
  return transpose(x);
}

type Comparison = (row: Tensor<Shape, "i32">, column: Tensor<Shape, "i32">) => Tensor;

/** The elements of x whose row and column compare so; zeros elsewhere. */
function where(x: Tensor, compare: Comparison): Tensor {
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const row = reshape(iota([rows]) as Tensor<Shape, "i32">, [rows, 1]) as Tensor<Shape, "i32">;
  const column = reshape(iota([columns]) as Tensor<Shape, "i32">, [1, columns]) as Tensor<Shape, "i32">;
  const mask = broadcastTo(compare(row, column) as Tensor<Shape, "bool">, x.shape);
  return select(mask as Tensor<Shape, "bool">, x, 0) as Tensor;
}

/** The lower triangle with the diagonal. */
export const lower = (x: Tensor): Tensor => where(x, (row, column) => le(column, row as never) as Tensor);
/** The lower triangle without the diagonal. */
export const strictlyLower = (x: Tensor): Tensor => where(x, (row, column) => lt(column, row as never) as Tensor);
/** The upper triangle with the diagonal. */
export const upper = (x: Tensor): Tensor => where(x, (row, column) => le(row, column as never) as Tensor);
/** The diagonal, as a matrix. */
export const diagonalPart = (x: Tensor): Tensor => where(x, (row, column) => eq(row, column as never) as Tensor);

/** The diagonal of square matrices: [..., n]. */
export function diagonal(x: Tensor): Tensor {
  return reduceSum(diagonalPart(x), [x.rank - 1]) as Tensor;
}

/** 1 on the diagonal, in the shape and dtype of x. */
export function identityLike(x: Tensor): Tensor {
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const row = reshape(iota([rows]) as Tensor<Shape, "i32">, [rows, 1]) as Tensor<Shape, "i32">;
  const column = reshape(iota([columns]) as Tensor<Shape, "i32">, [1, columns]) as Tensor<Shape, "i32">;
  return broadcastTo(cast(eq(row, column as never) as Tensor, x.dtype), x.shape) as Tensor;
}

/** [..., n] as a row of each matrix, [..., 1, n]; multiplies columns. */
export function asRow(x: Tensor): Tensor {
  return reshape(x, [...x.shape.slice(0, -1), 1, x.shape[x.rank - 1]!]);
}

/** [..., n] as a column of each matrix, [..., n, 1]; multiplies rows. */
export function asColumn(x: Tensor): Tensor {
  return reshape(x, [...x.shape, 1]);
}

/** Elementwise product with broadcasting, whatever the types know. */
export function times(x: Tensor, y: Tensor): Tensor {
  return mul(x, y as never) as Tensor;
}

/** A case of random matrices [batch..., rows, columns] that `shapeValues` makes into those that the op is meant for. */
export function sampleMatrices(draw: CaseDraw, wide = false): { batch: number[]; rows: number; columns: number } {
  const columns = draw.int(1, 4);
  return { batch: draw.pick([[], [2], [2, 1]]), rows: wide ? columns + draw.int(0, 3) : columns, columns };
}

/** Makes every matrix of the first input from random numbers: element (i, j) from its own and that of (j, i). */
export function prepareMatrices(
  element: (own: number, mirrored: number, row: number, column: number) => number,
): NonNullable<OpCase["prepare"]> {
  return ([first, ...rest]: readonly HostTensor[]) => {
    const [rows, columns] = first!.type.shape.slice(-2) as [number, number];
    const data = first!.data.map((own, at) => {
      const within = at % (rows * columns);
      const [row, column] = [Math.floor(within / columns), within % columns];
      const mirrored = rows === columns ? first!.data[at - within + column * columns + row]! : own;
      return Math.fround(element(own, mirrored, row, column));
    });
    return [{ ...first!, data }, ...rest];
  };
}

/** 1 / (x - y) with broadcasting, and 0 where they are equal. */
export function reciprocalGaps(x: Tensor, y: Tensor): Tensor {
  const gap = sub(x, y as never) as Tensor;
  const isZero = eq(gap, 0) as Tensor<Shape, "bool">;
  const divisor = select(isZero, 1, gap) as Tensor;
  return select(isZero, 0, div(1, divisor) as Tensor) as Tensor;
}
