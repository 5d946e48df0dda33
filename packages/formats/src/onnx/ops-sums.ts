// ONNX's operators that sum: products of matrices, reductions, normalisations, and what orders numbers.

import { broadcastTo, cast, elementCount, reshape, reduceMax, reduceSum, sortWithIndices } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { NodeContext } from "./node-context.ts";
import { ELEMENTWISE, gelu } from "./ops-elementwise.ts";
import type { OnnxOperator } from "./ops-elementwise.ts";
import { LAYOUT, axesOf } from "./ops-layout.ts";
import { add, apply, binary, div, inFloats, matrixIndices, moveAxis, mul, product, sliceOf, sub } from "./tensors.ts";

/** NumPy's matmul: vectors are a row on the left and a column on the right, which the result lacks. */
function matMul(node: NodeContext): Tensor {
  const [a, b] = [node.input(0), node.input(1)];
  if (a.rank === 0 || b.rank === 0) node.refuse("a product takes no scalars", "at least one axis", "none");
  const y = product(a.rank === 1 ? reshape(a, [1, ...a.shape]) : a, b.rank === 1 ? reshape(b, [...b.shape, 1]) : b);
  const shape = [
    ...y.shape.slice(0, -2),
    ...(a.rank === 1 ? [] : y.shape.slice(-2, -1)),
    ...(b.rank === 1 ? [] : y.shape.slice(-1)),
  ];
  return reshape(y, shape);
}

function gemm(node: NodeContext): Tensor {
  const [transposeA, transposeB] = [node.integer("transA", 0) !== 0, node.integer("transB", 0) !== 0];
  const scaled = (x: Tensor, by: number): Tensor => (by === 1 ? x : mul(x, by));
  const y = scaled(apply("matmul", [node.input(0), node.input(1)], { transposeA, transposeB }), node.float("alpha", 1));
  const c = node.maybe(2);
  return c === undefined ? y : add(y, scaled(c, node.float("beta", 1)));
}

/** Before opset 13 all axes from `axis` on are one. */
const alongAxis =
  (op: "softmax" | "log_softmax"): OnnxOperator =>
  (node) => {
    const x = node.input(0);
    const axis = node.axis(node.integer("axis", node.opset < 13 ? 1 : -1), x.rank);
    if (node.opset < 13) {
      const rows = reshape(x, [elementCount(x.shape.slice(0, axis)), elementCount(x.shape.slice(axis))]);
      return reshape(apply(op, [rows]), x.shape);
    }
    return moveAxis(apply(op, [moveAxis(x, axis, x.rank - 1)]), x.rank - 1, axis);
  };

/** A normalisation of all axes from `axis` on. */
function normalized(
  node: NodeContext,
  x: Tensor,
  given: readonly Tensor[],
  op: "layer_norm" | "rms_norm",
  epsilon: number,
): Tensor {
  if (node.node.outputs.slice(1, 3).some((name) => name !== "")) node.unsupported("one output", "mean and deviation");
  const axis = node.axis(node.integer("axis", -1), x.rank);
  const columns = elementCount(x.shape.slice(axis));
  const flat = reshape(x, [...x.shape.slice(0, axis), columns]);
  const rows = given.map((each) => reshape(broadcastTo(each, x.shape.slice(axis)), [columns]));
  return reshape(apply(op, [flat, ...rows], { epsilon }), x.shape);
}

function layerNormalization(node: NodeContext): Tensor {
  return normalized(node, node.input(0), node.inputs.slice(1), "layer_norm", node.float("epsilon", 1e-5));
}

/** x, skip, gamma, beta, bias: the norm of x + skip + bias. The sum is the fourth result. */
const skipNormalization =
  (op: "layer_norm" | "rms_norm"): OnnxOperator =>
  (node) => {
    const bias = node.maybe(op === "layer_norm" ? 4 : 3);
    const skipped = add(node.input(0), node.input(1));
    const x = bias === undefined ? skipped : add(skipped, bias);
    const beta = op === "layer_norm" ? node.maybe(3) : undefined;
    const y = normalized(
      node,
      x,
      beta === undefined ? [node.input(2)] : [node.input(2), beta],
      op,
      node.float("epsilon", op === "layer_norm" ? 1e-12 : 1e-5),
    );
    return [y, y, y, x];
  };

/** A reduction over axes from an attribute or an input; over all where there are none. */
const reduction =
  (reduce: (x: Tensor, axes: readonly number[], keepDims: boolean) => Tensor): OnnxOperator =>
  (node) => {
    const x = node.input(0);
    const given = axesOf(node, x.rank) ?? [];
    if (given.length === 0 && node.integer("noop_with_empty_axes", 0) !== 0) return x;
    const axes = given.length === 0 ? x.shape.map((_dim, axis) => axis) : given;
    const isKept = node.integer("keepdims", 1) !== 0;
    return inFloats(x, (values) => reduce(values, axes, isKept));
  };

const sum = (x: Tensor, axes: readonly number[], isKept: boolean): Tensor => reduceSum(x as never, axes, isKept);
const largest = (x: Tensor, axes: readonly number[], isKept: boolean): Tensor => reduceMax(x as never, axes, isKept);

