// Arithmetic on gradients that keeps their structure: sums, multiples, and the square of the norm. What comes out is
// decided when the graph is traced, by sizes alone.

import {
  add,
  cast,
  concat,
  elementCount,
  formatType,
  iota,
  isTensor,
  matmul,
  mul,
  reduceSum,
  sameShape,
  sameType,
  scan,
  ShapeMismatchError,
  splat,
  traceOnce,
} from "@fidelity/core";
import type { FloatDtype, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { blockRows } from "./blocks.ts";
import type {
  Float,
  Flowing,
  Gradient,
  GradientKind,
  GradientOf,
  Integers,
  LowRank,
  Pattern,
  Sparse,
  Ternary,
} from "./gradient.ts";
import { dense, diagonalGradient, isSmaller, lowRank, sparse, structured } from "./gradient.ts";
import { materialise, materialiseRows, mergeRows } from "./materialise.ts";

/**
 * The sum of two gradients of one tensor. Zero is dropped; equal variants stay what they are while they are smaller
 * than the tensor; what differs is a sum of terms while that is smaller, and dense otherwise.
 */
export function addGradients<S extends Shape, D extends FloatDtype>(
  a: Gradient<S, D>,
  b: Gradient<S, D>,
): Gradient<S, D>;
export function addGradients(a: Gradient, b: Gradient): Gradient {
  requireSameType("addGradients", a.type, b.type);
  if (a.kind === "zero") return b;
  if (b.kind === "zero") return a;
  if (a.kind === "ternary" || b.kind === "ternary") return addVotes(a, b);
  return settle(join(a, b));
}

/** Two gradients under one, nothing computed that the terms have not: sums of rows, factors and tensors wait. */
export function join(a: Flowing, b: Flowing): Flowing {
  return structured(a.type, { kind: "sum", terms: [...termsOf(a), ...termsOf(b)] });
}

function termsOf(gradient: Flowing): readonly Flowing[] {
  return gradient.kind === "structured" && gradient.pattern.kind === "sum" ? gradient.pattern.terms : [gradient];
}

/**
 * The smallest form of what has come together at a leaf: terms of one variant are made one, and what is not smaller
 * than the tensor becomes dense.
 */
export function settle(gradient: Flowing): Flowing {
  const terms: Flowing[] = [];
  for (const term of termsOf(gradient)) {
    const united = terms.map((other) => unite(other, term));
    const at = united.findIndex((both) => both !== undefined);
    if (at < 0) terms.push(term);
    else terms[at] = united[at]!;
  }
  const sum = terms.length === 1 ? terms[0]! : structured(gradient.type, { kind: "sum", terms });
  return sum.kind === "dense" || isSmaller(sum) ? sum : dense(materialise(sum));
}

/** The one gradient that two of the same variant come to, where there is one. */
function unite(a: Flowing, b: Flowing): Flowing | undefined {
  if (a.kind === "dense" && b.kind === "dense") return dense(add(a.value, b.value) as Tensor);
  if (a.kind === "sparse" && b.kind === "sparse") return concatRows(a, b);
  if (a.kind === "lowRank" && b.kind === "lowRank") return concatFactors(a, b);
  if (a.kind === "diagonal" && b.kind === "diagonal") return diagonalGradient(add(a.values, b.values) as Float);
  if (a.kind !== "structured" || b.kind !== "structured") return undefined;
  const pattern = unitePatterns(a.pattern, b.pattern);
  return pattern && structured(a.type, pattern);
}

function unitePatterns(a: Pattern, b: Pattern): Pattern | undefined {
  if (a.kind === "sum" || b.kind === "sum" || !sameShape(a.value.shape, b.value.shape)) return undefined;
  const value = (): Float => add(a.value, b.value) as Float;
  if (a.kind === "tiled" && b.kind === "tiled") return { kind: "tiled", value: value() };
  const sameBox = a.kind === "block" && b.kind === "block" && sameShape(a.starts, b.starts);
  return sameBox ? { kind: "block", starts: a.starts, value: value() } : undefined;
}

/** Merging starts anew: what was the last of its index may not be any longer. */
function concatRows(a: Sparse, b: Sparse): Sparse | undefined {
  const rows = a.type.shape[0]!;
  if (a.indices.shape[0]! + b.indices.shape[0]! >= rows) return undefined;
  return sparse(rows, concat([a.indices, b.indices], 0) as Integers, concat([a.values, b.values], 0) as Float);
}

function concatFactors(a: LowRank, b: LowRank): LowRank | undefined {
  const [m, n] = a.type.shape as readonly [number, number];
  if ((a.left.shape[1]! + b.left.shape[1]!) * (m + n) >= m * n) return undefined;
  return lowRank(concat([a.left, b.left], 1) as Float, concat([a.right, b.right], 1) as Float);
}

function addVotes(a: Gradient, b: Gradient): Ternary {
  if (a.kind === "ternary" && b.kind === "ternary" && a.unit === b.unit && a.threshold === b.threshold) {
    return { ...a, votes: add(a.votes, b.votes) };
  }
  throw new ShapeMismatchError(
    "addGradients",
    `cannot add ${describeVotes(a)} and ${describeVotes(b)}`,
    [a.type, b.type],
    "votes add to votes of the same unit and threshold; materialise them first",
  );
}

function describeVotes(gradient: Gradient): string {
  if (gradient.kind !== "ternary") return `a gradient of kind ${gradient.kind}`;
  return `votes of ${gradient.unit} with threshold ${gradient.threshold}`;
}

/** How each variant is multiplied by a scalar: the smaller of two factors is, and votes become numbers. */
const SCALE: { readonly [K in GradientKind]: (g: GradientOf<K>, by: (x: Float) => Float) => Gradient } = {
  zero: (g) => g,
  dense: (g, by) => dense(by(g.value)),
  sparse: (g, by) => ({ ...g, values: by(g.values) }),
  lowRank: (g, by) =>
    g.left.shape[0]! < g.right.shape[0]! ? { ...g, left: by(g.left) } : { ...g, right: by(g.right) },
  diagonal: (g, by) => diagonalGradient(by(g.values)),
  ternary: (g, by) => dense(by(materialise(g))),
  structured: (g, by) => structured(g.type, scalePattern(g.pattern, by)),
};

function scalePattern(pattern: Pattern, by: (x: Float) => Float): Pattern {
  if (pattern.kind !== "sum") return { ...pattern, value: by(pattern.value) };
  return { kind: "sum", terms: pattern.terms.map((term) => mapScale(term, by) as Flowing) };
}

/** A gradient after a function that multiplies tensors by one number, whatever their shape. */
export function mapScale<G extends Gradient>(gradient: G, by: (x: Float) => Float): Gradient {
  return (SCALE[gradient.kind] as (g: Gradient, by: (x: Float) => Float) => Gradient)(gradient, by);
}

/** The gradient times a scalar: a number, or a float tensor of shape []. Votes become dense. */
export function scaleGradient<S extends Shape, D extends FloatDtype>(
  gradient: Gradient<S, D>,
  by: number | Tensor<readonly [], FloatDtype>,
): Gradient<S, D>;
export function scaleGradient(gradient: Gradient, by: number | Tensor<readonly [], FloatDtype>): Gradient {
  const factor = isTensor(by) ? cast(by, gradient.type.dtype as FloatDtype) : by;
  return mapScale(gradient, (x) => mul(x, factor as never) as Float);
}

/**
 * The sum of the squares of all elements, a scalar, without the whole tensor: of rows after merging equal ones, of
 * factors through their Gram matrices (|L R^T|^2 = sum of L^T L times R^T R), of sums of terms by blocks of rows.
 */
export function squaredNorm(gradient: Gradient): Float {
  switch (gradient.kind) {
    case "zero":
      return splat(0, [], gradient.type.dtype) as Tensor as Float;
    case "dense":
      return sumOfSquares(gradient.value);
    case "sparse":
      return sumOfSquares(mergeRows(gradient).values);
    case "lowRank":
      return reduceSum(mul(gram(gradient.left), gram(gradient.right))) as Float;
    case "diagonal":
      return sumOfSquares(gradient.values);
    case "ternary":
      return sumOfSquares(materialise(gradient));
    case "structured": {
      const { pattern, type } = gradient;
      if (pattern.kind === "sum") return normByBlocks(gradient);
      const copies = pattern.kind === "tiled" ? elementCount(type.shape) / elementCount(pattern.value.shape) : 1;
      return mul(sumOfSquares(pattern.value), copies) as Float;
    }
  }
}

/** x^T x of x [n, rank]. */
function gram(x: Float): Float {
  return matmul(x, x, { transposeA: true });
}

function sumOfSquares(x: Float): Float {
  return squares(x)[0];
}

/** One node for each parameter of a model. */
const squares = traceOnce("sum_of_squares", (x: Float) => [reduceSum(mul(x, x)) as Float] as const);

/** Terms of a sum are not orthogonal, so that blocks of it have to be added up first. */
function normByBlocks(gradient: Gradient): Float {
  const rows = blockRows(gradient.type.shape);
  if (rows === undefined) return sumOfSquares(materialise(gradient));
  const starts = mul(iota([gradient.type.shape[0]! / rows]), rows) as Integers;
  const first = splat(0, [], gradient.type.dtype) as Tensor as Float;
  const { carry } = scan(
    (sum: Float, start: Tensor) => ({
      carry: add(sum, sumOfSquares(materialiseRows(gradient, start as Integers, rows))) as Float,
      y: [],
    }),
    first,
    starts as Tensor as never,
  );
  return carry;
}

function requireSameType(op: string, a: TensorType, b: TensorType): void {
  if (sameType(a, b)) return;
  const problem = `gradients of ${formatType(a)} and ${formatType(b)} are not of one tensor`;
  throw new ShapeMismatchError(op, problem, [a, b]);
}
