// The chain rule by variants: what the transpose of each op hands on when it receives a gradient of each variant. Every
// row says it for all variants. "materialise" stands for the tensor that the gradient is and the op's own rule, which
// is also what ops without a row do; where an op makes structure out of dense gradients, a materialised one gets it.
//
// A row of the table for y = f(x) gives x' from y':
//   gather       y = table[ids]        Dense   -> Sparse: rows y' at ids
//   matmul       Y = A B               Dense   -> LowRank: A' = Y' B^T, B' = A^T Y', left as factors
//                                      LowRank -> LowRank: for Y' = L R^T, A' = L (B R)^T and B' = (A^T L) R^T
//   diagonal     y = diag(X)           Dense   -> Diagonal
//   diagonal_matrix  Y = diag(x)       LowRank -> Dense: x' = sum over the rank of L R, no matrix in between
//   reduce_sum   y = sum over axes     Dense   -> Structured: tiled
//   slice        y = a box of x        Dense   -> Structured: block
//   mul, div     y = x s               rows, factors, diagonals and boxes are scaled by what s has there
// Sums of variants wait as terms (arithmetic.ts): w = w0 + a b gets a gradient in factors, and so do a and b.

import { diagonal, div, gather, matmul, mul, neg, reduceSum, reshape, slice, splat, transpose } from "@fidelity/core";
import { elementCount } from "@fidelity/core";
import type { Cotangents, Node, OpName, Tensor } from "@fidelity/core";
import { join, mapScale, settle } from "./arithmetic.ts";
import type { Flowing, Float, GradientOf, Integers, LowRank, Pattern, Sparse } from "./gradient.ts";
import { dense, diagonalGradient, isSmaller, lowRank, partsOf, sparse, structured, withParts } from "./gradient.ts";
import { materialise } from "./materialise.ts";

type Kind = Flowing["kind"];

/** What input number `input` of a linear node gets; nothing where only the whole tensor will do. */
type Step<G extends Flowing> = (received: G, node: Node, input: number) => Flowing | undefined;

const MATERIALISE = "materialise";

type Steps = { readonly [K in Kind]: Step<GradientOf<K> & Flowing> | typeof MATERIALISE };

/** An op that hands on what it receives. */
const PASS: Steps = every((received) => received);
const NEGATE = every((received) => scaled(received, (x) => neg(x)));
const FIRST_MINUS_SECOND = every((received, _node, input) => {
  return input === 0 ? received : scaled(received, (x) => neg(x));
});

function every(step: Step<Flowing>): Steps {
  return { dense: MATERIALISE, sparse: step, lowRank: step, diagonal: step, structured: step };
}

const NO_STEPS: Steps = {
  dense: MATERIALISE,
  sparse: MATERIALISE,
  lowRank: MATERIALISE,
  diagonal: MATERIALISE,
  structured: MATERIALISE,
};

/** Steps for some of the variants; the others are materialised. */
function steps(some: Partial<Steps>): Steps {
  return { ...NO_STEPS, ...some };
}

const MULTIPLY = every((received, { inputs }, input) => {
  return multiplied(received, inputs[1 - input]!, (x, by) => mul(x, by as never) as Float);
});

const DIVIDE = every((received, { inputs }) => {
  return multiplied(received, inputs[1]!, (x, by) => div(x, by as never) as Float);
});

/** Ops without a row materialise all variants. */
const TABLE: Readonly<Partial<Record<OpName, Steps>>> = {
  add: PASS,
  cast: every((received, { inputs: [x], results: [y] }) => (x!.dtype === y!.dtype ? received : undefined)),
  diagonal: steps({ dense: ({ value }) => diagonalGradient(value) }),
  diagonal_matrix: steps({
    lowRank: ({ left, right }) => dense(reduceSum(mul(left, right), -1) as Tensor),
    diagonal: ({ values }) => dense(values),
  }),
  div: DIVIDE,
  gather: steps({ dense: ({ value }, node) => gatheredRows(value, node) }),
  matmul: steps({ dense: factorsOfProduct, lowRank: factorsThroughProduct }),
  mul: MULTIPLY,
  neg: NEGATE,
  reduce_sum: steps({
    dense: ({ value }, { inputs: [x] }) => structured(x!.type, { kind: "tiled", value }),
    structured: onPatterns(({ pattern }, { inputs: [x] }) => {
      return pattern.kind === "tiled" ? structured(x!.type, pattern) : undefined;
    }),
  }),
  reshape: steps({ structured: onPatterns(reshapedPattern) }),
  slice: steps({
    dense: ({ value }, node) => blockOf(node, startsOf(node), value),
    structured: onPatterns(({ pattern }, node) => {
      if (pattern.kind !== "block") return undefined;
      const starts = startsOf(node).map((start, axis) => start + pattern.starts[axis]!);
      return blockOf(node, starts, pattern.value);
    }),
  }),
  sub: FIRST_MINUS_SECOND,
  transpose: every((received, { attrs }) => {
    const permutation = attrs["permutation"] as readonly number[];
    return permuted(
      received,
      permutation.map((_axis, i) => permutation.indexOf(i)),
    );
  }),
};

