// Double-double numbers as tensors: a pair (hi, lo) of float64 tensors that stands for hi + lo, about 106 bits. Every
// function here builds ordinary graph nodes, so that pairs compile on every target, with the same bits on each
// (core/src/precision). Operands broadcast as tensors do. For a whole function see `doubleDouble` in extend.ts: it
// takes a function over plain tensors, derivatives included, and computes it in these numbers. `pairsIn("f80")` and
// `pairsIn("f128")` compute in those formats on targets that have them (core/src/precision/wide.ts).
//
// Double-single, pairs of float32, is left out: float64 is there on every target that Fidelity has, holds 53 bits
// where a pair of float32 holds 48, and takes one operation where that takes twenty.

import {
  broadcastShapes,
  broadcastTo,
  cast,
  doubleDoubleMap,
  doubleDoubleMatmul,
  doubleDoubleSum,
  elementCount,
  emitOne,
  OPS,
  reduceMax,
  reshape,
  splat,
  transpose,
} from "@fidelity/core";
import type { Attrs, ExtendedFormat, FloatDtype, OpName, Tensor, TensorPair } from "@fidelity/core";
import type { Shape } from "@fidelity/units";

/** A pair, a float tensor, or a number, where a double-double is wanted. */
export type PairLike = TensorPair | Tensor | number;

type Float64 = Tensor<Shape, "f64">;

const apply = (name: OpName, inputs: readonly Tensor[], attrs: Attrs = {}): Tensor => emitOne(OPS[name], inputs, attrs);

/** A pair of zeros in its low part: a float tensor, or a number in every place of `shape`. Nothing is rounded. */
export function toPair(value: PairLike, shape: readonly number[] = []): TensorPair {
  if (typeof value === "number") return toPair(splat(value, shape, "f64"));
  if ("lo" in value) return value;
  const hi = cast(value, "f64");
  return { hi, lo: splat(0, hi.shape, "f64") };
}

/** The pair rounded to one tensor: to float64 that is its high part; to float32 that is rounded once more. */
export function roundPair({ hi }: TensorPair, dtype: FloatDtype = "f64"): Tensor {
  return cast(hi, dtype);
}

/** Applies a function that only moves elements to both parts. */
export function movePair({ hi, lo }: TensorPair, move: (part: Tensor) => Tensor): TensorPair {
  return { hi: move(hi), lo: move(lo) };
}

/** Both operands in their common shape. */
function together(a: PairLike, b: PairLike): [TensorPair, TensorPair] {
  const [x, y] = [toPair(a), toPair(b)];
  const shape = broadcastShapes("double_double", [x.hi, y.hi]);
  const widen = (pair: TensorPair): TensorPair => movePair(pair, (part) => broadcastTo(part, shape));
  return [widen(x), widen(y)];
}

type Binary = (a: PairLike, b: PairLike) => TensorPair;
type Unary = (x: PairLike) => TensorPair;

const binary =
  (fn: "add" | "sub" | "mul" | "div", format: ExtendedFormat): Binary =>
  (a, b) =>
    doubleDoubleMap(fn, together(a, b), format);

const unary =
  (fn: "sqrt" | "exp" | "log" | "tanh" | "sin" | "cos", format: ExtendedFormat): Unary =>
  (x) =>
    doubleDoubleMap(fn, [toPair(x)], format);

function neg(x: PairLike): TensorPair {
  return movePair(toPair(x), (part) => apply("neg", [part]));
}

/** The mask of a < b: of equal high parts the low ones decide. */
function lt(a: PairLike, b: PairLike): Tensor {
  const [x, y] = together(a, b);
  return apply("select", [apply("eq", [x.hi, y.hi]), apply("lt", [x.lo, y.lo]), apply("lt", [x.hi, y.hi])]);
}

function eq(a: PairLike, b: PairLike): Tensor {
  const [x, y] = together(a, b);
  return apply("logical_and", [apply("eq", [x.hi, y.hi]), apply("eq", [x.lo, y.lo])]);
}

