// From a gradient of any variant to tensors: all of it, or some of its rows, which is how an optimiser that works on
// blocks of rows never needs the whole.

import {
  add,
  broadcastTo,
  cast,
  diagonalMatrix,
  dynamicSlice,
  eq,
  iota,
  lastWithSameId,
  le,
  logicalAnd,
  lt,
  matmul,
  max,
  min,
  mul,
  pad,
  reshape,
  scatterAdd,
  scatterRows,
  select,
  splat,
  sub,
  transpose,
} from "@fidelity/core";
import type { FloatDtype, Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Float, Flowing, Gradient, Integers, LowRank, Sparse } from "./gradient.ts";
import { matrixShape } from "./gradient.ts";

/** The tensor that a gradient stands for. */
export function materialise<S extends Shape, D extends FloatDtype>(gradient: Gradient<S, D>): Tensor<S, D>;
export function materialise(gradient: Gradient): Tensor {
  const { shape, dtype } = gradient.type;
  switch (gradient.kind) {
    case "zero":
      return splat(0, shape, dtype);
    case "dense":
      return gradient.value;
    case "sparse":
      return scatterAdd(gradient.indices, gradient.values, shape[0]!);
    case "lowRank":
      return product(gradient);
    case "diagonal":
      return diagonalMatrix(gradient.values);
    case "ternary":
      return mul(cast(gradient.votes, dtype as FloatDtype), gradient.unit);
    case "structured": {
      const { pattern } = gradient;
      if (pattern.kind === "tiled") return broadcastTo(pattern.value, shape);
      if (pattern.kind === "sum") return sumOf(pattern.terms);
      const { value, starts } = pattern;
      const high = shape.map((dim, axis) => dim - starts[axis]! - value.shape[axis]!);
      return pad(value, starts, high);
    }
  }
}

/** Rows are added to what the other terms come to, in its memory. */
function sumOf(terms: readonly Flowing[]): Float {
  const rows = terms.filter((term) => term.kind === "sparse");
  const others = terms.filter((term) => term.kind !== "sparse").map((term) => materialise(term));
  if (others.length === 0) return terms.map((term) => materialise(term)).reduce((a, b) => add(a, b) as Float);
  const sum = others.reduce((a, b) => add(a, b) as Float);
  return rows.reduce((into, { indices, values }) => scatterRows(into, indices, values as Float, "add"), sum);
}

/**
 * `count` rows of the matrix that a gradient stands for, from the i32 scalar `start` on: [count, columns]. Only they
 * are computed, for all variants but dense ones and patterns, of which they are read.
 */
export function materialiseRows(gradient: Gradient, start: Integers, count: number): Float {
  const [, columns] = matrixShape(gradient);
  switch (gradient.kind) {
    case "zero":
      return splat(0, [count, columns], gradient.type.dtype) as Tensor as Float;
    case "sparse":
      return sparseRows(gradient, start, count);
    case "lowRank":
      return product({ ...gradient, left: rowsFrom(gradient.left, start, count) });
    case "ternary": {
      const votes = rowsFrom(gradient.votes, start, count);
      return mul(cast(votes, gradient.type.dtype as FloatDtype), gradient.unit) as Float;
    }
    case "structured": {
      const { pattern } = gradient;
      if (pattern.kind === "sum") {
        return pattern.terms.map((term) => materialiseRows(term, start, count)).reduce((a, b) => add(a, b) as Float);
      }
      const whole = pattern.kind === "tiled" && pattern.value.shape[0] === 1;
      if (whole) return broadcastTo(pattern.value, [count, columns]) as Float;
      return rowsFrom(materialise(gradient), start, count);
    }
    case "diagonal": {
      const row = add(reshape(iota([count]), [count, 1]), start as never) as Integers;
      const isDiagonal = eq(iota([count, columns]), row as never) as Tensor<Shape, "bool">;
      return select(isDiagonal, broadcastTo(gradient.values, [count, columns]), 0) as Float;
    }
    case "dense":
      return rowsFrom(gradient.value, start, count);
  }
}

/** Rows of a tensor; of one that is transposed, columns of what it is the transpose of, so that no copy is made. */
function rowsFrom<T extends Tensor>(x: T, start: Integers, count: number): T;
function rowsFrom(x: Tensor, start: Integers, count: number): Tensor {
  const source = x.node.op.name === "transpose" && x.rank === 2 ? x.node.inputs[0] : undefined;
  if (source === undefined) return dynamicSlice(x, start, 0, count);
  return transpose(dynamicSlice(source, start, 1, count) as Tensor) as Tensor;
}

/** Rows that lie elsewhere are added to the block's first or last row as zeros. */
function sparseRows({ indices, values }: Sparse, start: Integers, count: number): Float {
  const local = sub(indices, start as never) as Integers;
  const inside = logicalAnd(le(0, local) as never, lt(local, count) as never) as Tensor<Shape, "bool">;
  const mask = broadcastTo(reshape(inside, [...inside.shape, 1]), values.shape) as Tensor<Shape, "bool">;
  const place = min(max(local, 0), count - 1) as Integers;
  return scatterAdd(place, select(mask, values, 0) as Float, count) as Tensor as Float;
}

function product({ left, right }: LowRank): Float {
  return matmul(left, right, { transposeA: false, transposeB: true });
}

/** A sparse gradient in which equal indices have been merged: see `Sparse.last`. */
export function mergeRows(gradient: Sparse): Sparse & { readonly last: Integers } {
  const { indices, values, last: known } = gradient;
  if (known !== undefined) return { ...gradient, last: known };
  const last = lastWithSameId(indices, gradient.type.shape[0]!);
  return { ...gradient, values: scatterAdd(last, values, indices.shape[0]!) as Tensor as Float, last };
}
