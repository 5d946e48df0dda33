// Gradients as a discriminated union: what is known of a gradient's structure stays in it, until somebody needs the
// whole tensor. The idea of tagged gradients is that of mixed representations in sparse optimisers (TensorFlow's
// IndexedSlices), taken to all that a backward pass produces. The variant of a gradient is known when a graph is
// traced: what uses it (materialise.ts, arithmetic.ts, the optimisers) chooses the graph to build by it, and no trace
// of the choice is left in the program.
//
// Leaves out: sparse gradients of tensors that are no matrices, and factored ones with a core (Tucker, tensor trains).

import { elementCount, formatType, ShapeMismatchError } from "@fidelity/core";
import type { FloatDtype, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { invariant } from "@fidelity/units";

/** A float tensor whose shape the types do not know. */
export type Float = Tensor<Shape, FloatDtype>;
export type Integers = Tensor<Shape, "i32">;

/** What all variants have: the type of the tensor that they stand for. */
interface Variant<K extends string, S extends Shape, D extends FloatDtype> {
  readonly kind: K;
  readonly type: TensorType;
  readonly _shape?: S;
  readonly _dtype?: D;
}

/** Zero everywhere: the loss does not depend on the tensor. Nothing is computed. */
export type Zero<S extends Shape = Shape, D extends FloatDtype = FloatDtype> = Variant<"zero", S, D>;

/** A tensor like any other. */
export interface Dense<S extends Shape = Shape, D extends FloatDtype = FloatDtype> extends Variant<"dense", S, D> {
  readonly value: Tensor<S, D>;
}

/** Rows of a matrix [rows, columns]: row indices[i] gets values[i], and rows that are named several times their sum. */
export interface Sparse<S extends Shape = Shape, D extends FloatDtype = FloatDtype> extends Variant<"sparse", S, D> {
  /** i32 [n]. */
  readonly indices: Integers;
  /** [n, columns]. */
  readonly values: Tensor<Shape, D>;
  /**
   * i32 [n]: present where equal indices have been merged. Then values[last[i]] is all of row indices[i], and the
   * values of places that are not the last of their index are zero.
   */
  readonly last?: Integers;
}

/** left right^T, of factors [m, rank] and [n, rank], for a matrix [m, n]. */
export interface LowRank<S extends Shape = Shape, D extends FloatDtype = FloatDtype> extends Variant<"lowRank", S, D> {
  readonly left: Tensor<Shape, D>;
  readonly right: Tensor<Shape, D>;
}

/** A square matrix with `values` [n] on its diagonal and zeros elsewhere. */
export interface Diagonal<S extends Shape = Shape, D extends FloatDtype = FloatDtype> extends Variant<
  "diagonal",
  S,
  D
> {
  readonly values: Tensor<Shape, D>;
}

/**
 * Votes of a ternary weight: the gradient in multiples of `unit`, rounded to integers. Sums of votes are exact, in any
 * order. A weight moves by one level when the votes against it have come to `threshold`.
 */
export interface Ternary<S extends Shape = Shape, D extends FloatDtype = FloatDtype> extends Variant<"ternary", S, D> {
  /** i32, of the shape of the weight. */
  readonly votes: Integers;
  readonly unit: number;
  readonly threshold: number;
}

/** What is known of a structured gradient. */
export type Pattern<D extends FloatDtype = FloatDtype> =
  /** `value` in a box that begins at `starts`, zeros around it. */
  | { readonly kind: "block"; readonly starts: readonly number[]; readonly value: Tensor<Shape, D> }
  /** `value`, of the same rank, repeated along the axes where its size is 1. */
  | { readonly kind: "tiled"; readonly value: Tensor<Shape, D> }
  /** The sum of gradients of other variants, each smaller than the whole. */
  | { readonly kind: "sum"; readonly terms: readonly Flowing<Shape, D>[] };

/** A gradient with a pattern: a block among zeros, a tile that repeats, or a sum whose terms are kept apart. */
export interface Structured<S extends Shape = Shape, D extends FloatDtype = FloatDtype> extends Variant<
  "structured",
  S,
  D
> {
  readonly pattern: Pattern<D>;
}

/** The variants that flow backwards through a graph: no gradient at all is zero there, and votes are made at leaves. */
export type Flowing<S extends Shape = Shape, D extends FloatDtype = FloatDtype> =
  | Dense<S, D>
  | Sparse<S, D>
  | LowRank<S, D>
  | Diagonal<S, D>
  | Structured<S, D>;

/** The gradient of a tensor of shape `S` and a dtype whose derivatives are `D`. */
export type Gradient<S extends Shape = Shape, D extends FloatDtype = FloatDtype> =
  | Zero<S, D>
  | Flowing<S, D>
  | Ternary<S, D>;

export type GradientKind = Gradient["kind"];

/** The variant of a kind. */
export type GradientOf<K extends GradientKind> = Extract<Gradient, { readonly kind: K }>;

const KINDS: Readonly<Record<GradientKind, true>> = {
  zero: true,
  dense: true,
  sparse: true,
  lowRank: true,
  diagonal: true,
  ternary: true,
  structured: true,
};

/** Whether a value is a gradient of this union, and not a tensor or a tree. */
export function isGradient(value: unknown): value is Gradient {
  if (typeof value !== "object" || value === null || !("kind" in value) || !("type" in value)) return false;
  return typeof value.kind === "string" && Object.hasOwn(KINDS, value.kind);
}

/** The type of a gradient that stands for a matrix: [rows, columns]. */
export function matrixShape({ type }: Gradient): readonly [rows: number, columns: number] {
  invariant(type.shape.length === 2, `a gradient of rows or factors has the type ${formatType(type)}`);
  return type.shape as readonly [number, number];
}

export function zero(type: TensorType): Zero {
  return { kind: "zero", type };
}

export function dense(value: Tensor): Dense {
  return { kind: "dense", type: value.type, value: value as Float };
}

/** Rows `values` [n, columns] of a matrix of `rows` rows, at `indices` [n]. */
export function sparse(rows: number, indices: Integers, values: Float): Sparse {
  const [count, columns] = values.shape;
  if (indices.rank !== 1 || values.rank !== 2 || indices.shape[0] !== count) {
    const problem = "rows need indices [n] and values [n, columns]";
    throw new ShapeMismatchError("sparse gradient", problem, [indices.type, values.type]);
  }
  return { kind: "sparse", type: { dtype: values.dtype, shape: [rows, columns!] }, indices, values };
}

/** left right^T. */
export function lowRank(left: Float, right: Float): LowRank {
  if (left.rank !== 2 || right.rank !== 2 || left.shape[1] !== right.shape[1]) {
    const problem = "factors are [m, rank] and [n, rank]";
    throw new ShapeMismatchError("factored gradient", problem, [left.type, right.type]);
  }
  return { kind: "lowRank", type: { dtype: left.dtype, shape: [left.shape[0]!, right.shape[0]!] }, left, right };
}

export function diagonalGradient(values: Float): Diagonal {
  const size = values.shape[0]!;
  return { kind: "diagonal", type: { dtype: values.dtype, shape: [size, size] }, values };
}

export function structured(type: TensorType, pattern: Pattern): Structured {
  return { kind: "structured", type, pattern };
}

/** The tensors that a gradient holds, in a fixed order; `withParts` puts others in their place. */
export function partsOf(gradient: Gradient): readonly Tensor[] {
  switch (gradient.kind) {
    case "zero":
      return [];
    case "dense":
      return [gradient.value];
    case "sparse": {
      const { indices, values, last } = gradient;
      return last === undefined ? [indices, values] : [indices, values, last];
    }
    case "lowRank":
      return [gradient.left, gradient.right];
    case "diagonal":
      return [gradient.values];
    case "ternary":
      return [gradient.votes];
    case "structured":
      return gradient.pattern.kind === "sum" ? gradient.pattern.terms.flatMap(partsOf) : [gradient.pattern.value];
  }
}

/** The same gradient over other tensors, given in the order of `partsOf`. */
export function withParts<G extends Gradient>(gradient: G, parts: readonly Tensor[]): G;
export function withParts(gradient: Gradient, parts: readonly Tensor[]): Gradient {
  const [first, second, third] = parts as readonly [Float, Float, Float?];
  switch (gradient.kind) {
    case "zero":
      return gradient;
    case "dense":
      return { ...gradient, value: first };
    case "sparse": {
      const rows = { ...gradient, indices: first as Tensor as Integers, values: second };
      return third === undefined ? rows : { ...rows, last: third as Tensor as Integers };
    }
    case "lowRank":
      return { ...gradient, left: first, right: second };
    case "diagonal":
      return { ...gradient, values: first };
    case "ternary":
      return { ...gradient, votes: first as Tensor as Integers };
    case "structured": {
      const { pattern } = gradient;
      if (pattern.kind !== "sum") return { ...gradient, pattern: { ...pattern, value: first } };
      let next = 0;
      const terms = pattern.terms.map((term) => {
        const count = partsOf(term).length;
        return withParts(term, parts.slice(next, (next += count)));
      });
      return { ...gradient, pattern: { kind: "sum", terms } };
    }
  }
}

/** How many numbers a gradient holds; the tensor that it stands for has `elementCount(gradient.type.shape)`. */
export function heldElements(gradient: Gradient): number {
  return partsOf(gradient).reduce((sum, part) => sum + elementCount(part.shape), 0);
}

/** Whether a gradient holds fewer numbers than the tensor that it stands for. */
export function isSmaller(gradient: Gradient): boolean {
  return heldElements(gradient) < elementCount(gradient.type.shape);
}