function select(mask: Tensor, a: PairLike, b: PairLike): TensorPair {
  const [x, y] = together(a, b);
  const wide = broadcastTo(mask, x.hi.shape);
  return { hi: apply("select", [wide, x.hi, y.hi]), lo: apply("select", [wide, x.lo, y.lo]) };
}

/** The larger; NaN where either is. */
function max(a: PairLike, b: PairLike): TensorPair {
  const [x, y] = together(a, b);
  const larger = select(lt(x, y), y, x);
  // A comparison with NaN is false, and takes x: the high part is set by the op that knows.
  const hi = apply("max", [x.hi, y.hi]);
  return { hi, lo: apply("select", [apply("eq", [hi, hi]), larger.lo, splat(0, hi.shape, "f64")]) };
}

function abs(x: PairLike): TensorPair {
  const pair = toPair(x);
  return select(apply("lt", [pair.hi, splat(0, pair.hi.shape, "f64")]), neg(pair), pair);
}

/** Largest integers that are not above: where hi is whole, lo has the fraction. */
function floor(x: PairLike): TensorPair {
  const { hi, lo } = toPair(x);
  const whole = apply("floor", [hi]);
  const low = apply("select", [apply("eq", [whole, hi]), apply("floor", [lo]), splat(0, hi.shape, "f64")]);
  return doubleDoubleMap("add", [toPair(whole), toPair(low)]);
}

/** Nearest integers, ties to even: where hi is whole lo has the fraction, and where hi is a tie lo decides. */
function nearest(x: PairLike): TensorPair {
  const { hi, lo } = toPair(x);
  const constant = (value: number): Tensor => splat(value, hi.shape, "f64");
  const whole = apply("round", [hi]);
  const rest = apply("sub", [hi, whole]);
  const isTie = apply("eq", [apply("abs", [rest]), constant(0.5)]);
  const outward = apply("lt", [constant(0), apply("mul", [rest, lo])]);
  const step = apply("select", [apply("logical_and", [isTie, outward]), apply("add", [rest, rest]), constant(0)]);
  const low = apply("select", [apply("eq", [rest, constant(0)]), apply("round", [lo]), step]);
  return doubleDoubleMap("add", [toPair(whole), toPair(low)]);
}

/** Rows of what is reduced: the axes to reduce moved behind the others and made one. */
function reducedRows(part: Tensor, axes: readonly number[]): Tensor {
  const kept = part.shape.map((_dim, axis) => axis).filter((axis) => !axes.includes(axis));
  const moved = transpose(part, [...kept, ...axes] as never) as Tensor;
  const count = elementCount(axes.map((axis) => part.shape[axis]!));
  return reshape(moved, [...kept.map((axis) => part.shape[axis]!), count]);
}

const allAxes = (x: Tensor): number[] => x.shape.map((_dim, axis) => axis);

/** The sum along `axes` (all by default), which stay with size 1 when `keepDims` is set. */
function sum(format: ExtendedFormat, x: PairLike, axes?: readonly number[], keepDims = false): TensorPair {
  const pair = toPair(x);
  const over = axes ?? allAxes(pair.hi);
  const total = doubleDoubleSum(
    movePair(pair, (part) => reducedRows(part, over)),
    format,
  );
  const shape = pair.hi.shape.flatMap((dim, axis) => (over.includes(axis) ? (keepDims ? [1] : []) : [dim]));
  return movePair(total, (part) => reshape(part, shape));
}

/** The largest along `axes`, which stay with size 1. */
function largest(x: PairLike, axes: readonly number[]): TensorPair {
  const { hi, lo } = toPair(x);
  const top = reduceMax(hi as Float64, axes, true);
  const isTop = apply("eq", [hi, broadcastTo(top, hi.shape)]);
  const low = apply("select", [isTop, lo, splat(-Infinity, lo.shape, "f64")]);
  const lowest = reduceMax(low as Float64, axes, true);
  // A row of NaN has no top.
  const found = apply("eq", [top, top]);
  return { hi: top, lo: apply("select", [found, lowest, splat(0, lowest.shape, "f64")]) };
}

