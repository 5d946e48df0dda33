// How each op is computed in double-double, or in a format that is wider than float64: one line an op. Inputs are
// pairs where they are float tensors, and as they are otherwise; so are results. What is not here is either composite,
// and taken apart first, or has no such form.

import {
  broadcastTo,
  cast,
  concat,
  elementCount,
  emit,
  emitOne,
  eq,
  iota,
  OPS,
  reshape,
  scan,
  slice,
  splat,
  transpose,
} from "@fidelity/core";
import type { Attrs, ExtendedFormat, Node, Tensor, TensorPair } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Pairs } from "./double_double.ts";
import { movePair, pairsIn, toPair } from "./double_double.ts";

/** What stands for a tensor: itself, or a pair. */
export type Extended = Tensor | TensorPair;

export type PairRule = (inputs: readonly Extended[], attrs: Attrs, node: Node) => readonly Extended[];

const pair = (value: Extended | undefined): TensorPair => toPair(value!);
const plain = (value: Extended | undefined): Tensor => value as Tensor;
const numbers = (value: unknown): readonly number[] => value as readonly number[];

const unary =
  (compute: (x: TensorPair) => Extended): PairRule =>
  ([x]) => [compute(pair(x))];

const binary =
  (compute: (a: TensorPair, b: TensorPair) => Extended): PairRule =>
  ([a, b]) => [compute(pair(a), pair(b))];

/** An op that moves elements: the same op on the high parts, and on the low parts. */
const moves: PairRule = (inputs, attrs, node) => {
  const part = (of: "hi" | "lo"): Tensor =>
    emit(
      node.op,
      inputs.map((input) => ("lo" in input ? input[of] : input)),
      attrs,
    )[0]!;
  return [{ hi: part("hi"), lo: part("lo") }];
};

const sigmoid = (pairs: Pairs, x: TensorPair): TensorPair => pairs.div(1, pairs.add(1, pairs.exp(pairs.neg(x))));

/** x^n by squaring for whole n, else e^(n log x). */
function power(pairs: Pairs, x: TensorPair, exponent: number): TensorPair {
  if (!Number.isInteger(exponent) || Math.abs(exponent) > 64) return pairs.exp(pairs.mul(pairs.log(x), exponent));
  let result = toPair(1, x.hi.shape);
  let square = x;
  for (let n = Math.abs(exponent); n > 0; n = Math.floor(n / 2)) {
    if (n % 2 === 1) result = pairs.mul(result, square);
    square = pairs.mul(square, square);
  }
  return exponent < 0 ? pairs.div(1, result) : result;
}

/** Rows that are added into a table by their numbers: the product of the matrix of who goes where with the rows. */
function scatterAdd(pairs: Pairs, ids: Tensor, updates: TensorPair, rows: number): TensorPair {
  const count = elementCount(ids.shape);
  const columns = updates.hi.shape.at(-1)!;
  const numbered = broadcastTo(reshape(iota([rows]) as Tensor, [rows, 1]), [rows, count]);
  const wanted = broadcastTo(reshape(ids, [1, count]), [rows, count]);
  const goes = cast(eq(numbered as Tensor<Shape, "i32">, wanted as Tensor<Shape, "i32">), "f64");
  return pairs.matmul(
    goes,
    movePair(updates, (part) => reshape(part, [count, columns])),
  );
}

/** h_t = f_t h_{t-1} + x_t along axis 1, as a loop. */
function recurrence(pairs: Pairs, f: TensorPair, x: TensorPair, first: TensorPair, reverse = false): TensorPair {
  const timeFirst = (part: Tensor): Tensor => transpose(part, [1, 0, 2] as never) as Tensor;
  const step = (h: TensorPair, at: { f: TensorPair; x: TensorPair }): { carry: TensorPair; y: TensorPair } => {
    const next = pairs.add(pairs.mul(at.f, h), at.x);
    return { carry: next, y: next };
  };
  const stacks = { f: movePair(f, timeFirst), x: movePair(x, timeFirst) };
  const { ys } = scan(step as never, first, stacks, { reverse }) as unknown as { ys: TensorPair };
  return movePair(ys, timeFirst);
}

/** l_t = c_t + f_{t+1} l_{t+1}: the gates come one step later. */
function recurrenceAdjoint(pairs: Pairs, f: TensorPair, c: TensorPair): TensorPair {
  const [batch, time, channels] = c.hi.shape as [number, number, number];
  const later = movePair(f, (part) => {
    const none = splat(0, [batch, 1, channels], "f64") as Tensor;
    return time === 1 ? none : concat([slice(part, [0, 1, 0], [batch, time, channels]) as Tensor, none], 1);
  });
  return recurrence(pairs, later, c, toPair(0, [batch, channels]), true);
}

/** The rules of a format, by the name of the op. */
export type PairRules = Readonly<Record<string, PairRule>>;

const rulesOf = (pairs: Pairs): PairRules => ({
  abs: unary(pairs.abs),
  add: binary(pairs.add),
  after: moves,
  broadcast: moves,
  checkpoint_name: moves,
  concat: moves,
  cos: unary(pairs.cos),
  div: binary(pairs.div),
  dynamic_slice: moves,
  dynamic_update_slice: moves,
  eq: binary(pairs.eq),
  exp: unary(pairs.exp),
  floor: unary(pairs.floor),
  gather: moves,
  le: binary((a, b) => emitOne(OPS.logical_not, [pairs.lt(b, a)], {})),
  linear_recurrence: ([f, x, first]) => [recurrence(pairs, pair(f), pair(x), pair(first))],
  linear_recurrence_adjoint: ([f, c]) => [recurrenceAdjoint(pairs, pair(f), pair(c))],
  log: unary(pairs.log),
  lt: binary(pairs.lt),
  matmul: ([a, b], { transposeA, transposeB }) => [
    pairs.matmul(pair(a), pair(b), transposeA === true, transposeB === true),
  ],
  max: binary(pairs.max),
  min: binary(pairs.min),
  mul: binary(pairs.mul),
  neg: unary(pairs.neg),
  pad: moves,
  pow: ([x], { exponent }) => [power(pairs, pair(x), Number(exponent))],
  reduce_max: ([x], { axes }) => [pairs.largest(pair(x), numbers(axes))],
  reduce_sum: ([x], { axes }) => [pairs.sum(pair(x), numbers(axes), true)],
  reshape: moves,
  round: unary(pairs.nearest),
  rsqrt: unary((x) => pairs.div(1, pairs.sqrt(x))),
  scatter_add: ([ids, updates], { rows }) => [scatterAdd(pairs, plain(ids), pair(updates), Number(rows))],
  select: ([mask, a, b]) => [pairs.select(plain(mask), pair(a), pair(b))],
  sigmoid: unary((x) => sigmoid(pairs, x)),
  sin: unary(pairs.sin),
  slice: moves,
  sqrt: unary(pairs.sqrt),
  stop_gradient: moves,
  sub: binary(pairs.sub),
  tanh: unary(pairs.tanh),
  transpose: moves,
});

export const PAIR_RULES: Readonly<Record<ExtendedFormat, PairRules>> = {
  "double-double": rulesOf(pairsIn("double-double")),
  f80: rulesOf(pairsIn("f80")),
  f128: rulesOf(pairsIn("f128")),
};