/** Transposition with gradient variants for cotangents. */
export const VARIANTS: Cotangents<Flowing> = {
  typeOf: ({ type }) => type,
  add: join,
  transpose(node, received, linear, plain) {
    const rule = TABLE[node.op.name as OpName];
    const [only] = received;
    const handed =
      rule && only && (handOn(rule, only, node, linear) ?? handOn(rule, dense(materialise(only)), node, linear));
    if (handed !== undefined) return handed;
    return plain(received.map((each) => each && materialise(each))).map((each) => each && dense(each));
  },
  partsOf,
  withParts,
  settle,
};

/** What all linear inputs get, or nothing if the rule has no step for one of them. */
function handOn(
  rule: Steps,
  received: Flowing,
  node: Node,
  linear: readonly boolean[],
): readonly (Flowing | undefined)[] | undefined {
  const step = rule[received.kind] as Step<Flowing> | typeof MATERIALISE;
  if (step === MATERIALISE) return undefined;
  const handed = linear.map((isLinear, input) => (isLinear ? step(received, node, input) : undefined));
  return linear.some((isLinear, input) => isLinear && handed[input] === undefined) ? undefined : handed;
}

function gatheredRows(value: Float, { inputs: [table, ids] }: Node): Sparse {
  const [rows, columns] = table!.shape as readonly [number, number];
  const count = elementCount(ids!.shape);
  return sparse(
    rows,
    reshape(ids!, [count]) as Tensor as Integers,
    reshape(value, [count, columns]) as Tensor as Float,
  );
}

/** op(A) and op(B) of a product of matrices, and whether an operand is stored transposed. */
function operandsOf({ inputs: [a, b], attrs }: Node): { a: Float; b: Float; isTransposed: readonly boolean[] } {
  const isTransposed = [attrs["transposeA"] === true, attrs["transposeB"] === true];
  const [left, right] = [a!, b!].map((x, i) => (isTransposed[i] ? transpose(x) : x));
  return { a: left as Float, b: right as Float, isTransposed };
}

/** The gradient of an operand from that of op(operand). */
function stored(gradient: LowRank, isTransposed: boolean): LowRank {
  return isTransposed ? lowRank(gradient.right, gradient.left) : gradient;
}

function factorsOfProduct({ value }: GradientOf<"dense">, node: Node, input: number): LowRank | undefined {
  if (node.inputs[0]!.rank !== 2) return undefined;
  const { a, b, isTransposed } = operandsOf(node);
  const ofA = (): LowRank => lowRank(value, b);
  const ofB = (): LowRank => lowRank(transpose(a) as Float, transpose(value) as Float);
  return stored(input === 0 ? ofA() : ofB(), isTransposed[input]!);
}

/** Products with factors, where those take less work than the product that the factors stand for. */
function factorsThroughProduct({ left, right }: LowRank, node: Node, input: number): LowRank | undefined {
  if (node.inputs[0]!.rank !== 2) return undefined;
  const { a, b, isTransposed } = operandsOf(node);
  const [m, inner] = a.shape as readonly [number, number];
  const [n, rank] = right.shape as readonly [number, number];
  if (rank * inner * (m + n) >= m * n * (rank + inner)) return undefined;
  const product = (x: Float, y: Float, transposeA: boolean): Float => matmul(x, y, { transposeA });
  const ofA = (): LowRank => lowRank(left, product(b, right, false));
  const ofB = (): LowRank => lowRank(product(a, left, true), right);
  return stored(input === 0 ? ofA() : ofB(), isTransposed[input]!);
}

/** A step for one pattern, on each term of a sum. */
function onPatterns(step: Step<GradientOf<"structured">>): Step<GradientOf<"structured">> {
  return (received, node, input) => {
    const { pattern } = received;
    if (pattern.kind !== "sum") return step(received, node, input);
    const terms = pattern.terms.map((term) => handOn(TABLE[node.op.name as OpName] as Steps, term, node, [true])?.[0]);
    return terms.every((term) => term !== undefined) ? terms.reduce(join) : undefined;
  };
}