function mean(x: Tensor, axes: readonly number[], isKept: boolean): Tensor {
  return div(
    sum(x, axes, isKept),
    axes.reduce((count, axis) => count * x.shape[axis], 1),
  );
}

function logSumExp(x: Tensor, axes: readonly number[], isKept: boolean): Tensor {
  const top = largest(x, axes, true);
  const y = add(apply("log", [sum(apply("exp", [sub(x, top)]), axes, true)]), top);
  return isKept
    ? y
    : reshape(
        y,
        x.shape.filter((_dim, axis) => !axes.includes(axis)),
      );
}

/** The numbers in order along an axis, and where they were; the first of equal ones first. */
function ordered(x: Tensor, axis: number, isDescending: boolean): { values: Tensor; indices: Tensor } {
  return sortWithIndices(x as Tensor<readonly number[], "f32">, { axis, descending: isDescending });
}

const extreme =
  (isLargest: boolean): OnnxOperator =>
  (node) => {
    const x = node.input(0);
    if (node.integer("select_last_index", 0) !== 0) node.unsupported("the first of equal numbers", "the last");
    const axis = node.axis(node.integer("axis", 0), x.rank);
    const first = sliceOf(ordered(x, axis, isLargest).indices, axis, 0, 1);
    return node.integer("keepdims", 1) !== 0
      ? first
      : reshape(
          first,
          first.shape.filter((_dim, i) => i !== axis),
        );
  };

function topK(node: NodeContext): readonly Tensor[] {
  const x = node.input(0);
  const axis = node.axis(node.integer("axis", -1), x.rank);
  const [count] = node.requireKnown(1);
  if (!(Number.isInteger(count) && count >= 0 && count <= x.shape[axis])) {
    node.refuse("so many numbers cannot be taken", `at most ${x.shape[axis]}`, String(count));
  }
  const { values, indices } = ordered(x, axis, node.integer("largest", 1) !== 0);
  return [sliceOf(values, axis, 0, count), sliceOf(indices, axis, 0, count)];
}

/** Running sums, as a product with a triangle of ones. */
function cumulativeSum(node: NodeContext): Tensor {
  const x = node.input(0);
  const axis = node.axis(node.requireKnown(1)[0], x.rank);
  const { row, column } = matrixIndices(x.shape[axis], x.shape[axis]);
  const [from, to] = node.integer("reverse", 0) === 0 ? [row, column] : [column, row];
  const isSummed = binary(node.integer("exclusive", 0) === 0 ? "le" : "lt", from, to);
  return inFloats(x, (values) => {
    const rows = moveAxis(values, axis, x.rank - 1);
    const table = reshape(rows, [elementCount(rows.shape.slice(0, -1)), rows.shape[x.rank - 1]]);
    const sums = apply("matmul", [table, cast(isSummed, values.dtype)], { transposeA: false, transposeB: false });
    return moveAxis(reshape(sums, rows.shape), x.rank - 1, axis);
  });
}

const SUMS: Readonly<Record<string, OnnxOperator>> = {
  ArgMax: extreme(true),
  ArgMin: extreme(false),
  CumSum: cumulativeSum,
  Gemm: gemm,
  LayerNormalization: layerNormalization,
  LogSoftmax: alongAxis("log_softmax"),
  MatMul: matMul,
  RMSNormalization: (node) => normalized(node, node.input(0), [node.input(1)], "rms_norm", node.float("epsilon", 1e-5)),
  ReduceL2: reduction((x, axes, isKept) => apply("sqrt", [sum(mul(x, x), axes, isKept)])),
  ReduceLogSumExp: reduction(logSumExp),
  ReduceMax: reduction(largest),
  ReduceMean: reduction(mean),
  ReduceMin: reduction((x, axes, isKept) => mul(largest(mul(x, -1), axes, isKept), -1)),
  ReduceSum: reduction(sum),
  ReduceSumSquare: reduction((x, axes, isKept) => sum(mul(x, x), axes, isKept)),
  SimplifiedLayerNormalization: (node) =>
    normalized(node, node.input(0), [node.input(1)], "rms_norm", node.float("epsilon", 1e-5)),
  Softmax: alongAxis("softmax"),
  TopK: topK,
};

/** Every operator that is read, by domain and name. */
export const ONNX_OPERATORS: Readonly<Record<string, Readonly<Record<string, OnnxOperator>>>> = {
  "": { ...ELEMENTWISE, ...LAYOUT, ...SUMS },
  "com.microsoft": {
    BiasGelu: (node) => gelu(add(node.input(0), node.input(1)), false),
    FastGelu: (node) => {
      const bias = node.maybe(1);
      return gelu(bias === undefined ? node.input(0) : add(node.input(0), bias), true);
    },
    Gelu: (node) => gelu(node.input(0), false),
    SimplifiedLayerNormalization: SUMS["SimplifiedLayerNormalization"],
    SkipLayerNormalization: skipNormalization("layer_norm"),
    SkipSimplifiedLayerNormalization: skipNormalization("rms_norm"),
  },
};