/** The product of [..., m, k] and [..., k, n] with the same leading axes; operands of rank 2 are one matrix each. */
function matmul(format: ExtendedFormat, a: PairLike, b: PairLike, transposeA = false, transposeB = false): TensorPair {
  const [x, y] = [toPair(a), toPair(b)];
  const matrices = (pair: TensorPair, flip: boolean): TensorPair =>
    movePair(pair, (part) => {
      const straight = flip ? (transpose(part as Float64) as Tensor) : part;
      return reshape(straight, [elementCount(straight.shape.slice(0, -2)), ...straight.shape.slice(-2)]);
    });
  const product = doubleDoubleMatmul(matrices(x, transposeA), matrices(y, transposeB), format);
  const shape = [...x.hi.shape.slice(0, -2), ...product.hi.shape.slice(-2)];
  return movePair(product, (part) => reshape(part, shape));
}

/** The sum of the products of two vectors [n], a scalar. */
function dot(format: ExtendedFormat, a: PairLike, b: PairLike): TensorPair {
  const [x, y] = together(a, b);
  const n = elementCount(x.hi.shape);
  const row = movePair(x, (part) => reshape(part, [1, n]));
  const column = movePair(y, (part) => reshape(part, [n, 1]));
  return movePair(matmul(format, row, column), (part) => reshape(part, []));
}

/** Functions of pairs; what broadcasts, broadcasts. */
export interface Pairs {
  readonly from: (value: PairLike, shape?: readonly number[]) => TensorPair;
  readonly round: (pair: TensorPair, dtype?: FloatDtype) => Tensor;
  readonly add: Binary;
  readonly sub: Binary;
  readonly mul: Binary;
  readonly div: Binary;
  readonly neg: Unary;
  readonly abs: Unary;
  readonly sqrt: Unary;
  readonly exp: Unary;
  readonly log: Unary;
  readonly tanh: Unary;
  readonly sin: Unary;
  readonly cos: Unary;
  readonly floor: Unary;
  readonly nearest: Unary;
  readonly lt: (a: PairLike, b: PairLike) => Tensor;
  readonly eq: (a: PairLike, b: PairLike) => Tensor;
  readonly select: (mask: Tensor, a: PairLike, b: PairLike) => TensorPair;
  readonly max: Binary;
  readonly min: Binary;
  readonly sum: (x: PairLike, axes?: readonly number[], keepDims?: boolean) => TensorPair;
  readonly largest: (x: PairLike, axes: readonly number[]) => TensorPair;
  readonly dot: Binary;
  readonly matmul: (a: PairLike, b: PairLike, transposeA?: boolean, transposeB?: boolean) => TensorPair;
}

/**
 * Functions of pairs that are computed in a format: "f80" (64 bits) and "f128" (113) where native code has them, and
 * in double-double (106) elsewhere and by the interpreter. Their results are rounded to pairs: f80 fits, of f128 106
 * bits are kept at least.
 */
export function pairsIn(format: ExtendedFormat): Pairs {
  return {
    from: toPair,
    round: roundPair,
    add: binary("add", format),
    sub: binary("sub", format),
    mul: binary("mul", format),
    div: binary("div", format),
    neg,
    abs,
    sqrt: unary("sqrt", format),
    exp: unary("exp", format),
    log: unary("log", format),
    tanh: unary("tanh", format),
    sin: unary("sin", format),
    cos: unary("cos", format),
    floor,
    nearest,
    lt,
    eq,
    select,
    max,
    min: (a, b) => neg(max(neg(a), neg(b))),
    sum: (x, axes, keepDims) => sum(format, x, axes, keepDims),
    largest,
    dot: (a, b) => dot(format, a, b),
    matmul: (a, b, transposeA, transposeB) => matmul(format, a, b, transposeA, transposeB),
  };
}

/** Functions of double-double tensors: the same bits on every target. */
export const pairs = pairsIn("double-double");