function startsOf(node: Node): readonly number[] {
  return node.attrs["starts"] as readonly number[];
}

function blockOf({ inputs: [x] }: Node, starts: readonly number[], value: Float): Flowing {
  return structured(x!.type, { kind: "block", starts, value });
}

/** One number everywhere is that under any shape. */
function reshapedPattern({ pattern }: GradientOf<"structured">, { inputs: [x] }: Node): Flowing | undefined {
  if (pattern.kind !== "tiled" || elementCount(pattern.value.shape) !== 1) return undefined;
  const ones = x!.shape.map(() => 1);
  return structured(x!.type, { kind: "tiled", value: reshape(pattern.value, ones) as Tensor as Float });
}

/** Scaled in the form that it has, if that is smaller than the tensor. */
function scaled(received: Flowing, by: (x: Float) => Float): Flowing | undefined {
  return isSmaller(received) ? (mapScale(received, by) as Flowing) : undefined;
}

/** The gradient with each element multiplied or divided by that of the tensor `by`. */
function multiplied(received: Flowing, by: Tensor, apply: (x: Float, by: Float) => Float): Flowing | undefined {
  if (!isSmaller(received)) return undefined;
  const uniform = uniformValue(by);
  if (uniform !== undefined) return mapScale(received, (x) => apply(x, uniform)) as Flowing;
  const repeated = by.node.op.name === "broadcast" ? (by.node.inputs[0] as Float) : undefined;
  switch (received.kind) {
    case "dense":
      return undefined;
    case "sparse": {
      const isRow = repeated?.shape[0] === 1;
      const factors = isRow ? repeated : gather(repeated ?? by, received.indices);
      return { ...received, values: apply(received.values, factors as Tensor as Float) };
    }
    case "lowRank":
      if (repeated?.shape[0] === 1) return lowRank(received.left, apply(received.right, transpose(repeated) as Float));
      if (repeated?.shape[1] === 1) return lowRank(apply(received.left, repeated), received.right);
      return undefined;
    case "diagonal":
      return diagonalGradient(apply(received.values, diagonal(by) as Tensor as Float));
    case "structured":
      return multipliedPattern(received, by, apply);
  }
}

function multipliedPattern(
  { pattern, type }: GradientOf<"structured">,
  by: Tensor,
  apply: (x: Float, by: Float) => Float,
): Flowing | undefined {
  if (pattern.kind === "tiled") return undefined;
  if (pattern.kind === "sum") {
    const terms = pattern.terms.map((term) => multiplied(term, by, apply));
    return terms.every((term) => term !== undefined) ? terms.reduce(join) : undefined;
  }
  const { starts, value } = pattern;
  const stops = starts.map((start, axis) => start + value.shape[axis]!);
  const scaledPattern: Pattern = { ...pattern, value: apply(value, slice(by, starts, stops) as Tensor as Float) };
  return structured(type, scaledPattern);
}

/** A tensor with one number everywhere, as a scalar. */
function uniformValue(by: Tensor): Float | undefined {
  const { op, attrs, inputs } = by.node;
  if (op.name === "splat") return splat(Number(attrs["value"]), [], by.dtype) as Tensor as Float;
  if (op.name !== "broadcast" || elementCount(inputs[0]!.shape) !== 1) return undefined;
  return reshape(inputs[0]!, []) as Tensor as Float;
}

/** The gradient with its axes in another order, which moves at most the smaller part of it. */
function permuted(received: Flowing, order: readonly number[]): Flowing | undefined {
  const moved = (x: Float): Float => transpose(x, order as never) as Tensor as Float;
  switch (received.kind) {
    case "dense":
    case "sparse":
      return undefined;
    case "lowRank":
      return lowRank(received.right, received.left);
    case "diagonal":
      return received;
    case "structured": {
      const { pattern } = received;
      if (pattern.kind === "sum") {
        const terms = pattern.terms.map((term) => permuted(term, order));
        return terms.every((term) => term !== undefined) ? terms.reduce(join) : undefined;
      }
      const type = { dtype: received.type.dtype, shape: order.map((axis) => received.type.shape[axis]!) };
      const value = moved(pattern.value);
      if (pattern.kind === "tiled") return structured(type, { kind: "tiled", value });
      return structured(type, { kind: "block", starts: order.map((axis) => pattern.starts[axis]!), value });
    }
  }
}
